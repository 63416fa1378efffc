//! What is read by way of blocks, whatever becomes of them.

mod failing;

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use futures::executor::block_on;
use proptest::prelude::*;

use super::block::BLOCK;
use super::*;
use crate::cache::Source;
use crate::metrics::{Value, names};
use crate::s3::fake::{FakeStore, Op, read, synthetic};
use crate::s3::{BodySink, ETag, Error, GetRequest, InFlight, Store};
use crate::wait::{LONG, wait_for};

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;
const SEED: u64 = 7;

/// A store, the bucket of a cache, and a mount's view of both.
struct Fixture {
    origin: FakeStore,
    bucket: FakeStore,
    mount: Mount,
}

/// No test takes as long, also if it stands still for a while.
const PATIENT: Timing = Timing {
    patience: LONG,
    rest: LONG,
};

/// One of the mounts that share the cache.
struct Mount {
    cache: SharedCache,
    store: SharedCacheStore,
    budget: Arc<Budget>,
}

impl Fixture {
    fn new() -> Self {
        Self::with(PATIENT)
    }

    fn with(timing: Timing) -> Self {
        let (origin, bucket) = (FakeStore::deterministic(), FakeStore::new());
        let mount = Mount::new(&origin, &bucket, Budget::unlimited(), timing);
        Self {
            origin,
            bucket,
            mount,
        }
    }

    /// A fixture with an object `k` that the cache has all of.
    fn filled(size: u64) -> (Self, ETag) {
        Self::filled_with(size, PATIENT)
    }

    fn filled_with(size: u64, timing: Timing) -> (Self, ETag) {
        let fixture = Self::with(timing);
        let etag = fixture.origin.put_synthetic("k", size, SEED);
        fixture.read(&etag, size, 0..size).expect("read");
        fixture.origin.clear_log();
        (fixture, etag)
    }

    /// Another mount.
    fn mount(&self) -> Mount {
        Mount::new(&self.origin, &self.bucket, Budget::unlimited(), PATIENT)
    }

    fn read(&self, etag: &ETag, size: u64, range: Range<u64>) -> Result<Vec<u8>, Error> {
        self.mount.read(etag, size, range)
    }

    /// Begins a GET, and tells how many bytes of it come at a time.
    fn get(&self, etag: ETag, size: u64, range: Range<u64>) -> (Box<dyn InFlight>, Receiver<u64>) {
        let (sender, told) = channel();
        let request = GetRequest {
            key: Key::new("k").expect("valid"),
            if_match: etag,
            size,
            window: range.end - range.start,
            range,
            is_hedge: false,
        };
        let under_way = self.mount.store.get(request, Arc::new(Told(sender)));
        (under_way.expect("started"), told)
    }

    /// The ranges that the store was asked for.
    fn asked(&self) -> Vec<Range<u64>> {
        let log = self.origin.log().into_iter();
        log.filter_map(|logged| logged.range).collect()
    }

    /// The keys of all blocks.
    fn blocks(&self) -> Vec<String> {
        let mut keys = self.bucket.keys();
        keys.retain(|key| key != ABOUT);
        keys
    }

    /// Replaces the bytes of a block, and keeps its notes.
    fn damage(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut body = self.bucket.body(key).expect("there").to_vec();
        let notes = self.bucket.metadata(key).expect("there");
        change(&mut body);
        let notes: Vec<_> = notes
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        self.bucket.put_with_metadata(key, body, &notes);
    }
}

/// Waits until `condition` holds.
fn until(what: &str, condition: impl Fn() -> bool) {
    wait_for(what, LONG, || condition().then_some(()));
}

/// Tells of bytes that come.
struct Told(Sender<u64>);

impl BodySink for Told {
    fn part(&self, _offset: u64, bytes: Bytes) {
        // Nobody may listen any more.
        _ = self.0.send(bytes.len() as u64);
    }

    fn finish(&self, _result: Result<(), Error>) {}
}

impl Mount {
    fn new(origin: &FakeStore, bucket: &FakeStore, budget: Arc<Budget>, timing: Timing) -> Self {
        let opening = SharedCache::open_with(Arc::new(bucket.clone()), &budget, timing);
        let cache = block_on(opening).expect("opened");
        let behind: Arc<dyn Store> = Arc::new(origin.clone());
        let store = SharedCacheStore::new(
            behind,
            &cache,
            Source::new("origin".to_owned(), "b".to_owned()),
        );
        Self {
            cache,
            store,
            budget,
        }
    }

    /// Reads, and waits until the blocks of it are stored.
    fn read(&self, etag: &ETag, size: u64, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let read = read(&self.store, "k", etag, size, range, u64::MAX);
        self.settle();
        read
    }

    fn settle(&self) {
        until("all is stored", || self.cache.0.uploads.count() == 0);
    }

    fn metrics(&self) -> &SharedCacheMetrics {
        &self.cache.0.metrics
    }
}

#[test]
fn what_one_mount_has_read_others_read_from_blocks() {
    let size = 3 * MIB + 77;
    let (fixture, etag) = Fixture::filled(size);
    assert_eq!(fixture.blocks().len(), 4);
    assert!(fixture.blocks().iter().all(|key| !key.contains("/k")));
    let other = fixture.mount();
    for range in [
        0..size,
        5..6,
        MIB - 1..MIB + 1,
        size - 1..size,
        0..1,
        200 * KIB..3 * MIB,
    ] {
        let body = other.read(&etag, size, range.clone()).expect("read");
        assert!(body == synthetic(SEED, range.clone()), "{range:?}");
    }
    assert_eq!(fixture.asked(), []);
    assert_eq!(other.metrics().misses.get(), 0);
    let metrics = fixture.mount.metrics();
    assert_eq!((metrics.filled.get(), metrics.left_out.get()), (size, 0));
    let mut snapshot = Snapshot::default();
    other.cache.report(&mut snapshot);
    let hits: Vec<_> = snapshot.of(&names::CACHE_XZ_HITS).collect();
    // The sum of the ranges.
    let expected = size + 1 + 2 + 1 + 1 + (3 * MIB - 200 * KIB);
    assert!(
        matches!(hits[..], [hit] if hit.value == Value::Number(expected)),
        "{hits:?}"
    );
}

#[test]
fn a_little_of_a_block_is_fetched_alone() {
    let (fixture, etag) = Fixture::filled(2 * MIB);
    fixture.bucket.clear_log();
    fixture
        .read(&etag, 2 * MIB, MIB + 130 * KIB..MIB + 131 * KIB)
        .expect("read");
    let [piece] = &fixture.bucket.log()[..] else {
        panic!("one request: {:?}", fixture.bucket.log());
    };
    assert_eq!(piece.op, Op::Fetch);
    let metrics = fixture.mount.metrics();
    assert_eq!(metrics.hits.get(), KIB);
}

#[test]
fn another_version_is_another_object() {
    let (fixture, first) = Fixture::filled(MIB);
    let second = fixture.origin.put_synthetic("k", MIB, 2);
    assert!(fixture.read(&second, MIB, 0..MIB).expect("read") == synthetic(2, 0..MIB));
    // The blocks have the first one still, and the store does not.
    assert!(fixture.read(&first, MIB, 0..MIB).expect("read") == synthetic(SEED, 0..MIB));
    let unknown = ETag::new("\"other\"");
    let error = fixture.read(&unknown, MIB, 0..MIB).expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::Precondition);
    assert_eq!(fixture.blocks().len(), 2);
}

#[test]
fn the_rest_from_the_first_block_that_is_missing_comes_by_one_get() {
    let size = 8 * MIB;
    let (fixture, etag) = Fixture::filled(size);
    let third = fixture.blocks().remove(2);
    fixture.bucket.remove(&third);
    for _ in 0..2 {
        let body = fixture.read(&etag, size, 0..size).expect("read");
        assert!(body == synthetic(SEED, 0..size));
        assert_eq!(fixture.asked(), Vec::from_iter(Some(2 * MIB..size)));
    }
    assert_eq!(fixture.mount.metrics().bad_blocks.get(), 0);
}

#[test]
fn version_that_is_not_there_is_asked_for_by_one_request() {
    let size = 8 * MIB;
    let fixture = Fixture::new();
    let etag = fixture.origin.put_synthetic("k", size, SEED);
    // Nothing is stored, so that all of it is missing again.
    fixture
        .bucket
        .fail_next(Op::Put, None, ErrorKind::Denied, 100);
    fixture.read(&etag, size, 0..10).expect("read");
    fixture.bucket.clear_log();
    fixture.read(&etag, size, 0..size).expect("read");
    assert_eq!(fixture.bucket.count(Op::Fetch), 1);
    // It is there by now.
    fixture.bucket.forget_faults();
    let other = fixture.mount();
    other.read(&etag, size, 0..size).expect("read");
    fixture.bucket.clear_log();
    fixture.origin.clear_log();
    fixture.read(&etag, size, 0..size).expect("read");
    assert_eq!(fixture.bucket.count(Op::Fetch), 8);
    assert_eq!(fixture.asked(), []);
}

#[test]
fn blocks_of_which_half_is_asked_for_are_fetched_whole() {
    let size = 6 * MIB;
    let fixture = Fixture::new();
    let etag = fixture.origin.put_synthetic("k", size, SEED);
    for (asked, fetched, blocks) in [
        // More than half of the first, and less of the last.
        (400 * KIB..MIB + 100 * KIB, 0..MIB + 100 * KIB, 1),
        // Less than half of both.
        (5 * MIB - 10..5 * MIB + 10, 5 * MIB - 10..5 * MIB + 10, 1),
        (
            2 * MIB + 700 * KIB..3 * MIB + 600 * KIB,
            2 * MIB + 700 * KIB..4 * MIB,
            2,
        ),
    ] {
        fixture.origin.clear_log();
        let body = fixture.read(&etag, size, asked.clone()).expect("read");
        assert!(body == synthetic(SEED, asked.clone()), "{asked:?}");
        assert_eq!(fixture.asked(), [fetched], "{asked:?}");
        assert_eq!(fixture.blocks().len(), blocks, "{asked:?}");
    }
}

#[test]
fn a_block_is_fetched_whole_when_little_of_it_is_asked_for_twice() {
    let size = 4 * MIB;
    let fixture = Fixture::new();
    let etag = fixture.origin.put_synthetic("k", size, SEED);
    for (at, fetched) in [
        (MIB + 5, Some(MIB + 5..MIB + 9)),
        (MIB + 500, Some(MIB..2 * MIB)),
        (MIB + 900, None),
    ] {
        fixture.origin.clear_log();
        fixture.read(&etag, size, at..at + 4).expect("read");
        assert_eq!(fixture.asked(), Vec::from_iter(fetched));
    }
}

#[test]
fn what_makes_a_whole_block_is_fetched_though_nobody_waits_any_more() {
    let size = 2 * MIB;
    for (received, blocks) in [(600 * KIB, 1), (300 * KIB, 0)] {
        let fixture = Fixture::new();
        fixture.origin.set_part_size(300 * KIB);
        let etag = fixture.origin.put_synthetic("k", size, SEED);
        fixture.origin.stall_get_after("k", received);
        let (under_way, told) = fixture.get(etag, size, 0..600 * KIB);
        let mut heard = 0;
        while heard < received {
            heard += told.recv().expect("it comes");
        }
        until("requests wait", || fixture.origin.waiting() != 0);
        drop(under_way);
        if blocks == 0 {
            // Whoever has begun it may not have come to see that nobody waits.
            until("it is given up", || fixture.origin.bodies().in_flight == 0);
        }
        fixture.origin.release();
        fixture.mount.settle();
        assert_eq!(fixture.blocks().len(), blocks, "{received}");
        assert_eq!(fixture.origin.bodies().in_flight, 0);
    }
}

#[test]
fn damaged_blocks_are_never_believed_and_replaced() {
    let size = 2 * MIB + 5;
    type Harm = fn(&mut Vec<u8>);
    let harms: [Harm; 5] = [
        |body| body[0] ^= 1,
        |body| *body.last_mut().expect("a byte") ^= 0x80,
        |body| body.truncate(body.len() / 2),
        |body| body.clear(),
        |body| body.push(0),
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let (fixture, etag) = Fixture::filled(size);
        for key in fixture.blocks() {
            fixture.damage(&key, harm);
        }
        for _ in 0..2 {
            let body = fixture.read(&etag, size, 0..size).expect("read");
            assert!(body == synthetic(SEED, 0..size), "{number}");
        }
        // One byte too many is not fetched.
        let bad = fixture.mount.metrics().bad_blocks.get();
        let expected = if number == 4 { 0..=0 } else { 1..=3 };
        assert!(expected.contains(&bad), "{number}: {bad}");
        assert_eq!(fixture.asked().len(), usize::from(number < 4), "{number}");
    }
}

#[test]
fn block_of_another_object_or_without_notes_is_not_taken() {
    let (fixture, etag) = Fixture::filled(MIB);
    let own = fixture.blocks().remove(0);
    let other = fixture.origin.put_synthetic("other", MIB, 8);
    read(&fixture.mount.store, "other", &other, MIB, 0..MIB, u64::MAX).expect("read");
    fixture.mount.settle();
    let strange = fixture
        .blocks()
        .into_iter()
        .find(|key| *key != own)
        .expect("two");
    let notes = fixture.bucket.metadata(&strange).expect("there");
    let body = fixture.bucket.body(&strange).expect("there");
    let [(name, value)] = &notes.iter().collect::<Vec<_>>()[..] else {
        panic!("one note: {notes:?}");
    };
    for (round, notes) in [(1, &[(&***name, &***value)][..]), (2, &[])] {
        fixture.bucket.put_with_metadata(&own, body.clone(), notes);
        let body = fixture.read(&etag, MIB, 0..MIB).expect("read");
        assert!(body == synthetic(SEED, 0..MIB));
        assert_eq!(fixture.mount.metrics().bad_blocks.get(), round);
    }
}

#[test]
fn failures_of_the_store_are_those_of_the_get() {
    let fixture = Fixture::new();
    let size = 4 * MIB;
    let etag = fixture.origin.put_synthetic("k", size, SEED);
    fixture.origin.set_part_size(BLOCK);
    fixture
        .origin
        .fail_get_after("k", 2 * MIB, ErrorKind::Timeout);
    let error = fixture.read(&etag, size, 0..size).expect_err("it fails");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // What came before is kept.
    fixture.origin.clear_log();
    fixture.read(&etag, size, 0..size).expect("read");
    assert_eq!(fixture.asked(), Vec::from_iter(Some(2 * MIB..size)));
}

#[test]
fn what_is_stored_is_bounded_by_the_budget() {
    let (origin, bucket) = (FakeStore::deterministic(), FakeStore::new());
    let mount = Mount::new(&origin, &bucket, Budget::new(8 * MIB, MIB), PATIENT);
    let size = 20 * MIB;
    let etag = origin.put_synthetic("k", size, SEED);
    bucket.hold_next(Op::Put, None, 100);
    let body = read(&mount.store, "k", &etag, size, 0..size, u64::MAX).expect("read");
    assert!(body == synthetic(SEED, 0..size));
    let stored = mount.cache.0.uploads.count() as u64 * MIB;
    assert_eq!(stored, 5 * MIB, "what may be spared of 8 MiB");
    assert_eq!(mount.budget.used(), stored);
    assert_eq!(mount.metrics().left_out.get(), size - stored);
    // A task may not have come to its request yet.
    until("requests wait", || bucket.waiting() >= 5);
    bucket.release();
    mount.settle();
    // What is not counted any more is paid back a moment later.
    until("all is paid back", || mount.budget.used() == 0);
    assert_eq!(mount.metrics().filled.get(), stored);
}

#[test]
fn a_get_that_is_dropped_asks_for_nothing_more() {
    let (fixture, etag) = Fixture::filled(4 * MIB);
    fixture.read(&etag, 4 * MIB, 0..1).expect("all is there");
    fixture.bucket.hold_next(Op::Fetch, None, 4);
    let (under_way, told) = fixture.get(etag, 4 * MIB, 0..4 * MIB);
    until("requests wait", || fixture.bucket.waiting() >= 4);
    drop(under_way);
    assert!(told.recv().is_err(), "the sink was let go of");
    assert_eq!(fixture.asked(), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn prop_every_range_is_that_of_the_object(
        size in 1u64..4 * MIB,
        reads in prop::collection::vec(
            (any::<u64>(), any::<u64>(), 1u64..2 * MIB, any::<bool>()), 1..10),
        part in 1000u64..MIB,
    ) {
        let fixture = Fixture::new();
        fixture.origin.set_part_size(part);
        let etag = fixture.origin.put_synthetic("k", size, SEED);
        for (start, len, window, harm) in reads {
            let start = start % size;
            let end = start + 1 + len % (size - start);
            let store = &fixture.mount.store;
            let body = read(store, "k", &etag, size, start..end, window).expect("read");
            prop_assert!(body == synthetic(SEED, start..end), "{}..{}", start, end);
            fixture.mount.settle();
            let blocks = fixture.blocks();
            if harm && !blocks.is_empty() {
                let at = usize::try_from(len).unwrap_or(0);
                fixture.damage(&blocks[at % blocks.len()], |body| {
                    let at = at % body.len();
                    body[at] ^= 0x10;
                });
            }
        }
    }
}
