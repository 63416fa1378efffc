//! Modes, owners, times and symbolic links that are kept in user metadata.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::attr::{Attr, Entry};
use super::change::SetAttr;
use super::config::FsConfig;
use super::errno::Error;
use super::refuse::Refused;
use super::{FileKind, Fs};
use crate::read::ReadHandle;
use crate::s3::ObjectInfo;
use crate::tree::{self, Freshness, InodeNo, LocalFile, PosixAttr};
use crate::write::WriteHandle;

/// Who makes a file, and what it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Creator {
    /// Type and permission bits, without those of the creator's umask.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Fs {
    /// Makes the symbolic link `name` in `parent`, which holds `target`, any bytes, and counts one
    /// reference to its inode.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::NotPermitted`] unless symbolic links can be kept; any failure
    /// of the namespace, among them that the name exists, or the target is too long.
    ///
    /// # Cancel safety
    /// A dropped call may have made the link.
    pub async fn symlink(
        &self,
        parent: InodeNo,
        name: &OsStr,
        target: &OsStr,
        creator: Creator,
    ) -> Result<Entry, Error> {
        if !self.config.posix_metadata {
            return Err(self.refuse(Refused::Symlink));
        }
        self.check_writable()?;
        let target = target.as_encoded_bytes();
        if !is_target_size(target.len() as u64) {
            return Err(tree::Error::NameTooLong.into());
        }
        let attr = PosixAttr {
            mode: Some(libc::S_IFLNK | 0o777),
            uid: Some(creator.uid),
            gid: Some(creator.gid),
            modified: None,
        };
        let mut metadata = BTreeMap::new();
        attr.write(&mut metadata);
        let body = Bytes::copy_from_slice(target);
        let node = self.tree.store(parent, name, metadata, body).await?;
        Ok(self.entry(&node))
    }

    /// What the symbolic link `ino` leads to.
    ///
    /// # Errors
    /// [`Error::Unsupported`] unless symbolic links can be kept; [`Error::Impossible`] for what is
    /// none; [`Error::Read`]; any failure of the namespace.
    ///
    /// # Cancel safety
    /// Safe: a dropped call has changed nothing.
    pub async fn readlink(&self, ino: InodeNo) -> Result<Bytes, Error> {
        if !self.config.posix_metadata {
            return Err(self.refuse(Refused::Readlink));
        }
        let version = self.tree.believe(ino, Freshness::Cached)?.version;
        let info = version.info;
        if Attr::of_file(ino, &info, &self.config).kind != FileKind::Symlink {
            return Err(Error::Impossible("reading what is no symbolic link"));
        }
        let reader = ReadHandle::new(
            Arc::clone(&self.store),
            version.key,
            info.etag,
            info.size,
            self.read.clone(),
        );
        let size = usize::try_from(info.size).unwrap_or(usize::MAX);
        reader.read_at(0, size).await.map_err(Error::Read)
    }

    /// Keeps for a new file who made it, and says whether that was done.
    pub(super) fn keep_creator(&self, ino: InodeNo, creator: Creator) -> bool {
        if !self.config.posix_metadata {
            return false;
        }
        let Ok(Some((_key, file))) = self.tree.local(ino) else {
            return false;
        };
        file.set_posix(PosixAttr {
            mode: Some(libc::S_IFREG | creator.mode & PERMISSIONS),
            uid: Some(creator.uid),
            gid: Some(creator.gid),
            modified: None,
        });
        true
    }

    /// Keeps a change of a file that is local, until it is stored.
    pub(super) fn keep_change(&self, file: &LocalFile, change: &SetAttr) {
        if self.config.posix_metadata {
            file.set_posix(changed(change, libc::S_IFREG));
        }
    }

    /// Changes attributes of an object.
    pub(super) async fn describe_anew(
        &self,
        ino: InodeNo,
        change: SetAttr,
    ) -> Result<Entry, Error> {
        let info = self.tree.known(ino)?;
        if let Some(info) = info.filter(|info| info.details.is_some() && !changes(info, &change)) {
            return Ok(self.described(ino, &info));
        }
        let info = self.tree.describe(ino, Freshness::Newest).await?;
        self.describe_version(ino, info.ok_or(tree::Error::Stale)?, &change)
            .await
    }

    /// Changes attributes of an object that was stored from a file that is still open.
    pub(super) async fn describe_stored(
        &self,
        ino: InodeNo,
        file: &LocalFile,
        change: SetAttr,
    ) -> Result<Entry, Error> {
        let info = self.tree.stored(ino).await?;
        self.describe_version(ino, info, &change).await?;
        file.set_times(change.accessed, change.modified);
        self.keep_change(file, &change);
        Ok(self.local_entry(ino, file))
    }

    async fn describe_version(
        &self,
        ino: InodeNo,
        mut info: ObjectInfo,
        change: &SetAttr,
    ) -> Result<Entry, Error> {
        if changes(&info, change) {
            let mut metadata = metadata_of(&info);
            let before = PosixAttr::read(&metadata);
            let kept = PosixAttr {
                // That of the object will be the time of this change.
                modified: before.modified.is_none().then_some(info.last_modified),
                ..PosixAttr::default()
            };
            changed(change, file_type(&before))
                .or(kept)
                .write(&mut metadata);
            info = self.tree.describe_anew(ino, &info, metadata).await?;
            self.pins.describe(ino, &info);
        }
        Ok(self.described(ino, &info))
    }

    /// What `stat` says of a version. The kernel asks again the next time.
    fn described(&self, ino: InodeNo, info: &ObjectInfo) -> Entry {
        Entry {
            attr: Attr::of_file(ino, info, &self.config),
            valid_for: Duration::ZERO,
        }
    }
}

/// What is kept of an object's attributes.
pub(super) fn of(info: &ObjectInfo, config: &FsConfig) -> PosixAttr {
    match &info.details {
        Some(details) if config.posix_metadata => PosixAttr::read(&details.metadata),
        _ => PosixAttr::default(),
    }
}

/// Whether an object with such attributes is a symbolic link: its bytes have to be a path.
pub(super) fn is_symlink(info: &ObjectInfo, attr: &PosixAttr) -> bool {
    attr.is_symlink() && is_target_size(info.size)
}

/// Lets what `handle` stores have the attributes that `file` has when it is complete, beginning
/// with those of the object that it replaces, or that it continues and then keeps all metadata of.
pub(super) fn describing(
    handle: WriteHandle,
    file: Arc<LocalFile>,
    replaced: Option<ObjectInfo>,
    is_appended: bool,
) -> WriteHandle {
    let mut base = replaced.as_ref().map(metadata_of).unwrap_or_default();
    inherit(&file, &base);
    if !is_appended {
        base.clear();
    }
    handle.describing(move || {
        let mut metadata = base.clone();
        file.attr().posix.write(&mut metadata);
        metadata
    })
}

/// Lets a file begin with the attributes of the object that it replaces or continues, which has
/// `metadata`; its time is another one.
pub(super) fn inherit(file: &LocalFile, metadata: &BTreeMap<String, String>) {
    file.set_posix(PosixAttr {
        modified: None,
        ..PosixAttr::read(metadata)
    });
}

fn metadata_of(info: &ObjectInfo) -> BTreeMap<String, String> {
    let details = info.details.as_ref();
    details
        .map(|details| details.metadata.clone())
        .unwrap_or_default()
}

/// Whether `change` makes a difference to an object.
fn changes(info: &ObjectInfo, change: &SetAttr) -> bool {
    let before = PosixAttr::read(&metadata_of(info));
    changed(change, file_type(&before)).or(before) != before
}

fn changed(change: &SetAttr, file_type: u32) -> PosixAttr {
    PosixAttr {
        mode: change.mode.map(|mode| file_type | mode & PERMISSIONS),
        uid: change.uid,
        gid: change.gid,
        modified: change.modified,
    }
}

fn file_type(attr: &PosixAttr) -> u32 {
    if attr.is_symlink() {
        libc::S_IFLNK
    } else {
        libc::S_IFREG
    }
}

/// Whether a path may be this long, in bytes; `PATH_MAX` counts the NUL at its end.
fn is_target_size(size: u64) -> bool {
    (1..libc::PATH_MAX as u64).contains(&size)
}

const PERMISSIONS: u32 = 0o7777;
