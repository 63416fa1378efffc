//! What goes wrong, and what it is called.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc;
use futures::executor::block_on;
use mount_s3::crt::s3::{
    Client, ErrorResponse, RequestError, RequestKind, RequestOptions, Response, Stall,
};
use mount_s3::crt::{ErrorKind, TlsContext, Trust, Uri};

use crate::server::{Answer, Server};
use crate::support::{Fixture, MIB, Recorder, start_get};
use crate::wait::{once_in_five, within};

fn send(
    client: &Client,
    uri: &Uri,
    operation: &str,
    method: &str,
) -> Result<Response, RequestError> {
    let options = RequestOptions::new(RequestKind::Default { operation }, uri);
    let message = client.message(method, "/bucket/key").unwrap();
    block_on(client.send(message, &options).expect("start"))
}

#[test]
fn error_answer_of_get_carries_status_headers_and_body() {
    let fixture = Fixture::start();
    let server = Server::start(MIB, |_| {
        let headers = vec![("x-amz-request-id", "ABC".to_owned())];
        Answer::Plain(
            404,
            headers,
            b"<Error><Code>NoSuchKey</Code></Error>".to_vec(),
        )
    });
    let recorder = Recorder::new();
    let (client, request) = fixture.get(&server, 0..MIB, recorder.clone());
    let error = recorder.outcome().expect_err("404");
    assert_eq!(error.kind(), ErrorKind::ResponseStatus);
    let ErrorResponse {
        status,
        headers,
        body,
    } = error.response.clone().expect("the answer");
    assert_eq!(status, 404);
    assert_eq!(headers.get("X-Amz-Request-Id"), Some("ABC"));
    assert_eq!(body, b"<Error><Code>NoSuchKey</Code></Error>");
    assert_eq!(recorder.record().status, Some(404));
    assert!(recorder.record().body.is_empty(), "no body of a failure");
    assert_eq!(server.seen().len(), 1, "not retried");
    drop((client, request));
    fixture.end();
}

#[test]
fn default_request_collects_its_answer() {
    let fixture = Fixture::start();
    let server = Server::start(MIB, |incoming| match incoming.method.as_str() {
        "HEAD" => Answer::Plain(200, vec![("ETag", "\"v1\"".to_owned())], Vec::new()),
        _ => Answer::Plain(200, Vec::new(), b"<ListBucketResult/>".to_vec()),
    });
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    let head = send(&client, &uri, "HeadObject", "HEAD").expect("success");
    assert_eq!(
        (head.status, head.headers.get("etag")),
        (200, Some("\"v1\""))
    );
    assert!(head.body.is_empty());
    let list = send(&client, &uri, "ListObjectsV2", "GET").expect("success");
    assert_eq!(list.body, b"<ListBucketResult/>");
    let seen = server.seen();
    assert_eq!(
        seen[0].header("host"),
        server.endpoint().strip_prefix("http://")
    );
    drop((uri, client));
    fixture.end();
}

#[test]
fn error_answer_of_head_has_no_body() {
    let fixture = Fixture::start();
    let server = Server::start(MIB, |_| Answer::Plain(403, Vec::new(), Vec::new()));
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    let error = send(&client, &uri, "HeadObject", "HEAD").expect_err("403");
    let response = error.response.expect("the answer");
    assert_eq!((response.status, response.body.len()), (403, 0));
    drop((uri, client));
    fixture.end();
}

#[test]
fn slow_down_is_retried_and_then_reported() {
    let fixture = Fixture::start();
    let server = Server::start(MIB, |incoming| {
        if incoming.number < 2 {
            Answer::Plain(
                503,
                Vec::new(),
                b"<Error><Code>SlowDown</Code></Error>".to_vec(),
            )
        } else {
            Answer::Object
        }
    });
    let recorder = Recorder::new();
    let (client, request) = fixture.get(&server, 0..MIB, recorder.clone());
    recorder.expect_bytes(0..MIB);
    assert_eq!(
        recorder.record().statuses,
        [Some(503), Some(503), Some(206)]
    );
    assert_eq!(recorder.record().retries, 2);
    drop((client, request));

    let server = Server::start(MIB, |_| {
        Answer::Plain(
            503,
            vec![("x-amz-request-id", "SLOW".to_owned())],
            b"<Error><Code>SlowDown</Code></Error>".to_vec(),
        )
    });
    let client = fixture.client(|config| config.max_retries = 3.try_into().ok());
    let uri = fixture.uri(&server.endpoint());
    let recorder = Recorder::new();
    let request = start_get(&client, &uri, 0..MIB, 0, recorder.clone());
    let error = recorder.outcome().expect_err("503");
    assert_eq!(error.kind(), ErrorKind::Throttled);
    let attempt = error.attempt.expect("an answer");
    assert_eq!(attempt.status, Some(503));
    assert_eq!(attempt.request_id.as_deref(), Some("SLOW"));
    assert_eq!(server.seen().len(), 4, "one try and three retries");
    drop((uri, client, request));
    fixture.end();
}

#[test]
fn refused_connection_is_a_connection_error() {
    let fixture = Fixture::start();
    let endpoint = Server::start(1, |_| Answer::Object).endpoint();
    let client = fixture.client(|config| config.max_retries = 1.try_into().ok());
    let uri = fixture.uri(&endpoint);
    let error = send(&client, &uri, "HeadObject", "HEAD").expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    drop((uri, client));
    fixture.end();
}

#[test]
fn unknown_host_is_a_dns_error() {
    let fixture = Fixture::start();
    let client = fixture.client(|config| config.max_retries = 1.try_into().ok());
    let uri = fixture.uri("http://no-such-host.invalid");
    let begin = Instant::now();
    let error = send(&client, &uri, "HeadObject", "HEAD").expect_err("no such host");
    eprintln!("DNS failure after {:?}: {error}", begin.elapsed());
    assert_eq!(error.kind(), ErrorKind::Dns, "{error}");
    drop((uri, client));
    fixture.end();
}

#[test]
fn tls_to_a_port_without_it_is_a_tls_error() {
    let fixture = Fixture::start();
    let server = Server::start(1, |_| Answer::Object);
    let tls = TlsContext::new(fixture.runtime(), Trust::System).unwrap();
    let client = fixture.client_with_tls(Some(&tls), |config| {
        config.max_retries = 1.try_into().ok();
        config.connect_timeout = Some(Duration::from_secs(2));
    });
    let uri = fixture.uri(&server.endpoint().replace("http:", "https:"));
    let begin = Instant::now();
    let error = send(&client, &uri, "HeadObject", "HEAD").expect_err("no TLS there");
    eprintln!("TLS failure after {:?}: {error}", begin.elapsed());
    // Which one depends on whether the server's reply or its RST comes first.
    assert!(
        matches!(error.kind(), ErrorKind::Tls | ErrorKind::Connection),
        "{error}"
    );
    drop((uri, client, tls));
    fixture.end();
}

#[test]
fn failed_handshake_is_told_of_at_once() {
    let fixture = Fixture::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
        // The alert of a failed handshake (RFC 8446, 6).
        let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 40]);
        // Until the client closes the connection.
        while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
    let tls = TlsContext::new(fixture.runtime(), Trust::System).unwrap();
    let (sender, mut failures) = mpsc::unbounded();
    let client = fixture.client_with_tls(Some(&tls), |config| {
        config.failed_handshakes = Some(sender.clone());
    });
    drop(sender);
    let uri = fixture.uri(&url);
    let begin = Instant::now();
    let recorder = Recorder::new();
    let request = start_get(&client, &uri, 0..1, 0, recorder.clone());
    let failure = block_on(failures.next()).expect("a failure");
    assert!(begin.elapsed() < Duration::from_secs(30), "{failure:?}");
    assert_eq!(failure.error.kind(), ErrorKind::Tls);
    assert!(!failure.reason.is_empty());
    drop((request, uri, client, tls));
    assert!(recorder.outcome().is_err());
    fixture.end();
    // The client is gone, and what it held for its connections with it.
    assert_eq!(block_on(failures.next()), None);
    serving.join().unwrap();
}

#[test]
fn https_without_tls_is_refused_and_never_sent_in_clear() {
    let fixture = Fixture::start();
    let server = Server::start(1, |_| Answer::Object);
    let client = fixture.client(|_| ());
    for scheme in ["https://", ""] {
        let uri = fixture.uri(&server.endpoint().replace("http://", scheme));
        let options = RequestOptions::new(RequestKind::GetObject, &uri);
        let message = client.message("GET", "/").unwrap();
        let error = client
            .start(message, &options, Recorder::new())
            .map(drop)
            .expect_err("no TLS context");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert!(server.seen().is_empty());
    drop(client);
    fixture.end();
}

#[test]
fn message_that_the_crt_refuses_starts_nothing() {
    let fixture = Fixture::start();
    let server = Server::start(1, |_| Answer::Object);
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    let options = RequestOptions::new(RequestKind::GetObject, &uri);
    let mut message = client.message("GET", "/").unwrap();
    message.header("Host", "another.example").unwrap();
    let error = client
        .start(message, &options, Recorder::new())
        .map(drop)
        .expect_err("the host is another one");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(
        error.to_string().contains("AWS_ERROR_INVALID_ARGUMENT"),
        "{error}"
    );
    assert_eq!(error.library(), "aws-c-common");
    drop((uri, client));
    fixture.end();
}

#[test]
fn memory_limit_below_the_least_is_refused() {
    let fixture = Fixture::start();
    let anonymous = mount_s3::crt::CredentialsProvider::anonymous(fixture.runtime()).unwrap();
    let mut config = mount_s3::crt::s3::ClientConfig::new("us-east-1", &anonymous);
    config.memory_limit_bytes = Some(MIB);
    let error = Client::new(fixture.runtime(), &config).expect_err("too little");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    drop(anonymous);
    fixture.end();
}

#[test]
fn ca_file_that_is_missing_is_an_error() {
    let fixture = Fixture::start();
    let path = std::path::Path::new("/nonexistent/ca.pem");
    let error = TlsContext::new(fixture.runtime(), Trust::CaFile(path)).expect_err("no file");
    assert!(!error.message().is_empty());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "not a certificate").unwrap();
    let error = TlsContext::new(fixture.runtime(), Trust::CaFile(file.path())).expect_err("junk");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    fixture.end();
}

#[test]
fn uri_that_is_malformed_is_an_error() {
    let fixture = Fixture::start();
    let error = Uri::parse(fixture.runtime(), "http://host:port").expect_err("no number");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    fixture.end();
}

#[test]
fn truncated_body_is_retried_and_the_bytes_are_exact() {
    let fixture = Fixture::start();
    let server = Server::start(4 * MIB, |incoming| {
        if incoming.number < 2 {
            Answer::Truncated(100_000)
        } else {
            Answer::Object
        }
    });
    let recorder = Recorder::new();
    let begin = Instant::now();
    let (client, request) = fixture.get(&server, 0..4 * MIB, recorder.clone());
    recorder.expect_bytes(0..4 * MIB);
    eprintln!("truncated twice: {:?}", begin.elapsed());
    assert_eq!(recorder.record().retries, 2);
    drop((client, request));
    fixture.end();
}

#[test]
fn body_that_is_always_truncated_ends_as_a_connection_error() {
    let fixture = Fixture::start();
    let server = Server::start(4 * MIB, |_| Answer::Truncated(100_000));
    let client = fixture.client(|config| config.max_retries = 2.try_into().ok());
    let uri = fixture.uri(&server.endpoint());
    let recorder = Recorder::new();
    let request = start_get(&client, &uri, 0..4 * MIB, 0, recorder.clone());
    let error = recorder.outcome().expect_err("never whole");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert_eq!(server.seen().len(), 3);
    assert!(
        recorder.record().body.is_empty(),
        "no byte of a broken part"
    );
    drop((uri, client, request));
    fixture.end();
}

#[test]
fn reset_connection_is_retried() {
    let fixture = Fixture::start();
    let server = Server::start(4 * MIB, |incoming| {
        if incoming.number % 3 == 0 {
            Answer::Reset
        } else {
            Answer::Object
        }
    });
    let recorder = Recorder::new();
    let (client, request) = fixture.get(&server, 0..4 * MIB, recorder.clone());
    recorder.expect_bytes(0..4 * MIB);
    drop((client, request));
    fixture.end();
}

#[test]
fn stalled_body_is_retried_after_the_interval() {
    once_in_five(|_| {
        let fixture = Fixture::start();
        let server = Server::start(4 * MIB, |incoming| {
            if incoming.number == 1 {
                Answer::Stalled(100_000)
            } else {
                Answer::Object
            }
        });
        let client = fixture.client(|config| {
            config.stall = Some(Stall {
                bytes_per_second: 1,
                interval: Duration::from_secs(2),
            });
        });
        let uri = fixture.uri(&server.endpoint());
        let recorder = Recorder::new();
        let begin = Instant::now();
        let request = start_get(&client, &uri, 0..4 * MIB, 0, recorder.clone());
        recorder.expect_bytes(0..4 * MIB);
        let took = begin.elapsed();
        eprintln!("stalled once, interval 2 s: {took:?}");
        assert!(took > Duration::from_secs(2), "{took:?}");
        drop((uri, client, request));
        fixture.end();
        within(took, Duration::from_secs(20))
    });
}

#[test]
fn silent_server_ends_as_a_timeout() {
    let fixture = Fixture::start();
    let server = Server::start(4 * MIB, |_| Answer::Silent);
    let client = fixture.client(|config| {
        config.max_retries = 1.try_into().ok();
        config.stall = Some(Stall {
            bytes_per_second: 1,
            interval: Duration::from_secs(1),
        });
    });
    let uri = fixture.uri(&server.endpoint());
    let begin = Instant::now();
    let error = send(&client, &uri, "HeadObject", "HEAD").expect_err("no answer");
    eprintln!(
        "silent, interval 1 s, 1 retry: {:?}: {error}",
        begin.elapsed()
    );
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    drop((uri, client));
    fixture.end();
}
