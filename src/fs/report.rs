//! What is counted below the kernel's edge, in sum.

use super::{Fs, OpenFile};
use crate::metrics::{Label, Metrics, Snapshot, names};
use crate::prefetch::PrefetchCounters;
use crate::read::{HedgeCounters, Hedger};
use crate::tree::LookupCounters;

impl Fs {
    /// What counts at the edges.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Adds what is open, known, held and fetched to `snapshot`. Looks at every open file.
    pub fn report(&self, snapshot: &mut Snapshot) {
        self.report_handles(snapshot);
        self.report_tree(snapshot);
        self.report_memory(snapshot);
        if let Some(prefetcher) = &self.prefetcher {
            report_prefetch(prefetcher.counters(), snapshot);
        }
        if let Some(hedger) = &self.read.hedger {
            report_hedges(hedger, snapshot);
        }
    }

    fn report_handles(&self, snapshot: &mut Snapshot) {
        let (mut read, mut write, mut staged) = (0, 0, 0);
        self.files.for_each(|file| match file {
            OpenFile::Reader { .. } => read += 1,
            OpenFile::Writer { .. } => write += 1,
            OpenFile::Staged(_) => staged += 1,
        });
        let mut directories = 0;
        self.dirs.for_each(|_| directories += 1);
        for (kind, count) in [
            ("read", read),
            ("write", write),
            ("staged", staged),
            ("directory", directories),
        ] {
            snapshot.gauge(&names::OPEN_HANDLES, [Label::new("kind", kind)], count);
        }
    }

    fn report_tree(&self, snapshot: &mut Snapshot) {
        let LookupCounters {
            known,
            page,
            get,
            asked,
        } = self.tree.lookups();
        for (by, count) in [
            ("known", known),
            ("page", page),
            ("get", get),
            ("s3", asked),
        ] {
            snapshot.counter(&names::LOOKUPS, [Label::new("answered_by", by)], count);
        }
        snapshot.gauge(&names::INODES, [], self.tree.inodes() as u64);
    }

    fn report_memory(&self, snapshot: &mut Snapshot) {
        let budget = &self.read.budget;
        snapshot.gauge(&names::MEMORY_BUDGET, [], budget.limit());
        snapshot.gauge(&names::MEMORY_USED, [], budget.used());
        snapshot.gauge(&names::MEMORY_PERMITTED, [], budget.permitted());
        snapshot.gauge(&names::MEMORY_WAITING, [], budget.waiting() as u64);
    }
}

fn report_prefetch(counters: PrefetchCounters, snapshot: &mut Snapshot) {
    snapshot.counter(&names::PREFETCH_FETCHED_BYTES, [], counters.fetched);
    snapshot.counter(&names::PREFETCH_WASTED_BYTES, [], counters.wasted);
    snapshot.counter(&names::PREFETCH_HITS, [], counters.hits);
    snapshot.gauge(&names::PREFETCH_HELD_BYTES, [], counters.held);
}

fn report_hedges(hedger: &Hedger, snapshot: &mut Snapshot) {
    let HedgeCounters {
        started,
        won,
        bytes,
    } = hedger.counters();
    snapshot.counter(&names::HEDGES, [], started);
    snapshot.counter(&names::HEDGES_WON, [], won);
    snapshot.counter(&names::HEDGED_BYTES, [], bytes);
}
