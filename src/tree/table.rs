//! The table of inodes: what is known, who refers to it, and what new answers change.
//!
//! No I/O and no clock here. Answers of S3 come in with the moment at which they were asked for;
//! of two answers that contradict each other, the one that was asked for later counts.

mod answers;
mod index;
mod inodes;
mod local;
mod rename;

use std::sync::Arc;

use super::error::Error;
use super::expiry::{Absences, Changes, Moment};
use super::inode::{Content, Directory, Found, Inode, InodeNo, ROOT};
use super::local::Phase;
use super::short::Name;
use crate::s3::Prefix;
use inodes::Inodes;

pub(super) use answers::Answer;

/// All inodes that the kernel, an open directory or a child refers to.
#[derive(Debug)]
pub(super) struct Table {
    inodes: Inodes,
    absences: Absences,
    changes: Changes,
    /// Names that were missing and are there.
    revealed: Vec<(InodeNo, Arc<str>)>,
    /// Local files so far.
    locals_made: u64,
}

/// Whether an inode is still what its name leads to, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is.
    Named,
    /// The name leads to another inode.
    Replaced,
    /// It was not when last asked; what the name leads to now is not known.
    Unknown,
}

impl Table {
    /// A table that holds the root only.
    pub(super) fn new(now: Moment) -> Self {
        let root = Inode {
            parent: ROOT,
            name: Name::from(""),
            lookups: 1,
            named: Some(now),
            checked: now,
            opened: false,
            retired: false,
            content: Content::Directory(Box::default()),
        };
        Self {
            inodes: Inodes::new(ROOT, root),
            absences: Absences::default(),
            changes: Changes::default(),
            revealed: Vec::new(),
            locals_made: 0,
        }
    }

    /// The inode with this number.
    ///
    /// # Errors
    /// [`Error::Stale`] when there is none.
    pub(super) fn get(&self, ino: InodeNo) -> Result<&Inode, Error> {
        self.inodes.get(ino).ok_or(Error::Stale)
    }

    /// Inodes in the table, the root included.
    pub(super) fn len(&self) -> usize {
        self.inodes.len()
    }

    /// Gives `other` the contents of `ino`, as if their numbers had collided.
    #[cfg(test)]
    pub(super) fn occupy(&mut self, ino: InodeNo, other: InodeNo) {
        if let Some(inode) = self.inodes.remove(ino) {
            self.inodes.insert(other, inode).expect("room");
        }
    }

    /// The inode that `name` in `parent` is known to lead to.
    ///
    /// # Errors
    /// [`Error::Stale`] or [`Error::NotDirectory`] when `parent` is no directory.
    pub(super) fn child(&self, parent: InodeNo, name: &str) -> Result<Option<InodeNo>, Error> {
        match &self.get(parent)?.content {
            Content::Directory(_) => Ok(self.inodes.bound(parent, name)),
            Content::File(_) | Content::Local(_) => Err(Error::NotDirectory),
        }
    }

    /// When S3 was asked for `name` in `parent` and did not know it.
    pub(super) fn absent_since(&self, parent: InodeNo, name: &Arc<str>) -> Option<Moment> {
        self.absences.get(parent, name)
    }

    /// The names that were missing, and were found since the last call.
    pub(super) fn take_revealed(&mut self) -> Vec<(InodeNo, Arc<str>)> {
        std::mem::take(&mut self.revealed)
    }

    /// Whether the inode is still what its name leads to.
    ///
    /// # Errors
    /// [`Error::Stale`] when there is no such inode.
    pub(super) fn standing(&self, ino: InodeNo) -> Result<Standing, Error> {
        if ino == ROOT {
            return Ok(Standing::Named);
        }
        let inode = self.get(ino)?;
        Ok(match self.child(inode.parent, &inode.name)? {
            Some(named) if named == ino => Standing::Named,
            Some(_) => Standing::Replaced,
            None => Standing::Unknown,
        })
    }

    /// The text that every key in the directory `ino` starts with: empty, or ending in `/`.
    ///
    /// # Errors
    /// [`Error::Stale`] or [`Error::NotDirectory`] when `ino` is no directory.
    pub(super) fn directory_prefix(&self, ino: InodeNo, mounted: &Prefix) -> Result<String, Error> {
        if !matches!(self.get(ino)?.content, Content::Directory(_)) {
            return Err(Error::NotDirectory);
        }
        let mut key = self.key(ino, mounted)?;
        if ino != ROOT {
            key.push('/');
        }
        Ok(key)
    }

    /// The key of `ino`, without a `/` at its end unless it is the root.
    ///
    /// # Errors
    /// [`Error::Stale`] when there is no such inode.
    pub(super) fn key(&self, ino: InodeNo, mounted: &Prefix) -> Result<String, Error> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != ROOT {
            let inode = self.get(at)?;
            names.push(&*inode.name);
            at = inode.parent;
        }
        let mut key = mounted.as_str().to_owned();
        for (i, name) in names.into_iter().rev().enumerate() {
            if i > 0 {
                key.push('/');
            }
            key.push_str(name);
        }
        Ok(key)
    }

    /// Counts a reference of the kernel to `ino`.
    ///
    /// # Errors
    /// [`Error::Stale`] when there is no such inode.
    pub(super) fn reference(&mut self, ino: InodeNo) -> Result<(), Error> {
        self.inodes.get_mut(ino).ok_or(Error::Stale)?.lookups += 1;
        Ok(())
    }

    /// The number that `found` has or would get as `name` in `parent`.
    pub(super) fn number(&self, parent: InodeNo, name: &str, found: &Found) -> InodeNo {
        let mut ino = InodeNo::derive(parent, name, found.etag());
        while let Some(inode) = self.inodes.get(ino) {
            if inode.parent == parent && *inode.name == *name && inode.is(found) {
                break;
            }
            ino = ino.next();
        }
        ino
    }

    /// Takes its name from the file `ino` for good. What S3 said of the name still counts: the next
    /// lookup makes another inode of it.
    pub(super) fn retire(&mut self, ino: InodeNo) {
        if let Some(inode) = self.inodes.get_mut(ino)
            && matches!(inode.content, Content::File(_))
        {
            inode.retired = true;
            self.detach(ino);
        }
    }

    /// Notes that the entries of the directory `ino` are others than those that were read.
    pub(super) fn note_entries_changed(&mut self, ino: InodeNo) {
        if let Ok(directory) = self.directory_mut(ino) {
            directory.listed = None;
            directory.changes = directory.changes.wrapping_add(1);
        }
    }

    /// Notes that the file `ino` is opened.
    pub(super) fn note_opened(&mut self, ino: InodeNo) {
        if let Some(inode) = self.inodes.get_mut(ino) {
            inode.opened = true;
        }
    }

    /// Takes back `lookups` references of the kernel.
    pub(super) fn forget(&mut self, ino: InodeNo, lookups: u64) {
        if ino == ROOT {
            return;
        }
        let Some(inode) = self.inodes.get_mut(ino) else {
            log::warn!("inode {ino} is to be forgotten and is not known");
            return;
        };
        if lookups > inode.lookups {
            log::warn!(
                "inode {ino} is to be forgotten {lookups} times and was looked up {} times",
                inode.lookups
            );
        }
        inode.lookups = inode.lookups.saturating_sub(lookups);
        self.drop_unused(ino);
    }

    /// Keeps the directory `ino` in the table until [`Self::unpin`].
    ///
    /// # Errors
    /// [`Error::Stale`] or [`Error::NotDirectory`] when it is no directory.
    pub(super) fn pin(&mut self, ino: InodeNo) -> Result<(), Error> {
        self.directory_mut(ino)?.dependents += 1;
        Ok(())
    }

    /// Takes back one [`Self::pin`].
    pub(super) fn unpin(&mut self, ino: InodeNo) {
        self.release(ino);
        self.drop_unused(ino);
    }

    /// Adds an inode under a number that is free, and binds its name, which leads nowhere now.
    ///
    /// # Errors
    /// [`Error::Stale`] or [`Error::NotDirectory`] when its parent is no directory.
    fn add(&mut self, ino: InodeNo, inode: Inode) -> Result<(), Error> {
        let parent = inode.parent;
        self.directory_mut(parent)?;
        self.inodes.insert(ino, inode)?;
        self.inodes.bind(ino);
        self.pin(parent)
    }

    /// Takes its name from `ino`, if it has it. The inode stays as long as it is referred to.
    pub(super) fn detach(&mut self, ino: InodeNo) {
        let Some(inode) = self.inodes.get_mut(ino).filter(|_| ino != ROOT) else {
            return;
        };
        inode.named = None;
        if let Content::Local(local) = &mut inode.content
            && local.phase == Phase::Made
        {
            // Nobody can open it any more.
            local.phase = Phase::Failed;
        }
        if let Content::Directory(directory) = &mut inode.content {
            directory.marked = false;
        }
        self.note_not_local(ino);
        self.inodes.unbind(ino);
    }

    /// Drops `ino` if nothing needs it any more, then its parent if only it needed that, and so on.
    fn drop_unused(&mut self, mut ino: InodeNo) {
        while ino != ROOT && self.inodes.get(ino).is_some_and(|i| i.is_unused()) {
            self.detach(ino);
            let Some(inode) = self.inodes.remove(ino) else {
                return;
            };
            ino = inode.parent;
            self.release(ino);
        }
    }

    fn release(&mut self, ino: InodeNo) {
        if let Ok(directory) = self.directory_mut(ino) {
            directory.dependents = directory.dependents.saturating_sub(1);
        }
    }

    pub(super) fn directory_mut(&mut self, ino: InodeNo) -> Result<&mut Directory, Error> {
        match &mut self.inodes.get_mut(ino).ok_or(Error::Stale)?.content {
            Content::Directory(directory) => Ok(directory),
            Content::File(_) | Content::Local(_) => Err(Error::NotDirectory),
        }
    }
}
