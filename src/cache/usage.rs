//! How much of the disk the files take, and how much they may.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::statvfs::statvfs;

use super::CacheLimits;

/// Counts bytes. Any thread may use it.
#[derive(Debug)]
pub(super) struct Usage {
    limits: CacheLimits,
    /// Bytes on the disk, as far as this process knows.
    used: AtomicU64,
    /// Whether all files were counted once.
    is_counted: AtomicBool,
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
        if used > most || free.bytes < least.saturating_add(more) {
            return Verdict::Leave;
        }
        self.used.fetch_add(more, Ordering::Relaxed);
        if used > most - most / MARGIN || free.bytes < least + least / MARGIN {
            return Verdict::WriteAndMakeRoom;
        }
        Verdict::Write
    }

    /// Notes what all files take, and says how many bytes of it have to go: those over the limit, and if
    /// somebody has asked for room, so many that nobody does soon.
    pub(super) fn counted(&self, used: u64, is_asked: bool, directory: &Path) -> u64 {
        self.used.store(used, Ordering::Relaxed);
        self.is_counted.store(true, Ordering::Release);
        let free = Free::of(directory).unwrap_or_default();
        let least = self.least(&free);
        let most = self.limits.most.unwrap_or(u64::MAX);
        let is_below = used <= most - most / MARGIN && free.bytes >= least + least / MARGIN;
        if is_below && !is_asked {
            return 0;
        }
        // A margin below what makes somebody ask for room again.
        let over = used.saturating_sub(most - most / MARGIN * 2);
        let short = (least + least / MARGIN * 2).saturating_sub(free.bytes);
        over.max(short).min(used)
    }

    /// Bytes that can be written into `directory` before anybody asks for room.
    pub(super) fn room(&self, directory: &Path) -> u64 {
        let free = Free::of(directory).unwrap_or_default();
        let least = self.least(&free);
        let most = self.limits.most.unwrap_or(u64::MAX);
        let below_limit = (most - most / MARGIN).saturating_sub(self.used());
        below_limit.min(free.bytes.saturating_sub(least + least / MARGIN))
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

    fn least(&self, free: &Free) -> u64 {
        free.total / 100 * u64::from(self.limits.free_percent)
    }
}

/// Room of a file system.
#[derive(Default)]
pub(super) struct Free {
    /// Bytes that this user may still take.
    pub(super) bytes: u64,
    /// Bytes of all of it.
    pub(super) total: u64,
}

impl Free {
    /// The room of the file system that has `directory`.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let found = statvfs(directory)?;
        let block = found.fragment_size();
        Ok(Self {
            bytes: found.blocks_available().saturating_mul(block),
            total: found.blocks().saturating_mul(block),
        })
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
        assert_eq!(usage.counted(950, false, directory), 0, "nobody has asked");
        assert_eq!(usage.room(directory), 0);
        assert_eq!(usage.counted(950, true, directory), 50);
        assert_eq!(usage.counted(951, false, directory), 51);
        assert_eq!(usage.counted(0, true, directory), 0);
        assert_eq!(usage.room(directory), 950);
        assert_eq!(usage.admit(950, directory), Verdict::Write);
        assert_eq!(usage.admit(50, directory), Verdict::WriteAndMakeRoom);
        assert_eq!(usage.admit(1, directory), Verdict::Leave);
        assert_eq!(usage.counted(1000, true, directory), 100);
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
        assert_eq!(usage.counted(7, false, directory), 7);
    }
}
