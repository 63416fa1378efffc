//! Reads under a budget that does not suffice.

use proptest::prelude::*;

use super::model::{any_limits, perform, step};
use super::*;

const PART: u64 = 256 * KIB;

fn small_parts() -> Limits {
    Limits {
        part_size: PART,
        tail: PART,
        window: 2 * PART,
        held: 64 * MIB,
        reorder: 64 * KIB,
        ..ReadConfig::default().limits()
    }
}

/// Opens a synthetic object of its own, whose seed is its number.
fn open_one(store: &FakeStore, number: u64, size: u64, budget: &Arc<Budget>) -> ReadHandle {
    let name = format!("object-{number}");
    let etag = store.put_synthetic(&name, size, number);
    let key = Key::new(name).expect("valid");
    ReadHandle::with_limits(source(store, key, etag), size, small_parts(), budget)
}

fn check_one(handle: &ReadHandle, number: u64, offset: u64, len: u64) {
    let bytes = block_on(handle.read_at(offset, usize::try_from(len).expect("small")));
    let end = (offset + len).min(handle.size);
    assert!(
        bytes.expect("nothing fails") == synthetic(number, offset..end),
        "bytes of {number} at {offset}"
    );
}

fn store() -> FakeStore {
    let store = FakeStore::new();
    store.set_part_size(PART);
    store
}

/// Reads every object from the start to the end, each by a thread of its own.
fn stream_all(budget: &Arc<Budget>, objects: u64, size: u64, block: u64) {
    let store = store();
    std::thread::scope(|scope| {
        for number in 0..objects {
            let (store, budget) = (store.clone(), Arc::clone(budget));
            scope.spawn(move || {
                let handle = open_one(&store, number, size, &budget);
                for offset in (0..size).step_by(usize::try_from(block).expect("small")) {
                    check_one(&handle, number, offset, block);
                    assert!(budget.used() <= 64 * MIB);
                }
            });
        }
    });
    assert_eq!((budget.used(), budget.permitted()), (0, 0));
    assert_eq!(store.bodies().in_flight, 0);
}

#[test]
fn sixty_four_streams_share_a_budget() {
    in_time(|| stream_all(&Budget::new(64 * MIB, MIB), 64, 8 * MIB, 128 * KIB));
}

#[test]
fn sixty_four_streams_share_less_than_a_part_each() {
    in_time(|| stream_all(&Budget::new(20 * PART, MIB), 64, 3 * MIB, 128 * KIB));
}

#[test]
fn streams_without_any_budget_read_what_they_need() {
    in_time(|| stream_all(&Budget::new(0, 1), 16, 2 * MIB + 5, 100_003));
}

#[test]
fn idle_files_do_not_keep_others_from_reading() {
    in_time(|| {
        let budget = Budget::new(16 * MIB, MIB);
        let store = store();
        let handles: Vec<_> = (0..200)
            .map(|number| {
                let handle = open_one(&store, number, GIB, &budget);
                for block in 0..8 {
                    check_one(&handle, number, block * 128 * KIB, 128 * KIB);
                }
                handle
            })
            .collect();
        for (number, handle) in (0..).zip(&handles) {
            check_one(handle, number, MIB, 128 * KIB);
        }
        drop(handles);
        assert_eq!((budget.used(), budget.permitted()), (0, 0));
    });
}

#[test]
fn idle_files_give_way_to_a_stream() {
    in_time(|| {
        let budget = Budget::with_grace(4 * MIB, MIB, Duration::ZERO);
        let store = FakeStore::deterministic();
        store.set_part_size(PART);
        let idle: Vec<_> = (0..8)
            .map(|number| {
                let handle = open_one(&store, number, GIB, &budget);
                (0..8).for_each(|block| check_one(&handle, number, block * 128 * KIB, 128 * KIB));
                handle
            })
            .collect();
        let requests = store.count(Op::Get);
        let handle = open_one(&store, 99, 32 * MIB, &budget);
        (0..256).for_each(|block| check_one(&handle, 99, block * 128 * KIB, 128 * KIB));
        let needed = store.count(Op::Get) - requests;
        assert!(needed <= 2, "streamed, not in {needed} pieces");
        (0..8).for_each(|number| {
            check_one(
                &idle[usize::try_from(number).expect("small")],
                number,
                MIB,
                128 * KIB,
            );
        });
    });
}

#[test]
fn recently_used_files_keep_what_they_have() {
    let budget = Budget::with_grace(MIB, MIB, Duration::from_secs(1000));
    let store = FakeStore::deterministic();
    store.set_part_size(PART);
    let first = open_one(&store, 1, GIB, &budget);
    (0..16).for_each(|block| check_one(&first, 1, block * 64 * KIB, 64 * KIB));
    let delivered = store.bodies().delivered_bytes;
    let second = open_one(&store, 2, GIB, &budget);
    (0..16).for_each(|block| check_one(&second, 2, block * 64 * KIB, 64 * KIB));
    let exact = store.bodies().delivered_bytes - delivered;
    assert_eq!(exact, MIB, "the second reads exactly what it asks for");
    assert!(first.account.held() > 0);
}

#[test]
fn stream_goes_on_when_its_own_part_is_all_there_is() {
    let budget = Budget::with_grace(2 * PART, MIB, Duration::from_secs(1000));
    let store = FakeStore::deterministic();
    store.set_part_size(PART);
    let handle = open_one(&store, 1, 16 * MIB, &budget);
    // From the second mebibyte on, so that no head takes the memory.
    check_one(&handle, 1, 2 * MIB, 2 * MIB);
    (32..128).for_each(|block| check_one(&handle, 1, block * 128 * KIB, 128 * KIB));
    assert!(store.count(Op::Get) <= 16, "{}", store.count(Op::Get));
}

#[test]
fn broken_streams_pay_for_what_they_fetch_again() {
    let budget = Budget::with_grace(8 * PART, MIB, Duration::from_secs(1000));
    let store = FakeStore::deterministic();
    store.set_part_size(PART);
    let handle = open_one(&store, 1, 16 * MIB, &budget);
    for block in 0..128 {
        if block % 10 == 0 {
            store.fail_get_after("object-1", 100_000 + block * 1000, ErrorKind::Connection);
        }
        check_one(&handle, 1, block * 128 * KIB, 128 * KIB);
        assert!(budget.used() <= 8 * PART, "{}", budget.used());
    }
    drop(handle);
    assert_eq!((budget.used(), budget.permitted()), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_reads_under_any_budget_give_right_bytes(
        limits in any_limits(),
        budget in 0u64..60_000,
        reserve in 1u64..5000,
        grace in 0u64..3,
        steps in prop::collection::vec(prop::collection::vec(step(), 1..60), 2..6),
    ) {
        in_time(move || {
            let budget = Budget::with_grace(budget, reserve, Duration::from_millis(grace));
            let store = FakeStore::new();
            store.set_part_size(limits.part_size);
            let etag = store.put_synthetic("object", 50_001, SEED);
            std::thread::scope(|scope| {
                for (number, steps) in steps.into_iter().enumerate() {
                    let open = || {
                        let key = Key::new("object").expect("valid");
                        let source = source(&store, key, etag.clone());
                        ReadHandle::with_limits(source, 50_001, limits.clone(), &budget)
                    };
                    let handle = Arc::new(open());
                    if number % 2 == 0 {
                        let (handle, store, steps) = (handle.clone(), &store, steps.clone());
                        scope.spawn(move || perform(store, &handle, steps));
                    }
                    let store = &store;
                    scope.spawn(move || perform(store, &handle, steps));
                }
            });
            assert_eq!((budget.used(), budget.permitted()), (0, 0));
            assert_eq!(store.bodies().in_flight, 0);
        });
    }
}
