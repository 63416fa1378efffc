//! Cancelling at each stage, by all means that there are.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use mount_s3::crt::ErrorKind;
use mount_s3::crt::s3::{Flow, RequestKind, RequestOptions};

use crate::server::{Answer, Server};
use crate::support::{Event, Fixture, MIB, PATIENCE, Recorder, start_get};
use crate::wait::wait_for;

#[test]
fn cancel_before_anything_was_sent_ends_the_request() {
    let fixture = Fixture::start();
    let server = Server::start(8 * MIB, |_| Answer::Object);
    let recorder = Recorder::new();
    let (client, request) = fixture.get(&server, 0..8 * MIB, recorder.clone());
    request.cancel();
    // It may have been quicker than the cancel; then all bytes are there.
    match recorder.outcome() {
        Ok(_) => recorder.expect_bytes(0..8 * MIB),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Canceled),
    }
    drop((client, request));
    fixture.end();
}

#[test]
fn cancel_while_waiting_for_headers_ends_the_request() {
    let fixture = Fixture::start();
    let server = Server::start(8 * MIB, |_| Answer::Silent);
    let recorder = Recorder::new();
    let (client, request) = fixture.get(&server, 0..8 * MIB, recorder.clone());
    wait_for_request(&server);
    let canceled = Instant::now();
    request.cancel();
    let error = recorder.outcome().expect_err("canceled");
    assert_eq!(error.kind(), ErrorKind::Canceled);
    assert!(canceled.elapsed() < Duration::from_secs(30));
    assert!(!recorder.record().events.contains(&Event::Body));
    drop((client, request));
    fixture.end();
}

#[test]
fn cancel_in_mid_body_ends_the_request() {
    let fixture = Fixture::start();
    let server = Server::start(64 * MIB, |incoming| match incoming.number {
        0 | 1 => Answer::Object,
        _ => Answer::Stalled(1000),
    });
    let recorder = Recorder::new();
    let (client, request) = fixture.get(&server, 0..64 * MIB, recorder.clone());
    recorder.wait_until("a part", |record| !record.body.is_empty());
    request.cancel();
    let error = recorder.outcome().expect_err("canceled");
    assert_eq!(error.kind(), ErrorKind::Canceled);
    drop((client, request));
    fixture.end();
}

#[test]
fn cancel_after_the_end_changes_nothing() {
    let fixture = Fixture::start();
    let server = Server::start(MIB, |_| Answer::Object);
    let recorder = Recorder::new();
    let (client, request) = fixture.get(&server, 0..MIB, recorder.clone());
    recorder.expect_bytes(0..MIB);
    request.cancel();
    request.extend_window(1);
    request.cancel();
    drop((client, request));
    fixture.end();
    recorder.expect_bytes(0..MIB);
    let ends = recorder.record().events;
    assert_eq!(
        ends.iter().filter(|event| **event == Event::Finish).count(),
        1
    );
}

#[test]
fn drop_of_a_request_cancels_it() {
    let fixture = Fixture::start();
    let server = Server::start(8 * MIB, |_| Answer::Silent);
    let recorder = Recorder::new();
    let (client, request) = fixture.get(&server, 0..8 * MIB, recorder.clone());
    wait_for_request(&server);
    drop(request);
    let error = recorder.outcome().expect_err("canceled");
    assert_eq!(error.kind(), ErrorKind::Canceled);
    drop(client);
    fixture.end();
}

#[test]
fn flow_of_a_callback_cancels_its_request() {
    for event in [Event::Headers, Event::Body] {
        let fixture = Fixture::start();
        let server = Server::start(8 * MIB, |_| Answer::Object);
        let recorder = Recorder::with_hook(move |now| {
            if now == event {
                Flow::Cancel
            } else {
                Flow::Continue
            }
        });
        let (client, request) = fixture.get(&server, 0..8 * MIB, recorder.clone());
        let error = recorder.outcome().expect_err("canceled");
        assert_eq!(error.kind(), ErrorKind::Canceled, "in {event:?}");
        drop((client, request));
        fixture.end();
    }
}

#[test]
fn drop_of_a_future_cancels_its_request() {
    let fixture = Fixture::start();
    let (closed, was_closed) = mpsc::channel();
    let server = Server::start(8 * MIB, move |_| {
        closed.send(()).expect("the test waits");
        Answer::Silent
    });
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    let options = RequestOptions::new(
        RequestKind::Default {
            operation: "HeadObject",
        },
        &uri,
    );
    let message = client.message("HEAD", "/bucket/key").unwrap();
    let mut future = client.send(message, &options).unwrap();
    was_closed.recv_timeout(PATIENCE).unwrap();
    assert!((&mut future).now_or_never().is_none());
    drop((future, uri, client));
    // Were the request still under way, the client could not end.
    fixture.end();
}

#[test]
fn futures_dropped_at_once_leave_nothing() {
    let fixture = Fixture::start();
    let server = Server::start(MIB, |_| Answer::Object);
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    for _ in 0..50 {
        let options = RequestOptions::new(
            RequestKind::Default {
                operation: "HeadObject",
            },
            &uri,
        );
        let message = client.message("HEAD", "/bucket/key").unwrap();
        drop(client.send(message, &options).unwrap());
        drop(start_get(&client, &uri, 0..MIB, 0, Recorder::new()));
    }
    drop((uri, client));
    fixture.end();
}

fn wait_for_request(server: &Server) {
    wait_for("a request", PATIENCE, || {
        (!server.seen().is_empty()).then_some(())
    });
}
