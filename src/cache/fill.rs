//! Bytes on their way from the store to whoever asked for them, and into files.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Bytes, BytesMut};

use super::claim::Claim;
use super::entry::{Entry, block_len};
use super::name::Name;
use super::usage::Verdict;
use super::{BLOCK, Shared};
use crate::memory::{Account, Lease};
use crate::s3::{BodySink, Error};

/// Receives whole blocks, of which `wanted` was asked for.
pub(super) struct Filling {
    shared: Arc<Shared>,
    name: Name,
    /// Who has fetched thousands of small objects may keep this: their files could not all be open.
    entry: Weak<Entry>,
    size: u64,
    wanted: Range<u64>,
    sink: Arc<dyn BodySink>,
    pending: Mutex<Pending>,
}

/// Bytes that came and do not make a block yet.
#[derive(Default)]
struct Pending {
    /// Where they begin: at a block.
    start: u64,
    pieces: Vec<Bytes>,
    len: u64,
    /// Until all is written.
    claim: Option<Arc<Claim>>,
}

impl Filling {
    /// Hands the bytes in `wanted` to `sink`, and the blocks that begin at or after `start` to `entry`,
    /// which is that of `name`, and of which `claim` has claimed some.
    pub(super) fn new(
        shared: &Arc<Shared>,
        name: Name,
        entry: &Arc<Entry>,
        start: u64,
        wanted: Range<u64>,
        sink: Arc<dyn BodySink>,
        claim: Option<Arc<Claim>>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            name,
            entry: Arc::downgrade(entry),
            size: entry.size(),
            wanted,
            sink,
            pending: Mutex::new(Pending {
                start,
                claim,
                ..Pending::default()
            }),
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a piece, and gives the blocks that are complete: their place and their bytes.
    fn complete(&self, piece: Bytes) -> Option<(u64, Vec<Bytes>)> {
        let mut pending = self.pending();
        pending.len += piece.len() as u64;
        pending.pieces.push(piece);
        let start = pending.start;
        let end = start + pending.len;
        let whole = match end == self.size {
            true => end,
            false => end / BLOCK * BLOCK,
        };
        if whole <= start {
            return None;
        }
        let rest = end - whole;
        let mut pieces = std::mem::take(&mut pending.pieces);
        // What is left over came with the last piece: before it there was less than a block.
        if let Some(last) = pieces.last_mut()
            && rest > 0
        {
            let at = last.len() - usize::try_from(rest).unwrap_or(last.len());
            let left = last.split_off(at);
            pending.pieces.push(left);
        }
        pending.start = whole;
        pending.len = rest;
        Some((start, pieces))
    }

    /// Lets blocks be written, if that neither waits for room nor for the disk.
    fn store(&self, start: u64, pieces: Vec<Bytes>) {
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        let usage = &self.shared.usage;
        let verdict = usage.admit(len, self.shared.entries.root());
        if verdict != Verdict::Write {
            self.shared.keeper.make_room();
        }
        let Some(queued) = Queued::begin(&self.shared, len).filter(|_| verdict != Verdict::Leave)
        else {
            if verdict != Verdict::Leave {
                usage.left_out(len);
            }
            return self.shared.metrics.left_out.add(len);
        };
        let (shared, name, size) = (Arc::clone(&self.shared), self.name, self.size);
        let opened = Weak::clone(&self.entry);
        let claim = self.pending().claim.clone();
        self.shared.writers.spawn_ok(async move {
            let writing = shared.usage.begin_writing(len, name.shard());
            let written = match entry(&shared, &opened, &name, size) {
                Ok(Some(entry)) => write(&entry, start, pieces).map(|()| true),
                Ok(None) => Ok(false),
                Err(error) => Err(error),
            };
            drop((queued, claim));
            let is_written = matches!(written, Ok(true));
            shared.usage.end_writing(writing, is_written);
            if is_written {
                return shared.metrics.filled.add(len);
            }
            shared.metrics.left_out.add(len);
            if let Err(error) = written {
                shared.failed("written", &error);
            }
        });
    }
}

impl BodySink for Filling {
    fn part(&self, offset: u64, bytes: Bytes) {
        let Range { start, end } = self.wanted;
        let within = |place: u64| place.clamp(offset, offset + bytes.len() as u64) - offset;
        let wanted = cut(within(start))..cut(within(end));
        if !wanted.is_empty() {
            let at = offset + wanted.start as u64;
            self.sink.part(at, bytes.slice(wanted));
        }
        if let Some((start, pieces)) = self.complete(bytes) {
            self.store(start, pieces);
        }
    }

    fn finish(&self, result: Result<(), Error>) {
        // From now on those have it that are still to write.
        drop(self.pending().claim.take());
        self.sink.finish(result);
    }
}

/// The entry of `name`, which is open already if `opened` still is; `None` when others remove it each
/// time.
fn entry(
    shared: &Shared,
    opened: &Weak<Entry>,
    name: &Name,
    size: u64,
) -> io::Result<Option<Arc<Entry>>> {
    match opened.upgrade() {
        Some(entry) => Ok(Some(entry)),
        None => shared.entries.get(name, size),
    }
}

/// Writes pieces that make whole blocks.
fn write(entry: &Entry, start: u64, pieces: Vec<Bytes>) -> io::Result<()> {
    let mut next = start;
    let mut carry = BytesMut::new();
    for mut piece in pieces {
        if !carry.is_empty() {
            let missing = (block_len() - carry.len()).min(piece.len());
            carry.extend_from_slice(&piece.split_to(missing));
            if carry.len() < block_len() {
                continue;
            }
            entry.write(next / BLOCK, &carry)?;
            next += carry.len() as u64;
            carry.clear();
        }
        let is_last = next + piece.len() as u64 == entry.size();
        let whole = match is_last {
            true => piece.len(),
            false => piece.len() / block_len() * block_len(),
        };
        entry.write(next / BLOCK, &piece[..whole])?;
        next += whole as u64;
        carry.extend_from_slice(&piece[whole..]);
    }
    if carry.is_empty() {
        return Ok(());
    }
    // The end of the object.
    entry.write(next / BLOCK, &carry)
}

/// Bytes that wait to be written, until this is dropped.
struct Queued {
    shared: Arc<Shared>,
    bytes: u64,
    _lease: Option<Lease>,
}

impl Queued {
    /// `None` while too many wait, or nothing pays for them: who reads has given up its own claim on
    /// them when it was served.
    fn begin(shared: &Arc<Shared>, bytes: u64) -> Option<Self> {
        let before = shared.queued.load(Ordering::Relaxed);
        let lease = match shared.account.get() {
            Some(account) => Some(pay(account, before, bytes)?),
            None if before < MOST_QUEUED => None,
            None => return None,
        };
        shared.queued.fetch_add(bytes, Ordering::Relaxed);
        Some(Self {
            shared: Arc::clone(shared),
            bytes,
            _lease: lease,
        })
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let queued: &AtomicU64 = &self.shared.queued;
        queued.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Pays for `bytes` bytes, when `before` bytes wait already: with what is spare, but for the first ones.
fn pay(account: &Arc<Account>, before: u64, bytes: u64) -> Option<Lease> {
    let budget = account.budget();
    let most = MOST_PAID.min(budget.limit() / 4);
    if before < ALWAYS_QUEUED || (before < most && bytes <= budget.spare()) {
        account.lease(bytes)
    } else {
        None
    }
}

/// A place in a piece, which is in memory.
fn cut(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// Bytes that may wait for the disk: as many as a fast disk takes in a tenth of a second.
pub(super) const MOST_QUEUED: u64 = 128 << 20;

/// Bytes that may wait where they are paid for, also if memory is short.
const ALWAYS_QUEUED: u64 = 32 << 20;

/// Bytes that may wait if memory is not short: a disk that is fast enough is still silent for some
/// tenths of a second now and then.
const MOST_PAID: u64 = 512 << 20;
