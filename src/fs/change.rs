//! Operations that change the namespace.

use std::ffi::OsStr;
use std::time::{Duration, SystemTime};

use super::attr::Entry;
use super::errno::Error;
use super::open::OpenFlags;
use super::pins::Pinned;
use super::posix::Creator;
use super::process::Pid;
use super::rename::{Name, Outcome, has_local};
use super::{Fs, OpenKind, Opened, open};
use crate::s3::Key;
use crate::tree::{self, InodeNo, LocalFile, Named, NodeKind};

/// What `setattr` is asked to change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// The length in bytes.
    pub size: Option<u64>,
    /// The permission bits; others are ignored.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The time of last access.
    pub accessed: Option<SystemTime>,
    /// The time of last modification.
    pub modified: Option<SystemTime>,
}

/// How `rename` is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// What is there is replaced.
    Replace,
    /// Nothing may be there: `RENAME_NOREPLACE`.
    KeepTarget,
    /// Anything else that Linux has: `RENAME_EXCHANGE`, `RENAME_WHITEOUT`.
    Other,
}

impl Fs {
    /// Makes the file `name` in `parent`, which belongs to `creator` as far as that can be kept,
    /// opens it on behalf of the thread `by`, and counts one
    /// reference to its inode, as [`Self::lookup`] does. A file that is there already is opened,
    /// unless `flags` have `O_EXCL`. The file is local until it is written and closed.
    ///
    /// # Errors
    /// Those of [`Self::mknod`] and of [`Self::open`]. Then nothing was made.
    ///
    /// # Cancel safety
    /// A dropped call may have made the file.
    pub async fn create(
        &self,
        parent: InodeNo,
        name: &OsStr,
        creator: Creator,
        flags: OpenFlags,
        by: Pid,
    ) -> Result<(Entry, Opened), Error> {
        self.check_writable()?;
        open::check_flags(flags, &self.config)?;
        let (node, is_new) = match self.tree.create(parent, name).await {
            Err(tree::Error::Exists) if !flags.is_exclusive() => {
                (self.tree.lookup(parent, name).await?, false)
            }
            created => (created?, true),
        };
        if is_new {
            self.keep_creator(node.ino, creator);
        }
        let opened = self.open(node.ino, flags, by).await;
        if opened.is_err() {
            if is_new {
                self.tree.end_writing(node.ino, false);
            }
            self.tree.forget(node.ino, 1);
        }
        let opened = opened?;
        // As it is now: opening may have truncated it.
        let Entry { attr, .. } = self.getattr(node.ino).await?;
        // The name, and not only its attributes, is believed for so long.
        let valid_for = match opened.kind {
            OpenKind::Reads | OpenKind::ReadsUntilClosed => node.valid_for,
            OpenKind::Writes | OpenKind::WritesInPages | OpenKind::Staged => Duration::ZERO,
        };
        Ok((Entry { attr, valid_for }, opened))
    }

    /// Makes the file `name` in `parent`, which is local until it is opened, written and closed,
    /// belongs to `creator` as far as that can be kept, and counts one reference to its inode.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Impossible`] for what is no regular file; any failure of the
    /// namespace, among them that the name exists.
    ///
    /// # Cancel safety
    /// A dropped call has made nothing.
    pub async fn mknod(
        &self,
        parent: InodeNo,
        name: &OsStr,
        creator: Creator,
    ) -> Result<Entry, Error> {
        self.check_writable()?;
        if !matches!(creator.mode & libc::S_IFMT, 0 | libc::S_IFREG) {
            return Err(Error::Impossible("a file that is not regular"));
        }
        let node = self.tree.create(parent, name).await?;
        if self.keep_creator(node.ino, creator) {
            return self.getattr(node.ino).await;
        }
        Ok(self.entry(&node))
    }

    /// Makes the directory `name` in `parent`, and counts one reference to its inode. It is local
    /// until something is stored in it, unless directories are kept: then it is stored.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; any failure of the namespace, among them that the name exists.
    ///
    /// # Cancel safety
    /// A dropped call has made nothing, unless directories are kept.
    pub async fn mkdir(&self, parent: InodeNo, name: &OsStr) -> Result<Entry, Error> {
        self.check_writable()?;
        let node = if self.config.keep_directories {
            self.check_not_renamed(parent, name)?;
            self.tree.mkdir_marked(parent, name).await?
        } else {
            self.tree.mkdir(parent, name).await?
        };
        Ok(self.entry(&node))
    }

    /// Removes the directory `name` in `parent`: a local one, or, if directories are kept, one that
    /// is empty in S3.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::NotPermitted`] for one in S3 unless deleting is allowed; any
    /// failure of the namespace, among them that the directory has something in it, or is in S3.
    ///
    /// # Cancel safety
    /// A dropped call may have removed the directory.
    pub async fn rmdir(&self, parent: InodeNo, name: &OsStr) -> Result<(), Error> {
        self.check_writable()?;
        match self.tree.rmdir(parent, name).await {
            Err(tree::Error::InS3) if self.config.keep_directories => {}
            removed => return Ok(removed?),
        }
        if !self.config.allow_delete {
            return Err(Error::NotPermitted(
                "directories that exist in S3 are removed only with --allow-delete",
            ));
        }
        self.check_not_renamed(parent, name)?;
        let named = self.tree.find(parent, name).await?;
        Ok(self.tree.remove_marked(&named).await?)
    }

    /// Deletes the object that is the file `name` in `parent`.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::NotPermitted`] unless deleting is allowed, or while the file
    /// is written; any failure of the namespace.
    ///
    /// # Cancel safety
    /// A dropped call may have deleted the object.
    pub async fn unlink(&self, parent: InodeNo, name: &OsStr) -> Result<(), Error> {
        self.check_writable()?;
        if !self.config.allow_delete {
            return Err(Error::NotPermitted(
                "objects are deleted only with --allow-delete",
            ));
        }
        loop {
            let named = self.find_stored(parent, name).await?;
            match (named.kind(), &self.stages) {
                (NodeKind::Directory { .. }, _) => return Err(tree::Error::IsDirectory.into()),
                (NodeKind::Local(_), None) => return Err(NOT_STORED),
                (NodeKind::Local(_), Some(stages)) => {
                    if self.unlink_staged(stages, &named).await? == Outcome::Done {
                        return Ok(());
                    }
                }
                (NodeKind::File(_), _) => {
                    self.keep_parent(&named).await?;
                    self.note_changed(named.key());
                    return Ok(self.tree.unlink(&named).await?);
                }
            }
        }
    }

    /// Renames the file `name` in `parent` to `new_name` in `new_parent`; a directory, too, where
    /// renaming copies.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Unsupported`] unless the bucket can do it, or it is done by
    /// copying; [`Error::Impossible`]; [`Error::NotPermitted`] for directories and files that are
    /// written; [`Error::Archived`]; any failure of the namespace, among them that the new name
    /// exists and may not be replaced.
    ///
    /// # Cancel safety
    /// A dropped call may have renamed the object, or have copied it, or objects of the directory.
    pub async fn rename(
        &self,
        (parent, name): (InodeNo, &OsStr),
        (new_parent, new_name): (InodeNo, &OsStr),
        mode: RenameMode,
    ) -> Result<(), Error> {
        self.check_writable()?;
        if !self.config.can_rename && !self.config.rename_by_copy {
            return Err(Error::Unsupported("rename"));
        }
        if mode == RenameMode::Other {
            return Err(Error::Impossible("renaming in this way"));
        }
        let (from, to) = ((parent, name), (new_parent, new_name));
        if !self.config.can_rename {
            return self.rename_by_copy(from, to, mode).await;
        }
        while self.try_rename(from, to, mode).await? == Outcome::Again {}
        Ok(())
    }

    /// Renames in a store that can.
    async fn try_rename(
        &self,
        (parent, name): Name<'_>,
        (new_parent, new_name): Name<'_>,
        mode: RenameMode,
    ) -> Result<Outcome, Error> {
        let source = self.find_stored(parent, name).await?;
        if (parent, name) == (new_parent, new_name) {
            return Ok(Outcome::Done);
        }
        match source.kind() {
            NodeKind::Directory { .. } => {
                return Err(Error::NotPermitted("directories cannot be renamed"));
            }
            NodeKind::Local(_) if self.stages.is_none() => return Err(NOT_STORED),
            NodeKind::Local(_) | NodeKind::File(_) => {}
        }
        let replace = self.config.allow_overwrite && mode == RenameMode::Replace;
        let target = match self.find_stored(new_parent, new_name).await {
            Err(Error::Tree(tree::Error::NotFound)) => None,
            Err(error) => return Err(error),
            Ok(target) => match target.kind() {
                NodeKind::Directory { .. } => return Err(tree::Error::IsDirectory.into()),
                NodeKind::Local(_) if self.stages.is_none() => return Err(NOT_STORED),
                NodeKind::Local(_) | NodeKind::File(_) if replace => Some(target),
                NodeKind::Local(_) | NodeKind::File(_) => return Err(tree::Error::Exists.into()),
            },
        };
        if let Some(stages) = &self.stages
            && has_local(&source, target.as_ref())
        {
            let (from, to) = ((parent, name), (new_parent, new_name));
            return self
                .rename_staged(stages, (&source, from), (target.as_ref(), to), replace)
                .await;
        }
        if parent != new_parent {
            self.keep_parent(&source).await?;
        }
        self.note_renamed(&source, target.as_ref());
        let renamed = self.tree.rename(&source, new_parent, new_name, replace);
        renamed.await?;
        Ok(Outcome::Done)
    }

    /// Changes attributes. Of what is local the times can be changed, and the rest is ignored. Where
    /// attributes are kept in metadata, all but the length can be changed of every file, and
    /// nothing of directories, which is ignored. Where the kernel gathers bytes, the time of modification
    /// of an object can be given, and is ignored: the kernel does that by itself, and takes a refusal for lost bytes.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::NotPermitted`] for what is in S3, and for cutting off what was
    /// written; any failure of the namespace.
    ///
    /// # Cancel safety
    /// A dropped call may have changed the attributes.
    pub async fn setattr(&self, ino: InodeNo, change: SetAttr) -> Result<Entry, Error> {
        const IN_S3: Error = Error::NotPermitted("attributes of objects in S3 cannot be changed");
        self.check_writable()?;
        if let Some(stages) = &self.stages
            && let Some(entry) = self.setattr_staged(stages, ino, &change).await?
        {
            return Ok(entry);
        }
        let keeps = self.config.posix_metadata;
        match self.tree.local(ino) {
            Ok(Some((key, file))) => {
                if let Some(size) = change.size
                    && !self.set_length(&key, &file, size).await
                {
                    return Err(Error::NotPermitted("what was written cannot be cut off"));
                }
                file.set_times(change.accessed, change.modified);
                self.keep_change(&file, &change);
                Ok(self.local_entry(ino, &file))
            }
            Err(tree::Error::IsDirectory) if keeps || self.tree.is_local_directory(ino)? => {
                self.getattr(ino).await
            }
            Ok(None) if keeps && change.size.is_none() => self.describe_anew(ino, change).await,
            Ok(None) | Err(tree::Error::Stale) if self.is_of_the_kernel(&change) => {
                self.remembered(ino)
            }
            Ok(None) | Err(tree::Error::IsDirectory) => Err(IN_S3),
            // It was local, is stored, and still open.
            Err(tree::Error::Stale) => match self.pins.get(ino) {
                Some(Pinned::Local(file)) if keeps && change.size.is_none() => {
                    self.describe_stored(ino, &file, change).await
                }
                Some(Pinned::Local(_)) => Err(IN_S3),
                _ => Err(tree::Error::Stale.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the file `file`, which is local and has `key`, a length; `false` if it has more already. A writer
    /// to whom the kernel hands over pages has to reach it, as the kernel writes zeros up to there into them. For
    /// others it says nothing: they know how many bytes there are.
    async fn set_length(&self, key: &Key, file: &LocalFile, length: u64) -> bool {
        match self.opens.writer(key) {
            Some(writer) if writer.handle.takes_pages() => {
                let is_set = writer.handle.set_length(length).await;
                if is_set {
                    file.set_size(length);
                }
                is_set
            }
            _ => length >= file.attr().size,
        }
    }

    /// Whether the kernel may ask for `change` by itself: it keeps the times of regular files where it gathers
    /// bytes, and writes them back some time after it has changed them, as when a file is renamed or removed.
    fn is_of_the_kernel(&self, change: &SetAttr) -> bool {
        let times = SetAttr {
            modified: change.modified,
            ..SetAttr::default()
        };
        self.config.writeback_cache && *change == times
    }

    /// What a name leads to after a writer that has closed it is finished.
    pub(super) async fn find_stored(&self, parent: InodeNo, name: &OsStr) -> Result<Named, Error> {
        loop {
            let named = self.tree.find(parent, name).await?;
            let is_file = !matches!(named.kind(), NodeKind::Directory { .. });
            if !(is_file && self.finish_writer_of(named.key()).await?) {
                return Ok(named);
            }
        }
    }

    /// Lets the directory stay which `named` is in when `named` goes, if directories are kept.
    pub(super) async fn keep_parent(&self, named: &Named) -> Result<(), Error> {
        if self.config.keep_directories {
            self.tree.keep_parent(named).await?;
        }
        Ok(())
    }

    /// # Errors
    /// [`Error::NotPermitted`] while `name` in `parent`, or a directory above, is being renamed.
    fn check_not_renamed(&self, parent: InodeNo, name: &OsStr) -> Result<(), Error> {
        self.opens.closed_writer(&self.tree.key(parent, name)?)?;
        Ok(())
    }

    pub(super) fn check_writable(&self) -> Result<(), Error> {
        if self.config.read_only {
            return Err(Error::ReadOnly);
        }
        Ok(())
    }
}

const NOT_STORED: Error = Error::NotPermitted("the file is new, and not written yet");
