//! Operations on open directories.

use std::ffi::OsStr;

use log::debug;

use super::attr::Entry;
use super::errno::Error;
use super::handles::HandleNo;
use super::{Caching, Emit, Fs, InodeNo};

/// A directory that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedDir {
    /// The handle.
    pub dir: HandleNo,
    /// What may be done with its entries.
    pub caching: Caching,
}

/// One entry of a directory.
#[derive(Debug, Clone, Copy)]
pub struct DirEntry<'a> {
    /// The name.
    pub name: &'a OsStr,
    /// Where reading goes on after this entry.
    pub next_offset: u64,
    /// The inode; of the attributes only [`Attr::ino`](super::Attr::ino) and
    /// [`Attr::kind`](super::Attr::kind) are known unless the read was asked for more.
    pub entry: Entry,
}

impl Fs {
    /// Opens a directory for reading.
    ///
    /// # Errors
    /// Any failure of the namespace.
    pub async fn opendir(&self, ino: InodeNo) -> Result<OpenedDir, Error> {
        let dir = self.tree.open_dir(ino).await?;
        let caching = dir.caching();
        Ok(OpenedDir {
            dir: self.dirs.insert(dir),
            caching,
        })
    }

    /// Reads entries of a directory from `offset` on, which is 0 or the
    /// [`next_offset`](DirEntry::next_offset) of the last entry of the call before, and hands them
    /// to `emit` until it is full. With `plus`, each entry that is taken counts one reference to
    /// its inode, as [`Self::lookup`] does.
    ///
    /// # Errors
    /// Any failure of the namespace before the first entry; a later one only ends the call, and
    /// meets the caller who goes on reading. [`Error::UnknownHandle`].
    pub async fn readdir(
        &self,
        dir: HandleNo,
        offset: u64,
        plus: bool,
        emit: &mut (dyn FnMut(DirEntry<'_>) -> Emit + Send),
    ) -> Result<(), Error> {
        let dir = self.dirs.get(dir)?;
        let mut taken = false;
        let result = dir
            .read(offset, plus, &mut |entry| {
                let emitted = emit(DirEntry {
                    name: OsStr::new(&*entry.name),
                    next_offset: entry.offset,
                    entry: self.entry(&entry.node),
                });
                taken |= emitted == Emit::Taken;
                emitted
            })
            .await;
        match result {
            Err(error) if taken => {
                debug!("a directory is read in part: {error}");
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Closes a directory.
    ///
    /// # Errors
    /// [`Error::UnknownHandle`].
    pub fn releasedir(&self, dir: HandleNo) -> Result<(), Error> {
        self.dirs.remove(dir).map(drop)
    }
}
