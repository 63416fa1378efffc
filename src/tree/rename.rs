//! Renaming where the store cannot: objects are copied, and deleted when all of them are there
//! under the new name. Whatever happens in between, nothing is lost.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::change::{Change, Named};
use super::error::Error;
use super::inode::{InodeNo, NodeKind};
use super::marker::Below;
use super::{Core, Tree, name};
use crate::s3::{
    self, CopyRequest, ETag, ErrorKind, Key, ListFrom, ListRequest, ListedObject, PutCondition,
};

impl Tree {
    /// The key of `name` in the directory `parent`, whatever is there.
    ///
    /// # Errors
    /// [`Error::NameTooLong`], [`Error::InvalidName`]; [`Error::NotDirectory`] or
    /// [`Error::Stale`] when `parent` is no directory.
    pub fn key(&self, parent: InodeNo, name: &OsStr) -> Result<Key, Error> {
        self.core()?.key_of(parent, name)
    }

    /// Gives a local file another name. What has that name loses it. Makes no request.
    ///
    /// # Errors
    /// [`Error::Stale`] when the file is not local any more; those of [`Self::key`].
    pub fn move_local(&self, named: &Named, parent: InodeNo, name: &OsStr) -> Result<(), Error> {
        let core = self.core()?;
        core.key_of(parent, name)?;
        let name = Arc::from(name::parse(name)?);
        let now = core.clock.tick();
        core.table().move_local(named.ino(), parent, &name, now)
    }

    /// Renames the object of a file to `name` in `parent`, by copying it; what is there is replaced
    /// if `replace` says so.
    ///
    /// # Errors
    /// [`Error::Exists`] when something is there that may not be replaced; [`Error::NotFound`]
    /// when the object is gone, [`Error::Stale`] when it is another version;
    /// [`Error::Unfinished`]; [`Error::S3`]; those of [`Self::key`].
    ///
    /// # Cancel safety
    /// A dropped future may have copied the object, and may have deleted it then.
    pub async fn move_object(
        &self,
        named: &Named,
        parent: InodeNo,
        name: &OsStr,
        replace: bool,
    ) -> Result<(), Error> {
        let core = self.core()?;
        let NodeKind::File(info) = named.kind() else {
            return Err(Error::IsDirectory);
        };
        let to = core.key_of(parent, name)?;
        let name = Arc::from(name::parse(name)?);
        let old = Change::begin(core, named.parent, &named.name);
        let new = Change::begin(core, parent, &name);
        let version = (&info.etag, info.size);
        let etag = core
            .copy_and_delete(&named.key, version, to, replace)
            .await?;
        old.end(|core, now| {
            new.end(|_core, _now| {});
            let mut table = core.table();
            let moved = table.move_file(named.ino(), parent, &name, Some(etag), now);
            moved.unwrap_or_else(|error| log::debug!("a renamed file is looked up anew: {error}"));
        });
        Ok(())
    }

    /// Gives the file `named`, which is local and stays so, the name `name` in `parent`, and so the
    /// object `stored` that S3 has of it by now: by renaming or, if `by_copy` says so, by copying
    /// it. What has that name is replaced if `replace` says so. Returns the version that S3 has
    /// then.
    ///
    /// # Errors
    /// Those of [`Self::move_object`], and of [`Self::move_local`].
    ///
    /// # Cancel safety
    /// A dropped future may have copied or renamed the object.
    pub async fn move_written(
        &self,
        named: &Named,
        stored: Option<(&ETag, u64)>,
        (parent, name): (InodeNo, &OsStr),
        replace: bool,
        by_copy: bool,
    ) -> Result<Option<ETag>, Error> {
        let core = self.core()?;
        let Some(version) = stored else {
            self.move_local(named, parent, name)?;
            return Ok(None);
        };
        let to = core.key_of(parent, name)?;
        let name = Arc::from(name::parse(name)?);
        let old = Change::begin(core, named.parent, &named.name);
        let new = Change::begin(core, parent, &name);
        let etag = if by_copy {
            core.copy_and_delete(&named.key, version, to, replace)
                .await?
        } else {
            core.rename(&named.key, Some(version.0.clone()), to, replace)
                .await?;
            version.0.clone()
        };
        old.end(|core, now| {
            new.end(|_core, _now| {});
            let mut table = core.table();
            if table.move_local(named.ino(), parent, &name, now).is_err() {
                // It is not local any more: both names lead to what S3 says.
                table.note_removed(named.parent, &named.name, now);
                table.note_change(parent, &name, now);
            }
            table.note_in_s3(parent, now);
        });
        Ok(Some(etag))
    }

    /// Renames the directory `named` to `name` in `parent`, with all that is in it: by copying
    /// every object, then making sure that none has changed, then deleting them. A directory that
    /// `target` says is there is replaced if it is empty.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], as `target`; [`Error::NotFound`] when the directory is gone;
    /// [`Error::NameTooLong`] when the key of something in it would be; [`Error::S3`] with
    /// [`ErrorKind::Archived`] when something in it is: then nothing was done.
    /// [`Error::Unfinished`]; [`Error::S3`]; those of [`Self::key`].
    ///
    /// # Cancel safety
    /// A dropped future may have copied objects, and, if it had copied all, deleted some.
    pub async fn move_directory(
        &self,
        named: &Named,
        (parent, name): (InodeNo, &OsStr),
        target: Option<&Named>,
    ) -> Result<(), Error> {
        let core = self.core()?;
        let from = format!("{}/", named.key);
        let to = format!("{}/", core.key_of(parent, name)?);
        let name = Arc::from(name::parse(name)?);
        if let Some(target) = target
            && core.table().has_locals(target.ino())?
        {
            return Err(Error::NotEmpty);
        }
        let there = core.below(&to).await?;
        if there == Below::More {
            return Err(Error::NotEmpty);
        }
        let objects = core.objects_below(&from).await?;
        if objects.is_empty() && !core.table().is_local(named.ino()) {
            return Err(Error::NotFound);
        }
        let copies = core.copies_of(&objects, &from, &to, there).await?;
        let old = Change::begin(core, named.parent, &named.name);
        let new = Change::begin(core, parent, &name);
        let moved = core.move_objects(&objects, copies, &from).await;
        moved.map_err(|error| Error::Unfinished { from, to, error })?;
        old.end(|core, now| {
            new.end(|_core, _now| {});
            let (mut table, in_s3) = (core.table(), !objects.is_empty());
            let moved = table.move_directory(named.ino(), parent, &name, in_s3, now);
            moved.unwrap_or_else(|error| {
                log::debug!("a renamed directory is looked up anew: {error}");
            });
        });
        Ok(())
    }
}

impl Core {
    /// Copies the version `(etag, size)` of `from` to `to`, and deletes it then. Returns the
    /// version that `to` has.
    async fn copy_and_delete(
        &self,
        from: &Key,
        (etag, size): (&ETag, u64),
        to: Key,
        replace: bool,
    ) -> Result<ETag, Error> {
        let condition = if replace {
            PutCondition::Any
        } else {
            PutCondition::Absent
        };
        let request = copy_of(from.clone(), (etag, size), to.clone(), condition);
        let copied = self.store.copy(request).await;
        let unfinished = |error| Error::Unfinished {
            from: from.to_string(),
            to: to.to_string(),
            error,
        };
        let copy = match copied {
            Ok(stored) => stored.etag,
            Err(error) => {
                return Err(match error.kind() {
                    ErrorKind::Precondition if !replace && self.head(&to).await?.is_some() => {
                        Error::Exists
                    }
                    ErrorKind::Precondition => Error::Stale,
                    ErrorKind::NotFound => Error::NotFound,
                    ErrorKind::Timeout | ErrorKind::Connection => unfinished(error),
                    _ => Error::S3(error),
                });
            }
        };
        let deleted = self.delete_version(from, etag).await;
        deleted.map_err(unfinished)?;
        Ok(copy)
    }

    /// Deletes the object `key` unless it is another version than `etag`, by now or already.
    async fn delete_version(&self, key: &Key, etag: &ETag) -> Result<(), s3::Error> {
        match self.head(key).await? {
            Some(now) if now.etag == *etag => self.store.delete(key).await,
            Some(_newer) => Err(changed(key.as_str())),
            None => Ok(()),
        }
    }

    /// Every object whose key starts with `prefix`.
    async fn objects_below(&self, prefix: &str) -> Result<Vec<ListedObject>, s3::Error> {
        let mut objects = Vec::new();
        let mut request = ListRequest {
            prefix: prefix.to_owned(),
            ..ListRequest::default()
        };
        loop {
            let page = self.list(&request).await?;
            objects.extend(page.objects);
            let Some(next) = page.next else {
                return Ok(objects);
            };
            request.from = ListFrom::Page(next);
        }
    }

    /// How to copy the objects in the directory `from` to the directory `to`, which has at most a
    /// marker. Nothing else there is replaced.
    async fn copies_of(
        &self,
        objects: &[ListedObject],
        from: &str,
        to: &str,
        there: Below,
    ) -> Result<Vec<CopyRequest>, Error> {
        let mut copies = Vec::with_capacity(objects.len());
        for object in objects {
            let rest = object.key.strip_prefix(from).unwrap_or_default();
            let key = |text: String| Key::new(text).map_err(|_too_long| Error::NameTooLong);
            let source = key(object.key.clone())?;
            // Listings do not tell whether an archived object is restored.
            if !object.info.is_readable()
                && let Some(info) = self.head(&source).await?
                && !info.is_readable()
            {
                return Err(archived(&object.key).into());
            }
            let condition = if rest.is_empty() && there == Below::Marker {
                PutCondition::Any
            } else {
                PutCondition::Absent
            };
            let target = key(format!("{to}{rest}"))?;
            let version = (&object.info.etag, object.info.size);
            copies.push(copy_of(source, version, target, condition));
        }
        Ok(copies)
    }

    /// Makes `copies` of `objects`, which are all there are in the directory `from`, and deletes
    /// them then, if all is still as it was.
    async fn move_objects(
        &self,
        objects: &[ListedObject],
        copies: Vec<CopyRequest>,
        from: &str,
    ) -> Result<(), s3::Error> {
        if objects.is_empty() {
            return Ok(());
        }
        let sources: Vec<Key> = copies.iter().map(|copy| copy.from.clone()).collect();
        stream::iter(copies)
            .map(Ok)
            .try_for_each_concurrent(AT_A_TIME, async |copy| {
                self.store.copy(copy).await.map(drop)
            })
            .await?;
        self.check_unchanged(objects, from).await?;
        stream::iter(&sources)
            .map(Ok)
            .try_for_each_concurrent(AT_A_TIME, async |key| self.store.delete(key).await)
            .await
    }

    /// # Errors
    /// [`ErrorKind::Precondition`] when the directory `from` has other objects than `objects`, or
    /// other versions of them.
    async fn check_unchanged(&self, objects: &[ListedObject], from: &str) -> Result<(), s3::Error> {
        let before = objects
            .iter()
            .map(|object| (&object.key, &object.info.etag));
        let mut before: HashMap<_, _> = before.collect();
        let now = self.objects_below(from).await?;
        for object in &now {
            if before.remove(&object.key) != Some(&object.info.etag) {
                return Err(changed(&object.key));
            }
        }
        match before.keys().next() {
            Some(gone) => Err(changed(gone)),
            None => Ok(()),
        }
    }
}

fn copy_of(from: Key, (etag, size): (&ETag, u64), to: Key, condition: PutCondition) -> CopyRequest {
    CopyRequest {
        from,
        version: etag.clone(),
        size,
        to,
        condition,
        metadata: None,
    }
}

fn changed(key: &str) -> s3::Error {
    let message = "the object was changed while it was renamed";
    refused(ErrorKind::Precondition, key, message)
}

fn archived(key: &str) -> s3::Error {
    let message = "the object is archived: restore it before renaming it";
    refused(ErrorKind::Archived, key, message)
}

/// An error about what S3 would do, as if it had said so.
fn refused(kind: ErrorKind, key: &str, message: &str) -> s3::Error {
    let context = s3::Context {
        operation: "CopyObject",
        key: key.to_owned(),
        message: Some(message.to_owned()),
        ..s3::Context::default()
    };
    s3::Error::new(kind, context)
}

/// Objects that are copied, or deleted, at the same time.
const AT_A_TIME: usize = 16;
