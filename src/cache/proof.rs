//! Which blocks of an entry this process has seen to be good, and of which versions that is all.
//!
//! Nothing of it is on the disk: what was good before the last start may have changed since.

use std::collections::HashMap;
use std::fs::Metadata;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::name::Short;
use super::uses::ONE_USE;

/// The blocks of one entry that were good when they were written or read here. Any thread may use it.
#[derive(Debug)]
pub(super) struct Proof {
    /// Whether all blocks are good: the answer that is asked for with every block.
    is_whole: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// A bit for each block.
    good: Vec<u64>,
    /// Blocks that are not.
    left: u64,
}

impl Proof {
    /// Nothing is known yet of `blocks` blocks.
    pub(super) fn new(blocks: u64) -> Self {
        let words = usize::try_from(blocks.div_ceil(64)).unwrap_or_default();
        Self {
            is_whole: AtomicBool::new(blocks == 0),
            seen: Mutex::new(Seen {
                good: vec![0; words],
                left: blocks,
            }),
        }
    }

    /// Notes that these blocks are good. Returns whether they were the last ones.
    pub(super) fn note_good(&self, blocks: Range<u64>) -> bool {
        if self.is_whole.load(Ordering::Acquire) {
            return false;
        }
        let mut seen = self.lock();
        for block in blocks {
            if let Some(word) = seen.word(block) {
                let bit = 1 << (block % 64);
                let is_new = *word & bit == 0;
                *word |= bit;
                seen.left -= u64::from(is_new);
            }
        }
        seen.left == 0 && !self.is_whole.swap(true, Ordering::AcqRel)
    }

    /// Notes that a block is not good any more.
    pub(super) fn note_bad(&self, block: u64) {
        let mut seen = self.lock();
        if let Some(word) = seen.word(block) {
            let bit = 1 << (block % 64);
            let was_good = *word & bit != 0;
            *word &= !bit;
            seen.left += u64::from(was_good);
            self.is_whole.store(false, Ordering::Release);
        }
    }

    /// Whether all blocks are good.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Acquire)
    }

    /// The first block from `from` on that is not known to be good.
    pub(super) fn next_unseen(&self, from: u64) -> Option<u64> {
        let mut seen = self.lock();
        let mut block = from;
        while let Some(word) = seen.word(block) {
            let rest = !*word >> (block % 64);
            if rest != 0 {
                return Some(block + u64::from(rest.trailing_zeros()));
            }
            block = (block / 64 + 1) * 64;
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn word(&mut self, block: u64) -> Option<&mut u64> {
        self.good.get_mut(usize::try_from(block / 64).ok()?)
    }
}

/// What a file was when its blocks were seen: any later write to it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    /// Of the file with this metadata.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.len(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }
}

/// The versions of which all blocks are good, and are on the disk. Any thread may use it.
#[derive(Debug, Default)]
pub(super) struct Proven {
    known: Mutex<HashMap<Short, Known>>,
    /// Changes while the above is locked.
    era: AtomicU64,
}

/// A time in which the disk did not fail. What was seen in an earlier one may not be there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Era(u64);

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    /// When the use of it was noted on the disk.
    used: Instant,
}

impl Proven {
    /// The time that it is.
    pub(super) fn era(&self) -> Era {
        Era(self.era.load(Ordering::Acquire))
    }

    /// Notes that the disk has failed: nothing is known of any file any more.
    pub(super) fn begin_era(&self) {
        let mut proven = self.lock();
        self.era.fetch_add(1, Ordering::Release);
        let before = std::mem::take(&mut *proven);
        drop(proven);
        drop(before);
    }

    /// Notes that the file of `name` is good as long as it is as `stamp` says, if all of it was seen in
    /// `era`, and that is not over.
    pub(super) fn insert(&self, name: Short, stamp: Stamp, era: Era) {
        let mut proven = self.lock();
        if era != self.era() {
            return;
        }
        if proven.len() >= MOST_PROVEN
            && let Some(any) = proven.keys().next().copied()
        {
            // It is proven again when it is read again.
            proven.remove(&any);
        }
        let used = Instant::now();
        proven.insert(name, Known { stamp, used });
    }

    /// What the file of `name` was when it was good.
    pub(super) fn get(&self, name: &Short) -> Option<Stamp> {
        self.lock().get(name).map(|known| known.stamp)
    }

    /// Notes a use of the file of `name`. Returns whether it is to be noted on the disk.
    pub(super) fn note_used(&self, name: &Short) -> bool {
        let mut proven = self.lock();
        let Some(known) = proven.get_mut(name) else {
            return false;
        };
        let is_another = known.used.elapsed() > ONE_USE;
        if is_another {
            known.used = Instant::now();
        }
        is_another
    }

    /// Notes that nothing is known of the file of `name` any more.
    pub(super) fn remove(&self, name: &Short) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Short, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each takes about 100 bytes of memory.
const MOST_PROVEN: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_is_whole_once_every_block_was_good() {
        let proof = Proof::new(130);
        assert!(!proof.note_good(0..64));
        assert!(!proof.note_good(0..65));
        assert!(!proof.note_good(66..130));
        assert_eq!(proof.next_unseen(0), Some(65));
        assert_eq!(proof.next_unseen(66), Some(130), "beyond the end");
        assert!(!proof.is_whole());
        assert!(proof.note_good(65..66));
        assert!(!proof.note_good(65..66), "told once");
        assert!(proof.is_whole());
        proof.note_bad(129);
        assert!(!proof.is_whole());
        assert_eq!(proof.next_unseen(3), Some(129));
        assert!(proof.note_good(129..130));
    }
}
