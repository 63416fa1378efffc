//! Directories that stay when nothing is in them: by a marker, an object without bytes whose key
//! is that of the directory with its `/`.

use std::ffi::OsStr;

use bytes::Bytes;

use super::change::{Change, Named};
use super::error::Error;
use super::inode::{Content, InodeNo, Node, ROOT};
use super::{Core, Tree};
use crate::s3::{self, ErrorKind, Key, ListFrom, ListRequest, PutCondition, PutRequest};

impl Tree {
    /// Makes a directory `name` in `parent` and stores a marker of it, and counts one reference of
    /// the kernel to it, as [`Self::lookup`] does.
    ///
    /// # Errors
    /// Those of [`Self::create`]; [`Error::S3`].
    ///
    /// # Cancel safety
    /// A dropped future may have made the directory.
    pub async fn mkdir_marked(&self, parent: InodeNo, name: &OsStr) -> Result<Node, Error> {
        let core = self.core()?;
        let node = self.mkdir(parent, name).await?;
        let stored = core.mark(node.ino).await;
        if stored.is_err() {
            // It may have got something in it meanwhile, and then stays for that.
            _ = core.table().remove_directory(node.ino);
            core.table().forget(node.ino, 1);
        }
        stored.map(|()| node)
    }

    /// Makes sure that the directory which `named` is in stays when `named` goes: stores a marker
    /// of it, unless S3 has one, or something else in it.
    ///
    /// # Errors
    /// [`Error::Stale`] when there is no such directory any more; [`Error::S3`].
    ///
    /// # Cancel safety
    /// A dropped future may have stored the marker.
    pub async fn keep_parent(&self, named: &Named) -> Result<(), Error> {
        let (core, parent) = (self.core()?, named.parent);
        if parent == ROOT || core.is_marked(parent)? {
            return Ok(());
        }
        let prefix = core.table().directory_prefix(parent, &core.config.prefix)?;
        let mut own = named.key.to_string();
        if *named.kind() == core.directory() {
            own.push('/');
        }
        let others = core.names_below(&prefix, true).await?;
        let has_marker = others.iter().any(|(key, _size)| *key == prefix);
        if has_marker {
            core.note_marked(parent);
        }
        if has_marker || others.iter().any(|(key, _size)| *key != own) {
            return Ok(());
        }
        match core.mark(parent).await {
            // Somebody else was faster.
            Err(Error::Exists) => Ok(()),
            stored => stored,
        }
    }

    /// Removes the directory `named` from S3, which has nothing of it but a marker. The directory
    /// above stays, as [`Self::keep_parent`] has it.
    ///
    /// # Errors
    /// [`Error::NotDirectory`]; [`Error::NotEmpty`]; [`Error::NotFound`]; [`Error::S3`].
    ///
    /// # Cancel safety
    /// A dropped future may have removed the directory.
    pub async fn remove_marked(&self, named: &Named) -> Result<(), Error> {
        let core = self.core()?;
        if core.table().has_locals(named.ino())? {
            return Err(Error::NotEmpty);
        }
        let prefix = format!("{}/", named.key);
        match core.below(&prefix).await? {
            Below::Nothing => return Err(Error::NotFound),
            Below::Marker => {}
            Below::More => return Err(Error::NotEmpty),
        }
        let marker = Key::new(prefix).map_err(|_too_long| Error::NameTooLong)?;
        self.keep_parent(named).await?;
        let change = Change::begin(core, named.parent, &named.name);
        core.store.delete(&marker).await?;
        change.end(|core, now| {
            core.table().note_removed(named.parent, &named.name, now);
        });
        Ok(())
    }
}

/// What S3 has in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Below {
    /// No key: there is no such directory.
    Nothing,
    /// An empty object whose key is that of the directory.
    Marker,
    /// Keys of something else, or a marker with bytes in it.
    More,
}

impl Core {
    /// What S3 has in the directory whose keys start with `prefix`.
    pub(super) async fn below(&self, prefix: &str) -> Result<Below, s3::Error> {
        let found = self.names_below(prefix, false).await?;
        Ok(match found.as_slice() {
            [] => Below::Nothing,
            [(key, 0)] if *key == prefix => Below::Marker,
            _ => Below::More,
        })
    }

    /// The first two of the keys that start with `prefix`, with the lengths of their objects;
    /// rolled up at the next `/` if `delimited`.
    async fn names_below(
        &self,
        prefix: &str,
        delimited: bool,
    ) -> Result<Vec<(String, u64)>, s3::Error> {
        let mut found = Vec::new();
        let mut request = ListRequest {
            prefix: prefix.to_owned(),
            delimited,
            from: ListFrom::Start,
            max_keys: Some(2),
        };
        loop {
            let page = self.list(&request).await?;
            let objects = page.objects.into_iter();
            found.extend(objects.map(|object| (object.key, object.info.size)));
            found.extend(page.common_prefixes.into_iter().map(|group| (group, 0)));
            // Some kinds of buckets answer with empty pages before the last entry.
            match page.next {
                Some(next) if found.len() < 2 => request.from = ListFrom::Page(next),
                _ => return Ok(found),
            }
        }
    }

    /// Stores a marker of the directory `ino`, which is not the root.
    ///
    /// # Errors
    /// [`Error::Exists`] when it has one.
    async fn mark(&self, ino: InodeNo) -> Result<(), Error> {
        let prefix = self.table().directory_prefix(ino, &self.config.prefix)?;
        let key = Key::new(prefix).map_err(|_too_long| Error::NameTooLong)?;
        let request = PutRequest {
            condition: PutCondition::Absent,
            ..PutRequest::new(key)
        };
        let stored = self.store.put(request, Bytes::new()).await;
        stored.map_err(|error| match error.kind() {
            ErrorKind::Precondition => Error::Exists,
            _ => Error::S3(error),
        })?;
        self.note_marked(ino);
        Ok(())
    }

    fn note_marked(&self, ino: InodeNo) {
        let now = self.clock.tick();
        self.table().note_marked(ino, now);
    }

    fn is_marked(&self, ino: InodeNo) -> Result<bool, Error> {
        match &self.table().get(ino)?.content {
            Content::Directory(directory) => Ok(directory.marked),
            Content::File(_) | Content::Local(_) => Err(Error::NotDirectory),
        }
    }
}
