//! Objects that this mount stores by one request, and what it says of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;

use bytes::Bytes;

use super::change::Change;
use super::error::Error;
use super::inode::{InodeNo, Node};
use super::{Tree, name};
use crate::s3::{CopyRequest, ErrorKind, Key, ObjectDetails, ObjectInfo, PutCondition, PutRequest};

impl Tree {
    /// Stores the object `name` in `parent`, which must not exist, and counts one reference of the
    /// kernel to it, as [`Self::lookup`] does.
    ///
    /// # Errors
    /// Those of [`Self::create`].
    ///
    /// # Cancel safety
    /// A dropped future may have stored the object.
    pub async fn store(
        &self,
        parent: InodeNo,
        name: &OsStr,
        metadata: BTreeMap<String, String>,
        body: Bytes,
    ) -> Result<Node, Error> {
        let core = self.core()?;
        let text = self.check_absent(parent, name).await?;
        let request = PutRequest {
            condition: PutCondition::Absent,
            metadata,
            ..PutRequest::new(core.key_of(parent, name)?)
        };
        let change = Change::begin(core, parent, &text);
        let stored = core.store.put(request, body).await;
        stored.map_err(|error| match error.kind() {
            ErrorKind::Precondition => Error::Exists,
            _ => Error::S3(error),
        })?;
        change.end(|core, now| core.table().note_stored(parent, &text, now));
        self.lookup(parent, name).await
    }

    /// Gives the version `info` of the object of the file `ino` other user metadata, and says what
    /// is known of it then. Its bytes stay, and so does its ETag where the store makes it of them.
    ///
    /// # Errors
    /// [`Error::Stale`] when the object has another version; [`Error::NotFound`] when it is gone;
    /// [`Error::S3`].
    ///
    /// # Cancel safety
    /// A dropped future may have changed the metadata.
    pub async fn describe_anew(
        &self,
        ino: InodeNo,
        info: &ObjectInfo,
        metadata: BTreeMap<String, String>,
    ) -> Result<ObjectInfo, Error> {
        let (key, parent, name) = self.place(ino)?;
        let core = self.core()?;
        let change = Change::begin(core, parent, &name);
        let request = CopyRequest {
            from: key.clone(),
            version: info.etag.clone(),
            size: info.size,
            to: key,
            condition: PutCondition::Version(info.etag.clone()),
            metadata: Some(metadata.clone()),
        };
        let stored = core.store.copy(request).await;
        let stored = stored.map_err(|error| match error.kind() {
            ErrorKind::Precondition => Error::Stale,
            ErrorKind::NotFound => Error::NotFound,
            _ => Error::S3(error),
        })?;
        let details = info.details.as_deref().cloned().unwrap_or_default();
        let described = ObjectInfo {
            etag: stored.etag,
            details: Some(Arc::new(ObjectDetails {
                metadata,
                ..details
            })),
            ..info.clone()
        };
        change.end(|core, now| core.table().note_described(ino, &described, now));
        Ok(described)
    }

    /// What S3 says of the object that was stored from the file `ino`, which is still open and was
    /// local.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is gone, [`Error::Stale`] when there is no such inode,
    /// [`Error::S3`].
    ///
    /// # Cancel safety
    /// Safe: a dropped future has changed nothing.
    pub async fn stored(&self, ino: InodeNo) -> Result<ObjectInfo, Error> {
        let (key, _parent, _name) = self.place(ino)?;
        self.core()?.head(&key).await?.ok_or(Error::NotFound)
    }

    /// The key of `ino`, the directory it is in, and its name there.
    fn place(&self, ino: InodeNo) -> Result<(Key, InodeNo, Arc<str>), Error> {
        let core = self.core()?;
        let table = core.table();
        let key = core.object_key(&table, ino)?;
        let inode = table.get(ino)?;
        Ok((key, inode.parent, Arc::from(&inode.name)))
    }

    /// The name as text, if nothing is there.
    pub(super) async fn check_absent(
        &self,
        parent: InodeNo,
        name: &OsStr,
    ) -> Result<Arc<str>, Error> {
        let text = Arc::<str>::from(name::parse(name)?);
        let core = self.core()?;
        core.key_of(parent, name)?;
        if !core.is_known_absent(parent, &text)? {
            match self.find(parent, name).await {
                Ok(_named) => return Err(Error::Exists),
                Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(text)
    }
}
