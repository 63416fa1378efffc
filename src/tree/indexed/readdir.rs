//! Reading a directory of an index.

use std::sync::Arc;

use super::super::error::Error;
use super::super::inode::{InodeNo, Node, ROOT};
use super::super::name::{Visibility, classify};
use super::super::readdir::{DOTS, DirEntry, Emit};
use super::{Directory, Indexed, enters, node};
use crate::index::Cursor;

/// One open directory. Entries come in byte order of the keys; an offset says how many objects are
/// before it, so that reading can go on after any entry that was ever read.
#[derive(Debug)]
pub(in crate::tree) struct IndexDir {
    names: Arc<Indexed>,
    ino: InodeNo,
    /// What all keys in it start with.
    prefix: String,
    depth: u16,
    /// The position of the first of them.
    first: u64,
}

impl IndexDir {
    pub(in crate::tree) fn open(names: Arc<Indexed>, ino: InodeNo) -> Result<Self, Error> {
        let Directory { prefix, depth } = names.directory(ino)?;
        let first = names.index.seek(prefix.as_bytes())?.position();
        Ok(Self {
            names,
            ino,
            prefix,
            depth,
            first,
        })
    }

    /// See [`super::super::DirHandle::read`]. An error may come after entries.
    pub(in crate::tree) fn read(
        &self,
        offset: u64,
        emit: &mut (dyn FnMut(DirEntry) -> Emit + Send),
    ) -> Result<(), Error> {
        for (position, name) in (0..).zip([".", ".."]).filter(|(at, _)| *at >= offset) {
            let ino = if position == 0 {
                self.ino
            } else {
                self.parent()?
            };
            let dots = DirEntry {
                name: Arc::from(name),
                offset: position + 1,
                node: node(ino, self.names.directory_kind()),
            };
            if emit(dots) == Emit::Full {
                return Ok(());
            }
        }
        let mut cursor = self.go_to(offset.max(DOTS) - DOTS)?;
        while let Some(key) = cursor.key()
            && let Some(rest) = key.strip_prefix(self.prefix.as_bytes())
        {
            let rest = self.names.text(rest)?.to_owned();
            let found = match rest.split_once('/') {
                Some((name, _)) => self.pass_directory(&mut cursor, name)?,
                None => self.pass_file(&mut cursor, &rest)?,
            };
            let Some((name, node)) = found else { continue };
            let entry = DirEntry {
                name: Arc::from(name),
                offset: cursor.position() - self.first + DOTS,
                node,
            };
            if emit(entry) == Emit::Full {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The entry after so many objects of the directory.
    ///
    /// # Errors
    /// [`Error::BadOffset`] when no entry begins there.
    fn go_to(&self, passed: u64) -> Result<Cursor<'_>, Error> {
        let index = &self.names.index;
        if passed == 0 {
            return Ok(index.at(self.first)?);
        }
        let position = self.first.checked_add(passed).ok_or(Error::BadOffset)?;
        let mut cursor = index.at(position - 1)?;
        let last = cursor.key().and_then(|key| self.entry_of(key));
        let last = last.ok_or(Error::BadOffset)?.to_owned();
        cursor.advance()?;
        let is_within = cursor.key().and_then(|key| self.entry_of(key)) == Some(&*last);
        if is_within {
            return Err(Error::BadOffset);
        }
        Ok(cursor)
    }

    /// What of `key` is the same in all objects of its entry: a name, with a `/` if it is a directory.
    fn entry_of<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let rest = key.strip_prefix(self.prefix.as_bytes())?;
        let slash = rest.iter().position(|byte| *byte == b'/');
        slash.map_or(Some(rest), |slash| rest.get(..=slash))
    }

    /// Goes on to after the directory `name`, whose first object the cursor is at, and says what it is,
    /// if it is shown.
    fn pass_directory<'n>(
        &self,
        cursor: &mut Cursor<'_>,
        name: &'n str,
    ) -> Result<Option<(&'n str, Node)>, Error> {
        let position = cursor.position();
        cursor.leave(format!("{}{name}/", self.prefix).as_bytes())?;
        if !self.shows(name) {
            return Ok(None);
        }
        match self.names.directory_node(position, self.depth + 1) {
            Ok(node) => Ok(Some((name, node))),
            Err(_too_deep) => Ok(None),
        }
    }

    /// As [`Self::pass_directory`], of the file `name`.
    fn pass_file<'n>(
        &self,
        cursor: &mut Cursor<'_>,
        name: &'n str,
    ) -> Result<Option<(&'n str, Node)>, Error> {
        let (position, info) = (cursor.position(), cursor.info()?);
        cursor.advance()?;
        if name.is_empty() && info.size > 0 {
            self.names.notices.marker_with_content(&self.prefix);
        }
        if !self.shows(name) || self.is_hidden(cursor, name)? {
            return Ok(None);
        }
        Ok(Some((name, self.names.file_node(position, info))))
    }

    fn shows(&self, name: &str) -> bool {
        match classify(name) {
            Visibility::Shown => true,
            Visibility::Hidden => false,
            Visibility::TooLong => {
                self.names.notices.name_too_long(&self.prefix, name);
                false
            }
        }
    }

    /// Whether a directory has the name of the file that is just before `next`.
    fn is_hidden(&self, next: &Cursor<'_>, name: &str) -> Result<bool, Error> {
        let rest = next
            .key()
            .and_then(|key| key.strip_prefix(self.prefix.as_bytes()))
            .and_then(|rest| rest.strip_prefix(name.as_bytes()));
        match rest {
            Some([b'/', ..]) => Ok(true),
            // Its objects would come after these.
            Some([byte, ..]) if *byte < b'/' => {
                let mut cursor = next.clone();
                enters(&mut cursor, &format!("{}{name}", self.prefix))
            }
            _ => Ok(false),
        }
    }

    /// The directory above.
    fn parent(&self) -> Result<InodeNo, Error> {
        if self.depth < 2 {
            return Ok(ROOT);
        }
        let inner = self.prefix.strip_suffix('/').unwrap_or_default();
        let end = inner.rfind('/').map_or(0, |slash| slash + 1);
        let prefix = inner.get(..end).unwrap_or_default();
        let first = self.names.index.seek(prefix.as_bytes())?.position();
        Ok(self.names.directory_node(first, self.depth - 1)?.ino)
    }
}
