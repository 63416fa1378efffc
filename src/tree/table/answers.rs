//! What answers of S3 change: names and inodes that come, stay or go.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::error::Error;
use super::super::expiry::Moment;
use super::super::inode::{Content, Found, Inode, InodeNo, ROOT};
use super::super::short::Name;
use super::{Standing, Table};
use crate::s3::{ObjectDetails, ObjectInfo};

/// What S3 says about one inode that is already known.
#[derive(Debug)]
pub(in super::super) enum Answer {
    /// Its key is this.
    Is(Found),
    /// Its key is another version.
    Other,
    /// Its key is not there.
    Gone,
}

impl Table {
    /// Takes in that `name` in `parent` leads to `found`, and counts a reference of the kernel to
    /// the inode that the name now stands for, which is returned.
    ///
    /// # Errors
    /// [`Error::Stale`] or [`Error::NotDirectory`] when `parent` is no directory.
    pub(in super::super) fn learn(
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

    /// Takes in that `name` in `parent` leads to `found` as far as it concerns inodes that are
    /// here already; makes none. Returns the inode that the name stands for, if there is one.
    ///
    /// # Errors
    /// [`Error::Stale`] or [`Error::NotDirectory`] when `parent` is no directory.
    pub(in super::super) fn refresh(
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

    /// The details of the object `name` in `parent` that was listed as `info`, if they are known.
    pub(in super::super) fn known_details(
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
    pub(in super::super) fn learn_absence(
        &mut self,
        parent: InodeNo,
        name: &Arc<str>,
        asked: Moment,
    ) {
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
    pub(in super::super) fn settle(
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
    pub(in super::super) fn note_other(&mut self, ino: InodeNo, asked: Moment) {
        if let Some(inode) = self.inodes.get(ino).filter(|_| ino != ROOT) {
            let (parent, name) = (inode.parent, Arc::from(&inode.name));
            self.detach(ino);
            self.note_change(parent, &name, asked);
        }
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
