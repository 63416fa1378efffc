//! Bodies: exact, windowed, lent.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mount_s3::crt::s3::{
    BodyPart, Finished, Flow, RequestError, RequestEvents, RequestKind, RequestOptions,
};

use crate::server::{Answer, Server};
use crate::support::{Event, Fixture, MIB, Recorder, start_get};

#[test]
fn get_over_many_parts_delivers_exact_bytes_in_order() {
    let fixture = Fixture::start();
    let server = Server::start(20 * MIB, |_| Answer::Object);
    let range = 12_345..17 * MIB + 678;
    let recorder = Recorder::new();
    let (client, request) = fixture.get(&server, range.clone(), recorder.clone());
    recorder.expect_bytes(range);
    let record = recorder.record();
    assert_eq!(record.status, Some(206));
    assert_eq!(record.headers.get("etag"), Some("\"e\""));
    assert!(server.seen().len() >= 17, "{}", server.seen().len());
    assert_eq!(record.statuses.len(), server.seen().len());
    assert!(record.request_ids.iter().all(Option::is_some));
    assert_eq!(record.events.last(), Some(&Event::Finish));
    drop((client, request));
    fixture.end();
}

#[test]
fn get_without_range_delivers_the_whole_object() {
    let fixture = Fixture::start();
    let server = Server::start(3 * MIB + 5, |_| Answer::Object);
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    let message = client.message("GET", "/bucket/key").unwrap();
    let options = RequestOptions::new(RequestKind::GetObject, &uri);
    let recorder = Recorder::new();
    let request = client.start(message, &options, recorder.clone()).unwrap();
    recorder.expect_bytes(0..3 * MIB + 5);
    assert_eq!(recorder.record().status, Some(200));
    drop((uri, client, request));
    fixture.end();
}

#[test]
fn part_size_of_a_request_overrides_the_clients() {
    let fixture = Fixture::start();
    let server = Server::start(4 * MIB, |_| Answer::Object);
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    let mut options = RequestOptions::new(RequestKind::GetObject, &uri);
    options.part_bytes = Some(MIB / 4);
    let recorder = Recorder::new();
    let message = crate::support::get_message(&client, 0..4 * MIB);
    let request = client.start(message, &options, recorder.clone()).unwrap();
    recorder.expect_bytes(0..4 * MIB);
    assert_eq!(server.seen().len(), 16);
    drop((uri, client, request));
    fixture.end();
}

#[test]
fn window_limits_what_is_delivered_and_opens_on_demand() {
    let fixture = Fixture::start();
    let size = 32 * MIB;
    let server = Server::start(size, |_| Answer::Object);
    let client = fixture.client(|config| config.backpressure = true);
    let uri = fixture.uri(&server.endpoint());
    let recorder = Recorder::new();
    let window = 3 * MIB;
    let request = start_get(&client, &uri, 0..size, window, recorder.clone());
    recorder.wait_until("the window to fill", |record| {
        record.body.len() as u64 >= window
    });
    thread::sleep(Duration::from_millis(300));
    let delivered = recorder.record().body.len() as u64;
    assert!(delivered <= window + MIB, "{delivered}");
    assert!(
        server.body_bytes() <= window + MIB,
        "{}",
        server.body_bytes()
    );
    request.extend_window(4 * MIB);
    recorder.wait_until("the wider window to fill", |record| {
        record.body.len() as u64 >= window + 4 * MIB
    });
    thread::sleep(Duration::from_millis(300));
    let delivered = recorder.record().body.len() as u64;
    assert!(delivered <= window + 5 * MIB, "{delivered}");
    request.extend_window(size);
    recorder.expect_bytes(0..size);
    drop((uri, client, request));
    fixture.end();
}

#[test]
fn concurrent_requests_each_get_their_own_bytes() {
    let fixture = Fixture::start();
    let server = Server::start(64 * MIB, |_| Answer::Object);
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    let running: Vec<_> = (0..24)
        .map(|n| {
            let range = n * 2 * MIB + n * 17..n * 2 * MIB + 3 * MIB;
            let recorder = Recorder::new();
            let request = start_get(&client, &uri, range.clone(), 0, recorder.clone());
            (range, recorder, request)
        })
        .collect();
    for (range, recorder, _request) in &running {
        recorder.expect_bytes(range.clone());
    }
    drop((uri, client, running));
    fixture.end();
}

/// Keeps the parts, as a read path does.
struct Keeper(Arc<Kept>);

#[derive(Default)]
struct Kept {
    parts: Mutex<Vec<(u64, BodyPart)>>,
    recorder: Mutex<Option<Recorder>>,
}

impl RequestEvents for Keeper {
    fn body(&self, offset: u64, part: BodyPart) -> Flow {
        self.0.parts.lock().unwrap().push((offset, part));
        Flow::Continue
    }

    fn finish(&self, outcome: Result<Finished, RequestError>) {
        if let Some(recorder) = &*self.0.recorder.lock().unwrap() {
            recorder.finish(outcome);
        }
    }
}

#[test]
fn parts_outlive_request_and_client_and_may_be_dropped_anywhere() {
    let fixture = Fixture::start();
    let server = Server::start(8 * MIB, |_| Answer::Object);
    let recorder = Recorder::new();
    let kept = Arc::new(Kept::default());
    *kept.recorder.lock().unwrap() = Some(recorder.clone());
    let (client, request) = fixture.get(&server, 0..8 * MIB, Keeper(Arc::clone(&kept)));
    recorder.outcome().expect("success");
    drop((client, request));
    thread::sleep(Duration::from_millis(200));
    let parts = std::mem::take(&mut *kept.parts.lock().unwrap());
    assert_eq!(parts.len(), 8);
    for (offset, part) in &parts {
        assert_eq!(part.len() as u64, MIB);
        let right = part
            .iter()
            .zip(*offset..)
            .all(|(byte, at)| *byte == crate::server::byte_at(at));
        assert!(right, "part at {offset}");
    }
    let bytes: Vec<bytes::Bytes> = parts
        .into_iter()
        .map(|(_, part)| bytes::Bytes::from_owner(part))
        .collect();
    thread::spawn(move || drop(bytes)).join().unwrap();
    fixture.end();
}
