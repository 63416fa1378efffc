//! Reads in parts, with slow ones hedged.

use proptest::prelude::*;

use super::model::{any_limits, perform, step};
use super::*;
use crate::read::{HedgeConfig, HedgeCounters};
use crate::wait::once_in_five;

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

/// One for parts of 1000 bytes: those that this machine holds up leave enough credit for the one that
/// stalls.
fn generous(budget: &Arc<Budget>) -> Hedger {
    let config = HedgeConfig {
        percent: 100,
        ..HedgeConfig::new(1000, Arc::clone(budget))
    };
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

/// Tries `test` a few times, for what counts on parts that come within 50 ms: one that this machine
/// holds up for longer is fetched again like one that the store holds up.
fn unless_held_up(test: fn() -> Result<(), String>) {
    once_in_five(|number| {
        // What keeps the machine busy may go on for a while.
        std::thread::sleep(Duration::from_secs(number as u64));
        in_time(test)
    });
}

#[test]
fn stalled_part_of_a_stream_is_fetched_again() {
    unless_held_up(|| {
        let store = FakeStore::new();
        let budget = Budget::new(MIB, MIB);
        let hedger = generous(&budget);
        let handle = open_hedged(&store, parts(), &budget, &hedger);
        scan(&handle, 0..200_000);
        let before = hedger.counters();
        let asked = store.log().into_iter().filter_map(|get| get.range);
        let next = asked.map(|range| range.end).max().expect("some");
        assert!(next < SIZE - 10_000, "not all is asked for yet");
        store.stall_get_of("object", next);
        scan(&handle, 200_000..SIZE);
        let after = hedger.counters();
        let of_the_part = store.log().into_iter().filter(|get| {
            let range = get.range.clone().expect("a GET");
            range.start == next
        });
        assert_eq!(of_the_part.count(), 2);
        drop(handle);
        wait_for_the_end(&store, &budget);
        let found = (before, after, store.bodies().delivered_bytes);
        let once = HedgeCounters {
            started: 1,
            won: 1,
            bytes: 1000,
        };
        if found == (HedgeCounters::default(), once, SIZE) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
}

#[test]
fn stalled_random_read_is_fetched_again() {
    unless_held_up(|| {
        let store = FakeStore::new();
        let budget = Budget::new(MIB, MIB);
        let hedger = generous(&budget);
        let handle = open_hedged(&store, parts(), &budget, &hedger);
        let offset = |index: u64| 5000 + index * 86_028_157 % 290_000;
        (0..150).for_each(|index| check(&handle, offset(index), 10).expect("nothing fails"));
        store.stall_get_after("object", 0);
        check(&handle, offset(150), 10).expect("from the second request");
        let counters = hedger.counters();
        drop(handle);
        wait_for_the_end(&store, &budget);
        if counters.won == 1 {
            Ok(())
        } else {
            Err(format!("{counters:?}"))
        }
    });
}

#[test]
fn store_without_stalls_gets_every_request_once() {
    unless_held_up(|| {
        let store = FakeStore::new();
        let budget = Budget::new(MIB, MIB);
        let hedger = hedger(1000, &budget);
        let handle = open_hedged(&store, parts(), &budget, &hedger);
        scan(&handle, 0..SIZE);
        let found = (store.bodies().delivered_bytes, hedger.counters());
        if found == (SIZE, HedgeCounters::default()) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
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
