//! What this mount changes: local files and directories, and names that lead elsewhere by now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::super::error::Error;
use super::super::expiry::Moment;
use super::super::inode::{Content, Directory, Found, Inode, InodeNo, ROOT};
use super::super::local::{Local, LocalFile, Phase};
use super::super::short::Name;
use super::{Standing, Table};
use crate::s3::ObjectInfo;

impl Table {
    /// Makes `name` in `parent`, which leads nowhere, lead to a new local file or directory.
    ///
    /// # Errors
    /// [`Error::Exists`] when the name leads somewhere; [`Error::Stale`] or
    /// [`Error::NotDirectory`] when `parent` is no directory, or has lost its name.
    pub(in super::super) fn make(
        &mut self,
        parent: InodeNo,
        name: &Arc<str>,
        content: Content,
        now: Moment,
    ) -> Result<InodeNo, Error> {
        if self.child(parent, name)?.is_some() {
            return Err(Error::Exists);
        }
        if self.standing(parent)? != Standing::Named {
            return Err(Error::Stale);
        }
        let (ino, named) = match content {
            // A directory has the same number when S3 knows it, too.
            Content::Directory(_) => (self.number(parent, name, &Found::Directory), Some(now)),
            Content::File(_) | Content::Local(_) => (self.number_of_local(parent, name), None),
        };
        let inode = Inode {
            parent,
            name: Name::from(&**name),
            lookups: 0,
            named,
            checked: now,
            opened: false,
            retired: false,
            content,
        };
        self.add(ino, inode)?;
        self.absences.remove(parent, name);
        self.note_local(ino);
        Ok(ino)
    }

    /// Removes the local directory `ino`.
    ///
    /// # Errors
    /// [`Error::NotDirectory`], [`Error::InS3`] when it is not local, [`Error::NotEmpty`].
    pub(in super::super) fn remove_directory(&mut self, ino: InodeNo) -> Result<(), Error> {
        let directory = self.directory_mut(ino)?;
        if !directory.made_here {
            return Err(Error::InS3);
        }
        if !directory.locals.is_empty() {
            return Err(Error::NotEmpty);
        }
        self.detach(ino);
        self.directory_mut(ino)?.made_here = false;
        Ok(())
    }

    /// The file `ino`, if its name leads to a local one.
    ///
    /// # Errors
    /// [`Error::IsDirectory`]; [`Error::Stale`] when there is no such inode, or it was local once.
    pub(in super::super) fn local(&self, ino: InodeNo) -> Result<Option<&Local>, Error> {
        match &self.get(ino)?.content {
            Content::Local(local) if !local.phase.is_local() => Err(Error::Stale),
            Content::Local(local) => Ok(Some(local)),
            Content::Directory(_) => Err(Error::IsDirectory),
            Content::File(_) => Ok(None),
        }
    }

    /// Whether the directory `ino` has something local in it.
    ///
    /// # Errors
    /// [`Error::NotDirectory`]; [`Error::Stale`] when there is no such inode.
    pub(in super::super) fn has_locals(&self, ino: InodeNo) -> Result<bool, Error> {
        match &self.get(ino)?.content {
            Content::Directory(directory) => Ok(!directory.locals.is_empty()),
            Content::File(_) | Content::Local(_) => Err(Error::NotDirectory),
        }
    }

    /// Notes that S3 has a marker of the directory `ino` from `now` on.
    pub(in super::super) fn note_marked(&mut self, ino: InodeNo, now: Moment) {
        if let Ok(directory) = self.directory_mut(ino) {
            directory.marked = true;
        }
        self.note_in_s3(ino, now);
    }

    /// Makes `ino` the local file that somebody writes, `size` bytes long at first.
    ///
    /// # Errors
    /// [`Error::IsDirectory`]; [`Error::Stale`] when it is written already, or is not what its
    /// name leads to.
    pub(in super::super) fn start_writing(
        &mut self,
        ino: InodeNo,
        size: u64,
        now: SystemTime,
    ) -> Result<Arc<LocalFile>, Error> {
        if self.standing(ino)? != Standing::Named {
            return Err(Error::Stale);
        }
        let inode = self.inodes.get_mut(ino).ok_or(Error::Stale)?;
        inode.named = None;
        match &mut inode.content {
            Content::Directory(_) => Err(Error::IsDirectory),
            Content::Local(local) if local.phase == Phase::Made => {
                local.phase = Phase::Written;
                Ok(Arc::clone(&local.file))
            }
            Content::Local(_) => Err(Error::Stale),
            content @ Content::File(_) => {
                let file = LocalFile::new(size, now);
                *content = Content::Local(Box::new(Local {
                    file: Arc::clone(&file),
                    phase: Phase::Written,
                }));
                self.note_local(ino);
                Ok(file)
            }
        }
    }

    /// Notes that the local file `ino` is written no more: S3 has it, or it never got there. Its
    /// name leads to what S3 says from `now` on.
    pub(in super::super) fn end_writing(&mut self, ino: InodeNo, stored: bool, now: Moment) {
        let Some(inode) = self.inodes.get_mut(ino) else {
            return;
        };
        let Content::Local(local) = &mut inode.content else {
            return;
        };
        if !local.phase.is_local() {
            return;
        }
        local.phase = if stored { Phase::Stored } else { Phase::Failed };
        let (parent, name) = (inode.parent, Arc::<str>::from(&inode.name));
        self.detach(ino);
        self.note_change(parent, &name, now);
        if stored {
            self.note_in_s3(parent, now);
        }
        self.drop_unused(ino);
    }

    /// Notes that S3 has an object `name` in the directory `parent` from `now` on.
    pub(in super::super) fn note_stored(&mut self, parent: InodeNo, name: &Arc<str>, now: Moment) {
        self.note_change(parent, name, now);
        self.note_in_s3(parent, now);
    }

    /// Notes that the object of the file `ino` is described otherwise from `now` on. Its inode
    /// stands for it as long as it is the same version; S3 is asked the next time in any case.
    pub(in super::super) fn note_described(
        &mut self,
        ino: InodeNo,
        info: &ObjectInfo,
        now: Moment,
    ) {
        let Some(inode) = self.inodes.get_mut(ino) else {
            return;
        };
        let (parent, name) = (inode.parent, Arc::<str>::from(&inode.name));
        match &mut inode.content {
            Content::File(mine) if mine.etag == info.etag => {
                mine.clone_from(info);
                inode.named = None;
                inode.checked = Moment::OLDEST;
            }
            Content::File(_) => self.detach(ino),
            Content::Directory(_) | Content::Local(_) => {}
        }
        self.note_change(parent, &name, now);
    }

    /// Notes that a key in the directory `parent` is gone: `name` leads nowhere from `now` on, and
    /// the directory itself may be gone with its last key.
    pub(in super::super) fn note_removed(&mut self, parent: InodeNo, name: &Arc<str>, now: Moment) {
        if let Ok(Some(ino)) = self.child(parent, name) {
            self.detach(ino);
        }
        self.note_change(parent, name, now);
        self.absences.insert(parent, Arc::clone(name), now);
        if parent != ROOT
            && let Some(inode) = self.inodes.get_mut(parent)
        {
            inode.named = None;
        }
    }

    /// Notes that answers of S3 about `name` in `parent` that were asked for before `now` count no
    /// more.
    pub(in super::super) fn note_change(&mut self, parent: InodeNo, name: &Arc<str>, now: Moment) {
        self.absences.remove(parent, name);
        self.changes.insert(parent, Arc::clone(name), now);
        self.note_entries_changed(parent);
    }

    /// Forgets what is known of `name` in `parent`, which may have changed until `now`.
    pub(in super::super) fn doubt(&mut self, parent: InodeNo, name: &Arc<str>, now: Moment) {
        self.note_change(parent, name, now);
        if let Ok(Some(ino)) = self.child(parent, name)
            && !self.is_local(ino)
        {
            self.detach(ino);
        }
    }

    /// Whether an answer about `name` in `parent` that was asked for at `asked` does not count, as
    /// this mount has changed it since.
    pub(in super::super) fn is_outdated(
        &self,
        parent: InodeNo,
        name: &Arc<str>,
        asked: Moment,
    ) -> bool {
        let changed = self
            .changes
            .get(parent, name)
            .or_else(|| self.changes.dropped());
        changed.is_some_and(|changed| asked <= changed)
    }

    /// The local names in the directory `ino`, with what they lead to.
    pub(in super::super) fn locals(&self, ino: InodeNo) -> BTreeMap<Arc<str>, InodeNo> {
        match self.get(ino).map(|inode| &inode.content) {
            Ok(Content::Directory(directory)) => directory.locals.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// Whether the name of `ino` leads to it whatever S3 has there, short of a directory.
    pub(in super::super) fn is_local(&self, ino: InodeNo) -> bool {
        self.get(ino).is_ok_and(|inode| match &inode.content {
            Content::Directory(directory) => directory.is_local(),
            Content::Local(local) => local.phase.is_local(),
            Content::File(_) => false,
        })
    }

    /// Notes that the directory `ino`, whose keys are all gone, is there for what is local in it.
    pub(super) fn note_only_local(&mut self, ino: InodeNo) {
        if let Ok(directory) = self.directory_mut(ino) {
            directory.gone = true;
            directory.marked = false;
        }
    }

    /// Notes that S3 has the directory `ino`.
    pub(super) fn note_directory_in_s3(&mut self, ino: InodeNo) {
        let Ok(directory) = self.directory_mut(ino) else {
            return;
        };
        directory.gone = false;
        if std::mem::take(&mut directory.made_here) && directory.locals.is_empty() {
            self.note_not_local(ino);
        }
    }

    /// Enters a local inode into its directory, which becomes local itself by that.
    pub(super) fn note_local(&mut self, mut ino: InodeNo) {
        while ino != ROOT {
            let Ok(inode) = self.get(ino) else { return };
            let (parent, name) = (inode.parent, Arc::<str>::from(&inode.name));
            let Ok(directory) = self.directory_mut(parent) else {
                return;
            };
            let was_local = directory.is_local();
            directory.locals.insert(name, ino);
            if was_local {
                return;
            }
            ino = parent;
        }
    }

    /// Undoes [`Self::note_local`].
    pub(super) fn note_not_local(&mut self, mut ino: InodeNo) {
        while ino != ROOT {
            let Ok(inode) = self.get(ino) else { return };
            let (parent, name) = (inode.parent, inode.name.clone());
            let Ok(directory) = self.directory_mut(parent) else {
                return;
            };
            if directory.locals.get(&*name) != Some(&ino) {
                return;
            }
            directory.locals.remove(&*name);
            if directory.is_local() {
                return;
            }
            ino = parent;
        }
    }

    /// Notes that S3 has a key in the directory `ino`, and so all the directories above.
    pub(in super::super) fn note_in_s3(&mut self, mut ino: InodeNo, now: Moment) {
        while ino != ROOT {
            let Ok(inode) = self.get(ino) else { return };
            let parent = inode.parent;
            let is_news = matches!(
                &inode.content,
                Content::Directory(directory) if directory.made_here || directory.gone
            );
            if is_news {
                let name = Arc::from(&inode.name);
                self.note_directory_in_s3(ino);
                self.note_change(parent, &name, now);
            }
            ino = parent;
        }
    }

    fn number_of_local(&mut self, parent: InodeNo, name: &str) -> InodeNo {
        self.locals_made += 1;
        let mut ino = InodeNo::derive_local(parent, name, self.locals_made);
        while self.inodes.contains(ino) {
            ino = ino.next();
        }
        ino
    }
}

impl Directory {
    /// Whether it is there whatever S3 has: it was made here, or has something local in it.
    pub(in super::super) fn is_local(&self) -> bool {
        self.made_here || !self.locals.is_empty()
    }
}
