//! Renaming where the store cannot.
//!
//! What S3 has is copied, and deleted when it is all there under the new name. What is local only
//! changes its name: a file that is being written is stored under the new one, as long as nothing
//! of it was sent under the old one.

use std::ffi::OsStr;

use super::errno::Error;
use super::open::check_version;
use super::opens::Entrance;
use super::{Fs, RenameMode};
use crate::s3::ObjectInfo;
use crate::tree::{self, InodeNo, Named, NodeKind};
use crate::write::Progress;

/// A name in a directory.
pub(super) type Name<'a> = (InodeNo, &'a OsStr);

/// What a try came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// Something was in the way that is not there any more.
    Again,
}

impl Fs {
    /// See [`Self::rename`].
    pub(super) async fn rename_by_copy(
        &self,
        from: Name<'_>,
        to: Name<'_>,
        mode: RenameMode,
    ) -> Result<(), Error> {
        loop {
            let source = self.tree.find(from.0, from.1).await?;
            if from == to {
                return Ok(());
            }
            let is_directory = matches!(source.kind(), NodeKind::Directory { .. });
            if is_directory
                && self
                    .tree
                    .key(to.0, to.1)?
                    .as_str()
                    .starts_with(&directory(&source))
            {
                return Err(Error::Impossible("moving a directory into itself"));
            }
            let target = match self.find_stored(to.0, to.1).await {
                Ok(target) => Some(target),
                Err(Error::Tree(tree::Error::NotFound)) => None,
                Err(error) => return Err(error),
            };
            let replace = self.config.allow_overwrite && mode == RenameMode::Replace;
            if let Some(target) = &target {
                check_replaced(&source, target, mode, replace)?;
            }
            let is_staged = !is_directory && has_local(&source, target.as_ref());
            let outcome = match (source.kind(), &self.stages) {
                (_, Some(stages)) if is_staged => {
                    let target = (target.as_ref(), to);
                    self.rename_staged(stages, (&source, from), target, replace)
                        .await
                }
                (NodeKind::Directory { .. }, _) => {
                    self.rename_directory(&source, from, to, target.as_ref())
                        .await
                }
                (NodeKind::Local(_), _) => self.rename_local(&source, to, target.is_none()).await,
                (NodeKind::File(info), _) => {
                    self.rename_object(&source, info, from, to, replace).await
                }
            };
            if outcome? == Outcome::Done {
                return Ok(());
            }
        }
    }

    async fn rename_object(
        &self,
        source: &Named,
        info: &ObjectInfo,
        from: Name<'_>,
        to: Name<'_>,
        replace: bool,
    ) -> Result<Outcome, Error> {
        check_version(source.key(), info)?;
        let to_key = self.tree.key(to.0, to.1)?;
        let _held = match (self.opens.hold(source.key())?, self.opens.hold(&to_key)?) {
            (Entrance::Free(source), Entrance::Free(target)) => (source, target),
            (Entrance::Closed(writer), _) | (_, Entrance::Closed(writer)) => {
                self.finish_other(&writer).await?;
                return Ok(Outcome::Again);
            }
        };
        // From here on they keep their keys; until here a directory above may have been renamed.
        if self.tree.key(from.0, from.1)? != *source.key() || self.tree.key(to.0, to.1)? != to_key {
            return Ok(Outcome::Again);
        }
        if self.staged_of(source.ino()).is_some() {
            return Ok(Outcome::Again);
        }
        if from.0 != to.0 {
            self.keep_parent(source).await?;
        }
        self.note_changed(source.key());
        self.note_changed(&to_key);
        self.tree.move_object(source, to.0, to.1, replace).await?;
        Ok(Outcome::Done)
    }

    async fn rename_directory(
        &self,
        source: &Named,
        from: Name<'_>,
        to: Name<'_>,
        target: Option<&Named>,
    ) -> Result<Outcome, Error> {
        let from_prefix = directory(source);
        let to_prefix = format!("{}/", self.tree.key(to.0, to.1)?);
        if from_prefix.starts_with(&to_prefix) {
            return Err(tree::Error::NotEmpty.into());
        }
        let _held = match (
            self.opens.hold_directory(&from_prefix)?,
            self.opens.hold_directory(&to_prefix)?,
        ) {
            (Entrance::Free(source), Entrance::Free(target)) => (source, target),
            (Entrance::Closed(writer), _) | (_, Entrance::Closed(writer)) => {
                self.finish_other(&writer).await?;
                return Ok(Outcome::Again);
            }
        };
        if self.tree.key(from.0, from.1)? != *source.key() {
            return Ok(Outcome::Again);
        }
        self.settle_staged_below(&from_prefix).await?;
        if from.0 != to.0 {
            self.keep_parent(source).await?;
        }
        self.note_renamed(source, target);
        self.tree.move_directory(source, to, target).await?;
        Ok(Outcome::Done)
    }

    /// `is_new` says whether nothing has the new name.
    async fn rename_local(
        &self,
        source: &Named,
        to: Name<'_>,
        is_new: bool,
    ) -> Result<Outcome, Error> {
        let Some(writer) = self.opens.writer(source.key()) else {
            let _held = match self.opens.hold(source.key())? {
                Entrance::Free(held) => held,
                Entrance::Closed(_writer) => return Ok(Outcome::Again),
            };
            self.tree.move_local(source, to.0, to.1)?;
            return Ok(Outcome::Done);
        };
        let key = self.tree.key(to.0, to.1)?;
        match self.opens.hold(&key)? {
            Entrance::Closed(other) => {
                self.finish_other(&other).await?;
                return Ok(Outcome::Again);
            }
            Entrance::Free(held) if writer.is_new() => {
                let agree = || {
                    let is_same = writer.ino == source.ino() && writer.key() == *source.key();
                    let is_moved = is_same && self.tree.move_local(source, to.0, to.1).is_ok();
                    if is_moved {
                        self.opens.redirect(&writer, source.key(), held, is_new);
                    }
                    is_moved
                };
                let content_type = self.content_type(&key);
                if writer.handle.redirect(key, content_type, agree).await {
                    return Ok(Outcome::Done);
                }
            }
            Entrance::Free(_held) => {}
        }
        match writer.handle.progress().await {
            // A program that goes on writing would find its file ended in the middle.
            Progress::Untouched | Progress::Written if !writer.is_closed() => {
                Err(Error::NotPermitted(
                    "the file is being written, and parts of it are on the way: close it first",
                ))
            }
            Progress::Untouched | Progress::Written => {
                self.finish_other(&writer).await?;
                Ok(Outcome::Again)
            }
            Progress::Stored | Progress::Failed(_) => {
                self.finish(&writer).await?;
                Ok(Outcome::Again)
            }
        }
    }
}

/// Whether one of the files is local.
pub(super) fn has_local(source: &Named, target: Option<&Named>) -> bool {
    let is_local = |named: &Named| matches!(named.kind(), NodeKind::Local(_));
    is_local(source) || target.is_some_and(is_local)
}

/// What the keys in the directory start with.
fn directory(named: &Named) -> String {
    format!("{}/", named.key())
}

/// Decides whether `source` may take the place of `target`.
fn check_replaced(
    source: &Named,
    target: &Named,
    mode: RenameMode,
    replace: bool,
) -> Result<(), Error> {
    let is_directory = |named: &Named| matches!(named.kind(), NodeKind::Directory { .. });
    if mode == RenameMode::KeepTarget {
        return Err(tree::Error::Exists.into());
    }
    match (is_directory(source), is_directory(target)) {
        (true, true) => Ok(()),
        (true, false) => Err(tree::Error::NotDirectory.into()),
        (false, true) => Err(tree::Error::IsDirectory.into()),
        (false, false) if replace => Ok(()),
        (false, false) => Err(tree::Error::Exists.into()),
    }
}
