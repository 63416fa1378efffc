//! Any reads in any order, with faults, compared byte by byte.

use futures::executor::block_on;
use proptest::prelude::*;

use super::{GIB, check, in_time, open_with, tiny};
use crate::read::ReadHandle;
use crate::read::plan::Limits;
use crate::s3::ErrorKind;
use crate::s3::fake::FakeStore;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Jump(u64),
    Skip(u64),
    Back(u64),
    Read(u64),
    Fault(u64, ErrorKind),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let kind = prop::sample::select(vec![
        ErrorKind::Connection,
        ErrorKind::Timeout,
        ErrorKind::Protocol,
        ErrorKind::Integrity,
        ErrorKind::Throttled,
        ErrorKind::Denied,
    ]);
    prop_oneof![
        1 => (0u64..60_000).prop_map(Step::Jump),
        2 => (0u64..5000).prop_map(Step::Skip),
        2 => (0u64..3000).prop_map(Step::Back),
        12 => (1u64..3000).prop_map(Step::Read),
        1 => (0u64..4000, kind).prop_map(|(after, kind)| Step::Fault(after, kind)),
    ]
}

/// Performs the steps; a failed read is tried again, which must succeed as faults are few.
pub(super) fn perform(store: &FakeStore, handle: &ReadHandle, steps: Vec<Step>) {
    let mut position = 0u64;
    for step in steps {
        match step {
            Step::Jump(to) => position = to,
            Step::Skip(by) => position += by,
            Step::Back(by) => position = position.saturating_sub(by),
            Step::Fault(after, kind) => store.fail_get_after("object", after, kind),
            Step::Read(len) => {
                let served = (0..1000).any(|_| check(handle, position, len).is_ok());
                assert!(served, "the read at {position} fails for ever");
                position += len;
            }
        }
    }
}

pub(super) fn any_limits() -> impl Strategy<Value = Limits> {
    (
        1u64..4000,
        1u64..5000,
        1u64..5000,
        1u64..2000,
        1u64..5000,
        1usize..4,
        1usize..3,
    )
        .prop_map(
            |(part_size, head, patience, reorder, window, streams, kept)| Limits {
                part_size,
                head,
                patience,
                reorder,
                tail: reorder * 2,
                window,
                streams,
                kept,
                ..tiny()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_reads_in_any_order_give_right_bytes(
        limits in any_limits(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        in_time(move || {
            let store = FakeStore::deterministic();
            let handle = open_with(&store, 50_001, limits);
            perform(&store, &handle, steps);
            drop(handle);
            assert_eq!(store.bodies().in_flight, 0);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_reads_of_an_object_in_pieces_give_right_bytes(
        limits in any_limits(),
        (piece, pieces, kept) in (1u64..9000, 1usize..10, 1usize..17),
        ahead in any::<bool>(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        in_time(move || {
            let store = FakeStore::deterministic();
            let limits = Limits { part_size: 50_001, held: GIB, piece, pieces, kept, ..limits };
            let handle = open_with(&store, 50_001, limits);
            if ahead {
                assert!(block_on(handle.fetch_head()).expect("nothing fails yet"));
            }
            perform(&store, &handle, steps);
            drop(handle);
            assert_eq!(store.bodies().in_flight, 0);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_reads_by_several_threads_give_right_bytes(
        limits in any_limits(),
        steps in prop::collection::vec(prop::collection::vec(step(), 1..60), 2..6),
    ) {
        in_time(move || {
            let store = FakeStore::new();
            let handle = open_with(&store, 50_001, limits);
            std::thread::scope(|scope| {
                for steps in steps {
                    scope.spawn(|| perform(&store, &handle, steps));
                }
            });
            drop(handle);
            assert_eq!(store.bodies().in_flight, 0);
        });
    }
}
