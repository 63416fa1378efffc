//! Inodes that get another name.

use std::sync::Arc;

use super::super::error::Error;
use super::super::expiry::Moment;
use super::super::inode::{Content, InodeNo};
use super::super::local::Phase;
use super::Table;
use crate::s3::ETag;

impl Table {
    /// Notes that the file `ino` has another name in S3 from `now` on; as the version `etag`, if it
    /// is another one. Its bytes are the same.
    ///
    /// # Errors
    /// [`Error::Stale`] or [`Error::NotDirectory`] when `parent` is no directory, or there is no
    /// such file.
    pub(in super::super) fn move_file(
        &mut self,
        ino: InodeNo,
        parent: InodeNo,
        name: &Arc<str>,
        etag: Option<ETag>,
        now: Moment,
    ) -> Result<(), Error> {
        let (old_parent, old_name) = self.relocate(ino, parent, name)?;
        let inode = self.inodes.get_mut(ino).ok_or(Error::Stale)?;
        inode.checked = Moment::OLDEST;
        if let (Content::File(info), Some(etag)) = (&mut inode.content, etag) {
            info.etag = etag;
        }
        self.note_removed(old_parent, &old_name, now);
        self.note_change(parent, name, now);
        self.note_in_s3(parent, now);
        self.drop_unused(old_parent);
        Ok(())
    }

    /// Gives the local file `ino` another name.
    ///
    /// # Errors
    /// [`Error::Stale`] when its name does not lead to it, or it is not local any more; the errors
    /// of [`Self::move_file`].
    pub(in super::super) fn move_local(
        &mut self,
        ino: InodeNo,
        parent: InodeNo,
        name: &Arc<str>,
        now: Moment,
    ) -> Result<(), Error> {
        if self.local(ino)?.is_none() {
            return Err(Error::Stale);
        }
        let (old_parent, old_name) = self.relocate(ino, parent, name)?;
        self.note_change(old_parent, &old_name, now);
        self.note_change(parent, name, now);
        self.drop_unused(old_parent);
        Ok(())
    }

    /// Notes that the directory `ino` has another name from `now` on, and with it everything in it;
    /// `in_s3` says whether that is anything in S3. S3 is asked anew for all of that: what was asked for before may be about the old name.
    ///
    /// # Errors
    /// Those of [`Self::move_file`].
    pub(in super::super) fn move_directory(
        &mut self,
        ino: InodeNo,
        parent: InodeNo,
        name: &Arc<str>,
        in_s3: bool,
        now: Moment,
    ) -> Result<(), Error> {
        let (old_parent, old_name) = self.relocate(ino, parent, name)?;
        for ino in self.inodes.below(ino).into_iter().chain([ino]) {
            if let Some(inode) = self.inodes.get_mut(ino) {
                inode.named = None;
                inode.checked = Moment::OLDEST;
            }
        }
        self.changes.drop_all(now);
        self.note_removed(old_parent, &old_name, now);
        self.note_change(parent, name, now);
        if in_s3 {
            self.note_in_s3(parent, now);
        }
        self.drop_unused(old_parent);
        Ok(())
    }

    /// Gives `ino` another name, and takes that from what has it. Returns the directory and the
    /// name it had, of which nothing is noted yet; the directory may be unused by now.
    fn relocate(
        &mut self,
        ino: InodeNo,
        parent: InodeNo,
        name: &Arc<str>,
    ) -> Result<(InodeNo, Arc<str>), Error> {
        let inode = self.get(ino)?;
        let (old_parent, old_name) = (inode.parent, Arc::from(&inode.name));
        if let Some(replaced) = self.child(parent, name)?.filter(|other| *other != ino) {
            self.detach(replaced);
            match self
                .inodes
                .get_mut(replaced)
                .map(|inode| &mut inode.content)
            {
                Some(Content::Directory(directory)) => directory.made_here = false,
                // Whoever has it open keeps it, without a name.
                Some(Content::Local(local)) => local.phase = Phase::Failed,
                Some(Content::File(_)) | None => {}
            }
            self.drop_unused(replaced);
        }
        self.note_not_local(ino);
        self.pin(parent)?;
        self.inodes.rename(ino, parent, name);
        self.inodes.get_mut(ino).ok_or(Error::Stale)?.named = None;
        self.release(old_parent);
        if self.is_local(ino) {
            self.note_local(ino);
        }
        Ok((old_parent, old_name))
    }
}
