//! Who fetches which blocks at the moment, so that others wait for them instead of fetching them, too.
//!
//! A claim is a lock of a part of the file that has the notes: where the records of the blocks are in a file of
//! notes, and at the same places of a file that has them in an attribute. So it counts in every process, and ends
//! with the one that has it.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};

use super::BLOCK;
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

    /// Whether somebody else fetches this block.
    fn is_claimed(&self, block: u64) -> bool {
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

/// Waits for what others fetch, as long as they are fast.
#[derive(Debug)]
pub(super) struct Follower {
    waited: Duration,
    followed: u64,
}

impl Follower {
    /// One that has not waited yet.
    pub(super) fn new() -> Self {
        Self {
            waited: Duration::ZERO,
            followed: 0,
        }
    }

    /// Waits until the block that has the byte at `offset` is in `entry`, if somebody fetches it.
    /// `waiting` counts those who wait. Returns whether it is there.
    pub(super) fn wait(&mut self, entry: &Entry, offset: u64, waiting: &AtomicUsize) -> bool {
        let block = offset / BLOCK;
        if !entry.is_claimed(block) {
            return false;
        }
        // Each of them keeps a thread that others read with.
        let is_one_of_few = waiting.fetch_add(1, Ordering::Relaxed) < MOST_WAITING;
        let is_there = is_one_of_few && self.wait_for(entry, block);
        waiting.fetch_sub(1, Ordering::Relaxed);
        if is_there {
            self.followed += BLOCK;
        }
        is_there
    }

    fn wait_for(&mut self, entry: &Entry, block: u64) -> bool {
        let began = Instant::now();
        let patience = PATIENCE + Duration::from_micros(self.followed / LEAST_RATE);
        let left = patience.saturating_sub(self.waited);
        let is_there = loop {
            // Written, and then given up.
            let is_claimed = entry.is_claimed(block);
            if entry.has(block) {
                break true;
            }
            if !is_claimed || began.elapsed() >= left {
                break false;
            }
            thread::sleep(NAP);
        };
        self.waited += began.elapsed();
        is_there
    }
}

/// How long a GET waits for others, all in all, before it fetches by itself what they do not.
const PATIENCE: Duration = Duration::from_millis(200);

/// Bytes in a microsecond that others have to bring for a GET to wait longer: about what a GET has on
/// one connection.
const LEAST_RATE: u64 = 100;

const NAP: Duration = Duration::from_millis(1);

/// Half of the threads.
const MOST_WAITING: usize = super::READERS / 2;
