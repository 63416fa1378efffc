//! How long the entries of a directory may be kept by who has read them.

use super::Core;
use super::expiry::{Moment, Ttl};
use super::inode::{Content, InodeNo};

/// What may be done with the entries of a directory, beyond reading them once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Nothing: each reader asks.
    No,
    /// They may be kept, in place of those that were kept before.
    Renew,
    /// Those that were kept before are still good.
    Keep,
}

impl Core {
    /// What may be done with the entries of the directory `ino`. They are kept only under a [`Ttl`] of
    /// its own, which counts from when S3 was asked for the first of them, and until this mount changes
    /// one.
    pub(super) fn caching(&self, ino: InodeNo) -> Caching {
        let Ttl::For(ttl) = self.config.ttl else {
            return Caching::No;
        };
        let table = self.table();
        let listed = match table.get(ino).map(|inode| &inode.content) {
            Ok(Content::Directory(directory)) => directory.listed,
            Ok(Content::File(_) | Content::Local(_)) | Err(_) => None,
        };
        let left = listed.and_then(|asked| asked.remaining(ttl, self.clock.now()));
        left.map_or(Caching::Renew, |_left| Caching::Keep)
    }

    /// How often the entries of the directory `ino` have changed, as far as is known.
    pub(super) fn changes_of(&self, ino: InodeNo) -> u32 {
        match self.table().get(ino).map(|inode| &inode.content) {
            Ok(Content::Directory(directory)) => directory.changes,
            Ok(Content::File(_) | Content::Local(_)) | Err(_) => 0,
        }
    }

    /// The furthest position in the directory `ino` at which a read may be asked to go on.
    pub(super) fn furthest(&self, ino: InodeNo) -> u64 {
        match self.table().get(ino).map(|inode| &inode.content) {
            Ok(Content::Directory(directory)) => directory.furthest,
            Ok(Content::File(_) | Content::Local(_)) | Err(_) => 0,
        }
    }

    /// Notes that entries of the directory `ino` up to the position `end` may be given to a reader.
    pub(super) fn note_given(&self, ino: InodeNo, end: u64) {
        if let Ok(directory) = self.table().directory_mut(ino) {
            directory.furthest = directory.furthest.max(end);
        }
    }

    /// Notes that all entries of the directory `ino` were read, the first of which S3 was asked for
    /// at `asked`, when the entries had changed `changes` times.
    pub(super) fn note_listed(&self, ino: InodeNo, asked: Moment, changes: u32) {
        let mut table = self.table();
        if let Ok(directory) = table.directory_mut(ino)
            && directory.changes == changes
        {
            directory.listed = directory.listed.max(Some(asked));
        }
    }
}
