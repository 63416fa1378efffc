//! Files that are written in any order: those of a [`Stage`] that are open, or wait to be stored.
//!
//! While a file is staged, its name leads to the staged copy, for readers and writers alike, and
//! any number of them. It is stored when a descriptor that writes is closed, and by `fsync`; when
//! nobody has it open any more and S3 has it, its name leads to what S3 says again. One that could
//! not be stored stays, and is tried again when it is next closed, and when the mount ends.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use log::{debug, error, warn};

use super::attr::Entry;
use super::change::SetAttr;
use super::errno::Error;
use super::open::{self, OpenFlags};
use super::pins::Pinned;
use super::process::Pid;
use super::rename::{Name, Outcome};
use super::{Fs, OpenFile, OpenKind, Opened, posix};
use crate::metrics::FileUse;
use crate::s3::{Key, ObjectInfo};
use crate::stage::{self, Stage, StagedFile, Version};
use crate::tree::{self, Freshness, InodeNo, LocalFile, Named, NodeKind};

/// The staged files of a mount, by inode. Every method may be called from any thread.
#[derive(Debug)]
pub(super) struct Stages {
    stage: Stage,
    /// Locked before the tree, `Opens` and `Pins`.
    files: Mutex<HashMap<InodeNo, Arc<Staged>>>,
}

/// A staged file.
#[derive(Debug)]
pub(super) struct Staged {
    ino: InodeNo,
    file: StagedFile,
    local: Arc<LocalFile>,
    /// Whether modes, owners and times are kept in the object's metadata.
    keeps_attributes: bool,
}

/// An open file that is staged.
#[derive(Debug)]
pub(super) struct StagedHandle {
    pub(super) staged: Arc<Staged>,
    writes: bool,
    opened_by: Pid,
    pub(super) file_use: Arc<FileUse>,
}

/// What an open file is staged from.
#[derive(Debug)]
enum Origin {
    /// It was made here.
    New,
    /// An object, of which nothing is kept.
    Replaced(ObjectInfo),
    /// An object.
    Object(ObjectInfo),
}

/// What a local file turns out to be.
enum Found {
    Staged(Arc<Staged>),
    /// It was made, and nobody has opened it.
    Made,
    /// It was staged, and its name leads to S3 by now.
    Stored,
}

impl Stages {
    pub(super) fn new(stage: Stage) -> Self {
        Self {
            stage,
            files: Mutex::default(),
        }
    }

    pub(super) fn get(&self, ino: InodeNo) -> Option<Arc<Staged>> {
        self.lock().get(&ino).cloned()
    }

    fn all(&self) -> Vec<Arc<Staged>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InodeNo, Arc<Staged>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody uses the files any more: what S3 has need not be found by a later process.
impl Drop for Stages {
    fn drop(&mut self) {
        for staged in self.all() {
            if !staged.file.let_go() {
                warn!(
                    "{} is not stored as it was written last: see `mount-s3 staged list`",
                    staged.file.key()
                );
            }
        }
    }
}

impl Staged {
    pub(super) async fn read(&self, offset: u64, size: u32) -> Result<Bytes, Error> {
        let read = self.file.read(offset, size as usize).await;
        read.map_err(Error::Staged)
    }

    pub(super) fn write_now(&self, offset: u64, data: &[u8]) -> Option<Result<(), Error>> {
        let written = self.file.write_now(offset, data)?;
        Some(self.changed(written))
    }

    pub(super) async fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let written = self.file.write(offset, data).await;
        self.changed(written)
    }

    async fn truncate(&self, size: u64) -> Result<(), Error> {
        let cut = self.file.truncate(size).await;
        self.changed(cut)
    }

    async fn store(&self) -> Result<bool, Error> {
        self.describe()?;
        self.file.store().await.map_err(Error::Unstored)
    }

    /// Lets the object have the attributes that the file has, if they are kept.
    fn describe(&self) -> Result<(), Error> {
        if self.keeps_attributes {
            let mut metadata = self.file.metadata();
            self.local.attr().posix.replace(&mut metadata);
            self.file.set_metadata(metadata).map_err(Error::Staged)?;
        }
        Ok(())
    }

    fn changed(&self, result: Result<(), stage::Error>) -> Result<(), Error> {
        self.local.set_size(self.file.size());
        result.map_err(Error::Staged)?;
        self.local.note_written(SystemTime::now());
        Ok(())
    }
}

impl StagedHandle {
    pub(super) fn ino(&self) -> InodeNo {
        self.staged.ino
    }
}

impl Fs {
    /// Opens `ino` as a staged file on behalf of the thread `by`: one that is staged already, that
    /// is local, or that is to be changed. `None` for an object that is only to be read.
    pub(super) async fn open_staged(
        &self,
        stages: &Stages,
        ino: InodeNo,
        flags: OpenFlags,
        by: Pid,
    ) -> Result<Option<Opened>, Error> {
        let there = stages.lock().get(&ino).map(|staged| self.pin(staged));
        if let Some(staged) = there {
            return self.open_pinned(staged, flags, by).await.map(Some);
        }
        let (key, origin) = match self.tree.local(ino)? {
            Some((key, _file)) => (key, Origin::New),
            None if !flags.asks_for_change() => return Ok(None),
            None if !self.config.allow_overwrite => {
                return Err(Error::NotPermitted(
                    "an existing object is changed only with --allow-overwrite",
                ));
            }
            None => {
                let info = self.tree.describe(ino, Freshness::Newest).await?;
                let info = info.ok_or(tree::Error::IsDirectory)?;
                let key = self.tree.believe(ino, Freshness::Cached)?.version.key;
                if flags.truncates() {
                    (key, Origin::Replaced(info))
                } else {
                    open::check_version(&key, &info)?;
                    (key, Origin::Object(info))
                }
            }
        };
        let staged = self.stage(stages, ino, &key, origin)?;
        self.open_pinned(staged, flags, by).await.map(Some)
    }

    /// Opens a file that is staged, and of which one handle was counted for that. Who truncates does
    /// so whoever has begun to stage it.
    async fn open_pinned(
        &self,
        staged: Arc<Staged>,
        flags: OpenFlags,
        by: Pid,
    ) -> Result<Opened, Error> {
        if flags.truncates()
            && let Err(error) = staged.truncate(0).await
        {
            self.pins.remove(staged.ino);
            return Err(error);
        }
        let handle = StagedHandle {
            file_use: self.metrics.files.open(staged.file.key().as_str()),
            staged,
            writes: flags.asks_for_change(),
            opened_by: by,
        };
        Ok(Opened {
            file: self.files.insert(OpenFile::Staged(handle)),
            kind: OpenKind::Staged,
            backing: None,
        })
    }

    /// Begins to stage `ino`, and counts one handle of it.
    fn stage(
        &self,
        stages: &Stages,
        ino: InodeNo,
        key: &Key,
        origin: Origin,
    ) -> Result<Arc<Staged>, Error> {
        let mut files = stages.lock();
        let slot = match files.entry(ino) {
            Slot::Occupied(slot) => return Ok(self.pin(slot.get())),
            Slot::Vacant(slot) => slot,
        };
        // Not while it is being renamed.
        self.opens.closed_writer(key)?;
        let (base, info) = match &origin {
            Origin::New => (None, None),
            Origin::Replaced(info) => (None, Some(info)),
            Origin::Object(info) => {
                let version = Version {
                    etag: info.etag.clone(),
                    size: info.size,
                };
                (Some(version), Some(info))
            }
        };
        let details = info.and_then(|info| info.details.as_deref());
        let content_type = match (details, &base) {
            (Some(details), Some(_)) => details.content_type.clone(),
            _ => self.content_type(key),
        };
        let size = base.as_ref().map_or(0, |base| base.size);
        self.note_changed(key);
        let local = self.tree.start_writing(ino, key, size)?;
        let mut metadata = match (details, &base) {
            (Some(details), Some(_)) => details.metadata.clone(),
            _ => BTreeMap::new(),
        };
        if let Some(details) = details {
            posix::inherit(&local, &details.metadata);
        }
        // Its content is as old as its last write.
        local.attr().posix.replace(&mut metadata);
        let begun = stages
            .stage
            .begin(key, base.as_ref(), info.is_some(), content_type, metadata);
        let file = begun.map_err(|error| {
            self.tree.end_writing(ino, info.is_some());
            Error::Staged(error)
        })?;
        let staged = Arc::new(Staged {
            ino,
            file,
            local,
            keeps_attributes: self.config.posix_metadata,
        });
        Ok(self.pin(slot.insert(staged)))
    }

    /// Counts one handle of a staged file. The caller has the lock of [`Stages::files`].
    fn pin(&self, staged: &Arc<Staged>) -> Arc<Staged> {
        let local = Pinned::Local(Arc::clone(&staged.local));
        self.pins.add(staged.ino, local);
        Arc::clone(staged)
    }

    /// The staged file that a read of `ino` is of.
    pub(super) fn staged_of(&self, ino: InodeNo) -> Option<Arc<Staged>> {
        self.stages.as_ref()?.get(ino)
    }

    /// Closes a descriptor of a staged file.
    pub(super) async fn flush_staged(&self, handle: &StagedHandle, by: Pid) -> Result<(), Error> {
        let staged = &handle.staged;
        if !handle.writes || staged.file.is_untouched() {
            return Ok(());
        }
        if !by.is_same_process(handle.opened_by) {
            debug!(
                "{} is not stored: another process closes it",
                staged.file.key()
            );
            return Ok(());
        }
        staged.store().await.map(drop)
    }

    /// Stores a staged file.
    pub(super) async fn fsync_staged(&self, handle: &StagedHandle) -> Result<(), Error> {
        handle.staged.store().await.map(drop)
    }

    /// Lets a staged file go after one of its handles was closed, if that was the last, and S3 has
    /// the file.
    pub(super) async fn leave_staged(&self, ino: InodeNo) -> Result<(), Error> {
        let Some(stages) = &self.stages else {
            return Ok(());
        };
        let Some(staged) = stages.get(ino) else {
            return Ok(());
        };
        if self.pins.get(ino).is_some() {
            return Ok(());
        }
        // A file that is thrown away is not stored, and need not be.
        let is_stored = staged.store().await?;
        let mut files = stages.lock();
        if self.pins.get(ino).is_none() && staged.file.let_go() {
            files.remove(&ino);
            self.tree.end_writing(ino, is_stored);
        }
        Ok(())
    }

    /// Stores what is staged and not stored yet, at the end of the mount. A file that is open stays
    /// staged, as it may still be written.
    pub(super) async fn store_staged(&self) {
        let Some(stages) = &self.stages else { return };
        for staged in stages.all() {
            let stored = match staged.store().await {
                Ok(_is_stored) => self.leave_staged(staged.ino).await,
                Err(error) => Err(error),
            };
            if let Err(error) = stored {
                error!(
                    "{} stays staged, for `mount-s3 staged recover`: {error}",
                    staged.file.key()
                );
            }
        }
    }

    /// Changes attributes of a file that is staged, or is to be because its length changes; `None`
    /// for another one.
    pub(super) async fn setattr_staged(
        &self,
        stages: &Stages,
        ino: InodeNo,
        change: &SetAttr,
    ) -> Result<Option<Entry>, Error> {
        if let Some(staged) = stages.get(ino) {
            return self.change_staged(&staged, change).await.map(Some);
        }
        if change.size.is_none() {
            return Ok(None);
        }
        let flags = OpenFlags(libc::O_WRONLY);
        let Some(opened) = self.open_staged(stages, ino, flags, NOBODY).await? else {
            return Ok(None);
        };
        let changed = match stages.get(ino) {
            Some(staged) => self.change_staged(&staged, change).await,
            None => Err(tree::Error::Stale.into()),
        };
        let released = self.release(opened.file).await;
        let entry = changed?;
        released?;
        Ok(Some(entry))
    }

    async fn change_staged(&self, staged: &Staged, change: &SetAttr) -> Result<Entry, Error> {
        if let Some(size) = change.size
            && size != staged.file.size()
        {
            staged.truncate(size).await?;
        }
        staged.local.set_times(change.accessed, change.modified);
        self.keep_change(&staged.local, change);
        staged.describe()?;
        Ok(self.local_entry(staged.ino, &staged.local))
    }

    /// Takes away the name of a local file where files are staged. Those who have it open may go
    /// on. [`Outcome::Again`] when the file is not local any more.
    pub(super) async fn unlink_staged(
        &self,
        stages: &Stages,
        named: &Named,
    ) -> Result<Outcome, Error> {
        let ino = named.ino();
        let staged = match self.local_staged(stages, ino) {
            Found::Staged(staged) => staged,
            Found::Made => {
                self.tree.end_writing(ino, false);
                return Ok(Outcome::Done);
            }
            Found::Stored => return Ok(Outcome::Again),
        };
        self.keep_parent(named).await?;
        let delete = async |has_object: bool| -> Result<(), tree::Error> {
            if has_object {
                self.note_changed(named.key());
                self.tree.unlink(named).await?;
            }
            self.tree.end_writing(ino, false);
            Ok(())
        };
        staged.file.remove(delete).await?;
        self.leave_staged(ino).await?;
        Ok(Outcome::Done)
    }

    /// What has become of a file that was local.
    fn local_staged(&self, stages: &Stages, ino: InodeNo) -> Found {
        let files = stages.lock();
        match files.get(&ino) {
            Some(staged) => Found::Staged(Arc::clone(staged)),
            None if matches!(self.tree.local(ino), Ok(Some(_))) => Found::Made,
            None => Found::Stored,
        }
    }

    /// Renames a file where the file, or the one that it replaces, is staged. [`Outcome::Again`]
    /// when the file is not local any more.
    pub(super) async fn rename_staged(
        &self,
        stages: &Stages,
        (source, from): (&Named, Name<'_>),
        (target, to): (Option<&Named>, Name<'_>),
        replace: bool,
    ) -> Result<Outcome, Error> {
        let moved = match source.kind() {
            NodeKind::Local(_) => Some(self.local_staged(stages, source.ino())),
            _ => None,
        };
        if matches!(moved, Some(Found::Stored)) {
            return Ok(Outcome::Again);
        }
        let key = self.tree.key(to.0, to.1)?;
        let _held = (self.opens.hold(source.key())?, self.opens.hold(&key)?);
        if from.0 != to.0 {
            self.keep_parent(source).await?;
        }
        let by_copy = !self.config.can_rename;
        let replaced = target.and_then(|target| stages.get(target.ino()));
        let is_taken = match (&replaced, target.map(Named::kind)) {
            (Some(replaced), _) => replaced.file.has_object(),
            (None, kind) => matches!(kind, Some(NodeKind::File(_))),
        };
        self.note_changed(source.key());
        self.note_changed(&key);
        let move_it = async || match moved {
            Some(Found::Staged(staged)) => {
                let tree = &self.tree;
                let move_object = async |stored: Option<Version>| {
                    let version = stored.as_ref();
                    let version = version.map(|version| (&version.etag, version.size));
                    let moved = tree.move_written(source, version, to, replace, by_copy);
                    moved.await.map_err(Error::from)
                };
                staged.file.rename(key.clone(), is_taken, move_object).await
            }
            Some(_made) => Ok(self.tree.move_local(source, to.0, to.1)?),
            None if by_copy => {
                let moved = self.tree.move_object(source, to.0, to.1, replace);
                Ok(moved.await?)
            }
            None => Ok(self.tree.rename(source, to.0, to.1, replace).await?),
        };
        let Some(replaced) = replaced else {
            move_it().await?;
            return Ok(Outcome::Done);
        };
        // It must not be stored over what takes its place.
        replaced
            .file
            .remove(async |_has_object| move_it().await)
            .await?;
        self.leave_staged(replaced.ino).await?;
        Ok(Outcome::Done)
    }

    /// Stores what is staged in the directory whose keys start with `prefix`, so that it can be
    /// renamed.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] while a file of it is open; those of storing it.
    pub(super) async fn settle_staged_below(&self, prefix: &str) -> Result<(), Error> {
        let Some(stages) = &self.stages else {
            return Ok(());
        };
        for staged in stages.all() {
            if !staged.file.key().as_str().starts_with(prefix) {
                continue;
            }
            self.leave_staged(staged.ino).await?;
            if stages.get(staged.ino).is_some() {
                return Err(Error::NotPermitted(
                    "a directory cannot be renamed while a file in it is open for writing",
                ));
            }
        }
        Ok(())
    }
}

/// Opens for the file system itself.
const NOBODY: Pid = Pid(0);
