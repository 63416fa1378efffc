//! What is known for good of the inodes that are open.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError, RwLock};

use crate::s3::ObjectInfo;
use crate::tree::{InodeNo, LocalFile};

/// What open files are, by inode. An inode stands for one version, or for what one writer writes,
/// so all handles of an inode agree. Every method may be called from any thread.
#[derive(Debug, Default)]
pub(super) struct Pins(RwLock<HashMap<InodeNo, Pin>>);

/// What an open file is.
#[derive(Debug, Clone)]
pub(super) enum Pinned {
    /// This version.
    Version(ObjectInfo),
    /// What is being written.
    Local(Arc<LocalFile>),
}

#[derive(Debug)]
struct Pin {
    pinned: Pinned,
    handles: usize,
}

impl Pins {
    /// Counts one more handle of `ino`. A writer outdoes the readers that closed the file before.
    pub(super) fn add(&self, ino: InodeNo, pinned: Pinned) {
        let mut pins = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match pins.entry(ino) {
            Entry::Vacant(pin) => {
                pin.insert(Pin { pinned, handles: 1 });
            }
            Entry::Occupied(mut pin) => {
                let pin = pin.get_mut();
                pin.handles += 1;
                if matches!(pinned, Pinned::Local(_)) {
                    pin.pinned = pinned;
                }
            }
        }
    }

    /// Counts one handle of `ino` less.
    pub(super) fn remove(&self, ino: InodeNo) {
        let mut pins = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(pin) = pins.get_mut(&ino) {
            pin.handles -= 1;
            if pin.handles == 0 {
                pins.remove(&ino);
            }
        }
    }

    /// Notes that the version that `ino` is open in is described as `info` from now on.
    pub(super) fn describe(&self, ino: InodeNo, info: &ObjectInfo) {
        let mut pins = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(pin) = pins.get_mut(&ino)
            && let Pinned::Version(pinned) = &mut pin.pinned
        {
            pinned.clone_from(info);
        }
    }

    /// What `ino` is, if it is open.
    pub(super) fn get(&self, ino: InodeNo) -> Option<Pinned> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&ino)
            .map(|pin| pin.pinned.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::s3::{ETag, Restore, StorageClass};

    #[test]
    fn get_answers_from_the_first_to_the_last_handle() {
        let info = ObjectInfo {
            etag: ETag::new("\"e\""),
            size: 3,
            last_modified: UNIX_EPOCH,
            storage_class: StorageClass::Readable,
            restore: Restore::None,
            details: None,
        };
        let pins = Pins::default();
        let ino = InodeNo(5);
        assert!(pins.get(ino).is_none());
        pins.add(ino, Pinned::Version(info.clone()));
        pins.add(ino, Pinned::Version(info.clone()));
        pins.remove(ino);
        assert!(matches!(pins.get(ino), Some(Pinned::Version(found)) if found == info));
        assert!(pins.get(InodeNo(6)).is_none());
        pins.remove(ino);
        assert!(pins.get(ino).is_none());
        pins.remove(ino);
    }
}
