//! Every fault as a client sees it.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use s3_test_server::{Config, Fault, Model, ObjectSpec, Rule, Server, Stats, TlsConfig, synthetic};

use crate::client::{Client, Request, control};
use crate::start;
use crate::wait::{LONG, once_in_five, within};

const SIZE: u64 = 4 << 20;
const GET: Request<'static> = Request {
    method: "GET",
    path: "/bucket/k",
    query: Vec::new(),
    headers: Vec::new(),
    body: Vec::new(),
    payload: "",
};

/// A server with one object that does this.
fn with(rules: Vec<Rule>) -> (Server, Client) {
    let (server, client) = start();
    server.put_object(&ObjectSpec::synthetic("bucket", "k", 4, SIZE));
    server.set_model(Model {
        rules,
        ..Model::default()
    });
    (server, client)
}

fn read_all(mut stream: impl Read) -> (usize, Option<ErrorKind>) {
    let mut body = Vec::new();
    let end = stream
        .read_to_end(&mut body)
        .err()
        .map(|error| error.kind());
    (body.len(), end)
}

#[test]
fn refusal_of_an_upload_that_is_still_sent_is_not_lost() {
    let (_server, client) = with(vec![Rule::new(Fault::SlowDown).on("PutObject")]);
    // More than sockets buffer.
    let answer = client.put("/bucket/new", &vec![0; 64 << 20], &[]);
    assert_eq!(
        (answer.status, answer.element("Code").as_str()),
        (503, "SlowDown")
    );
}

#[test]
fn refusals_strike_what_they_name_only() {
    let (server, client) = with(vec![
        Rule::new(Fault::SlowDown).on("GetObject").times(1),
        Rule::new(Fault::Deny).on("HeadObject").under("k"),
        Rule::new(Fault::Error {
            status: 500,
            code: "InternalError".into(),
        })
        .on("ListObjectsV2")
        .under("pre"),
    ]);
    let slow = client.get("/bucket/k", &[]);
    assert_eq!(
        (slow.status, slow.element("Code").as_str()),
        (503, "SlowDown")
    );
    assert_eq!(slow.element("Message"), "Please reduce your request rate.");
    assert_eq!(client.get("/bucket/k", &[]).status, 200);
    assert_eq!(
        (
            client.head("/bucket/k", &[]).status,
            client.head("/bucket/x", &[]).status
        ),
        (403, 404)
    );
    assert_eq!(client.list("/bucket", &[("prefix", "prefix/")]).status, 500);
    assert_eq!(client.list("/bucket", &[]).status, 200);
    let stats = server.stats();
    assert_eq!(
        (
            stats.count("GetObject"),
            stats.count("HeadObject"),
            stats.count("ListObjectsV2")
        ),
        (2, 2, 2)
    );
    assert_eq!((stats.statuses[&503], stats.statuses[&200]), (1, 2));
    assert_eq!(server.model().rules[0].fired, 1);
}

#[test]
fn reset_before_headers_gives_no_answer() {
    let (server, client) = with(vec![Rule::new(Fault::Reset { after_bytes: None }).times(1)]);
    let error = client.try_send(&GET).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.stats().statuses[&0], 1);
    assert_eq!(client.send(&GET).status, 200);
}

#[test]
fn reset_in_the_body_breaks_the_connection() {
    let (_server, client) = with(vec![Rule::new(Fault::Reset {
        after_bytes: Some(100_000),
    })]);
    let (head, stream) = client.start(&GET).unwrap();
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, SIZE.to_string().as_str())
    );
    let (read, end) = read_all(stream);
    assert!(read <= 100_000);
    assert_eq!(end, Some(ErrorKind::ConnectionReset));
}

#[test]
fn truncated_body_ends_early_and_cleanly() {
    let (_server, client) = with(vec![Rule::new(Fault::Truncate {
        after_bytes: 3_000_001,
    })]);
    let (head, stream) = client.start(&GET).unwrap();
    assert_eq!(head.header("content-length"), SIZE.to_string());
    assert_eq!(read_all(stream), (3_000_001, None));
}

#[test]
fn stalled_body_stops_and_goes_on() {
    let (_server, client) = with(vec![Rule::new(Fault::Stall {
        after_bytes: 1_000_000,
        seconds: 3.0,
    })]);
    // Who stands still for as long as the body does not see it stop.
    once_in_five(|_| {
        let begin = Instant::now();
        let (_, mut stream) = client.start(&GET).unwrap();
        let mut body = vec![0; 1_000_000];
        stream.read_exact(&mut body).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        match stream.read(&mut [0]) {
            Ok(_) => return Err(format!("more came after {:?}", begin.elapsed())),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut rest = vec![0; usize::try_from(SIZE).unwrap() - body.len()];
        stream.read_exact(&mut rest).unwrap();
        assert!(begin.elapsed() >= Duration::from_secs(3));
        assert_eq!(synthetic::first_difference(4, 1_000_000, &rest), None);
        Ok(())
    });
}

#[test]
fn corrupt_body_differs_in_one_bit() {
    let (_server, client) = with(vec![
        Rule::new(Fault::Corrupt { offset: 2_500_000 }).times(1),
    ]);
    let mut body = client.send(&GET).body;
    assert_eq!(synthetic::first_difference(4, 0, &body), Some(2_500_000));
    body[2_500_000] ^= 1;
    assert_eq!(synthetic::first_difference(4, 0, &body), None);
    assert_eq!(
        synthetic::first_difference(4, 0, &client.send(&GET).body),
        None
    );
}

#[test]
fn latency_and_bandwidth_are_as_modelled() {
    let (server, client) = with(Vec::new());
    let takes = |least: f64, request: &dyn Fn()| {
        once_in_five(|_| {
            let begin = Instant::now();
            request();
            let took = begin.elapsed();
            assert!(took.as_secs_f64() >= least, "{took:?}");
            within(took, Duration::from_secs(10))
        });
    };
    server.set_model(Model {
        first_byte_ms: 150,
        list_ms: 300,
        ..Model::default()
    });
    takes(0.15, &|| {
        assert_eq!(client.head("/bucket/k", &[]).status, 200);
    });
    takes(0.3, &|| {
        assert_eq!(client.list("/bucket", &[]).status, 200);
    });
    server.set_model(Model {
        bandwidth: 8 << 20,
        ..Model::default()
    });
    takes(0.4, &|| {
        assert_eq!(client.send(&GET).body.len() as u64, SIZE);
    });
    let body = vec![7; 4 << 20];
    takes(0.4, &|| {
        assert_eq!(client.put("/bucket/up", &body, &[]).status, 200);
    });
    server.set_model(Model {
        rules: vec![Rule::new(Fault::Latency { ms: 200 }).on("GetObject")],
        ..Model::default()
    });
    takes(0.2, &|| {
        assert_eq!(client.send(&GET).status, 200);
    });
}

#[test]
fn slow_down_rate_strikes_its_part() {
    let (server, client) = with(Vec::new());
    server.set_model(Model {
        seed: 5,
        slow_down_rate: 0.3,
        ..Model::default()
    });
    let struck = (0..200)
        .filter(|_| client.head("/bucket/k", &[]).status == 503)
        .count();
    assert!((35..85).contains(&struck), "{struck}");
}

#[test]
fn control_endpoint_sets_the_model_and_tells_what_was_asked() {
    let (server, client) = with(Vec::new());
    let ask =
        |method: &str, path: &str, body: &str| control(server.control_addr(), method, path, body);
    assert_eq!(
        ask(
            "PUT",
            "/object",
            r#"{"bucket":"bucket","key":"c","text":"planted"}"#
        )
        .status,
        200
    );
    assert_eq!(client.get("/bucket/c", &[]).text(), "planted");
    let model = r#"{"rules":[{"fault":{"kind":"slow_down"},"operation":"GetObject","count":1}]}"#;
    assert_eq!(ask("PUT", "/model", model).status, 200);
    assert_eq!(ask("POST", "/stats/reset", "").status, 200);
    assert_eq!(
        client.get("/bucket/c", &[("range", "bytes=1-3")]).status,
        503
    );
    assert_eq!(
        client.get("/bucket/c", &[("range", "bytes=1-3")]).text(),
        "lan"
    );
    let stats: Stats = serde_json::from_slice(&ask("GET", "/stats", "").body).unwrap();
    let asked: Vec<_> = stats
        .logged("GetObject")
        .map(|entry| (&*entry.key, &*entry.range, entry.status))
        .collect();
    assert_eq!(asked, [("c", "bytes=1-3", 503), ("c", "bytes=1-3", 206)]);
    assert_eq!((stats.requests(), stats.connections_total), (2, 2));
    let model: Model = serde_json::from_slice(&ask("GET", "/model", "").body).unwrap();
    assert_eq!(model.rules[0].fired, 1);
    assert_eq!(ask("PUT", "/model", r#"{"nonsense":1}"#).status, 400);
    assert_eq!(
        ask("DELETE", "/object", r#"{"bucket":"bucket","key":"c"}"#).status,
        200
    );
    assert_eq!(client.get("/bucket/c", &[]).status, 404);
}

#[test]
fn tls_certificate_is_signed_by_the_written_authority() {
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    use tokio_rustls::rustls::{
        ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring,
    };

    let dir = tempfile::tempdir().unwrap();
    let tls = Some(TlsConfig {
        addr: ([127, 0, 0, 1], 0).into(),
        dir: dir.path().to_owned(),
    });
    let server = Server::start(Config {
        tls,
        anonymous: true,
        ..Config::default()
    })
    .unwrap();
    server.put_object(&ObjectSpec::synthetic("bucket", "k", 4, SIZE));
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(dir.path().join(s3_test_server::CA_FILE)).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for name in ["localhost", "127.0.0.1"] {
        let name = ServerName::try_from(name).unwrap();
        let session = ClientConnection::new(config.clone().into(), name).unwrap();
        let socket = std::net::TcpStream::connect(server.tls_addr().unwrap()).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        std::io::Write::write_all(
            &mut stream,
            b"GET /bucket/k HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let body = &answer[answer.len() - usize::try_from(SIZE).unwrap()..];
        assert_eq!(synthetic::first_difference(4, 0, body), None);
    }
}
