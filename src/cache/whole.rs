//! Files that have all of a version, for the kernel to read them by itself.

use std::fs::{File, Metadata, TryLockError};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use log::debug;
use rustix::fs::{Advice, fadvise};

use super::name::{Name, Short};
use super::place::{Layout, Place, open_to_read};
use super::proof::{Era, Proven, Stamp};
use super::uses::note_use;
use super::{BLOCK, Shared};

/// A file that has all bytes of one version of an object. As long as this, or a file that the kernel
/// has opened from it, is open, nobody removes it to make room.
#[derive(Debug)]
pub struct WholeFile {
    file: File,
    name: Short,
    /// What it was when it was found.
    stamp: Stamp,
    /// When that was.
    era: Era,
}

impl WholeFile {
    /// Whether it is still what `proven` says is good, and the disk has not failed since it was found.
    pub(super) fn is_in(&self, proven: &Proven) -> bool {
        proven.get(&self.name) == Some(self.stamp) && proven.era() == self.era
    }
}

impl AsFd for WholeFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Shared {
    /// The file of the version `name` of `size` bytes, if all its blocks were good when this process saw
    /// them last, and it was not written since. Waits for the disk no longer than opening a file takes.
    pub(super) fn whole(self: &Arc<Self>, name: &Name, size: u64) -> Option<WholeFile> {
        let short = name.short();
        let era = self.proven.era();
        let stamp = self.proven.get(&short)?;
        let place = self.entries.place(name, size);
        let found = open_to_read(&place.data()).and_then(|file| {
            let metadata = file.metadata()?;
            Ok((file, metadata))
        });
        match found {
            Ok((file, now)) if Stamp::of(&now) == stamp => match file.try_lock_shared() {
                Ok(()) => {
                    read_ahead(&file, size);
                    if self.proven.note_used(&short) {
                        note_use_at(&place, &file, &now);
                    }
                    self.metrics.whole.add(1);
                    self.probe(place, short, size);
                    return Some(WholeFile {
                        file,
                        name: short,
                        stamp,
                        era,
                    });
                }
                // It is being removed.
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    debug!("a file of the cache cannot be locked: {error}");
                }
            },
            // Somebody has written to it, or put another one in its place.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => self.failed("opened", &error),
        }
        self.proven.remove(&short);
        self.entries.forget(name);
        None
    }
}

/// Lets the disk begin with a file that is most likely read as a whole, before its reader has heard that it
/// is open.
fn read_ahead(file: &File, size: u64) {
    if size <= BLOCK {
        // It is read all the same.
        _ = fadvise(file, 0, None, Advice::WillNeed);
    }
}

/// Notes a use of the entry at `place`, whose bytes are in `data` with this metadata.
fn note_use_at(place: &Place, data: &File, metadata: &Metadata) {
    match place.layout() {
        Layout::Attribute => note_use(place.layout(), data, metadata),
        Layout::Map => {
            let noted = open_to_read(&place.notes()).and_then(|map| {
                note_use(place.layout(), &map, &map.metadata()?);
                Ok(())
            });
            if let Err(error) = noted {
                debug!("a use of a file of the cache is not noted: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{IoSliceMut, Write};
    use std::thread;
    use std::time::Duration;

    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    use super::*;
    use crate::cache::entry::block_len;
    use crate::wait::{LONG, wait_for};

    /// Whether the page cache has the last byte of a block.
    fn is_in_memory(file: &File) -> bool {
        let mut byte = [0];
        let into = &mut [IoSliceMut::new(&mut byte)];
        match preadv2(file, into, BLOCK - 1, ReadWriteFlags::NOWAIT) {
            Ok(read) => read == 1,
            Err(Errno::AGAIN) => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn small_file_is_read_before_anybody_asks_for_its_bytes() {
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).expect("a file");
        file.write_all(&vec![7; block_len()]).expect("written");
        file.sync_all().expect("on the disk");
        let wait = |what, is_so: &dyn Fn() -> bool| wait_for(what, LONG, || is_so().then_some(()));
        // Asking brings it in as well, a moment later. So each try asks once, and ends when it is there: what is
        // still being read would not be dropped.
        let is_read_ahead = |size| {
            fadvise(&file, 0, None, Advice::DontNeed).expect("advised");
            read_ahead(&file, size);
            thread::sleep(Duration::from_millis(100));
            let is_read = is_in_memory(&file);
            wait("it is read", &|| is_in_memory(&file));
            is_read
        };
        wait("what is too large is not read", &|| {
            !is_read_ahead(BLOCK + 1)
        });
        wait("what is small is read", &|| is_read_ahead(BLOCK));
        wait("what is too large is not read", &|| {
            !is_read_ahead(BLOCK + 1)
        });
    }
}
