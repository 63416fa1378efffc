//! Small objects, which are fetched at once.

use super::*;

#[test]
fn small_object_is_fetched_once_for_all_reads() {
    let store = FakeStore::deterministic();
    let handle = open(&store, MIB);
    check_all(
        &handle,
        (0..16).rev().map(|index| (index * 64 * KIB, 64 * KIB)),
    );
    check_all(&handle, (0..16).map(|index| (index * 64 * KIB, 64 * KIB)));
    assert_eq!(store.count(Op::Get), 1);
    assert_eq!(store.bodies().delivered_bytes, MIB);
}

#[test]
fn small_object_is_fetched_by_few_gets_at_a_time_and_no_byte_twice() {
    for (part_size, size) in [(8 * MIB, 8 * MIB), (64 * MIB, 60 * MIB + 7)] {
        let store = FakeStore::new();
        let limits = ReadConfig {
            part_size,
            max_window: GIB,
            ..ReadConfig::default()
        };
        let handle = open_with(&store, size, limits.limits());
        check(&handle, 0, 64 * KIB).expect("the head");
        for _ in 0..8 {
            store.stall_get_after("object", 0);
        }
        check(&handle, 64 * KIB, 128 * KIB).expect("from the head");
        let pieces = store.count(Op::Get) - 1;
        assert!((7..=8).contains(&pieces), "{pieces} for {part_size}");
        while store.waiting() < store.bodies().in_flight {
            std::thread::yield_now();
        }
        store.release();
        check_all(&handle, (1..60).map(|index| (index * MIB, MIB)));
        check(&handle, 60 * MIB, 7).expect("the end");
        assert!(store.count(Op::Get) <= 9, "{:?}", store.log());
        assert_eq!(store.bodies().delivered_bytes, size);
    }
}

#[test]
fn large_reads_of_a_small_object_start_all_pieces_at_once() {
    in_time(|| {
        let store = FakeStore::new();
        let handle = open(&store, 5 * MIB);
        assert!(block_on(handle.fetch_head()).expect("nothing fails"));
        check(&handle, 0, 64 * KIB).expect("from the head");
        assert_eq!(store.count(Op::Get), 1);
        let handle = open(&store, 5 * MIB);
        assert!(block_on(handle.fetch_head()).expect("nothing fails"));
        for _ in 0..5 {
            store.stall_get_after("object", 0);
        }
        let mut read = handle.read_at(0, 1 << 20).boxed();
        assert!((&mut read).now_or_never().is_none());
        assert_eq!(store.count(Op::Get), 1 + 1 + 5);
        while store.waiting() < 5 {
            std::thread::yield_now();
        }
        store.release();
        assert!(block_on(read).expect("served") == synthetic(SEED, 0..MIB));
        check_all(&handle, (1..5).map(|index| (index * MIB, MIB)));
        assert_eq!(store.count(Op::Get), 1 + 1 + 5);
    });
}

#[test]
fn small_object_is_read_in_pieces_when_there_is_no_memory_for_a_part() {
    in_time(|| {
        let store = FakeStore::deterministic();
        let budget = Budget::new(6 * MIB, MIB);
        let etag = store.put_synthetic("object", 5 * MIB, SEED);
        let key = Key::new("object").expect("valid");
        let limits = ReadConfig::default().limits();
        let source = source(&store, key, etag);
        let handle = ReadHandle::with_limits(source, 5 * MIB, limits, &budget);
        check_all(&handle, (0..40).map(|index| (index * 128 * KIB, 128 * KIB)));
        assert_eq!(store.count(Op::Get), 5);
        assert_eq!(budget.used(), 5 * MIB, "about the bytes of the object");
        drop(handle);
        assert_eq!(budget.used(), 0);
    });
}
