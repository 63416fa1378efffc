//! Bodies of requests: sent as they are, held as long as C may look, and what goes on by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mount_s3::crt::s3::{
    BodyPart, Client, Finished, Flow, Request, RequestError, RequestEvents, RequestKind,
    RequestOptions,
};
use mount_s3::crt::{ErrorKind, Uri};

use crate::server::{Answer, Server, byte_at};
use crate::support::{Event, Fixture, MIB, PATIENCE, Recorder};

/// Bytes that tell when they are given back.
struct Lent {
    bytes: Vec<u8>,
    returned: Arc<AtomicBool>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.bytes.fill(0xee);
        self.returned.store(true, Ordering::SeqCst);
    }
}

fn lent(size: u64) -> (Bytes, Arc<AtomicBool>) {
    let returned = Arc::new(AtomicBool::new(false));
    let owner = Lent {
        bytes: (0..size).map(byte_at).collect(),
        returned: Arc::clone(&returned),
    };
    (Bytes::from_owner(owner), returned)
}

fn wait_for(what: &str, flag: &AtomicBool) {
    let deadline = Instant::now() + PATIENCE;
    while !flag.load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn put(client: &Client, uri: &Uri, body: Bytes, events: impl RequestEvents) -> Request {
    let message = client.message("PUT", "/bucket/key").unwrap();
    let kind = RequestKind::Default {
        operation: "PutObject",
    };
    let mut options = RequestOptions::new(kind, uri);
    options.body = body;
    client.start(message, &options, events).unwrap()
}

fn ok() -> Answer {
    Answer::Plain(200, vec![("ETag", "\"e\"".to_owned())], Vec::new())
}

#[test]
fn bodies_arrive_as_they_are() {
    let fixture = Fixture::start();
    let server = Server::start(0, |_| ok());
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    for size in [0, 1, 100_000, 20 * MIB + 3] {
        let (body, returned) = lent(size);
        let expected = body.to_vec();
        let recorder = Recorder::new();
        let request = put(&client, &uri, body, recorder.clone());
        assert_eq!(recorder.outcome().unwrap().status, 200);
        assert_eq!(recorder.record().headers.get("etag"), Some("\"e\""));
        assert!(server.bodies().pop().unwrap() == expected, "{size}");
        drop(request);
        wait_for("the body's return", &returned);
    }
    drop((client, uri));
    fixture.end();
}

#[test]
fn a_body_is_held_for_every_retry() {
    let fixture = Fixture::start();
    let server = Server::start(0, |incoming| match incoming.number {
        0 => Answer::Plain(503, Vec::new(), Vec::new()),
        1 => Answer::Reset,
        2 => Answer::Plain(500, Vec::new(), Vec::new()),
        _ => ok(),
    });
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    let (body, returned) = lent(MIB);
    let expected = body.to_vec();
    let early = Arc::new(AtomicBool::new(false));
    let recorder = Recorder::with_hook({
        let (early, returned) = (Arc::clone(&early), Arc::clone(&returned));
        move |_| {
            early.fetch_or(returned.load(Ordering::SeqCst), Ordering::SeqCst);
            Flow::Continue
        }
    });
    let request = put(&client, &uri, body, recorder.clone());
    assert!(recorder.outcome().is_ok());
    assert!(!early.load(Ordering::SeqCst), "given back too early");
    let bodies = server.bodies();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| *body == expected));
    drop((request, client, uri));
    fixture.end();
    assert!(returned.load(Ordering::SeqCst));
}

#[test]
fn a_body_is_given_back_when_its_request_is_dropped() {
    let fixture = Fixture::start();
    let server = Server::start(0, |_| Answer::Silent);
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    let (body, returned) = lent(MIB);
    let recorder = Recorder::new();
    let request = put(&client, &uri, body, recorder.clone());
    let deadline = Instant::now() + PATIENCE;
    while server.bodies().is_empty() {
        assert!(Instant::now() < deadline, "no request");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!returned.load(Ordering::SeqCst));
    drop(request);
    let error = recorder.outcome().expect_err("canceled");
    assert_eq!(error.kind(), ErrorKind::Canceled);
    wait_for("the body's return", &returned);
    drop((client, uri));
    fixture.end();
}

#[test]
fn a_body_is_given_back_when_its_request_is_refused() {
    let fixture = Fixture::start();
    let client = fixture.client(|_| ());
    let uri = fixture.uri("https://127.0.0.1:1");
    let (body, returned) = lent(10);
    let message = client.message("PUT", "/bucket/key").unwrap();
    let kind = RequestKind::Default {
        operation: "PutObject",
    };
    let mut options = RequestOptions::new(kind, &uri);
    options.body = body;
    let refused = client.start(message, &options, Recorder::new());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    drop(options);
    drop(uri);
    assert!(returned.load(Ordering::SeqCst));
    let message = client.message("GET", "/bucket/key").unwrap();
    let uri = fixture.uri("http://127.0.0.1:1");
    let (body, returned) = lent(10);
    let mut options = RequestOptions::new(RequestKind::GetObject, &uri);
    options.body = body;
    let refused = client.start(message, &options, Recorder::new());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    drop(options);
    assert!(returned.load(Ordering::SeqCst));
    drop((client, uri));
    fixture.end();
}

#[test]
fn a_detached_request_goes_on() {
    let fixture = Fixture::start();
    let server = Server::start(0, |_| {
        thread::sleep(Duration::from_millis(300));
        ok()
    });
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    let recorder = Recorder::new();
    put(&client, &uri, lent(MIB).0, recorder.clone()).detach();
    assert!(recorder.outcome().is_ok());
    assert_eq!(server.bodies().len(), 1);
    drop((client, uri));
    fixture.end();
}

#[test]
fn a_panic_while_a_body_is_sent_fails_that_request_only() {
    let fixture = Fixture::start();
    let server = Server::start(0, |_| ok());
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    let (body, returned) = lent(MIB);
    let recorder = Recorder::with_hook(|event| match event {
        Event::Headers => panic!("in headers"),
        _ => Flow::Continue,
    });
    let request = put(&client, &uri, body, recorder.clone());
    let error = recorder.outcome().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    drop(request);
    wait_for("the body's return", &returned);
    let recorder = Recorder::new();
    let request = put(&client, &uri, lent(10).0, recorder.clone());
    assert!(recorder.outcome().is_ok());
    drop((request, client, uri));
    fixture.end();
}

/// Starts another request when its own has ended, whatever ended it.
struct TidiesUp {
    next: Mutex<Option<(Client, Uri, Recorder)>>,
    tidies_up: bool,
    ended: Arc<AtomicBool>,
}

impl RequestEvents for TidiesUp {
    fn body(&self, _offset: u64, _part: BodyPart) -> Flow {
        Flow::Continue
    }

    fn finish(&self, _outcome: Result<Finished, RequestError>) {
        let next = self.next.lock().unwrap().take();
        let (client, uri, recorder) = next.expect("it ends once");
        let message = client.message("DELETE", "/bucket/key?uploadId=1").unwrap();
        let kind = RequestKind::Default {
            operation: "AbortMultipartUpload",
        };
        let mut options = RequestOptions::new(kind, &uri);
        options.tidies_up = self.tidies_up;
        if let Ok(request) = client.start(message, &options, recorder) {
            request.detach();
        }
        self.ended.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_shutdown_waits_for_what_tidies_up_and_refuses_all_else() {
    for tidies_up in [true, false] {
        let fixture = Fixture::start();
        let server = Server::start(0, |incoming| match incoming.method.as_str() {
            "PUT" => Answer::Silent,
            _ => {
                thread::sleep(Duration::from_millis(300));
                ok()
            }
        });
        let client = fixture.client(|_| ());
        let uri = fixture.uri(&server.endpoint());
        let recorder = Recorder::new();
        let next = (client.clone(), fixture.uri(&server.endpoint()), recorder);
        let recorder = next.2.clone();
        let ended = Arc::new(AtomicBool::new(false));
        let events = TidiesUp {
            next: Mutex::new(Some(next)),
            tidies_up,
            ended: Arc::clone(&ended),
        };
        let request = put(&client, &uri, lent(MIB).0, events);
        while server.seen().is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        drop((client, uri));
        // It is held until the shutdown has begun, which ends it.
        let ending = thread::spawn(move || {
            wait_for("the shutdown", &ended);
            drop(request);
        });
        fixture.end();
        ending.join().unwrap();
        let outcome = recorder.record().outcome;
        assert_eq!(
            outcome.map(|outcome| outcome.is_ok()),
            tidies_up.then_some(true)
        );
        assert_eq!(server.seen().len(), if tidies_up { 2 } else { 1 });
    }
}
