//! The way to the endpoint: name, connection, TLS, proxy, clock.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::report::{Report, Step};
use super::request::{Failure, Question};
use crate::cli::config::ClientOptions;
use crate::crt::s3::Signing;
use crate::crt::{CredentialsProvider, Headers, Runtime, TlsContext, Uri};

/// Looks at the way to an endpoint, step by step up to the first that fails. Gives the headers of an
/// answer to an unsigned request, if one came.
pub(super) fn examine(
    report: &mut Report,
    runtime: &Runtime,
    client: &ClientOptions,
    tls: &TlsContext,
    origin: &Uri,
) -> Option<Headers> {
    let is_tls = origin.scheme() == "https";
    let port = origin.port().unwrap_or(if is_tls { 443 } else { 80 });
    let port = u16::try_from(port).unwrap_or_default();
    let through = match client.proxies.of(client.endpoint_url.as_deref()) {
        Some(proxy) => {
            let exceptions = client.proxies.exceptions.as_deref().unwrap_or("nothing");
            let text = format!(
                "{} by {}, but for hosts of NO_PROXY: {exceptions}",
                proxy.url, proxy.variable
            );
            let step = match host_and_port(&proxy.url) {
                Some((host, port)) => match connect(&host, port) {
                    Ok((addr, took)) => Step::ok(
                        "proxy",
                        format!("{text}; {addr} answers in {}", millis(took)),
                    ),
                    Err(error) => Step::warn("proxy", format!("{text}: {error}")).remedy(format!(
                        "check {}, or list the endpoint's host in NO_PROXY",
                        proxy.variable
                    )),
                },
                None => Step::warn("proxy", text)
                    .remedy(format!("{} must be like http://host:3128", proxy.variable)),
            };
            report.add(step);
            true
        }
        None => {
            report.add(Step::info("proxy", "none is named by the environment"));
            false
        }
    };
    let host = origin.host();
    let host = host.trim_matches(['[', ']']);
    if through {
        // The proxy resolves the name.
        report.add(Step::info(
            "dns",
            format!("{host}: left to the proxy, if it is used"),
        ));
    } else if !reach(report, host, port) {
        return None;
    }
    let answer = ask(runtime, tls, origin);
    let headers = match answer {
        Ok(headers) => headers,
        Err(failure) => {
            let name = if failure.is_tls { "tls" } else { "http" };
            let remedy = if failure.is_tls {
                "if the endpoint has certificates of its own, name them with --ca-bundle"
            } else {
                "check whether an HTTP server, and one with TLS for https://, is at the endpoint"
            };
            report.add(Step::fail(name, failure.text).remedy(remedy));
            return None;
        }
    };
    if is_tls {
        let trusted = match &client.ca_bundle {
            Some(path) => format!("the certificates in {}", path.display()),
            None => "the system's certificates".to_owned(),
        };
        report.add(Step::ok(
            "tls",
            format!("the endpoint is trusted by {trusted}"),
        ));
    } else {
        report.add(
            Step::warn(
                "tls",
                "http:// sends everything readable for those on the way",
            )
            .remedy("use an endpoint with https://, unless the network is trusted"),
        );
    }
    report.add(clock(headers.get("Date"), SystemTime::now()));
    Some(headers)
}

/// Resolves the host, and connects to it.
fn reach(report: &mut Report, host: &str, port: u16) -> bool {
    let addresses = match resolve(host, port) {
        Ok(addresses) => addresses,
        Err(error) => {
            report.add(
                Step::fail("dns", format!("{host}: {error}"))
                    .remedy("check --endpoint-url and --region, and /etc/resolv.conf"),
            );
            return false;
        }
    };
    let count = addresses.len();
    let shown: Vec<_> = addresses
        .iter()
        .take(4)
        .map(|addr| addr.ip().to_string())
        .collect();
    let text = format!("{host}: {count} addresses, such as {}", shown.join(", "));
    report.add(Step::ok("dns", text));
    match connect_to(&addresses) {
        Ok((addr, took)) => {
            report.add(Step::ok(
                "tcp",
                format!("{addr} answers in {}", millis(took)),
            ));
            true
        }
        Err(error) => {
            report.add(Step::fail("tcp", format!("{host}:{port}: {error}")).remedy(
                "check routes, firewalls and security groups; in a VPC without internet access \
                     S3 needs a gateway endpoint",
            ));
            false
        }
    }
}

/// An answer to a request for the endpoint itself that is not signed: 403 is as good as any.
fn ask(runtime: &Runtime, tls: &TlsContext, origin: &Uri) -> Result<Headers, Failure> {
    let question = Question {
        runtime,
        tls,
        credentials: &CredentialsProvider::anonymous(runtime)?,
        signing: Signing::s3("us-east-1"),
        origin,
        method: "HEAD",
        operation: "HeadBucket",
        body: "",
    };
    question.ask().map(|answer| answer.headers)
}

/// How far the clock of this machine is from that of the server, by its `Date`.
fn clock(date: Option<&str>, now: SystemTime) -> Step {
    let parsed = date.and_then(|date| {
        // HTTP says GMT where mail says +0000.
        let date = date.replace("GMT", "+0000");
        OffsetDateTime::parse(&date, &Rfc2822).ok()
    });
    let Some(server) = parsed else {
        return Step::info("clock", "the endpoint does not tell its time");
    };
    let skew = (OffsetDateTime::from(now) - server).whole_seconds();
    let text = match skew {
        -1..=1 => "agrees with that of the endpoint".to_owned(),
        2.. => format!("is {skew} s ahead of that of the endpoint"),
        _ => format!("is {} s behind that of the endpoint", -skew),
    };
    let remedy = "set the clock: timedatectl set-ntp true, or chronyd";
    match skew.unsigned_abs() {
        0..=60 => Step::ok("clock", text),
        61..=600 => Step::warn(
            "clock",
            format!("{text}; from 15 minutes on requests are refused"),
        )
        .remedy(remedy),
        _ => Step::fail(
            "clock",
            format!("{text}; requests are refused from 15 minutes on"),
        )
        .remedy(remedy),
    }
}

/// The addresses of a host. The system's resolver has no deadline, so a thread waits for it.
fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let (answer, answered) = mpsc::channel();
    let name = host.to_owned();
    thread::spawn(move || {
        let addresses = (name.as_str(), port).to_socket_addrs();
        // Nobody may be waiting any more.
        let _unheard = answer.send(addresses.map(Vec::from_iter));
    });
    let addresses = answered
        .recv_timeout(PATIENCE)
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer of a name server"))??;
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "has no address"));
    }
    Ok(addresses)
}

fn connect(host: &str, port: u16) -> io::Result<(SocketAddr, Duration)> {
    connect_to(&resolve(host, port)?)
}

/// The first address that answers, of the first few.
fn connect_to(addresses: &[SocketAddr]) -> io::Result<(SocketAddr, Duration)> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for addr in addresses.iter().take(MOST_ADDRESSES) {
        let begin = Instant::now();
        match TcpStream::connect_timeout(addr, PATIENCE) {
            Ok(_) => return Ok((*addr, begin.elapsed())),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Of the URL of a proxy.
fn host_and_port(url: &str) -> Option<(String, u16)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next()?;
    let (host, port) = authority.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Addresses that are tried one after the other.
const MOST_ADDRESSES: usize = 3;

#[cfg(test)]
mod tests {
    use super::super::report::Status;
    use super::*;

    #[test]
    fn clock_is_compared_with_the_date_of_the_server() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (date, status, text) in [
            ("Tue, 14 Nov 2023 22:13:20 GMT", Status::Ok, "agrees"),
            ("Tue, 14 Nov 2023 22:13:00 GMT", Status::Ok, "20 s ahead"),
            (
                "Tue, 14 Nov 2023 22:18:20 GMT",
                Status::Warn,
                "300 s behind",
            ),
            (
                "Tue, 14 Nov 2023 21:13:20 GMT",
                Status::Fail,
                "3600 s ahead",
            ),
            ("yesterday", Status::Info, "does not tell"),
        ] {
            let step = clock(Some(date), now);
            assert_eq!(step.status, status, "{date}: {step}");
            assert!(step.text.contains(text), "{date}: {step}");
        }
        assert_eq!(clock(None, now).status, Status::Info);
    }

    #[test]
    fn host_and_port_are_those_of_the_url() {
        let found = |url| host_and_port(url).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(found("http://proxy:3128").as_deref(), Some("proxy 3128"));
        assert_eq!(found("http://[::1]:3128/").as_deref(), Some("::1 3128"));
        assert_eq!(found("proxy:3128").as_deref(), Some("proxy 3128"));
        for url in ["http://proxy", "", "http://proxy:port"] {
            assert_eq!(found(url), None, "{url}");
        }
    }
}
