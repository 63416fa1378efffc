//! The namespace out of an index: nothing is asked, and nothing is remembered.
//!
//! The number of an inode says where it is in the index: a file is its object, a directory the first
//! object that is in it and how deep it lies. So whatever the kernel knows takes no memory here, there
//! is nothing to be forgotten, and a number stands for the same in every mount of the index.
//!
//! As in a bucket, a directory hides the file of its name, and keys that can be no path are not shown.

mod number;
mod readdir;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::answered::LookupCounters;
use super::error::Error;
use super::inode::{FileVersion, InodeNo, Node, NodeKind, ROOT};
use super::{Notices, name};
use crate::index::{Cursor, Index};
use crate::metrics::Counter;
use crate::s3::{Key, ObjectInfo, Prefix};
use number::Place;
pub(super) use readdir::IndexDir;

/// The part of an index that is mounted.
pub(super) struct Indexed {
    index: Arc<Index>,
    prefix: Prefix,
    /// The modification time of every directory.
    made: SystemTime,
    /// The files that have got another number since they were mounted, by their positions, and how
    /// often.
    renewals: Mutex<HashMap<u64, u16>>,
    notices: Notices,
    lookups: Counter,
}

/// A directory of the index.
struct Directory {
    /// What all keys in it start with.
    prefix: String,
    /// How many names lead to it.
    depth: u16,
}

impl Indexed {
    pub(super) fn new(index: Arc<Index>, prefix: Prefix) -> Self {
        Self {
            index,
            prefix,
            made: SystemTime::now(),
            renewals: Mutex::default(),
            notices: Notices::default(),
            lookups: Counter::default(),
        }
    }

    /// See [`super::Tree::lookup`].
    pub(super) fn lookup(&self, parent: InodeNo, name: &OsStr) -> Result<Node, Error> {
        let name = name::parse(name)?;
        let Directory { prefix, depth } = self.directory(parent)?;
        let key = Key::new(prefix + name).map_err(|_| Error::NameTooLong)?;
        self.lookups.add(1);
        let mut cursor = self.index.seek(key.as_str().as_bytes())?;
        let file = if cursor.key() == Some(key.as_str().as_bytes()) {
            Some((cursor.position(), cursor.info()?))
        } else {
            None
        };
        if enters(&mut cursor, key.as_str())? {
            return self.directory_node(cursor.position(), depth + 1);
        }
        let (position, info) = file.ok_or(Error::NotFound)?;
        Ok(self.file_node(position, info))
    }

    /// See [`super::Tree::getattr`].
    pub(super) fn getattr(&self, ino: InodeNo) -> Result<Node, Error> {
        let kind = match self.known(ino)? {
            Some(info) => NodeKind::File(info),
            None => self.directory(ino).map(|_| self.directory_kind())?,
        };
        Ok(node(ino, kind))
    }

    /// The version that the file `ino` stands for.
    ///
    /// # Errors
    /// [`Error::IsDirectory`]; [`Error::Stale`] when there is no such inode; [`Error::Index`].
    pub(super) fn file(&self, ino: InodeNo) -> Result<FileVersion, Error> {
        let place = match ino {
            ROOT => return Err(Error::IsDirectory),
            _ => Place::of(ino)?,
        };
        if place.depth > 0 {
            return Err(Error::IsDirectory);
        }
        let cursor = self.index.at(place.position)?;
        let key = self.text(cursor.key().ok_or(Error::Stale)?)?;
        let key = Key::new(key).map_err(|_| Error::NameTooLong)?;
        let info = cursor.info()?;
        Ok(FileVersion { key, info })
    }

    /// See [`super::Tree::renew`].
    pub(super) fn renew(&self, ino: InodeNo) {
        if let Ok(Place {
            position, depth: 0, ..
        }) = Place::of(ino)
        {
            let mut renewals = self.renewals();
            let renewal = renewals.entry(position).or_default();
            *renewal = number::next_renewal(*renewal);
        }
    }

    /// See [`super::Tree::known`].
    pub(super) fn known(&self, ino: InodeNo) -> Result<Option<ObjectInfo>, Error> {
        match self.file(ino) {
            Ok(version) => Ok(Some(version.info)),
            Err(Error::IsDirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What answered lookups: always what is known.
    pub(super) fn lookups(&self) -> LookupCounters {
        LookupCounters {
            known: self.lookups.get(),
            ..LookupCounters::default()
        }
    }

    /// The directory `ino`.
    ///
    /// # Errors
    /// [`Error::NotDirectory`]; [`Error::Stale`] when there is no such inode; [`Error::Index`].
    fn directory(&self, ino: InodeNo) -> Result<Directory, Error> {
        let mounted = self.prefix.as_str();
        if ino == ROOT {
            let prefix = mounted.to_owned();
            return Ok(Directory { prefix, depth: 0 });
        }
        let Place {
            position, depth, ..
        } = Place::of(ino)?;
        if depth == 0 {
            return Err(Error::NotDirectory);
        }
        let cursor = self.index.at(position)?;
        let key = self.text(cursor.key().ok_or(Error::Stale)?)?;
        let below = key.strip_prefix(mounted).ok_or(Error::Stale)?;
        let mut slashes = below.match_indices('/').map(|(at, _)| at);
        let last = slashes.nth(usize::from(depth) - 1).ok_or(Error::Stale)?;
        let prefix = key.get(..=mounted.len() + last).ok_or(Error::Stale)?;
        Ok(Directory {
            prefix: prefix.to_owned(),
            depth,
        })
    }

    fn file_node(&self, position: u64, info: ObjectInfo) -> Node {
        let renewal = self.renewals().get(&position).copied().unwrap_or_default();
        let place = Place {
            position,
            renewal,
            depth: 0,
        };
        node(place.number(), NodeKind::File(info))
    }

    /// The directory whose first object is at `position`, below `depth` names.
    ///
    /// # Errors
    /// [`Error::NameTooLong`] when it lies deeper than keys are long.
    fn directory_node(&self, position: u64, depth: u16) -> Result<Node, Error> {
        if depth > number::MOST_DEPTH {
            return Err(Error::NameTooLong);
        }
        let place = Place {
            position,
            renewal: 0,
            depth,
        };
        Ok(node(place.number(), self.directory_kind()))
    }

    fn directory_kind(&self) -> NodeKind {
        NodeKind::Directory {
            modified: self.made,
        }
    }

    fn text<'k>(&self, key: &'k [u8]) -> Result<&'k str, Error> {
        str::from_utf8(key).map_err(|_| self.index.damaged("a key is no text").into())
    }

    fn renewals(&self) -> MutexGuard<'_, HashMap<u64, u16>> {
        self.renewals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes on to the first object in the directory `name`, which is not before the cursor, and says
/// whether there is one.
fn enters(cursor: &mut Cursor<'_>, name: &str) -> Result<bool, Error> {
    let prefix = [name.as_bytes(), b"/"].concat();
    cursor.skip_to(&prefix)?;
    Ok(cursor.key().is_some_and(|key| key.starts_with(&prefix)))
}

fn node(ino: InodeNo, kind: NodeKind) -> Node {
    Node {
        ino,
        kind,
        valid_for: FOREVER,
    }
}

impl fmt::Debug for Indexed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Indexed")
            .field("index", &self.index)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// How long an answer is believed: nothing in an index changes. Short of what a kernel could not count.
pub(super) const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
