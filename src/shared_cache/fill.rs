//! Bytes on their way from the store to whoever asked for them, and into blocks.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Shared;
use super::block::{BLOCK, Block};
use super::upload;
use crate::cache::Name;
use crate::memory::Lease;
use crate::s3::{BodySink, Error, InFlight};

/// Receives the bytes of one GET, of which `wanted` was asked for.
pub(super) struct Filling {
    shared: Arc<Shared>,
    name: Name,
    size: u64,
    /// What is to be fetched: `wanted`, and what makes blocks of it.
    range: Range<u64>,
    wanted: Range<u64>,
    sink: Arc<dyn BodySink>,
    pending: Mutex<Pending>,
    /// Pays for what was not asked for.
    _lease: Option<Lease>,
}

/// Bytes that came and do not make a block yet.
#[derive(Default)]
struct Pending {
    /// Where they begin: at a block. What came before belongs to a block of which too little is
    /// fetched.
    start: u64,
    pieces: Vec<Bytes>,
    len: u64,
    /// All that was asked for has been delivered.
    delivered: bool,
    ended: bool,
    /// The GET, if nobody else holds it any more.
    request: Option<Arc<dyn InFlight>>,
}

impl Filling {
    /// Hands the bytes `wanted` of the version `name` to `sink`, and keeps whole blocks.
    pub(super) fn new(
        shared: &Arc<Shared>,
        name: Name,
        size: u64,
        wanted: Range<u64>,
        sink: Arc<dyn BodySink>,
    ) -> Self {
        let mut range = shared.whole_blocks(name, size, &wanted);
        let more = (wanted.start - range.start) + (range.end - wanted.end);
        let lease = match more {
            0 => None,
            _ => shared.account.lease(more),
        };
        if more > 0 && lease.is_none() {
            range = wanted.clone();
        }
        Self {
            shared: Arc::clone(shared),
            name,
            size,
            wanted,
            sink,
            pending: Mutex::new(Pending {
                start: range.start.next_multiple_of(BLOCK),
                ..Pending::default()
            }),
            range,
            _lease: lease,
        }
    }

    /// What is to be fetched.
    pub(super) fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Lets the GET go on that nobody waits for any more, if only what makes whole blocks is missing.
    pub(super) fn go_on(&self, request: Arc<dyn InFlight>) {
        let mut pending = self.pending();
        if !pending.delivered || pending.ended {
            return drop(pending);
        }
        pending.request = Some(Arc::clone(&request));
        drop(pending);
        request.extend_window(2 * BLOCK);
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the bytes at `offset`, and gives the blocks that are complete.
    fn complete(&self, offset: u64, mut bytes: Bytes) -> Vec<(Block, Vec<Bytes>)> {
        let mut pending = self.pending();
        let mut blocks = Vec::new();
        let skipped = pending.start.saturating_sub(offset);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        drop(bytes.split_to(skipped.min(bytes.len())));
        while !bytes.is_empty() {
            let block = Block::holding(self.name, self.size, pending.start);
            let missing = usize::try_from(block.len() - pending.len).unwrap_or(usize::MAX);
            let piece = bytes.split_to(missing.min(bytes.len()));
            pending.len += piece.len() as u64;
            pending.pieces.push(piece);
            if pending.len < block.len() {
                break;
            }
            blocks.push((block, std::mem::take(&mut pending.pieces)));
            pending.start += pending.len;
            pending.len = 0;
        }
        blocks
    }
}

impl BodySink for Filling {
    fn part(&self, offset: u64, bytes: Bytes) {
        let Range { start, end } = self.wanted;
        let within = |place: u64| {
            let place = place.clamp(offset, offset + bytes.len() as u64) - offset;
            // It is in memory.
            usize::try_from(place).unwrap_or(usize::MAX)
        };
        let wanted = within(start)..within(end);
        if !wanted.is_empty() {
            let at = offset + wanted.start as u64;
            self.sink.part(at, bytes.slice(wanted));
        }
        if offset + bytes.len() as u64 >= end {
            self.pending().delivered = true;
        }
        for (block, pieces) in self.complete(offset, bytes) {
            upload::offer(&self.shared, block, pieces);
        }
    }

    fn finish(&self, result: Result<(), Error>) {
        let request = {
            let mut pending = self.pending();
            pending.ended = true;
            pending.request.take()
        };
        self.sink.finish(result);
        drop(request);
    }
}

impl Shared {
    /// The bytes `wanted`, which the cache does not have, and as much before and after them as it
    /// takes to make a block of what is at least half of one, or of what was asked for before.
    fn whole_blocks(&self, name: Name, size: u64, wanted: &Range<u64>) -> Range<u64> {
        if !self.writes.would_try() {
            return wanted.clone();
        }
        let take = |offset: u64| {
            let block = Block::holding(name, size, offset);
            let range = block.range();
            let covered = wanted.end.min(range.end) - wanted.start.max(range.start);
            (covered >= block.len().div_ceil(2) || self.touched.note(block)).then_some(range)
        };
        let first = take(wanted.start);
        let start = first.as_ref().map_or(wanted.start, |block| block.start);
        let end = match first {
            Some(first) if wanted.end <= first.end => first.end,
            None if wanted.end <= start / BLOCK * BLOCK + BLOCK => wanted.end,
            _ => take(wanted.end - 1).map_or(wanted.end, |block| block.end),
        };
        start..end
    }
}
