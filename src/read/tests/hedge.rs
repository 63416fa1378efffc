//! Reads in parts, with slow ones hedged.

use proptest::prelude::*;

use super::model::{any_limits, perform, step};
use super::*;
use crate::read::{HedgeConfig, HedgeCounters};

const SIZE: u64 = 300_000;

/// Parts of 1000 bytes and a window of eight.
fn parts() -> Limits {
    Limits {
        window: 8000,
        ..tiny()
    }
}

fn hedger(part_size: u64, budget: &Arc<Budget>) -> Hedger {
    let config = HedgeConfig::new(part_size, Arc::clone(budget));
    Hedger::start(config).expect("a thread")
}

/// Opens `object`, which is synthetic.
fn open_hedged(
    store: &FakeStore,
    limits: Limits,
    budget: &Arc<Budget>,
    hedger: &Hedger,
) -> ReadHandle {
    store.set_part_size(limits.part_size);
    let etag = store.put_synthetic("object", SIZE, SEED);
    let source = Source {
        parts: Some(Arc::clone(hedger.core())),
        ..source(store, Key::new("object").expect("valid"), etag)
    };
    ReadHandle::with_limits(source, SIZE, limits, budget)
}

fn scan(handle: &ReadHandle, range: Range<u64>) {
    for offset in range.step_by(500) {
        check(handle, offset, 500).expect("nothing fails");
    }
}

/// Waits until nothing is in flight and nothing is paid for: a thread of the store that delivers
/// a part may be about to cancel what the part has made needless.
fn wait_for_the_end(store: &FakeStore, budget: &Budget) {
    while (store.bodies().in_flight, budget.used(), budget.permitted()) != (0, 0, 0) {
        std::thread::yield_now();
    }
}

#[test]
fn stalled_part_of_a_stream_is_fetched_again() {
    in_time(|| {
        let store = FakeStore::new();
        let budget = Budget::new(MIB, MIB);
        let hedger = hedger(1000, &budget);
        let handle = open_hedged(&store, parts(), &budget, &hedger);
        scan(&handle, 0..200_000);
        assert_eq!(hedger.counters(), HedgeCounters::default());
        let asked = store.log().into_iter().filter_map(|get| get.range);
        let next = asked.map(|range| range.end).max().expect("some");
        assert!(next < SIZE - 10_000, "not all is asked for yet");
        store.stall_get_of("object", next);
        scan(&handle, 200_000..SIZE);
        let HedgeCounters {
            started,
            won,
            bytes,
        } = hedger.counters();
        assert_eq!((started, won, bytes), (1, 1, 1000));
        let of_the_part = store.log().into_iter().filter(|get| {
            let range = get.range.clone().expect("a GET");
            range.start == next
        });
        assert_eq!(of_the_part.count(), 2);
        drop(handle);
        wait_for_the_end(&store, &budget);
        assert_eq!(store.bodies().delivered_bytes, SIZE);
    });
}

#[test]
fn stalled_random_read_is_fetched_again() {
    in_time(|| {
        let store = FakeStore::new();
        let budget = Budget::new(MIB, MIB);
        let hedger = hedger(1000, &budget);
        let handle = open_hedged(&store, parts(), &budget, &hedger);
        let offset = |index: u64| 5000 + index * 86_028_157 % 290_000;
        (0..150).for_each(|index| check(&handle, offset(index), 10).expect("nothing fails"));
        store.stall_get_after("object", 0);
        check(&handle, offset(150), 10).expect("from the second request");
        assert_eq!(hedger.counters().won, 1);
        drop(handle);
        wait_for_the_end(&store, &budget);
    });
}

#[test]
fn store_without_stalls_gets_every_request_once() {
    in_time(|| {
        let store = FakeStore::new();
        let budget = Budget::new(MIB, MIB);
        let hedger = hedger(1000, &budget);
        let handle = open_hedged(&store, parts(), &budget, &hedger);
        scan(&handle, 0..SIZE);
        assert_eq!(store.bodies().delivered_bytes, SIZE);
        assert_eq!(hedger.counters(), HedgeCounters::default());
    });
}

#[test]
fn end_of_the_hedger_leaves_reads_alone() {
    in_time(|| {
        let store = FakeStore::new();
        let budget = Budget::new(MIB, MIB);
        let hedger = hedger(1000, &budget);
        let handle = open_hedged(&store, parts(), &budget, &hedger);
        scan(&handle, 0..10_000);
        let core = Arc::downgrade(hedger.core());
        drop(hedger);
        scan(&handle, 10_000..SIZE);
        drop(handle);
        // Neither its thread nor a request keeps it.
        while core.upgrade().is_some() {
            std::thread::yield_now();
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_reads_in_parts_give_right_bytes(
        limits in any_limits(),
        deterministic in any::<bool>(),
        (budget, reserve) in (0u64..60_000, 5000u64..20_000),
        steps in prop::collection::vec(prop::collection::vec(step(), 1..60), 1..5),
    ) {
        in_time(move || {
            let store = if deterministic { FakeStore::deterministic() } else { FakeStore::new() };
            let budget = Budget::with_grace(budget, reserve, Duration::ZERO);
            let hedger = hedger(limits.part_size, &budget);
            let handle = open_hedged(&store, limits, &budget, &hedger);
            std::thread::scope(|scope| {
                for steps in steps {
                    scope.spawn(|| perform(&store, &handle, steps));
                }
            });
            drop(handle);
            wait_for_the_end(&store, &budget);
        });
    }
}
