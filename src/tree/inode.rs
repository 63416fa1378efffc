//! Inodes: what the kernel knows by number.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::expiry::Moment;
use super::local::{Local, LocalAttr};
use super::short::Name;
use crate::s3::{ETag, Key, ObjectInfo};

/// The number of an inode.
///
/// A file's number is made from its path and its ETag, a directory's from its path: another
/// version of an object is another inode, and the same version has the same number each time it
/// is looked up (unless two live inodes would collide). No caller may rely on more than that one
/// number stands for one inode while the kernel holds a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeNo(pub u64);

/// The directory that is mounted.
pub const ROOT: InodeNo = InodeNo(1);

impl InodeNo {
    /// The first number to try for `name` in `parent`, in the version `etag` if it is a file.
    pub(super) fn derive(parent: Self, name: &str, etag: Option<&ETag>) -> Self {
        let mut hasher = DefaultHasher::new();
        (parent, name, etag).hash(&mut hasher);
        Self(hasher.finish()).skip_reserved()
    }

    /// The first number to try for the local file `name` in `parent`, the `serial`th of this mount.
    pub(super) fn derive_local(parent: Self, name: &str, serial: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        (parent, name, serial).hash(&mut hasher);
        Self(hasher.finish()).skip_reserved()
    }

    /// The number to try after this one.
    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1)).skip_reserved()
    }

    /// 0 means "no inode" to the kernel, 1 is the root.
    fn skip_reserved(self) -> Self {
        Self(self.0.max(ROOT.0 + 1))
    }
}

impl fmt::Display for InodeNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a lookup answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The inode.
    pub ino: InodeNo,
    /// What it is.
    pub kind: NodeKind,
    /// How long the kernel may believe this answer, the name included. May be zero.
    pub valid_for: Duration,
}

/// What an inode is, with its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory {
        /// When the tree was made: S3 knows no time of a directory.
        modified: SystemTime,
    },
    /// An object.
    File(ObjectInfo),
    /// A file that S3 does not have yet, or that is being written.
    Local(LocalAttr),
}

/// One version of an object, to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileVersion {
    /// The object.
    pub key: Key,
    /// Its metadata; the ETag names the version.
    pub info: ObjectInfo,
}

/// What is believed of a file that is being opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belief {
    /// The version that the inode stands for.
    pub version: FileVersion,
    /// What to ask S3 first; `None` when the version may be opened as it is.
    pub doubt: Option<Doubt>,
}

/// A question to S3 that is still to be asked, about the version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    pub(super) ino: InodeNo,
    pub(super) since: Moment,
    /// Whether nothing can be known of the file's bytes yet: it was not opened before, or the
    /// open passes by what is cached.
    pub is_cold: bool,
}

/// What S3 says that a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Some key starts with the name and a `/`.
    Directory,
    /// An object.
    File(ObjectInfo),
}

impl Found {
    /// The version, of a file.
    pub(super) fn etag(&self) -> Option<&ETag> {
        match self {
            Self::Directory => None,
            Self::File(info) => Some(&info.etag),
        }
    }
}

/// What the table keeps of an inode. There is one for each object that the kernel remembers, so
/// its size counts; the key is not stored but put together from the names on the way up.
#[derive(Debug)]
pub(super) struct Inode {
    /// The directory it is in; the root's is the root.
    pub(super) parent: InodeNo,
    /// Its name there.
    pub(super) name: Name,
    /// References that the kernel holds.
    pub(super) lookups: u64,
    /// When S3 was last asked what the name leads to, and it led here.
    pub(super) named: Option<Moment>,
    /// When S3 was last asked for the attributes; never before `named`.
    pub(super) checked: Moment,
    /// Whether it was opened, so that the kernel may have its bytes.
    pub(super) opened: bool,
    /// Whether its name is to lead to another inode, though of the same version.
    pub(super) retired: bool,
    /// What it is.
    pub(super) content: Content,
}

/// What an inode is, as the table keeps it.
#[derive(Debug)]
pub(super) enum Content {
    /// A directory.
    Directory(Box<Directory>),
    /// An object.
    File(ObjectInfo),
    /// A file that S3 does not have yet, or that is being written. It keeps that content when it
    /// has ended, as long as the kernel refers to it.
    Local(Box<Local>),
}

/// A directory, as the table keeps it.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// The inodes in it that are local, or directories with something local in them, by name.
    pub(super) locals: BTreeMap<Arc<str>, InodeNo>,
    /// What keeps this inode in the table beside the kernel: the inodes whose parent it is
    /// (those that lost their name too) and the open directory handles.
    pub(super) dependents: usize,
    /// When S3 was asked for the first entry, when all of them were read last; `None` when some have
    /// changed since.
    pub(super) listed: Option<Moment>,
    /// How often entries have changed, as far as is known.
    pub(super) changes: u32,
    /// The position after the last entry, in the longest listing that was read.
    pub(super) furthest: u64,
    /// Whether it was made here, and S3 has nothing in it as far as is known.
    pub(super) made_here: bool,
    /// Whether S3 has a marker of it, as far as is known: an object whose key ends in the `/`.
    pub(super) marked: bool,
    /// Whether S3 had nothing in it any more when it was asked last, so that it is there only for
    /// what is local in it.
    pub(super) gone: bool,
}

impl Inode {
    /// Whether `found` is what this inode stands for: the same kind, in the same version.
    pub(super) fn is(&self, found: &Found) -> bool {
        if self.retired {
            return false;
        }
        match (&self.content, found) {
            (Content::Directory { .. }, Found::Directory) => true,
            (Content::File(mine), Found::File(theirs)) => mine.etag == theirs.etag,
            _ => false,
        }
    }

    /// Whether nothing needs this inode any more.
    pub(super) fn is_unused(&self) -> bool {
        let is_needed = match &self.content {
            Content::Directory(directory) => directory.dependents > 0 || directory.is_local(),
            Content::Local(local) => local.phase.is_local(),
            Content::File(_) => false,
        };
        self.lookups == 0 && !is_needed
    }
}
