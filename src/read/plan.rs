//! What to fetch for a read. Pure policy: no I/O, no clock.
//!
//! Reads are sorted into *runs*: a read that starts at or shortly after the end of an earlier one
//! continues its run. What a run has read earns what is fetched ahead of it, so that a wrong
//! guess costs no more than the run itself did:
//!
//! | the read | what is fetched |
//! |---|---|
//! | of an object of at most [`Limits::whole`] bytes | the object |
//! | at offset 0 | [`Limits::head`] bytes |
//! | continues a run from offset 0 | everything up to the object's end |
//! | begins elsewhere, or has only just been continued | exactly what is asked for |
//! | continues a run of [`CONFIRMED_READS`] reads or [`CONFIRMED_BYTES`] | as much ahead as the run has read, but no more than [`Limits::patience`] |
//! | continues a run that has read [`Limits::patience`] bytes | everything up to the end |
//!
//! What is fetched up to the end is one stream, which the store splits into parts and fetches in
//! parallel. An object of at most one part cannot be split that way; its rest is cut into
//! [`Limits::piece`]s instead, of which at most [`Limits::pieces`] are fetched at the same time.
//!
//! Streams that are dropped with most of what they received unread double the patience.

use std::ops::Range;

use super::queue::Extent;

/// Sizes that the policy works with, in bytes unless said otherwise. None is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limits {
    /// Size of the store's parts.
    pub(super) part_size: u64,
    /// Objects of at most this size are fetched whole.
    pub(super) whole: u64,
    /// What is fetched for a read at offset 0.
    pub(super) head: u64,
    /// A run that does not start at offset 0 becomes a stream after this many bytes.
    pub(super) patience: u64,
    /// How far reads of one run may overtake each other. Less than the tail.
    pub(super) reorder: u64,
    /// Bytes that a stream keeps behind its furthest reader.
    pub(super) tail: u64,
    /// Initial window of a stream.
    pub(super) window: u64,
    /// Bytes that a handle may hold before the windows of its streams stop growing.
    pub(super) held: u64,
    /// What the rest of an object of at most one part is cut into.
    pub(super) piece: u64,
    /// Most fetches under way for which more pieces are started.
    pub(super) pieces: usize,
    /// Number of streams that reach to the object's end.
    pub(super) streams: usize,
    /// Number of bounded fetches that are kept beyond the read that they were made for.
    pub(super) kept: usize,
}

/// How much to fetch for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Only what is asked for.
    Exact,
    /// This many bytes more than what is asked for.
    Ahead(u64),
    /// Everything that follows, by one GET.
    Stream,
    /// Everything that follows, by several GETs at the same time.
    Pieces,
}

/// Something that is being fetched or was fetched, as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// All of its bytes.
    pub(super) range: Range<u64>,
    /// Which of them are there.
    pub(super) extent: Extent,
}

impl View {
    /// The end of the bytes that a read which starts at `offset` should take from here; `None`
    /// when it should take none.
    fn serves(&self, offset: u64) -> Option<u64> {
        let extent = &self.extent;
        let (limit, end) = if offset <= extent.near {
            (self.range.end, self.range.end)
        } else if offset - extent.asked <= extent.leeway {
            (extent.soon, self.range.end)
        } else {
            // Its readers have left. What they left behind is free, but no more is fetched.
            (extent.received, extent.received)
        };
        (extent.kept <= offset && offset < limit).then_some(end)
    }
}

/// What to do for the first bytes of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// How to serve them.
    pub(super) serve: Serve,
    /// What to fetch as well, so that the run finds its next bytes: at most one range for a
    /// stream, which is the rest of the object.
    pub(super) ahead: Vec<Range<u64>>,
}

/// How to serve the first bytes of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Serve {
    /// From the view with this index, up to this offset.
    Join(usize, u64),
    /// By a GET of this range, which starts with the read.
    Fetch(Range<u64>),
}

/// Remembers the reads of one handle.
#[derive(Debug)]
pub(super) struct Planner {
    size: u64,
    limits: Limits,
    patience: u64,
    /// The most recently read last.
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    start: u64,
    end: u64,
    /// Bytes asked for, each counted once.
    asked: u64,
    reads: u32,
}

impl Planner {
    /// A planner for an object of `size` bytes.
    pub(super) fn new(size: u64, limits: Limits) -> Self {
        Self {
            size,
            patience: limits.patience,
            limits,
            runs: Vec::new(),
        }
    }

    /// Notes a read and says how much to fetch for it. The read is not empty and lies inside the
    /// object.
    pub(super) fn observe(&mut self, read: &Range<u64>) -> Intent {
        let len = read.end - read.start;
        let position = self.runs.iter().rposition(|run| {
            // A hole as large as the read still leaves half of what is fetched useful.
            let early = len.min(self.limits.reorder).min(MAX_HOLE);
            run.end.saturating_sub(self.limits.reorder) <= read.start
                && read.start <= run.end.saturating_add(early)
        });
        let Some(position) = position else {
            return self.begin_run(read);
        };
        let mut run = self.runs.remove(position);
        let Run {
            start,
            asked,
            reads,
            ..
        } = run;
        let goes_on = read.end > run.end;
        if goes_on {
            run.asked += read.end - read.start.max(run.end);
            run.reads = run.reads.saturating_add(1);
            run.end = read.end;
        }
        run.start = start.min(read.start);
        self.runs.push(run);

        let trusted = start == 0 && self.patience == self.limits.patience;
        if !goes_on {
            // Its first read, overtaken by the second?
            return if start > 0 {
                self.first(read)
            } else {
                Intent::Exact
            };
        }
        if trusted || asked >= self.patience {
            if self.size <= self.limits.part_size {
                Intent::Pieces
            } else {
                Intent::Stream
            }
        } else if reads >= CONFIRMED_READS || asked >= CONFIRMED_BYTES {
            Intent::Ahead(asked.min(self.limits.patience))
        } else {
            Intent::Exact
        }
    }

    fn begin_run(&mut self, read: &Range<u64>) -> Intent {
        if self.runs.len() == RUNS {
            self.runs.remove(0);
        }
        self.runs.push(Run {
            start: read.start,
            end: read.end,
            asked: read.end - read.start,
            reads: 1,
        });
        self.first(read)
    }

    /// How much to fetch for the first read of a run.
    fn first(&self, read: &Range<u64>) -> Intent {
        match self.limits.head.checked_sub(read.end) {
            Some(ahead) if read.start == 0 => Intent::Ahead(ahead),
            _ => Intent::Exact,
        }
    }

    /// Says how to serve the first bytes of `read`, given what is being fetched already.
    pub(super) fn plan(&self, read: &Range<u64>, intent: Intent, views: &[View]) -> Plan {
        let serve = self.serve(read, intent, views);
        let (end, fetched) = match &serve {
            Serve::Join(_, end) => (*end, 0),
            Serve::Fetch(range) => (range.end, 1),
        };
        let ahead = match intent {
            Intent::Stream => {
                let end = follow(end, views);
                (end < self.size)
                    .then_some(end..self.size)
                    .into_iter()
                    .collect()
            }
            Intent::Pieces => {
                let is_under_way = |view: &&View| view.extent.received < view.range.end;
                let under_way = views.iter().filter(is_under_way).count() + fetched;
                let more = self.limits.pieces.saturating_sub(under_way);
                self.pieces(end, views).take(more).collect()
            }
            Intent::Ahead(_) | Intent::Exact => Vec::new(),
        };
        Plan { serve, ahead }
    }

    fn serve(&self, read: &Range<u64>, intent: Intent, views: &[View]) -> Serve {
        let best = views
            .iter()
            .enumerate()
            .filter_map(|(index, view)| Some((index, view, view.serves(read.start)?)))
            .max_by_key(|(_, view, end)| (view.extent.received.min(read.end), *end));
        if let Some((index, _, end)) = best {
            return Serve::Join(index, end);
        }
        if self.size <= self.limits.whole {
            return Serve::Fetch(0..self.size);
        }
        let end = match intent {
            Intent::Stream => return Serve::Fetch(read.start..self.size),
            Intent::Pieces => {
                let first = self.pieces(read.start, views).next();
                first.map_or(read.end, |piece| piece.end)
            }
            Intent::Ahead(bytes) => read.end.saturating_add(bytes).min(self.size),
            Intent::Exact => read.end,
        };
        // What is held or under way is not fetched twice.
        let end = views
            .iter()
            .filter(|view| view.extent.kept < view.range.end)
            .map(|view| view.extent.kept)
            .filter(|&start| read.start < start)
            .fold(end, u64::min);
        Serve::Fetch(read.start..end)
    }

    /// What is neither held nor under way from `start` on, cut for GETs of about the same length.
    fn pieces(&self, start: u64, views: &[View]) -> impl Iterator<Item = Range<u64>> + use<> {
        let mut gaps = Vec::new();
        let mut at = follow(start, views);
        while at < self.size {
            let next = views
                .iter()
                .filter(|view| view.extent.kept < view.range.end)
                .map(|view| view.extent.kept)
                .filter(|&kept| at < kept)
                .fold(self.size, u64::min);
            gaps.push(at..next);
            at = follow(next, views);
        }
        let missing: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
        let most = missing.div_ceil(self.limits.pieces.max(1) as u64);
        let length = most.max(self.limits.piece);
        gaps.into_iter().flat_map(move |gap| {
            let count = (gap.end - gap.start).div_ceil(length);
            let length = (gap.end - gap.start).div_ceil(count);
            (0..count).map_while(move |index| {
                let start = gap.start + index * length;
                (start < gap.end).then(|| start..gap.end.min(start + length))
            })
        })
    }

    /// Learns from a stream that was dropped after it had received `received` bytes, of which
    /// `read` were asked for.
    pub(super) fn note_dropped(&mut self, received: u64, read: u64) {
        if read < received / 2 {
            self.patience = self
                .patience
                .saturating_mul(2)
                .min(self.limits.patience.saturating_mul(MAX_IMPATIENCE));
        } else if read >= self.patience {
            self.patience = self.limits.patience;
        }
    }
}

/// Where the bytes end that a reader finds without another GET, when it has come to `offset`.
fn follow(offset: u64, views: &[View]) -> u64 {
    let mut end = offset;
    while let Some(further) = views.iter().find_map(|view| view.serves(end)) {
        end = further;
    }
    end
}

/// Runs remembered: more than the readers that one handle usually has.
const RUNS: usize = 32;

/// A run of so many reads goes on. The kernel's read-ahead makes up to three of one random read.
const CONFIRMED_READS: u32 = 4;

/// A run of so many bytes goes on.
const CONFIRMED_BYTES: u64 = 1 << 20;

/// A larger hole between two reads ends a run.
const MAX_HOLE: u64 = 128 << 10;

/// Limit of the growth of the patience.
const MAX_IMPATIENCE: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn limits() -> Limits {
        Limits {
            part_size: 8 * MIB,
            whole: MIB,
            head: MIB,
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
                (0..len / (128 * KIB))
                    .map(move |cut| (index * 17 * MIB + cut * 128 * KIB, 128 * KIB))
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
        let first = 0..128 * KIB;
        assert_eq!(planner.observe(&first), Intent::Ahead(MIB - 128 * KIB));
        let second = 128 * KIB..256 * KIB;
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
}
