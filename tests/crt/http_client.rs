//! Requests that are not S3: one connection each.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::executor::block_on;
use mount_s3::crt::{ErrorKind, HttpClient, LARGEST_BODY, TlsContext, Trust};
use s3_test_server::{CA_FILE, Config, TlsConfig};

use crate::server::{Answer, Server};
use crate::support::{Fixture, PATIENCE};
use crate::wait::{once_in_five, within};

fn client(fixture: &Fixture, timeout: Duration) -> HttpClient {
    HttpClient::new(fixture.runtime(), None, timeout).expect("a client")
}

#[test]
fn request_arrives_as_it_is_and_so_does_the_answer() {
    let fixture = Fixture::start();
    let server = Server::start(0, |_| {
        let headers = vec![("Retry-After", "7".to_owned())];
        Answer::Plain(429, headers, b"slowly".to_vec())
    });
    let client = client(&fixture, PATIENCE);
    let uri = fixture.uri(&format!("{}/v1/metrics?a=b", server.endpoint()));
    let body = Bytes::from(vec![7; 300_000]);
    let headers = [("Content-Type", "application/x-protobuf")];
    for _ in 0..2 {
        let exchange = client.send("POST", &uri, &headers, body.clone());
        let response = block_on(exchange.expect("sent")).expect("answered");
        assert_eq!(response.status, 429);
        assert_eq!(response.headers.get("retry-after"), Some("7"));
        assert_eq!(response.body, b"slowly");
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].method, "POST");
    assert_eq!(seen[0].path, "/v1/metrics?a=b");
    assert_eq!(seen[0].header("content-type"), Some(headers[0].1));
    assert_eq!(seen[0].header("host"), Some(&*uri.authority()));
    assert!(server.bodies().iter().all(|found| *found == body));
    drop((client, uri));
    fixture.end();
}

#[test]
fn body_of_an_answer_is_cut_at_the_limit() {
    let fixture = Fixture::start();
    let server = Server::start(0, |_| {
        Answer::Plain(200, Vec::new(), vec![1; 10 * LARGEST_BODY])
    });
    let client = client(&fixture, PATIENCE);
    let uri = fixture.uri(&server.endpoint());
    let exchange = client.send("GET", &uri, &[], Bytes::new()).expect("sent");
    let response = block_on(exchange).expect("answered");
    assert_eq!((response.status, response.body.len()), (200, LARGEST_BODY));
    drop((client, uri));
    fixture.end();
}

#[test]
fn failures_tell_what_failed() {
    let fixture = Fixture::start();
    let resetting = Server::start(0, |_| Answer::Reset);
    let silent = Server::start(0, |_| Answer::Silent);
    let patient = client(&fixture, PATIENCE);
    let hasty = client(&fixture, Duration::from_secs(1));
    for (url, client, kind) in [
        (
            // Nobody listens there.
            "http://127.0.0.1:1".to_owned(),
            &patient,
            ErrorKind::Connection,
        ),
        (resetting.endpoint(), &patient, ErrorKind::Connection),
        (silent.endpoint(), &hasty, ErrorKind::Timeout),
    ] {
        let uri = fixture.uri(&url);
        once_in_five(|_| {
            let began = Instant::now();
            let exchange = client.send("POST", &uri, &[], Bytes::from_static(b"x"));
            let error = block_on(exchange.expect("begun")).expect_err(&url);
            assert_eq!(error.kind(), kind, "{url}: {error}");
            within(began.elapsed(), Duration::from_secs(10))
                .map_err(|late| format!("{url}: {late}"))
        });
    }
    for (url, header) in [
        ("https://127.0.0.1:1", "X"),
        ("ftp://127.0.0.1:1", "X"),
        ("http://127.0.0.1:1", ""),
    ] {
        let refused = patient.send("GET", &fixture.uri(url), &[(header, "x")], Bytes::new());
        assert!(refused.is_err(), "{url} {header}");
    }
    drop((patient, hasty));
    fixture.end();
}

#[test]
fn dropped_exchange_closes_its_connection() {
    let fixture = Fixture::start();
    let silent = Server::start(0, |_| Answer::Silent);
    // Longer than the fixture's end waits.
    let client = client(&fixture, 10 * PATIENCE);
    let uri = fixture.uri(&silent.endpoint());
    let at_once = client.send("GET", &uri, &[], Bytes::new()).expect("sent");
    drop(at_once);
    let later = client.send("GET", &uri, &[], Bytes::new()).expect("sent");
    let began = Instant::now();
    while silent.seen().is_empty() {
        assert!(began.elapsed() < PATIENCE, "the request arrives");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(later);
    drop((client, uri));
    // It would wait for a connection that is open.
    fixture.end();
}

#[test]
fn tls_is_used_and_checked() {
    let fixture = Fixture::start();
    let certificates = tempfile::tempdir().expect("a directory");
    let server = s3_test_server::Server::start(Config {
        tls: Some(TlsConfig {
            addr: (Ipv4Addr::LOCALHOST, 0).into(),
            dir: certificates.path().to_owned(),
        }),
        ..Config::default()
    });
    let server = server.expect("started");
    let address = server.tls_addr().expect("it serves TLS");
    let uri = fixture.uri(&format!("https://{address}/"));
    let trusted = certificates.path().join(CA_FILE);
    for (trust, is_trusted) in [(Trust::CaFile(&trusted), true), (Trust::System, false)] {
        let tls = TlsContext::new(fixture.runtime(), trust).expect("a trust store");
        let client = HttpClient::new(fixture.runtime(), Some(tls), PATIENCE);
        let client = client.expect("a client");
        let exchange = client.send("GET", &uri, &[], Bytes::new()).expect("sent");
        match block_on(exchange) {
            // It is not signed, but it is read.
            Ok(response) => assert!(is_trusted && response.status == 403, "{response:?}"),
            Err(error) => assert!(!is_trusted && error.kind() == ErrorKind::Tls, "{error}"),
        }
    }
    drop(uri);
    fixture.end();
}
