//! Between the types of FUSE and those of [`crate::fs`].

use std::time::UNIX_EPOCH;

use fuser::{FileAttr, FileHandle, FileType, Generation, INodeNo, Request};

use crate::fs::InodeNo;
use crate::fs::{Attr, Creator, FileKind, HandleNo};

pub(super) fn inode(ino: INodeNo) -> InodeNo {
    InodeNo(ino.0)
}

pub(super) fn handle(handle: FileHandle) -> HandleNo {
    HandleNo(handle.0)
}

/// Who makes what `mode` says.
pub(super) fn creator(request: &Request, mode: u32) -> Creator {
    Creator {
        mode,
        uid: request.uid(),
        gid: request.gid(),
    }
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
    }
}

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.accessed,
        mtime: attr.modified,
        ctime: attr.modified,
        crtime: attr.modified,
        kind: file_type(attr.kind),
        perm: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: Attr::BLOCK_SIZE,
        flags: 0,
    }
}

/// What stands for a name that leads nowhere.
pub(super) fn absent_attr() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// One inode number stands for one path in one version, so there is one generation of each.
pub(super) const GENERATION: Generation = Generation(0);
