//! What `stat` and `statfs` say.

use std::time::{Duration, SystemTime};

use super::config::FsConfig;
use super::posix;
use crate::s3::ObjectInfo;
use crate::tree::{InodeNo, LocalAttr, Node, NodeKind};

/// Attributes of a file or directory.
/// POSIX: [`<sys/stat.h>`](https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/sys_stat.h.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: InodeNo,
    /// File, directory or symbolic link.
    pub kind: FileKind,
    /// Length in bytes; 0 for directories.
    pub size: u64,
    /// Length in units of 512 bytes, rounded up.
    pub blocks: u64,
    /// Time of last access. In S3 it is that of the last modification.
    pub accessed: SystemTime,
    /// Time of last modification, and of status change.
    pub modified: SystemTime,
    /// Permission bits.
    pub mode: u16,
    /// Number of names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Attr {
    /// Preferred size of an I/O request in bytes, `st_blksize`.
    pub const BLOCK_SIZE: u32 = 4096;

    pub(super) fn of_node(node: &Node, config: &FsConfig) -> Self {
        match &node.kind {
            NodeKind::Directory { modified } => Self::of_directory(node.ino, *modified, config),
            NodeKind::File(info) => Self::of_file(node.ino, info, config),
            NodeKind::Local(attr) => Self::of_local(node.ino, attr, config),
        }
    }

    pub(super) fn of_file(ino: InodeNo, info: &ObjectInfo, config: &FsConfig) -> Self {
        let posix = posix::of(info, config);
        let modified = posix.modified.unwrap_or(info.last_modified);
        let mode = posix.permissions().unwrap_or(config.file_mode);
        Self {
            ino,
            kind: if posix::is_symlink(info, &posix) {
                FileKind::Symlink
            } else {
                FileKind::File
            },
            size: info.size,
            blocks: info.size.div_ceil(512),
            accessed: modified,
            modified,
            // An archived object cannot be read by anybody.
            mode: if info.is_readable() { mode } else { 0 },
            nlink: 1,
            uid: posix.uid.unwrap_or(config.uid),
            gid: posix.gid.unwrap_or(config.gid),
        }
    }

    pub(super) fn of_local(ino: InodeNo, attr: &LocalAttr, config: &FsConfig) -> Self {
        Self {
            ino,
            kind: FileKind::File,
            size: attr.size,
            blocks: attr.size.div_ceil(512),
            accessed: attr.accessed,
            modified: attr.modified,
            mode: attr.posix.permissions().unwrap_or(config.file_mode),
            nlink: 1,
            uid: attr.posix.uid.unwrap_or(config.uid),
            gid: attr.posix.gid.unwrap_or(config.gid),
        }
    }

    fn of_directory(ino: InodeNo, modified: SystemTime, config: &FsConfig) -> Self {
        Self {
            ino,
            kind: FileKind::Directory,
            size: 0,
            blocks: 0,
            accessed: modified,
            modified,
            mode: config.dir_mode,
            // Only file systems that count sub-directories have more, and `find` knows that 2
            // or less means nothing.
            nlink: 2,
            uid: config.uid,
            gid: config.gid,
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// An answer about a name or an inode, and how long it may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The attributes.
    pub attr: Attr,
    /// How long the kernel may answer from its copy.
    pub valid_for: Duration,
}

/// What `statfs` says: S3 has no limits worth the name.
/// POSIX: [`<sys/statvfs.h>`](https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/sys_statvfs.h.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatFs {
    /// Blocks in all, free, and available; inodes in all and free.
    pub capacity: u64,
    /// Size of a block in bytes.
    pub block_size: u32,
    /// The longest name of a file in bytes.
    pub name_max: u32,
}

impl StatFs {
    /// The same for every mount. The number of blocks leaves room for programs that multiply it
    /// by the size of a block in 64 bits.
    pub(super) const UNLIMITED: Self = Self {
        capacity: u64::MAX / 1024,
        block_size: 512,
        name_max: 255,
    };
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::s3::{ETag, Restore, StorageClass};
    use crate::tree::ROOT;

    fn config() -> FsConfig {
        FsConfig {
            file_mode: 0o640,
            dir_mode: 0o750,
            ..FsConfig::new(7, 8)
        }
    }

    fn info(size: u64, storage_class: StorageClass, restore: Restore) -> ObjectInfo {
        ObjectInfo {
            etag: ETag::new("\"e\""),
            size,
            last_modified: UNIX_EPOCH + Duration::from_secs(99),
            storage_class,
            restore,
            details: None,
        }
    }

    fn file(size: u64, storage_class: StorageClass, restore: Restore) -> Attr {
        Attr::of_file(ROOT, &info(size, storage_class, restore), &config())
    }

    #[test]
    fn s01_directory_has_two_links_and_its_mode() {
        let node = Node {
            ino: ROOT,
            kind: NodeKind::Directory {
                modified: UNIX_EPOCH,
            },
            valid_for: Duration::ZERO,
        };
        let attr = Attr::of_node(&node, &config());
        assert_eq!(attr.kind, FileKind::Directory);
        assert_eq!((attr.nlink, attr.mode), (2, 0o750));
        assert_eq!(attr.modified, UNIX_EPOCH);
        assert_eq!((attr.uid, attr.gid), (7, 8));
    }

    #[test]
    fn s32_file_counts_blocks_of_512_rounded_up() {
        for (size, blocks) in [(0, 0), (1, 1), (512, 1), (513, 2), (u64::MAX, 1 << 55)] {
            let attr = file(size, StorageClass::Readable, Restore::None);
            assert_eq!((attr.size, attr.blocks), (size, blocks));
        }
    }

    #[test]
    fn s32_file_has_one_link_and_the_object_time() {
        let attr = file(5, StorageClass::Readable, Restore::None);
        assert_eq!(attr.kind, FileKind::File);
        assert_eq!((attr.nlink, attr.mode), (1, 0o640));
        assert_eq!(attr.modified, UNIX_EPOCH + Duration::from_secs(99));
        assert_eq!((attr.uid, attr.gid), (7, 8));
    }

    #[test]
    fn s34_archived_file_has_no_permissions_until_restored() {
        let mode = |restore| file(5, StorageClass::Archived, restore).mode;
        assert_eq!(mode(Restore::None), 0);
        assert_eq!(mode(Restore::InProgress), 0);
        assert_eq!(mode(Restore::Done), 0o640);
    }
}
