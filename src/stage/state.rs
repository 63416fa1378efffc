//! What is known of a staged file at a moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Error;
use super::blocks::{self, Blocks};
use super::record::{Base, Record, Version};
use crate::read::ReadHandle;
use crate::s3::Key;

/// What a staged file is at the moment.
#[derive(Debug)]
pub(super) struct State {
    pub(super) record: Record,
    pub(super) key: Key,
    pub(super) size: u64,
    pub(super) blocks: Blocks,
    /// Reads the version that `record` says is the base.
    pub(super) base: Option<Arc<ReadHandle>>,
    /// The metadata that the object has, if S3 has this file.
    pub(super) stored_metadata: Option<BTreeMap<String, String>>,
    /// Whether nothing was written since the file was begun.
    pub(super) is_untouched: bool,
    pub(super) fate: Fate,
}

/// What becomes of a staged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is on the disk until it is stored.
    Kept,
    /// Its name is gone: only those use it who have it open, and nothing of it is stored.
    Removed,
    /// S3 has it, or nobody wants it: a change would be lost, and fails.
    LetGo,
}

impl State {
    /// Whether S3 has other bytes than this file.
    pub(super) fn has_changed(&self) -> bool {
        // What is noted of blocks beyond the end counts no more.
        let blocks = blocks::covering(&(0..self.size));
        match &self.record.base {
            None => true,
            Some(base) => base.size != self.size || self.blocks.is_dirty(blocks),
        }
    }

    /// Whether the object has the metadata that it is to have. What a later process has reopened it
    /// does not know of, and leaves as it is.
    pub(super) fn is_described(&self) -> bool {
        let stored = self.stored_metadata.as_ref();
        stored.is_none_or(|stored| *stored == self.record.metadata)
    }

    /// Notes that what is changed from now on would be lost, unless the name is gone: those who have the
    /// file open may go on then.
    pub(super) fn give_up(&mut self) {
        if self.fate == Fate::Kept {
            self.fate = Fate::LetGo;
        }
    }

    /// Whether it may be changed.
    ///
    /// # Errors
    /// [`Error::LetGo`].
    pub(super) fn check_kept(&self) -> Result<(), Error> {
        match self.fate {
            Fate::Kept | Fate::Removed => Ok(()),
            Fate::LetGo => Err(Error::LetGo),
        }
    }

    /// Notes that S3 has this file, as `version`.
    pub(super) fn rebase(&mut self, version: &Version, reader: Arc<ReadHandle>) {
        self.record.base = Some(Base::new(version));
        self.record.has_object = true;
        self.base = Some(reader);
    }
}
