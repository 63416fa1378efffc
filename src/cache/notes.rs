//! What the notes of an entry say is there.

use std::fs::{File, Metadata};
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::time::SystemTime;

use super::BLOCK;
use super::entry::{map_of, noted, open_to_read, records, walk};

/// The notes of an entry, opened without being a use of it.
#[derive(Debug)]
pub(super) struct Notes {
    map: File,
    size: u64,
    /// Of the records.
    seed: u32,
}

impl Notes {
    /// Opens those of the files at `place`; `None` when they are of other files, or damaged.
    ///
    /// # Errors
    /// There are none, or the disk does not give them.
    pub(super) fn open(place: &Path) -> io::Result<Option<Self>> {
        let map = open_to_read(&map_of(place))?;
        let noted = noted(&map, place)?;
        Ok(noted.map(|(size, seed)| Self { map, size, seed }))
    }

    /// Length of the object in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What the file system says of the file of notes.
    ///
    /// # Errors
    /// It does not say.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.map.metadata()
    }

    /// Counts as the last use, but not as one of several.
    ///
    /// # Errors
    /// The file system does not take it.
    pub(super) fn keep(&self) -> io::Result<()> {
        self.map.set_modified(SystemTime::now())
    }

    /// The checksums of `count` blocks from number `first` on, of those that are there.
    ///
    /// # Errors
    /// The disk does not give the notes.
    pub(super) fn sums(&self, first: u64, count: u64) -> io::Result<Vec<Option<u32>>> {
        records(
            &self.map,
            self.seed,
            first,
            usize::try_from(count).unwrap_or(usize::MAX),
        )
    }

    /// The bytes of the object that are missing, in order: whole blocks, or all up to its end.
    ///
    /// # Errors
    /// The disk does not give the notes.
    pub(super) fn gaps(&self) -> io::Result<Vec<Range<u64>>> {
        let mut gaps: Vec<Range<u64>> = Vec::new();
        _ = walk(&self.map, self.seed, self.size, |number, sum| {
            if sum.is_none() {
                let start = number * BLOCK;
                let end = (start + BLOCK).min(self.size);
                match gaps.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => gaps.push(start..end),
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(gaps)
    }
}
