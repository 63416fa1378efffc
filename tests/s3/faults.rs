//! Faults that are tried again, and faults that are reported.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use mount_s3::s3::{ErrorKind, ListRequest, Store};
use s3_test_server::synthetic::first_difference;
use s3_test_server::{Fault, Model, Rule};

use super::store_suite::{get, key, start};
use super::stores::wait::{once_in_five, within};
use super::support::{Fixture, MIB, impatient};

/// Reads 16 MiB while `rules` are in force and checks every byte.
fn read_under(rules: &[Rule]) -> Duration {
    read_from(&Fixture::start(), rules)
}

fn read_from(fixture: &Fixture, rules: &[Rule]) -> Duration {
    fixture.plant("k", 3, 16 * MIB);
    fixture.rules(rules);
    let start = Instant::now();
    let body = get(&fixture.store, "k", 0..16 * MIB).unwrap();
    assert_eq!(body.len() as u64, 16 * MIB);
    assert_eq!(first_difference(3, 0, &body), None);
    assert!(fixture.fired() > 0, "no fault struck");
    start.elapsed()
}

fn on_get(fault: Fault) -> Rule {
    Rule::new(fault).on("GetObject")
}

#[test]
fn throttled_requests_are_tried_again() {
    let fixture = Fixture::start();
    fixture.plant("k", 3, 16 * MIB);
    fixture.server.set_model(Model {
        slow_down_rate: 0.3,
        ..Model::default()
    });
    let body = get(&fixture.store, "k", 0..16 * MIB).unwrap();
    assert_eq!(first_difference(3, 0, &body), None);
    for _ in 0..10 {
        let page = block_on(fixture.store.list(&ListRequest::default())).unwrap();
        assert_eq!(page.objects.len(), 1);
    }
    assert!(fixture.server.stats().statuses[&503] > 0);
}

#[test]
fn resets_are_tried_again() {
    read_under(&[
        on_get(Fault::Reset {
            after_bytes: Some(300_000),
        })
        .times(3),
        on_get(Fault::Reset { after_bytes: None }).times(3),
    ]);
}

#[test]
fn truncated_bodies_are_tried_again_at_once() {
    let fault = Fault::Truncate {
        after_bytes: 300_000,
    };
    // A body that stalls instead is given up much later.
    once_in_five(|_| {
        let took = read_under(&[on_get(fault.clone()).times(3)]);
        within(took, Duration::from_secs(20))
    });
}

#[test]
fn stalled_bodies_are_tried_again_after_the_timeout() {
    let fault = Fault::Stall {
        after_bytes: 300_000,
        seconds: 120.0,
    };
    once_in_five(|_| {
        let took = read_from(&Fixture::with(impatient), &[on_get(fault.clone()).times(2)]);
        within(took, Duration::from_secs(30))
    });
}

#[test]
fn server_errors_are_tried_again() {
    let fault = Fault::Error {
        status: 500,
        code: "InternalError".to_owned(),
    };
    read_under(&[on_get(fault).times(3)]);
}

#[test]
fn throttling_without_end_is_reported() {
    let fixture = Fixture::with(|config| config.max_attempts = 2.try_into().unwrap());
    fixture.plant("k", 3, MIB);
    fixture.rules(&[on_get(Fault::SlowDown)]);
    assert_eq!(get(&fixture.store, "k", 0..MIB), Err(ErrorKind::Throttled));
    fixture.rules(&[Rule::new(Fault::SlowDown)]);
    let error = block_on(fixture.store.list(&ListRequest::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    assert_eq!(error.context().status, Some(503));
    assert!(error.context().request_id.is_some(), "{error}");
}

#[test]
fn server_errors_without_end_are_reported_with_status_and_request_id() {
    let fixture = Fixture::with(|config| config.max_attempts = 2.try_into().unwrap());
    let fault = Fault::Error {
        status: 500,
        code: "InternalError".to_owned(),
    };
    fixture.rules(&[Rule::new(fault)]);
    let error = block_on(fixture.store.head(&key("k"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other, "{error}");
    assert_eq!(error.context().status, Some(500));
    assert!(error.context().request_id.is_some(), "{error}");
    assert!(error.to_string().contains("(HTTP 500)"), "{error}");
}

#[test]
fn refusals_are_reported_by_every_operation() {
    let fixture = Fixture::start();
    fixture.plant("k", 3, MIB);
    fixture.rules(&[on_get(Fault::Deny)]);
    assert_eq!(get(&fixture.store, "k", 0..MIB), Err(ErrorKind::Denied));
    fixture.rules(&[Rule::new(Fault::Deny)]);
    let error = block_on(fixture.store.head(&key("k"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.context().status, Some(403));
    assert!(error.context().request_id.is_some());
    let error = block_on(fixture.store.list(&ListRequest::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.context().code.as_deref(), Some("AccessDenied"));
}

#[test]
fn replaced_object_ends_a_get_with_what_came_before() {
    let fixture = Fixture::start();
    fixture.plant("k", 1, 64 * MIB);
    let (sink, body) = start(&fixture.store, "k", 0..64 * MIB, 4 * MIB);
    sink.wait_received(4 * MIB);
    fixture.plant("k", 2, 64 * MIB);
    body.extend_window(u64::MAX);
    assert_eq!(sink.wait(), Err(ErrorKind::Precondition));
    assert_eq!(first_difference(1, 0, &sink.body()), None);
}
