//! Handing entries over to the reader, as the inodes that they stand for.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::super::error::Error;
use super::super::expiry::Moment;
use super::super::inode::{Content, Found, InodeNo, Node, NodeKind};
use super::super::listing::Entry;
use super::super::local::Phase;
use super::{BucketDir, DirEntry, Emit, Item, Stream};
use crate::s3::Key;

impl BucketDir {
    /// Hands over what is buffered of the `wanted` entries. Counts a reference before the entry is
    /// handed over, so that the kernel cannot give back what was not counted yet, and takes it
    /// back if there was no room.
    pub(super) fn emit_from(
        &self,
        stream: &Stream,
        wanted: Range<u64>,
        plus: bool,
        emit: &mut (dyn FnMut(DirEntry) -> Emit + Send),
    ) -> Result<(), Error> {
        let dots = [(".", self.ino), ("..", self.parent)];
        for (position, (name, ino)) in (0..).zip(dots).filter(|(at, _)| *at >= wanted.start) {
            let node = Node {
                ino,
                kind: self.core.directory(),
                valid_for: self.core.config.ttl.of_directory(),
            };
            let entry = DirEntry {
                name: Arc::from(name),
                offset: position + 1,
                node,
            };
            if emit(entry) == Emit::Full {
                return Ok(());
            }
        }
        let now = self.core.clock.now();
        for (position, entry) in (stream.first..).zip(&stream.entries) {
            if !wanted.contains(&position) {
                continue;
            }
            let (name, node) = match entry {
                Item::Listed(entry) => (&entry.name, self.node(stream, entry, plus, now)?),
                Item::Local { name, ino } => match self.local(*ino, plus) {
                    Some(node) => (name, node),
                    None => continue,
                },
            };
            let ino = node.ino;
            let entry = DirEntry {
                name: Arc::clone(name),
                offset: position + 1,
                node,
            };
            if emit(entry) == Emit::Full {
                if plus {
                    self.core.table().forget(ino, 1);
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// What was local when the listing began, unless it is gone. With `plus`, counts a reference.
    fn local(&self, ino: InodeNo, plus: bool) -> Option<Node> {
        let mut table = self.core.table();
        let inode = table.get(ino).ok()?;
        if let Content::Local(local) = &inode.content
            && local.phase == Phase::Failed
        {
            return None;
        }
        let node = self.core.node(ino, inode, Duration::ZERO);
        if plus {
            table.reference(ino).ok()?;
        }
        Some(node)
    }

    /// What an entry of a listing stands for. With `plus`, counts a reference.
    ///
    /// What this mount has changed since the page was asked for is not believed. It is not left out
    /// either: a name may be there as another version, and a page without an entry would be the end.
    fn node(&self, stream: &Stream, entry: &Entry, plus: bool, now: Moment) -> Result<Node, Error> {
        let Entry { name, found } = entry;
        let ttl = self.core.ttl_of_found(found);
        let mut valid_for = stream.arrived.remaining(ttl, now).unwrap_or_default();
        if let Found::File(info) = found
            && info.details.is_none()
            && self.core.config.details
        {
            valid_for = Duration::ZERO;
        }
        let mut table = self.core.table();
        let is_outdated = table.is_outdated(self.ino, name, stream.asked);
        if is_outdated {
            valid_for = Duration::ZERO;
        }
        let known = if plus {
            Some(table.learn(self.ino, name, found.clone(), stream.asked)?)
        } else {
            table.refresh(self.ino, name, found, stream.asked)?
        };
        if let Some(ino) = known {
            let node = self.core.node(ino, table.get(ino)?, valid_for);
            drop(table);
            if !is_outdated {
                self.remember(stream, entry);
            }
            return Ok(node);
        }
        let kind = match found {
            Found::Directory => self.core.directory(),
            Found::File(info) => NodeKind::File(info.clone()),
        };
        Ok(Node {
            ino: table.number(self.ino, name, found),
            kind,
            valid_for,
        })
    }

    /// Lets others know what an entry stands for. Of a store that lists in no order, a directory may come
    /// that hides a file.
    fn remember(&self, stream: &Stream, entry: &Entry) {
        let Entry { name, found } = entry;
        let is_certain = self.core.config.ordered && stream.listing.is_ordered();
        if (is_certain || *found == Found::Directory)
            && let Ok(key) = Key::new(format!("{}{name}", stream.prefix))
        {
            self.core.remember(&key, Some(found.clone()), stream.asked);
        }
    }
}
