//! Writes the file of an index.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::format::{BLOCK_BYTES, BlockEntry, HEADER_BYTES, Header, put_record, put_text};
use super::{Error, Scope};
use crate::crt::crc32c;
use crate::s3::ListedObject;

/// The file of an index that is being written, beside the place where it will be. Nothing is at
/// that place, or what was before, until [`Self::finish`]; dropping it leaves nothing behind.
#[derive(Debug)]
pub struct IndexWriter {
    path: PathBuf,
    prefix: String,
    file: BufWriter<NamedTempFile>,
    /// Where the block that is being filled will be.
    offset: u64,
    block: Block,
    last_key: Vec<u8>,
    blocks: u32,
    /// The part of the table that is about blocks.
    table: Vec<u8>,
    /// The part before it.
    scope: Vec<u8>,
    summary: Summary,
}

/// What is in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// How many objects.
    pub objects: u64,
    /// The sum of their sizes.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    records: u32,
    first_key: Vec<u8>,
}

impl IndexWriter {
    /// Begins an index of `scope` that will be at `path`.
    ///
    /// # Errors
    /// [`Error::File`] when no file can be made in the directory of `path`.
    pub fn create(path: &Path, scope: &Scope) -> Result<Self, Error> {
        let directory = directory_of(path);
        let failed = |error| Error::file(path, error);
        let mut file = tempfile::Builder::new()
            .prefix(".mount-s3-index-")
            // As any new file; the process's umask applies.
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(directory)
            .map_err(failed)?;
        file.write_all(&[0; HEADER_BYTES]).map_err(failed)?;
        let mut texts = Vec::new();
        for text in [&scope.bucket, scope.prefix.as_str()] {
            put_text(&mut texts, text.as_bytes())
                .ok_or_else(|| Error::object(text, "the name is too long"))?;
        }
        Ok(Self {
            path: path.to_owned(),
            prefix: scope.prefix.as_str().to_owned(),
            file: BufWriter::with_capacity(WRITE_BYTES, file),
            offset: HEADER_BYTES as u64,
            block: Block::default(),
            last_key: Vec::new(),
            blocks: 0,
            table: Vec::new(),
            scope: texts,
            summary: Summary::default(),
        })
    }

    /// Appends an object, whose key comes after all before it in byte order.
    ///
    /// # Errors
    /// [`Error::Object`] when it does not, or its key does not start with the prefix, or it is too
    /// long; [`Error::File`].
    pub fn push(&mut self, object: &ListedObject) -> Result<(), Error> {
        let key = object.key.as_bytes();
        if key.is_empty() || !object.key.starts_with(&self.prefix) {
            return Err(Error::object(&object.key, "it is not below the prefix"));
        }
        if self.summary.objects > 0 && key <= self.last_key.as_slice() {
            return Err(Error::object(&object.key, "it is out of order"));
        }
        let shared = if self.block.records == 0 {
            key.clone_into(&mut self.block.first_key);
            0
        } else {
            let both = key.iter().zip(&self.last_key);
            both.take_while(|(a, b)| a == b).count()
        };
        put_record(&mut self.block.bytes, object, shared)
            .ok_or_else(|| Error::object(&object.key, "its key, ETag or date is out of bounds"))?;
        self.block.records += 1;
        key.clone_into(&mut self.last_key);
        self.summary.objects += 1;
        self.summary.bytes = self.summary.bytes.saturating_add(object.info.size);
        if self.block.bytes.len() >= BLOCK_BYTES {
            self.end_block()?;
        }
        Ok(())
    }

    /// Completes the file, makes sure that it is on the disk, and puts it into its place, where it
    /// replaces what is there.
    ///
    /// # Errors
    /// [`Error::File`]; what was there before stays.
    pub fn finish(mut self) -> Result<Summary, Error> {
        if self.block.records > 0 {
            self.end_block()?;
        }
        let mut table = self.scope;
        table.extend(self.blocks.to_le_bytes());
        table.extend(self.table);
        let header = Header {
            objects: self.summary.objects,
            bytes: self.summary.bytes,
            table_offset: self.offset,
            table_bytes: table.len() as u64,
            table_crc: crc32c(0, &table),
        };
        let path = self.path;
        let complete = |mut file: BufWriter<NamedTempFile>| {
            file.write_all(&table)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header.encode())?;
            let file = file.into_inner()?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            // So that the new name survives a crash, too.
            File::open(directory_of(&path))?.sync_all()
        };
        complete(self.file).map_err(|error: io::Error| Error::file(&path, error))?;
        Ok(self.summary)
    }

    fn end_block(&mut self) -> Result<(), Error> {
        let Block {
            bytes,
            records,
            first_key,
        } = &mut self.block;
        self.file
            .write_all(bytes)
            .map_err(|error| Error::file(&self.path, error))?;
        let too_long = || Error::object("", "the index is too large");
        let length = u32::try_from(bytes.len()).map_err(|_| too_long())?;
        let entry = BlockEntry {
            offset: self.offset,
            bytes: length,
            crc: crc32c(0, bytes),
            records: *records,
            first_key,
        };
        entry.encode(&mut self.table).ok_or_else(too_long)?;
        self.blocks = self.blocks.checked_add(1).ok_or_else(too_long)?;
        self.offset += u64::from(length);
        bytes.clear();
        *records = 0;
        Ok(())
    }
}

/// The directory that the file is in.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

const WRITE_BYTES: usize = 1 << 20;
