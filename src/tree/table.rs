//! The table of inodes: what is known, who refers to it, and what new answers change.
//!
//! No I/O and no clock here. Answers of S3 come in with the moment at which they were asked for;
//! of two answers that contradict each other, the one that was asked for later counts.

mod index;
mod inodes;
mod local;
mod rename;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::Error;
use super::expiry::{Absences, Changes, Moment};
use super::inode::{Content, Directory, Found, Inode, InodeNo, ROOT};
use super::local::Phase;
use super::short::Name;
use crate::s3::{ObjectDetails, ObjectInfo, Prefix};
use inodes::Inodes;

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

/// What S3 says about one inode that is already known.
#[derive(Debug)]
pub(super) enum Answer {
    /// Its key is this.
    Is(Found),
    /// Its key is another version.
    Other,
    /// Its key is not there.
    Gone,
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

    /// Takes in that `name` in `parent` leads to `found`, and counts a reference of the kernel to
    /// the inode that the name now stands for, which is returned.
    ///
    /// # Errors
    /// [`Error::Stale`] or [`Error::NotDirectory`] when `parent` is no directory.
    pub(super) fn learn(
        &mut self,
        parent: InodeNo,
        name: &Arc<str>,
        found: Found,
        asked: Moment,
    ) -> Result<InodeNo, Error> {
        let current = self.refresh(parent, name, &found, asked)?;
        let ino = match current {
            Some(ino) => ino,
            None => self.attach(parent, name, found, asked)?,
        };
        if self.is_outdated(parent, name, asked)
            && let Some(inode) = self.inodes.get_mut(ino)
        {
            // Nothing of it is believed: the next question goes to S3.
            inode.named = None;
            inode.checked = Moment::OLDEST;
        } else {
            self.note_key_in(parent, asked);
        }
        self.reference(ino)?;
        Ok(ino)
    }

    /// Takes in that there was a key in the directory `ino` when S3 was asked at `asked`: then the
    /// directory was there, and so were those above.
    fn note_key_in(&mut self, mut ino: InodeNo, asked: Moment) {
        while ino != ROOT {
            let Ok(Standing::Named) = self.standing(ino) else {
                return;
            };
            let Ok(inode) = self.get(ino) else { return };
            let parent = inode.parent;
            if inode.named >= Some(asked)
                || self.is_outdated(parent, &Arc::from(&inode.name), asked)
            {
                return;
            }
            self.note_directory_in_s3(ino);
            if let Some(inode) = self.inodes.get_mut(ino) {
                inode.named = Some(asked);
                inode.checked = inode.checked.max(asked);
            }
            ino = parent;
        }
    }

    /// Counts a reference of the kernel to `ino`.
    ///
    /// # Errors
    /// [`Error::Stale`] when there is no such inode.
    pub(super) fn reference(&mut self, ino: InodeNo) -> Result<(), Error> {
        self.inodes.get_mut(ino).ok_or(Error::Stale)?.lookups += 1;
        Ok(())
    }

    /// Takes in that `name` in `parent` leads to `found` as far as it concerns inodes that are
    /// here already; makes none. Returns the inode that the name stands for, if there is one.
    ///
    /// # Errors
    /// [`Error::Stale`] or [`Error::NotDirectory`] when `parent` is no directory.
    pub(super) fn refresh(
        &mut self,
        parent: InodeNo,
        name: &Arc<str>,
        found: &Found,
        asked: Moment,
    ) -> Result<Option<InodeNo>, Error> {
        let current = self.child(parent, name)?;
        if self.is_outdated(parent, name, asked) {
            return Ok(current);
        }
        if self.absences.remove(parent, name) && self.revealed.len() < MOST_REVEALED {
            self.revealed.push((parent, Arc::clone(name)));
        }
        let Some(ino) = current else { return Ok(None) };
        if *found == Found::Directory {
            self.note_directory_in_s3(ino);
        } else if self.is_local(ino) {
            return Ok(Some(ino));
        }
        let inode = self.inodes.get_mut(ino).ok_or(Error::Stale)?;
        if inode.is(found) {
            inode.named = inode.named.max(Some(asked));
            inode.update(found, asked);
            Ok(Some(ino))
        } else if asked < inode.checked {
            Ok(Some(ino))
        } else {
            self.detach(ino);
            self.drop_unused(ino);
            Ok(None)
        }
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

    /// The details of the object `name` in `parent` that was listed as `info`, if they are known.
    pub(super) fn known_details(
        &self,
        parent: InodeNo,
        name: &Arc<str>,
        info: &ObjectInfo,
    ) -> Option<Arc<ObjectDetails>> {
        let ino = self.child(parent, name).ok()??;
        match &self.get(ino).ok()?.content {
            Content::File(known) if known.etag == info.etag && is_as_old(known, info) => {
                known.details.clone()
            }
            _ => None,
        }
    }

    /// Takes in that S3 knows no `name` in `parent`.
    pub(super) fn learn_absence(&mut self, parent: InodeNo, name: &Arc<str>, asked: Moment) {
        if self.is_outdated(parent, name, asked) {
            return;
        }
        if let Ok(Some(ino)) = self.child(parent, name) {
            if self.get(ino).is_ok_and(|inode| asked < inode.checked) {
                return;
            }
            if self.is_local(ino) {
                self.note_only_local(ino);
                return;
            }
            self.detach(ino);
            self.drop_unused(ino);
            self.note_entries_changed(parent);
        }
        self.absences.insert(parent, Arc::clone(name), asked);
    }

    /// Takes in what S3 says about the key of `ino`.
    ///
    /// # Errors
    /// [`Error::Stale`] when the inode is no longer what its name leads to, [`Error::NotFound`]
    /// when the key is gone.
    pub(super) fn settle(
        &mut self,
        ino: InodeNo,
        answer: &Answer,
        asked: Moment,
    ) -> Result<(), Error> {
        let standing = self.standing(ino)?;
        let inode = self.get(ino)?;
        let is_outdated = self.is_outdated(inode.parent, &Arc::from(&inode.name), asked);
        let is_local = standing == Standing::Named && self.is_local(ino);
        let inode = self.inodes.get_mut(ino).ok_or(Error::Stale)?;
        match standing {
            Standing::Replaced => return Err(Error::Stale),
            Standing::Named if asked < inode.checked => return Ok(()),
            Standing::Named | Standing::Unknown => {}
        }
        match answer {
            // It was so when S3 was asked; what it is now, the next question shows.
            Answer::Is(found) if is_outdated && inode.is(found) => Ok(()),
            _ if is_outdated => Err(Error::Stale),
            Answer::Gone if is_local => {
                inode.checked = asked;
                self.note_only_local(ino);
                Ok(())
            }
            Answer::Is(found) if inode.is(found) => {
                // A listing of `key/` says all about the name of a directory. The HEAD of a file
                // does not: a directory of that name, which would hide it, is not looked for.
                if matches!(found, Found::Directory) {
                    inode.named = inode.named.max(Some(asked));
                }
                inode.update(found, asked);
                let parent = inode.parent;
                if standing == Standing::Unknown {
                    self.inodes.bind(ino);
                }
                self.note_directory_in_s3(ino);
                self.note_key_in(parent, asked);
                Ok(())
            }
            Answer::Is(_) | Answer::Other => {
                self.note_other(ino, asked);
                Err(Error::Stale)
            }
            Answer::Gone => {
                self.note_other(ino, asked);
                Err(Error::NotFound)
            }
        }
    }

    /// Takes in that the name of `ino` did not lead to it any more at `asked`, if it is not the root:
    /// what was said of the name before that counts no more.
    pub(super) fn note_other(&mut self, ino: InodeNo, asked: Moment) {
        if let Some(inode) = self.inodes.get(ino).filter(|_| ino != ROOT) {
            let (parent, name) = (inode.parent, Arc::from(&inode.name));
            self.detach(ino);
            self.note_change(parent, &name, asked);
        }
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

    /// Makes `name` in `parent`, which leads nowhere now, lead to `found`.
    fn attach(
        &mut self,
        parent: InodeNo,
        name: &Arc<str>,
        found: Found,
        asked: Moment,
    ) -> Result<InodeNo, Error> {
        let ino = self.number(parent, name, &found);
        if let Some(inode) = self.inodes.get_mut(ino) {
            inode.named = Some(asked);
            inode.update(&found, asked);
            self.inodes.bind(ino);
            return Ok(ino);
        }
        let content = match found {
            Found::File(info) => Content::File(info),
            Found::Directory => Content::Directory(Box::default()),
        };
        let inode = Inode {
            parent,
            name: Name::from(&**name),
            lookups: 0,
            named: Some(asked),
            checked: asked,
            opened: false,
            retired: false,
            content,
        };
        self.add(ino, inode)?;
        Ok(ino)
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

impl Inode {
    /// Takes in the attributes that S3 was asked for at `asked`, unless later ones are known.
    fn update(&mut self, found: &Found, asked: Moment) {
        if asked < self.checked {
            return;
        }
        self.checked = asked;
        if let (Content::File(mine), Found::File(theirs)) = (&mut self.content, found) {
            // A listing has no details. Those of before still hold unless the object was written
            // since.
            let is_as_before = is_as_old(mine, theirs);
            let before = mine.details.take().filter(|_| is_as_before);
            mine.clone_from(theirs);
            mine.details = mine.details.take().or(before);
        }
    }
}

/// Names that are kept until somebody asks for them; of others the absence is believed as long as it
/// was said.
const MOST_REVEALED: usize = 10_000;

/// Whether two answers are about an object that was written at the same time, of which only a
/// listing may know fractions of a second.
fn is_as_old(one: &ObjectInfo, other: &ObjectInfo) -> bool {
    seconds(one.last_modified) == seconds(other.last_modified)
}

fn seconds(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}
