//! Files that have all of a version, for the kernel to read them by itself.

use std::fs::{File, TryLockError};
use std::os::fd::{AsFd, BorrowedFd};

use log::debug;

use super::Shared;
use super::entry::{data_of, map_of, open_to_read, touch_at};
use super::name::Name;
use super::proof::Stamp;

/// A file that has all bytes of one version of an object. As long as this, or a file that the kernel
/// has opened from it, is open, nobody removes it to make room.
#[derive(Debug)]
pub struct WholeFile(File);

impl AsFd for WholeFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Shared {
    /// The file of the version `name`, if all its blocks were good when this process saw them last,
    /// and it was not written since. Waits for the disk no longer than opening a file takes.
    pub(super) fn whole(&self, name: &Name) -> Option<WholeFile> {
        let short = name.short();
        let stamp = self.proven.get(&short)?;
        let place = self.entries.place(name);
        let found = open_to_read(&data_of(&place)).and_then(|file| {
            let metadata = file.metadata()?;
            Ok((file, Stamp::of(&metadata)))
        });
        match found {
            Ok((file, now)) if now == stamp => match file.try_lock_shared() {
                Ok(()) => {
                    if self.proven.note_used(&short) {
                        touch_at(&map_of(&place));
                    }
                    self.metrics.whole.add(1);
                    return Some(WholeFile(file));
                }
                // It is being removed.
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    debug!("a file of the cache cannot be locked: {error}");
                }
            },
            // Somebody has written to it, or put another one in its place.
            Ok(_) => {}
            Err(error) => debug!("a file of the cache cannot be opened: {error}"),
        }
        self.proven.remove(&short);
        self.entries.forget(name);
        None
    }
}
