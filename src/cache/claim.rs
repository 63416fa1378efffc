//! Who fetches which blocks at the moment, so that others wait for them instead of fetching them, too.
//!
//! A claim is a lock of a part of the file that has the notes: where the records of the blocks are in a file of
//! notes, and at the same places of a file that has them in an attribute. So it counts in every process, and ends
//! with the one that has it.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::fcntl::{FcntlArg, fcntl};

use super::entry::Entry;
use super::notes::place_of;

/// Tells others that some blocks are being fetched and written, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    /// The notes, opened for this alone: whoever closes them loses the lock.
    notes: File,
    first: u64,
}

impl Entry {
    /// Claims these blocks. `None` when others have claimed some of them, or the system has no locks.
    pub(super) fn claim(&self, blocks: Range<u64>) -> Option<Claim> {
        let notes = format!("/proc/self/fd/{}", self.notes().file().as_raw_fd());
        let notes = OpenOptions::new().read(true).write(true).open(notes);
        let claim = Claim {
            notes: notes.ok()?,
            first: blocks.start,
        };
        claim.extend(blocks.end).ok()?;
        Some(claim)
    }

    /// Whether somebody fetches this block.
    pub(super) fn is_claimed(&self, block: u64) -> bool {
        let mut lock = lock(block..block + 1);
        let asked = fcntl(self.notes().file(), FcntlArg::F_OFD_GETLK(&mut lock));
        asked.is_ok() && i32::from(lock.l_type) != libc::F_UNLCK
    }
}

impl Claim {
    /// Claims the blocks from the first one on to the one before `end`.
    ///
    /// # Errors
    /// Others have claimed some of them.
    pub(super) fn extend(&self, end: u64) -> io::Result<()> {
        fcntl(&self.notes, FcntlArg::F_OFD_SETLK(&lock(self.first..end)))?;
        Ok(())
    }
}

/// The part of the notes that stands for these blocks.
fn lock(blocks: Range<u64>) -> libc::flock {
    let place = |block| i64::try_from(place_of(block)).unwrap_or(i64::MAX);
    let start = place(blocks.start);
    #[expect(clippy::cast_possible_truncation, reason = "small constants")]
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start,
        // As far as the end of the file would be 0.
        l_len: (place(blocks.end) - start).max(1),
        l_pid: 0,
    }
}
