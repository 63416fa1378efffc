//! What is fetched for which reads.

use super::*;
use proptest::prelude::*;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn limits() -> Limits {
    Limits {
        rate: 0,
        part_size: 8 * MIB,
        whole: MIB,
        head: MIB,
        opening: 64 * KIB,
        patience: 2 * MIB,
        reorder: MIB,
        tail: 2 * MIB,
        window: 16 * MIB,
        held: GIB,
        piece: MIB,
        pieces: 8,
        streams: 8,
        kept: 4,
    }
}

fn intents(planner: &mut Planner, reads: impl IntoIterator<Item = (u64, u64)>) -> Vec<Intent> {
    let observe = |(start, len)| planner.observe(&(start..start + len));
    reads.into_iter().map(observe).collect()
}

fn view(range: Range<u64>, kept: u64, received: u64, soon: u64) -> View {
    let extent = Extent {
        kept,
        received,
        asked: kept,
        near: kept,
        soon,
        leeway: MIB,
        busy: false,
    };
    View { range, extent }
}

#[test]
fn streams_from_the_second_read_of_a_scan_from_zero() {
    let mut planner = Planner::new(100 * GIB, limits());
    let scan = (0..4).map(|index| (index * 128 * KIB, 128 * KIB));
    assert_eq!(
        intents(&mut planner, scan),
        [
            Intent::Ahead(MIB - 128 * KIB),
            Intent::Stream,
            Intent::Stream,
            Intent::Stream
        ]
    );
}

#[test]
fn large_first_read_of_a_small_object_takes_it_whole() {
    for (size, len, intent) in [
        (5 * MIB, 128 * KIB, Intent::Pieces),
        (5 * MIB, 64 * KIB, Intent::Ahead(MIB - 64 * KIB)),
        (9 * MIB, 512 * KIB, Intent::Ahead(MIB - 512 * KIB)),
    ] {
        let mut planner = Planner::new(size, limits());
        assert_eq!(planner.observe(&(0..len)), intent, "{len} of {size}");
    }
    let mut planner = Planner::new(5 * MIB, limits());
    assert_eq!(planner.observe(&(MIB..2 * MIB)), Intent::Exact);
}

#[test]
fn fetches_ahead_no_more_than_a_run_has_read() {
    let mut planner = Planner::new(100 * GIB, limits());
    let run = (0..20).map(|index| (GIB + index * 128 * KIB, 128 * KIB));
    let mut asked = 0;
    for intent in intents(&mut planner, run) {
        match intent {
            Intent::Exact => assert!(asked < 512 * KIB),
            Intent::Ahead(bytes) => assert_eq!(bytes, asked),
            Intent::Stream => assert!(asked >= 2 * MIB),
            Intent::Pieces => panic!("it is larger than a part"),
        }
        asked += 128 * KIB;
    }
    assert!(
        asked > 2 * MIB,
        "the run was long enough to become a stream"
    );
}

#[test]
fn streams_each_of_several_interleaved_runs() {
    let mut planner = Planner::new(100 * GIB, limits());
    let reads = (0..40u64)
        .flat_map(|index| (1..=16).map(move |run| (run * GIB + index * 128 * KIB, 128 * KIB)));
    let intents = intents(&mut planner, reads);
    assert!(
        intents[39 * 16..]
            .iter()
            .all(|&intent| intent == Intent::Stream)
    );
}

#[test]
fn takes_a_stride_for_no_run() {
    for len in [128 * KIB, 256 * KIB, MIB] {
        let mut planner = Planner::new(100 * GIB, limits());
        let reads = (1..1000).flat_map(|index| {
            // The kernel cuts reads at 128 KiB.
            (0..len / (128 * KIB)).map(move |cut| (index * 17 * MIB + cut * 128 * KIB, 128 * KIB))
        });
        assert!(!intents(&mut planner, reads).contains(&Intent::Stream));
    }
}

#[test]
fn takes_backward_reads_for_no_run() {
    let mut planner = Planner::new(100 * GIB, limits());
    let reads = (1..200)
        .rev()
        .map(|index| (GIB + index * 128 * KIB, 128 * KIB));
    assert!(
        intents(&mut planner, reads)
            .iter()
            .all(|&intent| intent == Intent::Exact)
    );
}

#[test]
fn takes_repeated_reads_for_no_run() {
    let mut planner = Planner::new(100 * GIB, limits());
    let mut intents = intents(&mut planner, (0..50).map(|_| (0, 128 * KIB)));
    assert!(intents.drain(1..).all(|intent| intent == Intent::Exact));
}

#[test]
fn grows_patient_when_streams_go_unread_and_recovers() {
    let mut planner = Planner::new(100 * GIB, limits());
    planner.note_dropped(16 * MIB, 3 * MIB);
    let run = |base: u64| (0..3).map(move |index| (base + index * MIB, MIB));
    assert!(!intents(&mut planner, run(GIB)).contains(&Intent::Stream));
    planner.note_dropped(100 * MIB, 100 * MIB);
    assert!(intents(&mut planner, run(2 * GIB)).contains(&Intent::Stream));
}

#[test]
fn starts_the_stream_where_the_running_fetches_end() {
    let planner = Planner::new(GIB, limits());
    let head = view(0..MIB, 0, 0, MIB);
    let plan = planner.plan(
        &(128 * KIB..256 * KIB),
        Intent::Stream,
        std::slice::from_ref(&head),
    );
    assert_eq!(plan.serve, Serve::Join(0, MIB));
    assert!(plan.ahead.into_iter().eq(std::iter::once(MIB..GIB)));
    let stream = view(MIB..GIB, MIB, MIB, 17 * MIB);
    let plan = planner.plan(&(128 * KIB..256 * KIB), Intent::Stream, &[head, stream]);
    assert_eq!(plan.ahead, []);
}

#[test]
fn fetches_no_byte_twice_for_overlapping_reads() {
    let planner = Planner::new(GIB, limits());
    let running = view(100 * KIB..200 * KIB, 100 * KIB, 100 * KIB, 200 * KIB);
    let plan = planner.plan(&(50 * KIB..150 * KIB), Intent::Exact, &[running]);
    assert_eq!(plan.serve, Serve::Fetch(50 * KIB..100 * KIB));
}

#[test]
fn takes_a_small_object_whole() {
    let planner = Planner::new(MIB, limits());
    let plan = planner.plan(&(700 * KIB..710 * KIB), Intent::Exact, &[]);
    assert_eq!(plan.serve, Serve::Fetch(0..MIB));
}

#[test]
fn cuts_the_rest_of_a_small_object_from_the_second_read_on() {
    let mut planner = Planner::new(5 * MIB, limits());
    let head = view(0..MIB, 0, MIB, MIB);
    let first = 0..64 * KIB;
    assert_eq!(planner.observe(&first), Intent::Ahead(MIB - 64 * KIB));
    let second = 64 * KIB..192 * KIB;
    let intent = planner.observe(&second);
    assert_eq!(intent, Intent::Pieces);
    let plan = planner.plan(&second, intent, &[head]);
    assert_eq!(plan.serve, Serve::Join(0, MIB));
    let pieces: Vec<_> = (1..5).map(|at| at * MIB..(at + 1) * MIB).collect();
    assert_eq!(plan.ahead, pieces);
}

#[test]
fn cuts_pieces_around_what_is_held() {
    let planner = Planner::new(8 * MIB, limits());
    let held = view(3 * MIB..4 * MIB, 3 * MIB, 4 * MIB, 4 * MIB);
    let plan = planner.plan(&(2 * MIB..2 * MIB + 1), Intent::Pieces, &[held]);
    assert_eq!(plan.serve, Serve::Fetch(2 * MIB..3 * MIB));
    let pieces: Vec<_> = (4..8).map(|at| at * MIB..(at + 1) * MIB).collect();
    assert_eq!(plan.ahead, pieces);
}

fn any_view() -> impl Strategy<Value = View> {
    prop::collection::vec(0u64..=4 * MIB, 5).prop_map(|mut at| {
        at.sort_unstable();
        view(at[0]..at[4], at[1], at[2], at[3])
    })
}

proptest! {
       #[test]
       fn plans_only_bytes_that_exist_and_move_the_read_on(
           size in 1u64..4 * MIB,
           whole in 1u64..2 * MIB,
           reads in prop::collection::vec((any::<u64>(), 1u64..MIB), 1..50),
           views in prop::collection::vec(any_view(), 0..6),
       ) {
           let mut planner = Planner::new(size, Limits { whole, ..limits() });
           let views: Vec<View> =
               views.into_iter().filter(|view| view.range.end <= size && !view.range.is_empty()).collect();
           for (start, len) in reads {
               let start = start % size;
               let read = start..(start + len).min(size);
               let intent = planner.observe(&read);
               let plan = planner.plan(&read, intent, &views);
               match plan.serve {
                   Serve::Join(index, end) => {
prop_assert!(views[index].extent.kept <= start && start < end && end <= views[index].range.end);
}
                   Serve::Fetch(range) => {
                       prop_assert!(range.contains(&start) && range.end <= size);
                       prop_assert!(range.start == start || range == (0..size));
                   }
               }
               for ahead in plan.ahead {
                   prop_assert!(start < ahead.start && ahead.start < ahead.end && ahead.end <= size);
               }
           }
       }

       #[test]
       fn cuts_pieces_that_are_new_and_few(
           size in MIB + 1..8 * MIB,
           start in any::<prop::sample::Index>(),
           pieces in 1usize..10,
           views in prop::collection::vec(any_view(), 0..6),
       ) {
           let planner = Planner::new(size, Limits { pieces, ..limits() });
           let views: Vec<View> =
               views.into_iter().filter(|view| view.range.end <= size && !view.range.is_empty()).collect();
           let start = start.index(usize::try_from(size).expect("small")) as u64;
           let plan = planner.plan(&(start..start + 1), Intent::Pieces, &views);
           let under_way = views.iter().filter(|view| view.extent.received < view.range.end).count();
           prop_assert!(plan.ahead.is_empty() || under_way + plan.ahead.len() <= pieces);
           let mut at = start;
           if let Serve::Fetch(range) = plan.serve {
               prop_assert_eq!(range.start, at);
               at = range.end;
           }
           for piece in plan.ahead {
               prop_assert!(at <= piece.start && piece.start < piece.end && piece.end <= size);
               for view in &views {
                   prop_assert_eq!(view.serves(piece.start), None);
                   prop_assert!(!(piece.start < view.extent.kept && view.extent.kept < piece.end)
                       || view.extent.kept == view.range.end);
               }
               at = piece.end;
           }
       }

       #[test]
       fn fetches_random_reads_exactly(
           blocks in prop::collection::vec(1u64..800_000, 1..200),
           len in prop::sample::select(vec![4 * KIB, 128 * KIB]),
       ) {
           let mut planner = Planner::new(100 * GIB, limits());
           let mut seen = std::collections::HashSet::new();
           // Far enough apart to be no run.
           for block in blocks.into_iter().map(|block| block - block % 16) {
               if seen.insert(block) {
                   let start = block * 128 * KIB;
                   let intent = planner.observe(&(start..start + len));
                   prop_assert!(block == 0 || intent == Intent::Exact);
               }
           }
       }
   }
