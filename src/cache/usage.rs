//! How much of the disk the files take, and how much they may.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::CacheLimits;
use super::amount::{Amount, Free};

/// Counts bytes. Any thread may use it.
#[derive(Debug)]
pub(super) struct Usage {
    limits: CacheLimits,
    /// Bytes on the disk, as far as this process knows.
    used: AtomicU64,
    /// Whether all files were counted once.
    is_counted: AtomicBool,
    /// Whether the disk has refused to take something since they were counted last.
    is_refused: AtomicBool,
}

/// What to do with more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Write,
    /// Write, and make room for others.
    WriteAndMakeRoom,
    /// There is no room until some is made.
    Leave,
}

impl Usage {
    /// Nothing is counted yet.
    pub(super) fn new(limits: CacheLimits) -> Self {
        Self {
            limits,
            used: AtomicU64::new(0),
            is_counted: AtomicBool::new(false),
            is_refused: AtomicBool::new(false),
        }
    }

    /// Whether `more` bytes may be written into `directory`; if so they count.
    pub(super) fn admit(&self, more: u64, directory: &Path) -> Verdict {
        if self.limits.most.is_some() && !self.is_counted() {
            return Verdict::Leave;
        }
        let used = self.used.load(Ordering::Relaxed) + more;
        let free = Free::of(directory).unwrap_or_default();
        let least = self.least(&free);
        let most = self.limits.most.unwrap_or(u64::MAX);
        if used > most || !(least + Amount::of_bytes(more)).fits_in(free.left) {
            return Verdict::Leave;
        }
        self.used.fetch_add(more, Ordering::Relaxed);
        if used > most - most / MARGIN || !(least + least.part(MARGIN)).fits_in(free.left) {
            return Verdict::WriteAndMakeRoom;
        }
        Verdict::Write
    }

    /// Notes what all files take, and says how much of it has to go: what is over the limit, and if
    /// somebody has asked for room, so much that nobody does soon.
    pub(super) fn counted(&self, held: Amount, is_asked: bool, directory: &Path) -> Amount {
        self.used.store(held.bytes, Ordering::Relaxed);
        self.is_counted.store(true, Ordering::Release);
        let free = Free::of(directory).unwrap_or_default();
        let least = self.least(&free);
        let margin = least.part(MARGIN);
        let most = self.limits.most.unwrap_or(u64::MAX);
        let is_below = held.bytes <= most - most / MARGIN && (least + margin).fits_in(free.left);
        let is_refused = self.is_refused.swap(false, Ordering::Relaxed);
        if is_below && !is_asked && !is_refused {
            return Amount::default();
        }
        // A margin below what makes somebody ask for room again.
        let over = Amount::of_bytes(held.bytes.saturating_sub(most - most / MARGIN * 2));
        let short = (least + margin + margin).saturating_sub(free.left);
        let refused = match is_refused {
            true => held.part(MARGIN).max(Amount { bytes: 1, files: 1 }),
            false => Amount::default(),
        };
        over.max(short).max(refused).min(held)
    }

    /// Notes that the disk has taken something no more, whatever it says of its room: some has to be made.
    pub(super) fn refused(&self) {
        self.is_refused.store(true, Ordering::Relaxed);
    }

    /// What can be written into `directory` before anybody asks for room.
    pub(super) fn room(&self, directory: &Path) -> Amount {
        let free = Free::of(directory).unwrap_or_default();
        let least = self.least(&free);
        let most = self.limits.most.unwrap_or(u64::MAX);
        let below_limit = Amount {
            bytes: (most - most / MARGIN).saturating_sub(self.used()),
            files: u64::MAX,
        };
        let above_least = free.left.saturating_sub(least + least.part(MARGIN));
        below_limit.min(above_least)
    }

    /// Whether all files were counted once.
    pub(super) fn is_counted(&self) -> bool {
        self.is_counted.load(Ordering::Acquire)
    }

    /// Notes that files of so many bytes are gone.
    pub(super) fn removed(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        // The closure never refuses.
        _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Bytes on the disk, as far as this process knows.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// What has to stay free.
    fn least(&self, free: &Free) -> Amount {
        let one = free.total.part(100);
        let percent = u64::from(self.limits.free_percent);
        Amount {
            bytes: one.bytes * percent,
            files: one.files * percent,
        }
    }
}

/// The share of a limit, one in so many, before which room is made.
const MARGIN: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(most: u64) -> Usage {
        Usage::new(CacheLimits {
            most: Some(most),
            free_percent: 0,
        })
    }

    #[test]
    fn admit_keeps_to_the_limit_and_asks_for_room_before_it() {
        let directory = Path::new("/");
        let usage = usage(1000);
        assert_eq!(
            usage.admit(1, directory),
            Verdict::Leave,
            "nothing is counted"
        );
        let counted = |bytes, is_asked| {
            let excess = usage.counted(Amount { bytes, files: 9 }, is_asked, directory);
            assert_eq!(excess.files, 0);
            excess.bytes
        };
        assert_eq!(counted(950, false), 0, "nobody has asked");
        assert_eq!(usage.room(directory).bytes, 0);
        assert_eq!(counted(950, true), 50);
        assert_eq!(counted(951, false), 51);
        assert_eq!(counted(0, true), 0);
        assert_eq!(usage.room(directory).bytes, 950);
        assert_eq!(usage.admit(950, directory), Verdict::Write);
        assert_eq!(usage.admit(50, directory), Verdict::WriteAndMakeRoom);
        assert_eq!(usage.admit(1, directory), Verdict::Leave);
        assert_eq!(counted(1000, true), 100);
        usage.removed(100);
        assert_eq!(usage.used(), 900);
        assert_eq!(usage.admit(50, directory), Verdict::Write);
    }

    #[test]
    fn disk_that_has_to_stay_free_takes_nothing() {
        let usage = Usage::new(CacheLimits {
            most: None,
            free_percent: 100,
        });
        let directory = Path::new("/");
        assert_eq!(usage.admit(1, directory), Verdict::Leave);
        let held = Amount { bytes: 7, files: 3 };
        assert_eq!(usage.counted(held, false, directory), held);
    }

    #[test]
    fn disk_that_has_refused_something_gets_room_once() {
        let usage = usage(1000);
        let counted = |bytes, files| {
            let excess = usage.counted(Amount { bytes, files }, false, Path::new("/"));
            (excess.bytes, excess.files)
        };
        for (held, excess) in [((900, 300), (45, 15)), ((5, 2), (1, 1)), ((0, 0), (0, 0))] {
            usage.refused();
            assert_eq!(counted(held.0, held.1), excess);
            assert_eq!(counted(held.0, held.1), (0, 0));
        }
    }
}
