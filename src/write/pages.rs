//! Bytes of a file that the kernel gathers in its page cache before it hands them over.
//!
//! The kernel hands over the pages of a file that is written from start to end nearly in that order, and not
//! quite: requests overtake each other, and the page in which the file ends comes again when it has more bytes,
//! sometimes with pages before it.
//!
//! Where a program has set a length before it writes, the kernel hands over whole pages, filled up with zeros, and
//! the program may go on to write the last of them meanwhile: any byte of that may be missing. So the end of each
//! request is kept back, until it comes again, the file is complete, or much has come behind it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::error::Error;
use super::taken::{PAGE, Taken};
use crate::memory::{Budget, Lease};

/// Puts pages in order. What came too early is paid for, even beyond the budget: the kernel holds back the
/// pages before it no longer than it takes to write what it holds, and would have kept the memory itself.
pub(super) struct Pages {
    /// What came before its turn, or is kept back, by offset. No two overlap.
    early: BTreeMap<u64, Bytes>,
    lease: Lease,
    taken: Taken,
    /// The length that somebody has set last.
    length: u64,
    /// Where the bytes begin that are kept back.
    doubtful: Option<u64>,
    /// Before this no bytes are kept back.
    settled: u64,
}

impl Pages {
    /// Nothing came yet.
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self {
            early: BTreeMap::new(),
            lease: budget.open_without_holder().empty_lease(),
            taken: Taken::default(),
            length: 0,
            doubtful: None,
            settled: 0,
        }
    }

    /// Notes that somebody has set the length of the file, which is not less than what was taken.
    pub(super) fn set_length(&mut self, length: u64) {
        self.length = length;
        self.forget_early(length..u64::MAX);
    }

    /// Takes what is kept back as it is: the kernel has nothing more of the file.
    pub(super) fn settle(&mut self) {
        self.doubtful = None;
        self.settled = u64::MAX;
    }

    /// What has to come before a file that ends at `end` can be complete.
    pub(super) fn lacks(&self, end: u64) -> Option<Lack> {
        let early = self.early.keys().next();
        match early {
            Some(offset) => Some(Lack::Before(*offset)),
            None if self.length > end => Some(Lack::UpTo(self.length)),
            None => None,
        }
    }

    /// Whether bytes up to `stop` that continue a file are taken as they come.
    pub(super) fn is_plain(&self, stop: u64) -> bool {
        self.early.is_empty() && stop > self.length
    }

    /// What of `data`, which begins at `offset`, continues the file that ends at `end`. What came too early
    /// is kept for its turn.
    ///
    /// # Errors
    /// [`Error::NotAtEnd`]: bytes that were taken before are to be others now; or so much came that this is no
    /// matter of order any more, but a hole.
    pub(super) fn sort(&mut self, end: u64, offset: u64, mut data: Bytes) -> Result<Bytes, Error> {
        // A page that comes again has all that it had before.
        self.forget_early(offset..offset + data.len() as u64);
        if offset > end {
            if self.lease.bytes() + data.len() as u64 > MOST_EARLY {
                return Err(Error::NotAtEnd { offset, end });
            }
            self.keep(offset, data);
            return Ok(Bytes::new());
        }
        let back = back(end, offset);
        let again = data.split_to(back.min(data.len()));
        if self.taken.has(&again, back) {
            Ok(self.keep_doubtful(end, data))
        } else {
            Err(Error::NotAtEnd { offset, end })
        }
    }

    /// What of `data`, which continues the file that ends at `end`, is what it will be: all but the page of the
    /// last byte that is not zero and what is behind, if the file was given a length that is not passed.
    fn keep_doubtful(&mut self, end: u64, mut data: Bytes) -> Bytes {
        let stop = end + data.len() as u64;
        if stop > self.length || stop <= self.settled || data.is_empty() {
            return data;
        }
        let zeros = data.iter().rev().take_while(|byte| **byte == 0).count();
        let last = (stop - zeros as u64).saturating_sub(1);
        let page = *PAGE as u64;
        let place = (last / page * page).max(self.settled).max(end);
        let doubtful = data.split_off(back(place, end));
        self.keep(place, doubtful);
        self.doubtful = Some(place);
        data
    }

    /// Keeps what came too early, and is not empty.
    fn keep(&mut self, offset: u64, data: Bytes) {
        let more = data.len() as u64;
        if !self.lease.grow(more) {
            self.lease.overdraw(more);
        }
        self.early.insert(offset, data);
    }

    /// Drops what came too early of these bytes.
    fn forget_early(&mut self, bytes: Range<u64>) {
        while let Some((start, piece)) = self.early.range(..bytes.end).next_back() {
            let (start, end) = (*start, *start + piece.len() as u64);
            if end <= bytes.start {
                return;
            }
            let within = |place: u64| usize::try_from(place - start).unwrap_or(usize::MAX);
            let before = (start < bytes.start).then(|| piece.slice(..within(bytes.start)));
            let behind = (end > bytes.end).then(|| piece.slice(within(bytes.end)..));
            self.early.remove(&start);
            self.lease.shrink(end - start);
            if before.is_none() && self.doubtful == Some(start) {
                self.doubtful = None;
            }
            for (start, piece) in [(start, before), (bytes.end, behind)] {
                if let Some(piece) = piece {
                    self.keep(start, piece);
                }
            }
        }
    }

    /// Drops all that came too early.
    pub(super) fn drop_early(&mut self) {
        self.early.clear();
        self.lease.shrink(self.lease.bytes());
    }

    /// Notes that `data` was taken.
    pub(super) fn took(&mut self, data: &[u8]) {
        self.taken.add(data);
    }

    /// What came too early, and is next in a file that ends at `end`: its offset and its bytes.
    pub(super) fn next(&mut self, end: u64) -> Option<(u64, Bytes)> {
        let first = self.early.first_entry()?;
        if *first.key() > end {
            return None;
        }
        if self.doubtful == Some(*first.key()) {
            if self.lease.bytes() <= MOST_BEHIND_DOUBTFUL {
                return None;
            }
            self.doubtful = None;
            self.settled = *first.key() + first.get().len() as u64;
        }
        let next = first.remove_entry();
        self.lease.shrink(next.1.len() as u64);
        Some(next)
    }

    /// Up to `size` bytes from `offset` on of a file that ends at `end`, zeros where nothing came, as far as
    /// they are still here: a page that the kernel has let go of and needs again.
    pub(super) fn read(&self, end: u64, offset: u64, size: usize) -> Option<Bytes> {
        let stop = offset + size as u64;
        let mut page = vec![0; size];
        let mut len = 0;
        let mut put = |at: u64, bytes: &[u8]| {
            let skipped = back(offset, at.min(offset)).min(bytes.len());
            let start = back(at.max(offset), offset);
            let bytes = &bytes[skipped..][..(size - start).min(bytes.len() - skipped)];
            page[start..][..bytes.len()].copy_from_slice(bytes);
            len = len.max(start + bytes.len());
        };
        if offset < end {
            put(offset, &self.taken.read(back(end, offset))?);
        }
        for (start, piece) in self.early.range(..stop).rev() {
            if *start + piece.len() as u64 <= offset {
                break;
            }
            put(*start, piece);
        }
        page.truncate(len);
        Some(page.into())
    }
}

/// Bytes that may come before their turn. The kernel writes back what it has gathered in turns, each no more than
/// half of what is written in a second.
const MOST_EARLY: u64 = 1 << 30;

/// Bytes that may come behind others that are kept back. If the kernel had more of those, it would have handed them
/// over by then, unless it goes through a larger part of the file from its middle on.
const MOST_BEHIND_DOUBTFUL: u64 = 16 << 20;

/// What a file lacks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lack {
    /// Bytes before those at this offset.
    Before(u64),
    /// Bytes up to this length.
    UpTo(u64),
}

/// How many bytes `offset` is before `end`, in memory.
fn back(end: u64, offset: u64) -> usize {
    usize::try_from(end - offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_hole_is_not_kept_without_end() {
        let mut pages = Pages::new(&Budget::unlimited());
        let piece = Bytes::from(vec![7; 1 << 20]);
        let fill = |pages: &mut Pages, number: u64| pages.sort(0, number << 20, piece.clone());
        for number in 1..=1024 {
            assert!(fill(&mut pages, number).expect("kept").is_empty());
        }
        assert!(fill(&mut pages, 1).is_ok(), "the same place again");
        let error = fill(&mut pages, 1025).expect_err("too much");
        assert!(matches!(error, Error::NotAtEnd { end: 0, .. }), "{error}");
    }
}
