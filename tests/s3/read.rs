//! GETs that go well: exact bytes, back-pressure, cancelling.

use std::thread::sleep;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use mount_s3::s3::{ListRequest, Store};
use s3_test_server::synthetic::first_difference;
use s3_test_server::{BulkSpec, Model};

use super::store_suite::{get, key, start};
use super::stores::wait::LONG;
use super::support::{BUCKET, Fixture, MIB};

#[test]
fn get_of_many_parts_is_exact_and_pinned() {
    let fixture = Fixture::start();
    fixture.plant("k", 7, 100 * MIB);
    let ranges = [
        0..40 * MIB,
        3..5 * MIB + 1,
        100 * MIB - 17..100 * MIB,
        MIB - 1..MIB + 1,
    ];
    for range in ranges {
        let body = get(&fixture.store, "k", range.clone()).unwrap();
        assert_eq!(body.len() as u64, range.end - range.start);
        assert_eq!(first_difference(7, range.start, &body), None);
    }
    let stats = fixture.server.stats();
    assert!(stats.logged("GetObject").count() > 40);
    assert!(
        stats
            .logged("GetObject")
            .all(|entry| !entry.if_match.is_empty())
    );
}

#[test]
fn get_of_the_end_of_a_huge_object_is_exact() {
    let fixture = Fixture::start();
    let size = 100 << 30;
    fixture.plant("huge", 9, size);
    let body = get(&fixture.store, "huge", size - 3 * MIB..size).unwrap();
    assert_eq!(body.len() as u64, 3 * MIB);
    assert_eq!(first_difference(9, size - 3 * MIB, &body), None);
}

#[test]
fn get_stops_at_the_window_until_it_is_extended() {
    let fixture = Fixture::start();
    fixture.plant("k", 1, 64 * MIB);
    let (sink, body) = start(&fixture.store, "k", 0..64 * MIB, 1);
    sink.wait_received(MIB);
    sleep(Duration::from_millis(300));
    assert_eq!(sink.received(), MIB);
    let sent = fixture.server.stats().bytes_sent;
    assert!(
        sent < 4 * MIB,
        "{sent} bytes were fetched for a window of one"
    );
    body.extend_window(MIB);
    sink.wait_received(2 * MIB);
    sleep(Duration::from_millis(300));
    assert_eq!(sink.received(), 2 * MIB);
    body.extend_window(u64::MAX);
    assert_eq!(sink.wait(), Ok(()));
    assert_eq!(sink.received(), 64 * MIB);
    assert_eq!(first_difference(1, 0, &sink.body()), None);
}

#[test]
fn drop_of_a_get_stops_the_server() {
    let fixture = Fixture::start();
    fixture.plant("k", 1, 1 << 40);
    // Slow enough for the window to take longer than the test waits.
    fixture.server.set_model(Model {
        bandwidth: MIB,
        ..Model::default()
    });
    let window = 1000 * MIB;
    let (sink, body) = start(&fixture.store, "k", 0..1 << 40, window);
    sink.wait_received(MIB);
    drop(body);
    let received = sink.received();
    let start = Instant::now();
    let mut sent = u64::MAX;
    loop {
        let stats = fixture.server.stats();
        if stats.requests_open == 0 && stats.bytes_sent == sent {
            break;
        }
        sent = stats.bytes_sent;
        assert!(start.elapsed() < LONG, "it goes on");
        sleep(Duration::from_millis(500));
    }
    assert!(sent < window / 2, "{sent} bytes were sent");
    assert!(
        sink.received() <= received + MIB,
        "parts came after the drop"
    );
}

#[test]
fn drop_of_a_head_or_list_cancels_it() {
    let fixture = Fixture::start();
    fixture.server.set_model(Model {
        // Longer than the fixture's end waits.
        first_byte_ms: 600_000,
        list_ms: 600_000,
        ..Model::default()
    });
    let name = key("k");
    let mut head = fixture.store.head(&name);
    let request = ListRequest::default();
    let mut list = fixture.store.list(&request);
    let polled = block_on(async { (futures::poll!(&mut head), futures::poll!(&mut list)) });
    assert!(polled.0.is_pending() && polled.1.is_pending());
    sleep(Duration::from_millis(200));
    drop((head, list));
    // The fixture's end waits for requests: it would time out.
}

#[test]
fn list_of_many_pages_has_every_key() {
    let fixture = Fixture::start();
    let bulk = BulkSpec {
        bucket: BUCKET.to_owned(),
        key: "many/{i:05}".to_owned(),
        count: 2_500,
        size: 3,
        ..BulkSpec::default()
    };
    fixture.server.put_objects(&bulk).unwrap();
    let (keys, prefixes) = super::store_suite::list(&fixture.store, "many/", true, None);
    assert_eq!((keys.len(), prefixes.len()), (2_500, 0));
    assert!(keys.is_sorted());
    assert_eq!(fixture.server.stats().count("ListObjectsV2"), 3);
}
