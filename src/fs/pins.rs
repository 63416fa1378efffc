//! What is known for good of the inodes that are open.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::s3::ObjectInfo;
use crate::tree::InodeNo;

/// The versions of open files, by inode: an inode stands for one version, so all handles of an
/// inode agree. Every method may be called from any thread.
#[derive(Debug, Default)]
pub(super) struct Pins(RwLock<HashMap<InodeNo, Pin>>);

#[derive(Debug)]
struct Pin {
    info: ObjectInfo,
    handles: usize,
}

impl Pins {
    /// Counts one more handle of `ino`.
    pub(super) fn add(&self, ino: InodeNo, info: &ObjectInfo) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(ino)
            .or_insert_with(|| Pin {
                info: info.clone(),
                handles: 0,
            })
            .handles += 1;
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

    /// The version of `ino`, if it is open.
    pub(super) fn get(&self, ino: InodeNo) -> Option<ObjectInfo> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&ino)
            .map(|pin| pin.info.clone())
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
        };
        let pins = Pins::default();
        let ino = InodeNo(5);
        assert_eq!(pins.get(ino), None);
        pins.add(ino, &info);
        pins.add(ino, &info);
        pins.remove(ino);
        assert_eq!(pins.get(ino), Some(info));
        assert_eq!(pins.get(InodeNo(6)), None);
        pins.remove(ino);
        assert_eq!(pins.get(ino), None);
        pins.remove(ino);
    }
}
