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
//! | at offset 0, of more than [`Limits::opening`] bytes, of an object of at most one part that all pieces hold at once | the object |
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
    /// What is fetched of an object of at most one part before it is read.
    pub(super) opening: u64,
    /// A run that does not start at offset 0 becomes a stream after this many bytes.
    pub(super) patience: u64,
    /// How far reads of one run may overtake each other. Less than the tail.
    pub(super) reorder: u64,
    /// Bytes that a stream keeps behind its furthest reader.
    pub(super) tail: u64,
    /// Initial window of a stream.
    pub(super) window: u64,
    /// Bytes per second that all streams together are to reach.
    pub(super) rate: u64,
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
        if read.start > 0 {
            return Intent::Exact;
        }
        let Limits { piece, pieces, .. } = self.limits;
        let small = piece
            .saturating_mul(pieces as u64)
            .min(self.limits.part_size);
        if self.size <= small && read.end > self.limits.opening {
            return Intent::Pieces;
        }
        let ahead = self.limits.head.checked_sub(read.end);
        ahead.map_or(Intent::Exact, Intent::Ahead)
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
mod tests;
