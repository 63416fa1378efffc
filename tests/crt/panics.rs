//! A panic in any callback is an error of its request, and of nothing else.

use mount_s3::crt::ErrorKind;
use mount_s3::crt::s3::Flow;

use crate::server::{Answer, Server};
use crate::support::{Event, Fixture, MIB, Recorder, start_get};

fn check_panic_in(event: Event) {
    let fixture = Fixture::start();
    let server = Server::start(8 * MIB, |_| Answer::Object);
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    let other = Recorder::new();
    let other_request = start_get(&client, &uri, 0..8 * MIB, 0, other.clone());
    let recorder = Recorder::with_hook(move |now| {
        assert!(now != event, "planted in {event:?}");
        Flow::Continue
    });
    let request = start_get(&client, &uri, 0..8 * MIB, 0, recorder.clone());
    if event == Event::Finish {
        recorder.wait_until("the finish callback", |record| {
            record.events.contains(&Event::Finish)
        });
    } else {
        let error = recorder.outcome().expect_err("the panic");
        assert_eq!(error.kind(), ErrorKind::Panic);
        assert!(error.to_string().contains("planted in"), "{error}");
        let events = recorder.record().events;
        let panicked = events.iter().filter(|now| **now == event).count();
        assert_eq!(panicked, 1, "{events:?}");
        assert_eq!(&events[events.len() - 2..], [event, Event::Finish]);
    }
    other.expect_bytes(0..8 * MIB);
    let after = Recorder::new();
    let after_request = start_get(&client, &uri, 0..8 * MIB, 0, after.clone());
    after.expect_bytes(0..8 * MIB);
    drop((uri, client, request, other_request, after_request));
    fixture.end();
}

#[test]
fn panic_in_headers_is_an_error_of_that_request() {
    check_panic_in(Event::Headers);
}

#[test]
fn panic_in_body_is_an_error_of_that_request() {
    check_panic_in(Event::Body);
}

#[test]
fn panic_in_telemetry_is_an_error_of_that_request() {
    check_panic_in(Event::Telemetry);
}

#[test]
fn panic_in_finish_is_survived() {
    check_panic_in(Event::Finish);
}

#[test]
fn panic_in_the_drop_of_events_is_survived() {
    struct Bomb(Recorder);
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("planted in drop");
        }
    }
    let fixture = Fixture::start();
    let server = Server::start(MIB, |_| Answer::Object);
    let recorder = Recorder::new();
    let bomb = Bomb(recorder.clone());
    let (client, request) = fixture.get(
        &server,
        0..MIB,
        Recorder::with_hook(move |event| {
            let bomb = &bomb;
            if event == Event::Finish {
                mount_s3::crt::s3::RequestEvents::finish(
                    &bomb.0,
                    Ok(mount_s3::crt::s3::Finished {
                        status: 200,
                        checksum_validated: false,
                    }),
                );
            }
            Flow::Continue
        }),
    );
    recorder.outcome().expect("the end of the request");
    drop((client, request));
    fixture.end();
}
