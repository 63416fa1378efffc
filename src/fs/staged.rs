//! Files that are written in any order: those of a [`Stage`] that are open, or wait to be stored.
//!
//! While a file is staged, its name leads to the staged copy, for readers and writers alike, and
//! any number of them. It is stored when a descriptor that writes is closed, and by `fsync`; when
//! nobody has it open any more and S3 has it, its name leads to what S3 says again. One that could
//! not be stored stays, and is tried again when it is next closed, and when the mount ends.

mod change;

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use log::{debug, error, warn};

use super::errno::Error;
use super::open::{self, OpenFlags};
use super::pins::Pinned;
use super::process::Pid;
use super::{Fs, OpenFile, OpenKind, Opened, posix};
use crate::metrics::FileUse;
use crate::s3::{Key, ObjectInfo};
use crate::stage::{self, Stage, StagedFile, Version};
use crate::tree::{self, Freshness, InodeNo, LocalFile};

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
}
