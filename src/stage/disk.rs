//! The files of one staged file on the local disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Error;
use super::blocks::Blocks;
use super::record::{self, Record};

/// The bytes of a staged file, sparse, and the paths of all that belongs to it. The length of the
/// file of bytes is that of the staged file.
#[derive(Debug)]
pub(super) struct Disk {
    data: File,
    paths: Paths,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) data: PathBuf,
    pub(super) states: PathBuf,
    pub(super) record: PathBuf,
}

impl Paths {
    /// The paths of the file of that name in `directory`.
    pub(super) fn new(directory: &Path, name: &str) -> Self {
        let path = |ending| directory.join(format!("{name}.{ending}"));
        Self {
            data: path("data"),
            states: path("blocks"),
            record: path(RECORD_ENDING),
        }
    }

    /// Removes everything. What cannot be removed is only logged: it may be listed later.
    pub(super) fn remove(&self) {
        // The record first: without it the rest is nothing.
        for path in [&self.record, &self.data, &self.states] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    log::warn!("{} stays behind: {error}", path.display());
                }
                _ => {}
            }
        }
    }
}

impl Disk {
    /// Makes the files of a staged file of `size` bytes, none of which is there.
    pub(super) fn create(
        paths: Paths,
        size: u64,
        record: &Record,
    ) -> Result<(Self, Blocks), Error> {
        let created = Self::open_files(paths, true)?;
        created.0.set_len(size)?;
        // From here on they count.
        created.0.save(record)?;
        Ok(created)
    }

    /// Opens the files that another process has left.
    pub(super) fn open(paths: Paths) -> Result<(Self, Blocks, Record), Error> {
        let record = record::load(&paths.record)?;
        let (disk, blocks) = Self::open_files(paths, false)?;
        Ok((disk, blocks, record))
    }

    fn open_files(paths: Paths, create: bool) -> Result<(Self, Blocks), Error> {
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(create);
            options.open(path).map_err(|error| Error::disk(path, error))
        };
        let (data, states) = (open(&paths.data)?, open(&paths.states)?);
        let blocks = Blocks::read(states).map_err(|error| Error::disk(&paths.states, error))?;
        Ok((Self { data, paths }, blocks))
    }

    /// The length of the staged file in bytes.
    pub(super) fn len(&self) -> Result<u64, Error> {
        let metadata = self.data.metadata().map_err(|error| self.error(error))?;
        Ok(metadata.len())
    }

    pub(super) fn set_len(&self, size: u64) -> Result<(), Error> {
        self.data.set_len(size).map_err(|error| self.error(error))
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let written = self.data.write_all_at(bytes, offset);
        written.map_err(|error| self.error(error))
    }

    /// Up to `length` bytes at `offset`; fewer at the end of the file only.
    pub(super) fn read(&self, offset: u64, length: usize) -> Result<Bytes, Error> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self
                .data
                .read_at(&mut bytes[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(error)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes.into())
    }

    pub(super) fn save(&self, record: &Record) -> Result<(), Error> {
        record::save(&self.paths.record, record)
    }

    /// Makes sure that what is on the disk outlives a crash of the system.
    pub(super) fn sync(&self) -> Result<(), Error> {
        let paths = [&self.paths.data, &self.paths.states, &self.paths.record];
        for path in paths {
            let synced = File::open(path).and_then(|file| file.sync_all());
            synced.map_err(|error| Error::disk(path, error))?;
        }
        Ok(())
    }

    pub(super) fn record_path(&self) -> &Path {
        &self.paths.record
    }

    /// Removes the files by name. What is open may be used until it is dropped.
    pub(super) fn remove(&self) {
        self.paths.remove();
    }

    pub(super) fn error(&self, error: io::Error) -> Error {
        Error::disk(&self.paths.data, error)
    }
}

/// What the names of records end in.
pub(super) const RECORD_ENDING: &str = "json";
