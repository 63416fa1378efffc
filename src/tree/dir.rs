//! An open directory, wherever its names come from.

use super::caching::Caching;
use super::error::Error;
use super::indexed::IndexDir;
use super::readdir::{BucketDir, DirEntry, Emit};

/// One open directory.
#[derive(Debug)]
pub struct DirHandle(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Bucket(Box<BucketDir>),
    Index(IndexDir),
}

impl DirHandle {
    /// What may be done with the entries.
    pub fn caching(&self) -> Caching {
        match &self.0 {
            Kind::Bucket(dir) => dir.caching(),
            Kind::Index(_) => Caching::Keep,
        }
    }

    /// Hands the entries from `offset` on to `emit` until it has no room, or until what is at
    /// hand is used up. That nothing was handed over means the end. With `plus`, the kernel gets
    /// a reference to each entry that `emit` takes, except `.` and `..`, as from a lookup.
    ///
    /// Offset 0 is the start; others are those of entries, of those read last at least; where the
    /// entries may be kept, of all that any handle of the directory was given. After a change that
    /// is known, reading on from an entry that another handle was given may begin anew.
    ///
    /// # Errors
    /// [`Error::BadOffset`]; [`Error::Stale`] when the directory was renamed since it was read from
    /// the start; [`Error::S3`]; then nothing was handed over. [`Error::Index`], which may come after
    /// entries.
    ///
    /// # Cancel safety
    /// Safe: nothing is handed over before the last point where the future waits.
    pub async fn read(
        &self,
        offset: u64,
        plus: bool,
        emit: &mut (dyn FnMut(DirEntry) -> Emit + Send),
    ) -> Result<(), Error> {
        match &self.0 {
            Kind::Bucket(dir) => dir.read(offset, plus, emit).await,
            Kind::Index(dir) => dir.read(offset, emit),
        }
    }
}
