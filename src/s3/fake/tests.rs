use std::collections::BTreeSet;

use bytes::Bytes;
use futures::FutureExt;
use futures::executor::block_on;
use proptest::prelude::*;

use super::{FakeStore, Logged, Op, Order, synthetic};
use crate::s3::{ErrorKind, ListFrom, ListRequest, Restore, StorageClass, Store};
use crate::wait::{LONG, wait_for};
use collector::Collector;
use store_suite::{Archive, Bucket, key, request};

#[path = "../../../tests/s3/collector.rs"]
mod collector;
#[path = "../../../tests/s3/store_suite.rs"]
mod store_suite;

/// What the suite that is shared with the tests of the real store names by another path there.
mod api {
    pub(crate) use crate::s3::{
        BodySink, ETag, Error, ErrorKind, GetRequest, InFlight, Key, ListFrom, ListRequest,
        ListedObject, Restore, StorageClass, Store,
    };
}

impl Bucket for FakeStore {
    fn store(&self) -> &dyn Store {
        self
    }

    fn put(&self, key: &str, text: &str) {
        Self::put(self, key, Bytes::from(text.to_owned()));
    }

    fn remove(&self, key: &str) {
        Self::remove(self, key);
    }
}

impl Archive for FakeStore {
    fn archive(&self, key: &str, text: &str, restore: Restore) {
        Self::put(self, key, Bytes::from(text.to_owned()));
        self.set_storage(key, StorageClass::Archived, restore);
    }
}

#[test]
fn store_does_what_every_store_has_to_do() {
    store_suite::run(&FakeStore::new());
    store_suite::run(&FakeStore::deterministic());
}

fn wait_until(condition: impl Fn() -> bool) {
    wait_for("what was asked for", LONG, || condition().then_some(()));
}

/// All pages of a listing: their objects, their common prefixes, and how many pages they were.
fn list_all(store: &FakeStore, prefix: &str, delimited: bool) -> (Vec<String>, Vec<String>, usize) {
    let mut request = ListRequest {
        prefix: prefix.to_owned(),
        delimited,
        ..ListRequest::default()
    };
    let (mut objects, mut prefixes, mut pages) = (Vec::new(), Vec::new(), 0);
    loop {
        let page = block_on(store.list(&request)).unwrap();
        pages += 1;
        objects.extend(page.objects.into_iter().map(|object| object.key));
        prefixes.extend(page.common_prefixes);
        match page.next {
            Some(next) => request.from = ListFrom::Page(next),
            None => return (objects, prefixes, pages),
        }
    }
}

#[test]
fn list_pages_have_at_most_the_entries_asked_for() {
    let store = FakeStore::deterministic();
    for key in ["a/1", "a/2", "b", "c/1", "d"] {
        store.put(key, "");
    }
    store.set_page_size(3);
    let (objects, prefixes, pages) = list_all(&store, "", true);
    assert_eq!(objects, ["b", "d"]);
    assert_eq!(prefixes, ["a/", "c/"]);
    assert_eq!(pages, 2);
    let request = ListRequest {
        max_keys: Some(1),
        ..ListRequest::default()
    };
    let page = block_on(store.list(&request)).unwrap();
    assert_eq!(page.objects.len(), 1);
    assert!(page.next.is_some());
}

#[test]
fn list_scrambled_gives_every_entry_once_in_another_order() {
    let store = FakeStore::deterministic();
    let keys: Vec<_> = (0..50).map(|number| format!("k{number:02}")).collect();
    for key in &keys {
        store.put(key, "");
    }
    store.set_order(Order::Scrambled);
    store.set_page_size(7);
    let (mut objects, _, pages) = list_all(&store, "", false);
    assert_ne!(objects, keys);
    assert_eq!(pages, 8);
    objects.sort_unstable();
    assert_eq!(objects, keys);
}

#[test]
fn put_again_gives_a_new_etag_and_remove_takes_it_away() {
    let store = FakeStore::deterministic();
    let first = store.put("k", "same");
    let second = store.put("k", "same");
    assert_ne!(first, second);
    let info = block_on(store.head(&key("k"))).unwrap();
    assert_eq!((info.etag, info.size), (second, 4));
    assert!(store.remove("k"));
    assert!(!store.remove("k"));
    let error = block_on(store.head(&key("k"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn get_delivers_whole_parts_while_the_window_is_open() {
    let store = FakeStore::deterministic();
    store.set_part_size(4);
    let etag = store.put("k", "0123456789");
    let sink = Collector::new();
    let body = store
        .get(request("k", &etag, 1..10, 1), sink.clone())
        .unwrap();
    assert_eq!(sink.received(), 4);
    body.extend_window(3);
    assert_eq!(sink.received(), 4);
    body.extend_window(1);
    assert_eq!(sink.received(), 8);
    assert_eq!(sink.result(), None);
    body.extend_window(u64::MAX);
    assert_eq!(sink.received(), 9);
    assert_eq!(sink.result(), Some(Ok(())));
    assert_eq!(sink.body(), b"123456789");
}

#[test]
fn get_of_a_replaced_object_ends_with_precondition() {
    let store = FakeStore::deterministic();
    store.set_part_size(2);
    let etag = store.put("k", "0123");
    let sink = Collector::new();
    let body = store
        .get(request("k", &etag, 0..4, 1), sink.clone())
        .unwrap();
    store.put("k", "4567");
    body.extend_window(4);
    assert_eq!(sink.body(), b"01");
    assert_eq!(sink.result(), Some(Err(ErrorKind::Precondition)));
}

#[test]
fn get_of_what_cannot_be_read_says_why() {
    let store = FakeStore::deterministic();
    let etag = store.put("k", "0123");
    let end = |request| {
        let sink = Collector::new();
        let _body = store.get(request, sink.clone()).unwrap();
        sink.result().expect("it ends at once")
    };
    assert_eq!(
        end(request("none", &etag, 0..1, 1)),
        Err(ErrorKind::NotFound)
    );
    assert_eq!(
        end(request("k", &etag, 0..5, 9)),
        Err(ErrorKind::InvalidRange)
    );
    store.set_storage("k", StorageClass::Archived, Restore::InProgress);
    assert_eq!(end(request("k", &etag, 0..4, 9)), Err(ErrorKind::Archived));
    store.set_storage("k", StorageClass::Archived, Restore::Done);
    assert_eq!(end(request("k", &etag, 0..4, 9)), Ok(()));
}

#[test]
fn faults_hit_the_requests_they_are_meant_for() {
    let store = FakeStore::deterministic();
    store.put("a", "");
    store.put("b", "");
    store.fail_next(Op::Head, Some("b"), ErrorKind::Throttled, 2);
    let head = |text| block_on(store.head(&key(text))).map_err(|error| error.kind());
    assert!(head("a").is_ok());
    assert_eq!(head("b"), Err(ErrorKind::Throttled));
    assert_eq!(head("b"), Err(ErrorKind::Throttled));
    assert!(head("b").is_ok());
    assert_eq!(store.count(Op::Head), 4);
    store.clear_log();
    store.fail_next(Op::List, None, ErrorKind::Denied, 1);
    let listed = block_on(store.list(&ListRequest::default()));
    assert_eq!(listed.unwrap_err().kind(), ErrorKind::Denied);
    let logged = Logged {
        op: Op::List,
        key: String::new(),
        range: None,
    };
    assert_eq!(store.log(), [logged]);
}

#[test]
fn get_fails_after_the_bytes_it_was_told_to() {
    let store = FakeStore::deterministic();
    store.set_part_size(4);
    let etag = store.put("k", "0123456789");
    store.fail_get_after("k", 6, ErrorKind::Connection);
    let sink = Collector::new();
    let _body = store
        .get(request("k", &etag, 0..10, 99), sink.clone())
        .unwrap();
    assert_eq!(sink.received(), 6);
    assert_eq!(sink.result(), Some(Err(ErrorKind::Connection)));
}

#[test]
fn held_requests_go_on_when_released() {
    let store = FakeStore::deterministic();
    store.hold_next(Op::Head, None, 1);
    let name = key("k");
    let mut head = store.head(&name);
    assert!((&mut head).now_or_never().is_none());
    assert_eq!(store.waiting(), 1);
    store.put("k", "later");
    store.release();
    assert_eq!(block_on(head).unwrap().size, 5);
}

#[test]
fn threaded_get_streams_a_synthetic_object() {
    let store = FakeStore::new();
    store.set_part_size(1000);
    let etag = store.put_synthetic("big", 100 << 30, 7);
    let start = (100 << 30) - 100_003;
    let range = start..start + 100_003;
    let sink = Collector::new();
    let _body = store
        .get(request("big", &etag, range.clone(), u64::MAX), sink.clone())
        .unwrap();
    assert_eq!(sink.wait(), Ok(()));
    assert_eq!(sink.body(), synthetic(7, range));
    assert_eq!(store.bodies().delivered_bytes, 100_003);
    assert_eq!(store.bodies().in_flight, 0);
}

#[test]
fn stalled_get_goes_on_when_released_and_ends_when_dropped() {
    let store = FakeStore::new();
    store.set_part_size(10);
    let etag = store.put_synthetic("k", 100, 1);
    for released in [true, false] {
        store.stall_get_after("k", 25);
        let sink = Collector::new();
        let body = store
            .get(request("k", &etag, 0..100, 10), sink.clone())
            .unwrap();
        body.extend_window(90);
        sink.wait_received(25);
        wait_until(|| store.waiting() == 1);
        body.extend_window(90);
        assert_eq!(sink.received(), 25);
        if released {
            store.release();
            assert_eq!(sink.wait(), Ok(()));
            assert_eq!(sink.body(), synthetic(1, 0..100));
        } else {
            drop(body);
            store.release();
            assert_eq!(store.bodies().dropped, 1);
            assert_eq!(store.bodies().in_flight, 0);
            assert_eq!(sink.result(), None);
        }
    }
}

proptest! {
    #[test]
    fn prop_synthetic_bytes_depend_on_their_offset_alone(
        seed: u64, start in 0u64..1000, len in 0u64..100, cut in 0u64..100,
    ) {
        let whole = synthetic(seed, start..start + len);
        let cut = cut.min(len);
        let first = synthetic(seed, start..start + cut);
        let second = synthetic(seed, start + cut..start + len);
        prop_assert_eq!(whole, [first, second].concat());
    }

    #[test]
    fn prop_listing_has_each_entry_once_whatever_the_page_size(
        keys in prop::collection::btree_set("[a/]{1,5}", 0..20),
        prefix in "[a/]{0,2}",
        page_size in 1usize..5,
        scrambled: bool,
    ) {
        let store = FakeStore::deterministic();
        for key in &keys {
            store.put(key, "");
        }
        store.set_page_size(page_size);
        store.set_order(if scrambled { Order::Scrambled } else { Order::Utf8 });
        let (objects, prefixes, _) = list_all(&store, &prefix, true);

        let below = keys.iter().filter_map(|key| key.strip_prefix(&prefix));
        let (rolled, plain): (Vec<_>, Vec<_>) = below.partition(|rest| rest.contains('/'));
        let rolled: BTreeSet<_> = rolled
            .iter()
            .map(|rest| format!("{prefix}{}/", rest.split('/').next().unwrap()))
            .collect();
        let plain: BTreeSet<_> = plain.iter().map(|rest| format!("{prefix}{rest}")).collect();
        prop_assert_eq!(objects.len(), plain.len());
        prop_assert_eq!(prefixes.len(), rolled.len());
        prop_assert_eq!(objects.into_iter().collect::<BTreeSet<_>>(), plain);
        prop_assert_eq!(prefixes.into_iter().collect::<BTreeSet<_>>(), rolled);
    }
}
