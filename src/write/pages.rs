//! Bytes of a file that the kernel gathers in its page cache before it hands them over.
//!
//! The kernel hands over the pages of a file that is written from start to end nearly in that order, and not
//! quite: requests overtake each other, and the page in which the file ends comes again when it has more bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use super::error::Error;
use crate::memory::{Budget, Lease};

/// Puts pages in order. What came too early is paid for, even beyond the budget: the kernel holds back the
/// pages before it no longer than it takes to write what it holds, and would have kept the memory itself.
pub(super) struct Pages {
    /// What came before its turn, by offset.
    early: BTreeMap<u64, Bytes>,
    lease: Lease,
    /// The bytes of the page in which the file ends: none if it ends with a page.
    tail: Vec<u8>,
}

impl Pages {
    /// Nothing came yet.
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self {
            early: BTreeMap::new(),
            lease: budget.open_without_holder().empty_lease(),
            tail: Vec::new(),
        }
    }

    /// What of `data`, which begins at `offset`, continues the file that ends at `end`. What came too early
    /// is kept for its turn.
    ///
    /// # Errors
    /// [`Error::NotAtEnd`]: bytes that were taken before are to be others now.
    pub(super) fn sort(&mut self, end: u64, offset: u64, mut data: Bytes) -> Result<Bytes, Error> {
        if offset > end {
            return match self.keep(offset, data) {
                true => Ok(Bytes::new()),
                false => Err(Error::NotAtEnd { offset, end }),
            };
        }
        let again = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let known = self.tail.len().checked_sub(again);
        let known = known.map(|start| &self.tail[start..]);
        let repeated = data.split_to(again.min(data.len()));
        match known {
            Some(known) if known.starts_with(&repeated) => Ok(data),
            _ => Err(Error::NotAtEnd { offset, end }),
        }
    }

    /// Keeps what came too early. Returns whether that is all there is from `offset` on.
    fn keep(&mut self, offset: u64, data: Bytes) -> bool {
        let before = self.early.get(&offset).map_or(&[][..], |before| before);
        if data.len() < before.len() {
            return before.starts_with(&data);
        }
        let more = (data.len() - before.len()) as u64;
        if !self.lease.grow(more) {
            self.lease.overdraw(more);
        }
        self.early.insert(offset, data);
        true
    }

    /// Notes that `data` was taken, so that the file ends at `end`.
    pub(super) fn took(&mut self, data: &[u8], end: u64) {
        let kept = usize::try_from(end % *PAGE).unwrap_or_default();
        let new = kept.min(data.len());
        let old = (kept - new).min(self.tail.len());
        self.tail.drain(..self.tail.len() - old);
        self.tail.extend_from_slice(&data[data.len() - new..]);
    }

    /// What came too early, and is next in a file that ends at `end`: its offset and its bytes.
    pub(super) fn next(&mut self, end: u64) -> Option<(u64, Bytes)> {
        let first = self.early.first_entry()?;
        if *first.key() > end {
            return None;
        }
        let next = first.remove_entry();
        self.lease.shrink(next.1.len() as u64);
        Some(next)
    }

    /// Where the first bytes begin that came too early.
    pub(super) fn first_early(&self) -> Option<u64> {
        self.early.keys().next().copied()
    }

    /// The bytes from `offset` on of a file that ends at `end`, as far as they are still here: the rest of a
    /// page, when the kernel has let go of it and needs it again.
    pub(super) fn read(&self, end: u64, offset: u64) -> Option<Bytes> {
        let within = |start: u64, len: usize| {
            let skip = usize::try_from(offset.checked_sub(start)?).ok()?;
            (skip < len).then_some(skip)
        };
        if let Some((start, bytes)) = self.early.range(..=offset).next_back()
            && let Some(skip) = within(*start, bytes.len())
        {
            return Some(bytes.slice(skip..));
        }
        if offset >= end {
            return Some(Bytes::new());
        }
        let skip = within(end - self.tail.len() as u64, self.tail.len())?;
        Some(Bytes::copy_from_slice(&self.tail[skip..]))
    }
}

/// Bytes of a page of the page cache.
static PAGE: LazyLock<u64> = LazyLock::new(|| rustix::param::page_size() as u64);
