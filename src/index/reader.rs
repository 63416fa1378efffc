//! Reads the file of an index.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::block::{BadBlock, BlockCursor, BlockPlace, Blocks};
use super::format::{BadHeader, BlockEntry, Fields, HEADER_BYTES, Header, Malformed};
use super::order::after_group;
use super::{Error, Scope, Summary};
use crate::crt::crc32c;
use crate::s3::{ListedObject, ObjectInfo, Prefix};

/// An index on the disk. Every method may be called from any thread, and reads the file: for as
/// long as the disk takes, or as a copy takes when the file is in the page cache.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    file: File,
    scope: Scope,
    summary: Summary,
    table: Table,
    blocks: Blocks,
}

/// The places of all blocks, in order of their keys.
#[derive(Debug)]
struct Table {
    /// The table as it is in the file.
    bytes: Vec<u8>,
    blocks: Vec<Block>,
}

/// What the table says of a block.
#[derive(Debug)]
struct Block {
    place: BlockPlace,
    /// Objects in the blocks before it.
    before: u64,
    /// Where its first key is in the table.
    first_key: Range<u32>,
}

impl Index {
    /// Opens the index at `path` and reads its table: about 0.2 % of the file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Foreign`], [`Error::Version`], [`Error::Damaged`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::file(path, error);
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                let path = path.to_owned();
                return Error::Foreign { path };
            }
            Error::file(path, error)
        })?;
        let path = path.to_owned();
        let header = match Header::decode(&header) {
            Ok(header) => header,
            Err(BadHeader::Foreign) => return Err(Error::Foreign { path }),
            Err(BadHeader::Version(found)) => return Err(Error::Version { path, found }),
            Err(BadHeader::Damaged) => {
                let what = "its header has changed";
                return Err(Error::Damaged { path, what });
            }
        };
        match Self::read_table(&file, &header, length) {
            Ok((scope, table)) => Ok(Self {
                path,
                file,
                scope,
                summary: Summary {
                    objects: header.objects,
                    bytes: header.bytes,
                },
                table,
                blocks: Blocks::default(),
            }),
            Err(BadTable::File(error)) => Err(Error::file(&path, error)),
            Err(BadTable::Malformed(Malformed(what))) => Err(Error::Damaged { path, what }),
        }
    }

    fn read_table(file: &File, header: &Header, length: u64) -> Result<(Scope, Table), BadTable> {
        // Before anything is allocated by a number of the file.
        if header.table_offset.checked_add(header.table_bytes) != Some(length) {
            return Err(Malformed("its length has changed").into());
        }
        let bytes = u32::try_from(header.table_bytes).map_err(|_| Malformed("a strange table"))?;
        let mut bytes = vec![0; usize::try_from(bytes).map_err(|_| Malformed("a strange table"))?];
        file.read_exact_at(&mut bytes, header.table_offset)
            .map_err(BadTable::File)?;
        if crc32c(0, &bytes) != header.table_crc {
            return Err(Malformed("its table has changed").into());
        }
        let mut fields = Fields(&bytes);
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map(str::to_owned);
            text.map_err(|_| Malformed("a name is no text"))
        };
        let bucket = text(fields.text()?)?;
        let prefix =
            Prefix::new(text(fields.text()?)?).map_err(|_| Malformed("a strange prefix"))?;
        let count = fields.u32()?;
        let mut blocks = Vec::new();
        let mut next = HEADER_BYTES as u64;
        let mut objects = 0;
        for _ in 0..count {
            let entry = BlockEntry::decode(&mut fields)?;
            if entry.offset != next || entry.records == 0 {
                return Err(Malformed("a strange block").into());
            }
            let before = objects;
            next += u64::from(entry.bytes);
            objects += u64::from(entry.records);
            let end = bytes.len() - fields.0.len();
            let start = end - entry.first_key.len();
            // The table was found to be shorter than 4 GiB.
            let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) else {
                return Err(Malformed("a strange table").into());
            };
            let place = BlockPlace {
                offset: entry.offset,
                bytes: entry.bytes,
                crc: entry.crc,
                records: entry.records,
            };
            blocks.push(Block {
                place,
                before,
                first_key: start..end,
            });
        }
        if !fields.is_empty() || next != header.table_offset || objects != header.objects {
            return Err(Malformed("its table does not fit").into());
        }
        if objects > MOST_OBJECTS {
            return Err(Malformed("it has too many objects").into());
        }
        let table = Table { bytes, blocks };
        let keys = (0..table.blocks.len()).map(|block| table.first_key(block));
        if !keys.is_sorted_by(|a, b| a < b) {
            return Err(Malformed("its blocks are out of order").into());
        }
        Ok((Scope { bucket, prefix }, table))
    }

    /// What the index is of.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What is in it.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// What is known of the object `key`.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Damaged`].
    pub fn get(&self, key: &str) -> Result<Option<ObjectInfo>, Error> {
        let cursor = self.seek(key.as_bytes())?;
        match cursor.key() {
            Some(found) if found == key.as_bytes() => cursor.info().map(Some),
            _ => Ok(None),
        }
    }

    /// All objects, in byte order of their keys.
    pub fn objects(&self) -> Objects<'_> {
        Objects {
            index: self,
            cursor: None,
            failed: false,
        }
    }

    /// The first object whose key is not before `from`.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Damaged`].
    pub fn seek(&self, from: &[u8]) -> Result<Cursor<'_>, Error> {
        let mut cursor = self.start_of(self.table.block_of(from))?;
        while cursor.key().is_some_and(|key| key < from) {
            cursor.advance()?;
        }
        Ok(cursor)
    }

    /// The object at `position`, which is how many have lesser keys; the end if there is none.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Damaged`].
    pub fn at(&self, position: u64) -> Result<Cursor<'_>, Error> {
        let blocks = &self.table.blocks;
        if position >= self.summary.objects {
            return self.start_of(blocks.len());
        }
        let after = blocks.partition_point(|block| block.before <= position);
        let mut cursor = self.start_of(after.saturating_sub(1))?;
        while cursor.key().is_some() && cursor.position() < position {
            cursor.advance()?;
        }
        Ok(cursor)
    }

    /// The first object of a block.
    fn start_of(&self, block: usize) -> Result<Cursor<'_>, Error> {
        let mut cursor = Cursor {
            index: self,
            block,
            place: None,
        };
        cursor.open_block()?;
        Ok(cursor)
    }

    /// An error about the file.
    pub fn damaged(&self, what: &'static str) -> Error {
        let path = self.path.clone();
        Error::Damaged { path, what }
    }
}

impl Table {
    fn first_key(&self, block: usize) -> &[u8] {
        let place = self.blocks.get(block).map(|block| block.first_key.clone());
        let place = place.unwrap_or_default();
        let (Ok(start), Ok(end)) = (usize::try_from(place.start), usize::try_from(place.end))
        else {
            return &[];
        };
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// The block that has `key`, if any has.
    fn block_of(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.blocks.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.first_key(middle) <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.saturating_sub(1)
    }
}

/// A place in an index: at an object, or at the end. Its methods that go on read the file, and fail
/// with [`Error::File`] or [`Error::Damaged`].
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    index: &'a Index,
    block: usize,
    /// `None` at the end.
    place: Option<BlockCursor>,
}

impl Cursor<'_> {
    /// The key of this object; `None` at the end.
    pub fn key(&self) -> Option<&[u8]> {
        self.place.as_ref().map(BlockCursor::key)
    }

    /// How many objects come before this place.
    pub fn position(&self) -> u64 {
        let block = self.index.table.blocks.get(self.block);
        match (block, &self.place) {
            (Some(block), Some(place)) => block.before + u64::from(place.number()),
            _ => self.index.summary.objects,
        }
    }

    /// What is known of this object; an error at the end.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn info(&self) -> Result<ObjectInfo, Error> {
        self.record(|place| place.record()?.info())
    }

    /// This object.
    pub(super) fn object(&self) -> Result<ListedObject, Error> {
        self.record(|place| place.record()?.listed(place.key()))
    }

    fn record<T>(
        &self,
        read: impl FnOnce(&BlockCursor) -> Result<T, Malformed>,
    ) -> Result<T, Error> {
        let place = self.place.as_ref().ok_or(Malformed("it has ended"));
        place
            .and_then(read)
            .map_err(|Malformed(what)| self.index.damaged(what))
    }

    /// Goes to the next object.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Damaged`].
    pub fn advance(&mut self) -> Result<(), Error> {
        let Some(place) = &mut self.place else {
            return Ok(());
        };
        match place.advance() {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.block += 1;
                self.open_block()
            }
            Err(Malformed(what)) => Err(self.index.damaged(what)),
        }
    }

    /// Goes on to the first object whose key is not before `to`.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Damaged`].
    pub fn skip_to(&mut self, to: &[u8]) -> Result<(), Error> {
        let next = self.block + 1;
        if next < self.index.table.blocks.len() && self.index.table.first_key(next) <= to {
            *self = self.index.seek(to)?;
            return Ok(());
        }
        while self.key().is_some_and(|key| key < to) {
            self.advance()?;
        }
        Ok(())
    }

    /// Goes on to the first object that is not in the directory `prefix`, which ends in `/`.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Damaged`].
    pub fn leave(&mut self, prefix: &[u8]) -> Result<(), Error> {
        self.skip_to(&after_group(prefix))
    }

    /// Goes to the first object of the block; to the end if there is no such block.
    fn open_block(&mut self) -> Result<(), Error> {
        let index = self.index;
        let Some(Block { place, .. }) = index.table.blocks.get(self.block) else {
            self.place = None;
            return Ok(());
        };
        let bytes = index.blocks.get(&index.file, self.block, *place);
        let bytes = bytes.map_err(|error| match error {
            BadBlock::File(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                index.damaged("its length has changed")
            }
            BadBlock::File(error) => Error::file(&index.path, error),
            BadBlock::Damaged => index.damaged("a block has changed"),
        })?;
        let mut opened = BlockCursor::new(bytes, place.records);
        match opened.advance() {
            Ok(true) if opened.key() == index.table.first_key(self.block) => {
                self.place = Some(opened);
                Ok(())
            }
            Ok(_) => Err(index.damaged("a block is not the one that it should be")),
            Err(Malformed(what)) => Err(index.damaged(what)),
        }
    }
}

/// Objects in an index, at most.
pub const MOST_OBJECTS: u64 = 1 << 40;

/// All objects of an index. After an error it ends.
#[derive(Debug)]
pub struct Objects<'a> {
    index: &'a Index,
    /// `None` before the first object.
    cursor: Option<Cursor<'a>>,
    failed: bool,
}

impl Objects<'_> {
    fn step(&mut self) -> Result<Option<ListedObject>, Error> {
        let cursor = match &mut self.cursor {
            Some(cursor) => {
                cursor.advance()?;
                cursor
            }
            None => self.cursor.insert(self.index.seek(&[])?),
        };
        match cursor.key() {
            Some(_) => cursor.object().map(Some),
            None => Ok(None),
        }
    }
}

impl Iterator for Objects<'_> {
    type Item = Result<ListedObject, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}

/// Why a table cannot be read.
#[derive(Debug)]
enum BadTable {
    File(io::Error),
    Malformed(Malformed),
}

impl From<Malformed> for BadTable {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}
