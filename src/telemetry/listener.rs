//! A server of HTTP/1.1 that answers one question: `GET /metrics`.
//!
//! It answers on one thread, one connection after the other, one request each. A connection gets
//! no more than a few seconds and a request a few KiB, so that nobody can hold it up for long.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::prometheus::Format;
use super::{Source, accept};

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `host:port`.
    Tcp(String),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Answers until it is dropped, which removes the socket if it is a Unix socket.
#[derive(Debug)]
pub struct Listener {
    address: Bound,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Where it listens.
#[derive(Debug, Clone)]
enum Bound {
    Tcp(std::net::SocketAddr),
    Unix(PathBuf),
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens at `address`, and answers with the figures of `source`. A Unix socket that nobody
    /// listens at any more is replaced; a new one can be used by whom the umask of this process lets
    /// write.
    ///
    /// # Errors
    /// The address cannot be listened at.
    pub fn start(address: &ListenAddress, source: Source) -> io::Result<Self> {
        let (socket, address) = match address {
            ListenAddress::Tcp(address) => {
                let addresses: Vec<_> = address.to_socket_addrs()?.collect();
                let socket = TcpListener::bind(&*addresses)?;
                let bound = socket.local_addr()?;
                log::info!("metrics are served at http://{bound}/metrics");
                (Socket::Tcp(socket), Bound::Tcp(bound))
            }
            ListenAddress::Unix(path) => {
                remove_abandoned(path)?;
                let socket = UnixListener::bind(path)?;
                (Socket::Unix(socket), Bound::Unix(path.clone()))
            }
        };
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        let thread = thread::Builder::new()
            .name("metrics-http".into())
            .spawn(move || {
                while let Ok(connection) = socket.accept()
                    && !is_over.load(Ordering::Acquire)
                {
                    if let Err(error) = connection.and_then(|connection| serve(connection, &source))
                    {
                        log::debug!("a request for metrics: {error}");
                    }
                }
            })?;
        Ok(Self {
            address,
            ends,
            thread: Some(thread),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        let woken = match &self.address {
            Bound::Tcp(address) => TcpStream::connect_timeout(address, PATIENCE).map(drop),
            Bound::Unix(path) => UnixStream::connect(path).map(drop),
        };
        if let Bound::Unix(path) = &self.address
            && let Err(error) = fs::remove_file(path)
        {
            log::debug!("{}: {error}", path.display());
        }
        match woken {
            Ok(()) => {
                if let Some(Err(_panic)) = self.thread.take().map(JoinHandle::join) {
                    log::error!("the thread that serves metrics has panicked");
                }
            }
            // It is left to the end of the process.
            Err(error) => log::debug!("the server of metrics: {error}"),
        }
    }
}

impl Socket {
    /// The next connection. The outer error is that there will be none any more.
    fn accept(&self) -> Result<io::Result<Connection>, ()> {
        let accepted = match self {
            Self::Tcp(socket) => socket.accept().map(|(stream, _)| Connection::Tcp(stream)),
            Self::Unix(socket) => socket.accept().map(|(stream, _)| Connection::Unix(stream)),
        };
        if let Err(error) = &accepted
            && error.kind() == ErrorKind::InvalidInput
        {
            return Err(());
        }
        if accepted.is_err() {
            // Such as too many open files, which may be over soon.
            thread::sleep(RETRY);
        }
        Ok(accepted)
    }
}

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    /// Limits the next read or write to what is left before `deadline`.
    fn limit(&self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.set_write_timeout(Some(left))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(left))?;
                stream.set_write_timeout(Some(left))
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        self.limit(deadline)?;
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            self.limit(deadline)?;
            let written = match self {
                Self::Tcp(stream) => stream.write(bytes)?,
                Self::Unix(stream) => stream.write(bytes)?,
            };
            if written == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Says that nothing more comes, and takes in what the client still sends: closed before, the
    /// connection would be reset, and the answer lost.
    fn finish(&mut self, deadline: Instant) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write)?,
            Self::Unix(stream) => stream.shutdown(Shutdown::Write)?,
        }
        let mut buffer = [0; 4096];
        for _ in 0..MOST_LEFTOVERS {
            if self.read(&mut buffer, deadline)? == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Metrics { format: Format, with_body: bool },
    Refused(&'static str),
}

fn serve(mut connection: Connection, source: &Source) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    let asked = loop {
        let length = connection.read(&mut buffer, deadline)?;
        if length == 0 {
            return Ok(());
        }
        request.extend_from_slice(buffer.get(..length).unwrap_or_default());
        if let Some(asked) = parse(&request) {
            break asked;
        }
    };
    let (status, media, body, with_body) = match asked {
        Asked::Metrics { format, with_body } => {
            let text = format.write(&source.snapshot(), &source.labels);
            ("200 OK", format.content_type(), text, with_body)
        }
        Asked::Refused(status) => (
            status,
            "text/plain; charset=utf-8",
            format!("{status}: there is only GET /metrics\n"),
            true,
        ),
    };
    let allow = if status.starts_with("405") {
        "Allow: GET, HEAD\r\n"
    } else {
        ""
    };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        body.len(),
    );
    if with_body {
        answer.push_str(&body);
    }
    connection.write_all(answer.as_bytes(), deadline)?;
    connection.finish(deadline)
}

/// What `request` asks for; `None` if there is more to come.
fn parse(request: &[u8]) -> Option<Asked> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(request) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if request.len() < LONGEST_REQUEST => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Some(Asked::Refused("431 Request Header Fields Too Large"));
        }
        Err(_) => return Some(Asked::Refused("400 Bad Request")),
    }
    let path = parsed.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _query)| path);
    Some(match parsed.method {
        Some("GET" | "HEAD") if path != "/metrics" => Asked::Refused("404 Not Found"),
        Some(method @ ("GET" | "HEAD")) => Asked::Metrics {
            format: accept::format(&accepted(parsed.headers)),
            with_body: method == "GET",
        },
        _ => Asked::Refused("405 Method Not Allowed"),
    })
}

/// The values of all headers `Accept`, as one.
fn accepted(headers: &[httparse::Header<'_>]) -> String {
    let accept = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("accept"));
    let values: Vec<_> = accept
        .map(|header| String::from_utf8_lossy(header.value))
        .collect();
    values.join(",")
}

/// Removes the Unix socket at `path` if nobody listens at it.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        // To bind it fails, and says why.
        _ => Ok(()),
    }
}

impl FromStr for ListenAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = Path::new(path);
            return if path.is_absolute() {
                Ok(Self::Unix(path.to_owned()))
            } else {
                Err("the path of a Unix socket must be absolute: unix:/run/mount-s3.sock")
            };
        }
        let is_valid = text.rsplit_once(':').is_some_and(|(host, port)| {
            let is_ipv6 = host.starts_with('[') && host.ends_with(']');
            !host.is_empty() && (is_ipv6 || !host.contains(':')) && port.parse::<u16>().is_ok()
        });
        if is_valid {
            Ok(Self::Tcp(text.to_owned()))
        } else {
            Err("must be ADDRESS:PORT, as 127.0.0.1:9100 or [::1]:9100, or unix:PATH")
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How long a connection may last.
const PATIENCE: Duration = Duration::from_secs(5);

/// After a connection that could not be accepted.
const RETRY: Duration = Duration::from_millis(100);

const LONGEST_REQUEST: usize = 8 << 10;
const MOST_HEADERS: usize = 64;

/// Reads of what comes after a request.
const MOST_LEFTOVERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Label, Snapshot, names};
    use crate::wait::{LONG, wait_for};

    fn source() -> Source {
        Source::new([Label::new("bucket", "b")], || {
            let mut snapshot = Snapshot::default();
            snapshot.gauge(&names::INODES, [], 3);
            snapshot
        })
    }

    /// Asks again without an answer: a test that stands still for long finds its connection closed.
    fn ask<S: Read + Write>(connect: impl Fn() -> io::Result<S>, request: &str) -> String {
        let try_once = || {
            let mut stream = connect()?;
            let mut answer = String::new();
            stream.write_all(request.as_bytes())?;
            stream.read_to_string(&mut answer)?;
            Ok::<_, io::Error>(answer)
        };
        wait_for("an answer", LONG, || {
            let begun = Instant::now();
            match try_once() {
                Ok(answer) if !answer.is_empty() => Some(answer),
                nothing => {
                    assert!(begun.elapsed() >= PATIENCE, "{nothing:?}");
                    None
                }
            }
        })
    }

    /// Waits until nobody listens any more. A process that another test starts has the socket open
    /// until it runs its program.
    fn wait_for_refusal<S>(connect: impl Fn() -> io::Result<S>) {
        let start = Instant::now();
        while connect().is_ok() {
            assert!(start.elapsed() < LONG, "connected");
            // A socket keeps some hundred connections that nobody accepts.
            thread::sleep(Duration::from_secs(1));
        }
    }

    #[test]
    fn requests_are_answered_by_what_they_ask_for() {
        let listener = Listener::start(&ListenAddress::Tcp("127.0.0.1:0".into()), source());
        let listener = listener.expect("started");
        let Bound::Tcp(address) = listener.address else {
            panic!("TCP")
        };
        let long = format!(
            "GET /metrics HTTP/1.1\r\nX: {}",
            "x".repeat(LONGEST_REQUEST)
        );
        for (request, status, body) in [
            (
                "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
                "200 OK",
                "\r\n\r\n# HELP",
            ),
            (
                "GET /metrics?a=b HTTP/1.0\r\n\r\n",
                "200 OK",
                "mount_s3_inodes{bucket=\"b\"} 3\n",
            ),
            (
                "GET /metrics HTTP/1.1\r\nAccept: text/plain;q=0.5\r\nACCEPT: \
                 application/openmetrics-text\r\n\r\n",
                "200 OK",
                "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n",
            ),
            ("GET / HTTP/1.1\r\n\r\n", "404 Not Found", "GET /metrics"),
            (
                "POST /metrics HTTP/1.1\r\n\r\n",
                "405 Method",
                "Allow: GET, HEAD\r\n",
            ),
            ("nonsense\r\n\r\n", "400 Bad Request", ""),
            (&long, "431 Request", ""),
        ] {
            let answer = ask(|| TcpStream::connect(address), request);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{request}: {answer}"
            );
            assert!(answer.contains(body), "{request}: {answer}");
        }
        let head = "HEAD /metrics HTTP/1.1\r\n\r\n";
        let answer = ask(|| TcpStream::connect(address), head);
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        drop(listener);
        wait_for_refusal(|| TcpStream::connect(address));
    }

    #[test]
    fn unix_socket_replaces_one_that_nobody_listens_at() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("socket");
        let address = ListenAddress::Unix(path.clone());
        drop(UnixListener::bind(&path).expect("bound"));
        wait_for_refusal(|| UnixStream::connect(&path));
        let listener = Listener::start(&address, source()).expect("started");
        let second = Listener::start(&address, source()).expect_err("in use");
        assert_eq!(second.kind(), ErrorKind::AddrInUse);
        let answer = ask(
            || UnixStream::connect(&path),
            "GET /metrics HTTP/1.1\r\n\r\n",
        );
        assert!(answer.contains("mount_s3_inodes"), "{answer}");
        drop(listener);
        assert!(!path.exists());
        fs::write(&path, "a file").expect("written");
        assert!(Listener::start(&address, source()).is_err());
        assert!(path.exists());
    }

    #[test]
    fn addresses_are_checked() {
        for valid in ["127.0.0.1:9100", "[::1]:0", "localhost:80", "unix:/run/s"] {
            let address = valid.parse::<ListenAddress>().expect(valid);
            assert_eq!(address.to_string(), valid);
        }
        for wrong in [
            "",
            "9100",
            ":9100",
            "::1:9100",
            "host:",
            "host:70000",
            "unix:s",
            "unix:",
        ] {
            assert!(wrong.parse::<ListenAddress>().is_err(), "{wrong}");
        }
    }
}
