//! Changing attributes and names of files where files are staged.

use std::sync::Arc;

use super::super::Fs;
use super::super::attr::Entry;
use super::super::change::SetAttr;
use super::super::errno::Error;
use super::super::open::OpenFlags;
use super::super::process::Pid;
use super::super::rename::{Name, Outcome};
use super::{Staged, Stages};
use crate::stage::Version;
use crate::tree::{self, InodeNo, Named, NodeKind};

/// What a local file turns out to be.
enum Found {
    Staged(Arc<Staged>),
    /// It was made, and nobody has opened it.
    Made,
    /// It was staged, and its name leads to S3 by now.
    Stored,
}

impl Fs {
    /// Changes attributes of a file that is staged, or is to be because its length changes; `None`
    /// for another one.
    pub(in super::super) async fn setattr_staged(
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
    pub(in super::super) async fn unlink_staged(
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
    pub(in super::super) async fn rename_staged(
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
    pub(in super::super) async fn settle_staged_below(&self, prefix: &str) -> Result<(), Error> {
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
