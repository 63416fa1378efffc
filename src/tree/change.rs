//! What changes the namespace: making, removing and renaming; beginning and ending to write.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::error::Error;
use super::expiry::Moment;
use super::inode::{Content, Directory, InodeNo, Node, NodeKind};
use super::local::{Local, LocalFile, Phase};
use super::{Core, Tree, name};
use crate::s3::{ETag, ErrorKind, Key, RenameRequest};

/// What a name leads to, for an operation that changes it. The inode is kept until this is dropped.
#[derive(Debug)]
pub struct Named {
    pub(super) parent: InodeNo,
    pub(super) name: Arc<str>,
    pub(super) key: Key,
    reference: Reference,
}

/// A reference to an inode, as the kernel has them.
#[derive(Debug)]
struct Reference(Arc<Core>, Node);

impl Named {
    /// What the name leads to.
    pub fn kind(&self) -> &NodeKind {
        &self.reference.1.kind
    }

    /// The key of the file, or of the directory without its `/`.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The inode that the name leads to.
    pub fn ino(&self) -> InodeNo {
        self.reference.1.ino
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.0.table().forget(self.1.ino, 1);
    }
}

impl Tree {
    /// Makes a file `name` in `parent` that is local until somebody has written it, and counts one
    /// reference of the kernel to it, as [`Self::lookup`] does.
    ///
    /// # Errors
    /// Those of [`Self::lookup`] but [`Error::NotFound`]; [`Error::Exists`].
    ///
    /// # Cancel safety
    /// A dropped future has made nothing.
    pub async fn create(&self, parent: InodeNo, name: &OsStr) -> Result<Node, Error> {
        let file = LocalFile::new(0, SystemTime::now());
        let phase = Phase::Made;
        let content = Content::Local(Box::new(Local { file, phase }));
        self.make(parent, name, content).await
    }

    /// Makes a directory `name` in `parent` that is local until S3 has a key in it, and counts one
    /// reference of the kernel to it. Nothing is stored.
    ///
    /// # Errors
    /// Those of [`Self::create`].
    ///
    /// # Cancel safety
    /// A dropped future has made nothing.
    pub async fn mkdir(&self, parent: InodeNo, name: &OsStr) -> Result<Node, Error> {
        let directory = Directory {
            made_here: true,
            ..Directory::default()
        };
        self.make(parent, name, Content::Directory(Box::new(directory)))
            .await
    }

    /// Removes the local directory `name` in `parent`.
    ///
    /// # Errors
    /// Those of [`Self::lookup`]; [`Error::InS3`] when S3 has keys in it; [`Error::NotEmpty`].
    ///
    /// # Cancel safety
    /// A dropped future has removed nothing.
    pub async fn rmdir(&self, parent: InodeNo, name: &OsStr) -> Result<(), Error> {
        let named = self.find(parent, name).await?;
        let core = self.core()?;
        if *named.kind() != core.directory() {
            return Err(Error::NotDirectory);
        }
        core.table().remove_directory(named.ino())
    }

    /// What `name` in `parent` leads to, to be removed or renamed.
    ///
    /// # Errors
    /// Those of [`Self::lookup`].
    ///
    /// # Cancel safety
    /// Safe: a dropped future has changed nothing.
    pub async fn find(&self, parent: InodeNo, name: &OsStr) -> Result<Named, Error> {
        let core = self.core()?;
        let node = self.lookup(parent, name).await?;
        // From here on it is given back, whatever happens.
        let reference = Reference(Arc::clone(core), node);
        Ok(Named {
            parent,
            name: Arc::from(name::parse(name)?),
            key: core.key_of(parent, name)?,
            reference,
        })
    }

    /// Deletes the object of a file.
    ///
    /// # Errors
    /// [`Error::S3`].
    ///
    /// # Cancel safety
    /// A dropped future may have deleted the object.
    pub async fn unlink(&self, named: &Named) -> Result<(), Error> {
        let core = self.core()?;
        let change = Change::begin(core, named.parent, &named.name);
        core.store.delete(&named.key).await?;
        change.end(|core, now| {
            core.table().note_removed(named.parent, &named.name, now);
        });
        Ok(())
    }

    /// Renames the object of a file to `name` in `parent`; what is there is replaced if `replace`
    /// says so.
    ///
    /// # Errors
    /// [`Error::Exists`] when something is there that may not be replaced; [`Error::NotFound`]
    /// when the object is gone; [`Error::NameTooLong`], [`Error::InvalidName`], [`Error::S3`].
    ///
    /// # Cancel safety
    /// A dropped future may have renamed the object.
    pub async fn rename(
        &self,
        named: &Named,
        parent: InodeNo,
        name: &OsStr,
        replace: bool,
    ) -> Result<(), Error> {
        let core = self.core()?;
        let to = core.key_of(parent, name)?;
        let name = Arc::from(name::parse(name)?);
        let old = Change::begin(core, named.parent, &named.name);
        let new = Change::begin(core, parent, &name);
        core.rename(&named.key, None, to, replace).await?;
        old.end(|core, now| {
            new.end(|_core, _now| {});
            let moved = core
                .table()
                .move_file(named.ino(), parent, &name, None, now);
            moved.unwrap_or_else(|error| log::debug!("a renamed file is looked up anew: {error}"));
        });
        Ok(())
    }

    /// The key of the file `ino`, and the file, if its name leads to a local one.
    ///
    /// # Errors
    /// [`Error::IsDirectory`]; [`Error::Stale`] when there is no such inode, or it was local once.
    pub fn local(&self, ino: InodeNo) -> Result<Option<(Key, Arc<LocalFile>)>, Error> {
        let Ok(core) = self.core() else {
            return Ok(None);
        };
        let table = core.table();
        let Some(local) = table.local(ino)? else {
            return Ok(None);
        };
        let file = Arc::clone(&local.file);
        Ok(Some((core.object_key(&table, ino)?, file)))
    }

    /// Whether the directory `ino` was made here, and S3 has nothing in it as far as is known.
    ///
    /// # Errors
    /// [`Error::NotDirectory`]; [`Error::Stale`] when there is no such inode.
    pub fn is_local_directory(&self, ino: InodeNo) -> Result<bool, Error> {
        match &self.core()?.table().get(ino)?.content {
            Content::Directory(directory) => Ok(directory.made_here),
            Content::File(_) | Content::Local(_) => Err(Error::NotDirectory),
        }
    }

    /// Makes `ino` the local file that the caller writes from now on, `size` bytes long at first,
    /// until [`Self::end_writing`]. Its name leads to it for that time.
    ///
    /// # Errors
    /// [`Error::IsDirectory`]; [`Error::Stale`] when it is written already, its name leads
    /// elsewhere, or its key is not `key` any more.
    pub fn start_writing(
        &self,
        ino: InodeNo,
        key: &Key,
        size: u64,
    ) -> Result<Arc<LocalFile>, Error> {
        let core = self.core()?;
        let mut table = core.table();
        if core.object_key(&table, ino)? != *key {
            return Err(Error::Stale);
        }
        table.start_writing(ino, size, SystemTime::now())
    }

    /// Ends what [`Self::start_writing`] began: the object is `stored`, or was not and may never
    /// be. From now on the name leads to what S3 says.
    pub fn end_writing(&self, ino: InodeNo, stored: bool) {
        let Ok(core) = self.core() else { return };
        let now = core.clock.tick();
        core.table().end_writing(ino, stored, now);
    }

    async fn make(&self, parent: InodeNo, name: &OsStr, content: Content) -> Result<Node, Error> {
        let core = self.core()?;
        let text = self.check_absent(parent, name).await?;
        let now = core.clock.now();
        let mut table = core.table();
        let ino = table.make(parent, &text, content, now)?;
        table.reference(ino)?;
        let inode = table.get(ino)?;
        Ok(core.node(ino, inode, core.ttl_of(&inode.content)))
    }
}

impl Core {
    /// Whether S3 said just now that it knows no `name` in `parent`. The kernel looks a name up
    /// before it makes it, so that this saves a second question.
    pub(super) fn is_known_absent(&self, parent: InodeNo, name: &Arc<str>) -> Result<bool, Error> {
        let table = self.table();
        if table.child(parent, name)?.is_some() {
            return Ok(false);
        }
        let now = self.clock.now();
        let absent = table.absent_since(parent, name);
        Ok(absent.is_some_and(|asked| asked.remaining(LOOKED_UP_BEFORE, now).is_some()))
    }

    /// Renames the version `version` of `from`, or any, where the store can.
    pub(super) async fn rename(
        &self,
        from: &Key,
        version: Option<ETag>,
        to: Key,
        replace: bool,
    ) -> Result<(), Error> {
        let request = RenameRequest {
            from: from.clone(),
            version,
            to,
            replace,
        };
        let renamed = self.store.rename(request).await;
        renamed.map_err(|error| match error.kind() {
            ErrorKind::Precondition if !replace => Error::Exists,
            ErrorKind::NotFound => Error::NotFound,
            _ => Error::S3(error),
        })
    }

    /// The key of `name` in the directory `parent`.
    pub(super) fn key_of(&self, parent: InodeNo, name: &OsStr) -> Result<Key, Error> {
        let name = name::parse(name)?;
        let directory = self.table().directory_prefix(parent, &self.config.prefix)?;
        Key::new(directory + name).map_err(|_| Error::NameTooLong)
    }
}

/// A change of a name that S3 was asked for. Until it is known to have ended well, and when it is
/// dropped before, nothing is believed of the name.
pub(super) struct Change<'a> {
    core: &'a Core,
    parent: InodeNo,
    name: &'a Arc<str>,
}

impl<'a> Change<'a> {
    pub(super) fn begin(core: &'a Core, parent: InodeNo, name: &'a Arc<str>) -> Self {
        Self { core, parent, name }
    }

    /// Notes a success by `note`, and that it came to pass by the moment it is given.
    pub(super) fn end(self, note: impl FnOnce(&Core, Moment)) {
        note(self.core, self.core.clock.tick());
        std::mem::forget(self);
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let now = self.core.clock.tick();
        self.core.table().doubt(self.parent, self.name, now);
    }
}

/// How long the answer to the lookup that comes before a creation counts, from the question on.
const LOOKED_UP_BEFORE: Duration = Duration::from_secs(1);
