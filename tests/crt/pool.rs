//! The pool of part buffers: who gets memory, who waits, and what is given back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mount_s3::crt::ErrorKind;
use mount_s3::crt::s3::{
    BodyPart, Client, Finished, Flow, PoolUsage, RequestError, RequestEvents, RequestKind,
    RequestOptions,
};

use crate::server::{Answer, Server};
use crate::support::{Fixture, MIB, PATIENCE, Recorder, start_get};
use crate::wait::once_in_five;

/// Keeps the parts that arrive until they are taken.
#[derive(Clone)]
struct Keeper {
    parts: Arc<Mutex<Vec<BodyPart>>>,
    recorder: Recorder,
}

impl Keeper {
    fn new() -> Self {
        Self {
            parts: Arc::default(),
            recorder: Recorder::new(),
        }
    }

    fn count(&self) -> usize {
        self.parts.lock().unwrap().len()
    }

    fn drop_parts(&self) {
        drop(std::mem::take(&mut *self.parts.lock().unwrap()));
    }
}

impl RequestEvents for Keeper {
    fn body(&self, _offset: u64, part: BodyPart) -> Flow {
        self.parts.lock().unwrap().push(part);
        Flow::Continue
    }

    fn finish(&self, outcome: Result<Finished, RequestError>) {
        self.recorder.finish(outcome);
    }
}

fn wait_for_usage(client: &Client, what: &str, wanted: impl Fn(PoolUsage) -> bool) -> PoolUsage {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let usage = client.pool_usage();
        if wanted(usage) {
            return usage;
        }
        assert!(Instant::now() < deadline, "waiting for {what}: {usage:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn parts_take_what_they_are_and_a_small_answer_takes_little() {
    let fixture = Fixture::start();
    let server = Server::start(8 * MIB, |_| Answer::Object);
    let client = fixture.client(|config| config.part_bytes = Some(8 * MIB));
    let uri = fixture.uri(&server.endpoint());
    let keeper = Keeper::new();
    let request = start_get(&client, &uri, 5..5 + MIB, 0, keeper.clone());
    keeper.recorder.outcome().expect("success");
    assert_eq!(client.pool_usage().granted, MIB);
    let whole = Keeper::new();
    let second = start_get(&client, &uri, 0..8 * MIB, 0, whole.clone());
    whole.recorder.outcome().expect("success");
    assert_eq!(client.pool_usage().granted, 9 * MIB);
    drop((request, second));
    keeper.drop_parts();
    whole.drop_parts();
    // The thread of a connection may hold its request a little longer.
    wait_for_usage(&client, "the buffers", |usage| usage.granted == 0);
    drop((uri, client));
    fixture.end();
}

#[test]
fn limit_holds_while_many_requests_wait_for_memory() {
    let fixture = Fixture::start();
    let answers = Arc::new(AtomicBool::new(false));
    let server = Server::start(64 * MIB, {
        let answers = Arc::clone(&answers);
        move |_| {
            let deadline = Instant::now() + PATIENCE;
            while !answers.load(Ordering::SeqCst) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            Answer::Object
        }
    });
    let client = fixture.client(|config| config.memory_limit_bytes = Some(6 * MIB));
    let uri = fixture.uri(&server.endpoint());
    let running: Vec<_> = (0..16)
        .map(|n| {
            let range = n * 3 * MIB + n * 17..n * 3 * MIB + 5 * MIB + n * 40_000;
            let recorder = Recorder::new();
            let request = start_get(&client, &uri, range.clone(), 0, recorder.clone());
            (range, recorder, request)
        })
        .collect();
    // More was asked for than there is.
    wait_for_usage(&client, "a queue", |usage| usage.waiting > 0);
    answers.store(true, Ordering::SeqCst);
    for (range, recorder, _request) in &running {
        while recorder.record().outcome.is_none() {
            let usage = client.pool_usage();
            assert!(usage.held <= usage.limit, "{usage:?}");
            assert!(usage.granted <= usage.held, "{usage:?}");
            thread::sleep(Duration::from_millis(1));
        }
        recorder.expect_bytes(range.clone());
    }
    drop(running);
    wait_for_usage(&client, "the buffers", |usage| usage.granted == 0);
    drop((uri, client));
    fixture.end();
}

#[test]
fn waiting_reservations_are_served_when_parts_are_dropped() {
    let fixture = Fixture::start();
    let server = Server::start(16 * MIB, |_| Answer::Object);
    let client = fixture.client(|config| config.memory_limit_bytes = Some(4 * MIB));
    let uri = fixture.uri(&server.endpoint());
    let keeper = Keeper::new();
    let request = start_get(&client, &uri, 0..16 * MIB, 0, keeper.clone());
    for _ in 0..3 {
        let deadline = Instant::now() + PATIENCE;
        while keeper.count() < 4 {
            assert!(Instant::now() < deadline, "{:?}", client.pool_usage());
            thread::sleep(Duration::from_millis(5));
        }
        let usage = wait_for_usage(&client, "a queue", |usage| usage.waiting > 0);
        assert_eq!(usage.granted, 4 * MIB);
        assert_eq!(keeper.count(), 4, "no memory for more");
        keeper.drop_parts();
    }
    keeper.recorder.outcome().expect("success");
    assert_eq!(keeper.count(), 4);
    drop(request);
    keeper.drop_parts();
    drop((uri, client));
    fixture.end();
}

#[test]
fn canceled_request_leaves_the_queue_to_others() {
    let fixture = Fixture::start();
    let server = Server::start(16 * MIB, |_| Answer::Object);
    let client = fixture.client(|config| config.memory_limit_bytes = Some(2 * MIB));
    let uri = fixture.uri(&server.endpoint());
    let holder = Keeper::new();
    let first = start_get(&client, &uri, 0..2 * MIB, 0, holder.clone());
    holder.recorder.outcome().expect("success");
    let canceled = Recorder::new();
    let second = start_get(&client, &uri, 0..8 * MIB, 0, canceled.clone());
    wait_for_usage(&client, "a queue", |usage| usage.waiting > 0);
    second.cancel();
    let error = canceled.outcome().expect_err("canceled");
    assert_eq!(error.kind(), ErrorKind::Canceled);
    let waiting = Recorder::new();
    let third = start_get(&client, &uri, 3..3 + 2 * MIB, 0, waiting.clone());
    thread::sleep(Duration::from_millis(100));
    assert!(waiting.record().outcome.is_none(), "there is no memory");
    holder.drop_parts();
    waiting.expect_bytes(3..3 + 2 * MIB);
    drop((first, second, third));
    wait_for_usage(&client, "an empty queue", |usage| {
        (usage.granted, usage.waiting) == (0, 0)
    });
    drop((uri, client));
    fixture.end();
}

#[test]
fn client_ends_while_a_canceled_reservation_is_in_the_queue() {
    let fixture = Fixture::start();
    let server = Server::start(16 * MIB, |_| Answer::Object);
    let client = fixture.client(|config| config.memory_limit_bytes = Some(MIB));
    let uri = fixture.uri(&server.endpoint());
    let holder = Keeper::new();
    let first = start_get(&client, &uri, 0..MIB, 0, holder.clone());
    holder.recorder.outcome().expect("success");
    let canceled = Recorder::new();
    let second = start_get(&client, &uri, 0..8 * MIB, 0, canceled.clone());
    wait_for_usage(&client, "a queue", |usage| usage.waiting > 0);
    second.cancel();
    canceled.outcome().expect_err("canceled");
    drop((first, second, uri, client));
    holder.drop_parts();
    fixture.end();
}

#[test]
fn idle_client_gives_its_memory_back() {
    let fixture = Fixture::start();
    let server = Server::start(64 * MIB, |_| Answer::Object);
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    once_in_five(|_| {
        let begin = Instant::now();
        let keeper = Keeper::new();
        let request = start_get(&client, &uri, 0..64 * MIB, 0, keeper.clone());
        keeper.recorder.outcome().expect("success");
        assert_eq!(client.pool_usage().held, 64 * MIB);
        drop(request);
        keeper.drop_parts();
        let usage = wait_for_usage(&client, "the buffers", |usage| usage.granted == 0);
        assert!(usage.held <= 32 * MIB, "{usage:?}");
        // A client is idle after 5 seconds.
        if begin.elapsed() >= Duration::from_secs(5) {
            return Err("too late to see what is kept".to_owned());
        }
        assert!(usage.held >= MIB, "{usage:?}");
        Ok(())
    });
    wait_for_usage(&client, "the trim", |usage| usage.held == 0);
    drop((uri, client));
    fixture.end();
}

#[test]
fn part_beyond_the_limit_fails_its_request() {
    let fixture = Fixture::start();
    let server = Server::start(16 * MIB, |_| Answer::Object);
    let client = fixture.client(|config| config.memory_limit_bytes = Some(2 * MIB));
    let error = get_whole_in_parts_of(&fixture, &server, &client, 4 * MIB);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let text = error.to_string();
    assert!(text.contains("PART_SIZE_EXCEEDS_MEMORY_LIMIT"), "{text}");
    drop(client);
    fixture.end();
}

#[test]
fn memory_that_the_system_refuses_fails_its_request_alone() {
    let fixture = Fixture::start();
    let server = Server::start(16 * MIB, |_| Answer::Object);
    let client = fixture.client(|config| config.memory_limit_bytes = Some(1 << 60));
    let error = get_whole_in_parts_of(&fixture, &server, &client, 1 << 50);
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    let uri = fixture.uri(&server.endpoint());
    let recorder = Recorder::new();
    let request = start_get(&client, &uri, 0..4 * MIB, 0, recorder.clone());
    recorder.expect_bytes(0..4 * MIB);
    drop((request, uri, client));
    fixture.end();
}

/// The error of a GET without a range, whose first part may be as large as a part can be.
fn get_whole_in_parts_of(
    fixture: &Fixture,
    server: &Server,
    client: &Client,
    part_bytes: u64,
) -> RequestError {
    let uri = fixture.uri(&server.endpoint());
    let mut options = RequestOptions::new(RequestKind::GetObject, &uri);
    options.part_bytes = Some(part_bytes);
    let message = client.message("GET", "/bucket/key").unwrap();
    let recorder = Recorder::new();
    let request = client.start(message, &options, recorder.clone()).unwrap();
    let error = recorder.outcome().expect_err("no memory");
    drop(request);
    error
}
