//! How far a file is that is being written.

use bytes::Bytes;

use super::buffer::Buffer;
use super::error::Error;
use super::funds::Funds;
use super::pages::{Lack, Pages};
use super::streaming::Streaming;
use crate::s3::ETag;

/// A file that is being written, under the lock of its handle.
pub(super) struct Inner {
    /// Where the next write has to begin.
    pub(super) end: u64,
    pub(super) pages: Option<Pages>,
    pub(super) stage: Stage,
}

/// What becomes of the bytes.
pub(super) enum Stage {
    /// No upload has begun.
    Buffering {
        buffer: Buffer,
        /// For a handle that appends, which never leaves this stage before its end.
        append: Option<Append>,
        funds: Funds,
    },
    Streaming(Streaming),
    Stored,
    Failed(Error),
}

impl Inner {
    /// Takes the stage out, to be put back when a step has ended. A step that is dropped in the
    /// middle leaves a failed file behind.
    pub(super) fn take(&mut self) -> Stage {
        std::mem::replace(&mut self.stage, Stage::Failed(Error::GivenUp))
    }

    /// What of `data` is to be taken now. What is wrong makes the file fail.
    pub(super) fn sort(&mut self, offset: u64, data: Bytes) -> Result<Bytes, Error> {
        let Some(pages) = &mut self.pages else {
            return Ok(data);
        };
        let sorted = pages.sort(self.end, offset, data);
        if let Err(error) = &sorted {
            self.fail(error);
        }
        sorted
    }

    /// Notes that `data` was taken.
    pub(super) fn took(&mut self, data: &[u8]) {
        self.end += data.len() as u64;
        if let Some(pages) = &mut self.pages {
            pages.took(data);
        }
    }

    /// What came too early, and may be taken now.
    pub(super) fn next(&mut self) -> Option<(u64, Bytes)> {
        self.pages.as_mut()?.next(self.end)
    }

    /// Whether `length` bytes at `offset` are taken as they come, so that nothing has to be sorted.
    pub(super) fn is_plain(&self, offset: u64, length: usize) -> bool {
        match &self.pages {
            None => true,
            Some(pages) => offset == self.end && pages.is_plain(offset + length as u64),
        }
    }

    /// Whether nothing came, and no length was set.
    pub(super) fn is_untouched(&self, start: u64) -> bool {
        self.end == start && self.lacks().is_none()
    }

    fn lacks(&self) -> Option<Lack> {
        self.pages.as_ref()?.lacks(self.end)
    }

    /// Gives the file a length, up to which bytes have to come. `false` if it has more.
    pub(super) fn set_length(&mut self, length: u64) -> bool {
        match &mut self.pages {
            Some(pages) if length >= self.end => {
                pages.set_length(length);
                true
            }
            _ => false,
        }
    }

    /// What was kept back, and may be taken now that the file is to be complete.
    pub(super) fn last(&mut self) -> Option<(u64, Bytes)> {
        self.pages.as_mut()?.settle();
        self.next()
    }

    /// Makes the file fail if bytes are missing: before others that were written, or up to the length that it
    /// was given.
    pub(super) fn check_whole(&mut self) -> Result<(), Error> {
        let end = self.end;
        let error = match (&self.stage, self.lacks()) {
            (Stage::Failed(_), _) | (_, None) => return Ok(()),
            (_, Some(Lack::Before(offset))) => Error::NotAtEnd { offset, end },
            (_, Some(Lack::UpTo(length))) => Error::TooShort { length, end },
        };
        self.fail(&error);
        Err(error)
    }

    /// Ends the file with `error`, and gives back the memory of what came too early.
    pub(super) fn fail(&mut self, error: &Error) {
        self.stage = Stage::Failed(error.clone());
        if let Some(pages) = &mut self.pages {
            pages.drop_early();
        }
    }
}

/// What the next append goes on from: the version and its length, unless there is no object yet.
pub(super) struct Append {
    pub(super) base: Option<(ETag, u64)>,
}
