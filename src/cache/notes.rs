//! What is noted of an entry: which of its blocks are there, and their checksums.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr, lgetxattr};
use rustix::io::Errno;

use super::BLOCK;
use super::name::{Name, Rest, stem_of};
use super::place::{self, Layout, Place};
use super::record::{self, ATTRIBUTE, HEAD, RECORD};
use super::uses;

/// The notes of an entry. Every method may be called from any thread, and beside those of other
/// processes.
#[derive(Debug)]
pub(super) struct Notes {
    /// The one that has them.
    file: Arc<File>,
    size: u64,
    of: Version,
}

/// Of which version they are.
#[derive(Debug)]
enum Version {
    /// What the records in a file are told from others by.
    Seed(u32),
    /// What the name of the file, without its ending, says, and what it does not.
    Attribute(Box<str>, Rest),
}

impl Notes {
    /// Those of the version `name` of `size` bytes, in this open file.
    pub(super) fn new(file: Arc<File>, layout: Layout, name: &Name, size: u64) -> Self {
        let of = match layout {
            Layout::Map => Version::Seed(record::seed(&name.whole())),
            Layout::Attribute => Version::Attribute(name.stem().into(), name.rest()),
        };
        Self { file, size, of }
    }

    /// Opens those of the files at `place` for reading, which is no use of them; `None` when they are of
    /// other files, or damaged.
    ///
    /// # Errors
    /// There are none, or the disk does not give them.
    pub(super) fn open(place: &Place) -> io::Result<Option<Self>> {
        Self::of_file(place::open_to_read(&place.notes())?, place)
    }

    /// Lets a block of the entry at `place` count as missing. Who has seen it to be good looks again.
    ///
    /// # Errors
    /// The disk does not take that.
    pub(super) fn forget_at(place: &Place, number: u64) -> io::Result<()> {
        if let Some(notes) = Self::of_file(place::open(&place.notes())?, place)? {
            notes.forget(number)?;
        }
        place::open_to_read(&place.data())?.set_modified(SystemTime::now())
    }

    fn of_file(file: File, place: &Place) -> io::Result<Option<Self>> {
        let stem = place.stem();
        let found = match place.layout() {
            Layout::Map => {
                let mut head = [0; HEAD];
                read_what_is_there(&file, &mut head, 0)?;
                record::read_head(&head)
                    .filter(|(_, name)| stem_of(name) == stem)
                    .map(|(size, name)| (size, Version::Seed(record::seed(&name))))
            }
            Layout::Attribute => {
                let attribute = attribute(&file)?.ok_or(ErrorKind::NotFound)?;
                let size = file.metadata()?.len();
                record::read_attribute(stem, &attribute)
                    .filter(|_| (1..=BLOCK).contains(&size))
                    .map(|(rest, _)| (size, Version::Attribute(stem.into(), rest)))
            }
        };
        let file = Arc::new(file);
        Ok(found.map(|(size, of)| Self { file, size, of }))
    }

    /// Length of the object in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The file that has them.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Whether `file` is it.
    pub(super) fn are_in(&self, file: &Arc<File>) -> bool {
        Arc::ptr_eq(&self.file, file)
    }

    /// What the file system says of the file that has them.
    ///
    /// # Errors
    /// It does not say.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Counts as the last use, but not as one of several.
    ///
    /// # Errors
    /// The file system does not take it.
    pub(super) fn keep(&self) -> io::Result<()> {
        let layout = match self.of {
            Version::Seed(_) => Layout::Map,
            Version::Attribute(..) => Layout::Attribute,
        };
        uses::keep(layout, &self.file, &self.metadata()?)
    }

    /// The checksums of `count` blocks from number `first` on, of those that are there.
    ///
    /// # Errors
    /// The disk does not give the notes.
    pub(super) fn sums(&self, first: u64, count: usize) -> io::Result<Vec<Option<u32>>> {
        match &self.of {
            Version::Seed(seed) => {
                let mut bytes = vec![0; count * RECORD];
                // What was never written counts as zeros.
                read_what_is_there(&self.file, &mut bytes, place_of(first))?;
                let (records, _) = bytes.as_chunks::<RECORD>();
                Ok((first..)
                    .zip(records)
                    .map(|(number, record)| record::sum(*seed, number, *record))
                    .collect())
            }
            Version::Attribute(stem, rest) => {
                let attribute = attribute(&self.file)?.unwrap_or_default();
                let sum = record::read_attribute(stem, &attribute)
                    .filter(|(found, _)| found == rest)
                    .map(|(_, sum)| sum);
                Ok((first..)
                    .take(count)
                    .map(|number| sum.filter(|_| number == 0))
                    .collect())
            }
        }
    }

    /// Notes that the blocks from number `first` on are there, with these checksums.
    ///
    /// # Errors
    /// The disk does not take that.
    pub(super) fn add(&self, first: u64, sums: &[u32]) -> io::Result<()> {
        match (&self.of, sums) {
            (Version::Seed(seed), sums) => {
                let numbered = (first..).zip(sums);
                let records: Vec<_> = numbered
                    .flat_map(|(number, sum)| record::record(*seed, number, *sum))
                    .collect();
                self.file.write_all_at(&records, place_of(first))
            }
            (Version::Attribute(stem, rest), [sum]) => {
                let attribute = record::attribute(stem, rest, *sum);
                Ok(fsetxattr(
                    &self.file,
                    ATTRIBUTE_NAME,
                    &attribute,
                    XattrFlags::empty(),
                )?)
            }
            (Version::Attribute(..), _) => Err(ErrorKind::InvalidInput.into()),
        }
    }

    /// Lets a block count as missing.
    ///
    /// # Errors
    /// The disk does not take that.
    pub(super) fn forget(&self, number: u64) -> io::Result<()> {
        match self.of {
            Version::Seed(_) => self.file.write_all_at(&[0; RECORD], place_of(number)),
            Version::Attribute(..) => match fremovexattr(&self.file, ATTRIBUTE_NAME) {
                Err(error) if error != Errno::NODATA => Err(error.into()),
                _ => Ok(()),
            },
        }
    }

    /// Whether every block is there.
    ///
    /// # Errors
    /// The disk does not give the notes.
    pub(super) fn is_complete(&self) -> io::Result<bool> {
        let walked = self.walk(|_number, sum| match sum {
            Some(_) => ControlFlow::Continue(()),
            None => ControlFlow::Break(()),
        })?;
        Ok(walked.is_continue())
    }

    /// The bytes of the object that are missing, in order: whole blocks, or all up to its end.
    ///
    /// # Errors
    /// The disk does not give the notes.
    pub(super) fn gaps(&self) -> io::Result<Vec<Range<u64>>> {
        let mut gaps: Vec<Range<u64>> = Vec::new();
        _ = self.walk(|number, sum| {
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

    /// Shows `look` each block, with its checksum if it is there, until that has seen enough.
    fn walk(
        &self,
        mut look: impl FnMut(u64, Option<u32>) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        let blocks = self.size.div_ceil(BLOCK);
        let mut first = 0;
        while first < blocks {
            let count = RECORDS_AT_A_TIME.min(blocks - first);
            let found = self.sums(first, usize::try_from(count).unwrap_or(usize::MAX))?;
            for (number, sum) in (first..).zip(found) {
                if look(number, sum).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            first += count;
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Whether the attribute of the file at `place`, which is not opened, says that its block is there. `None`
/// when it is damaged.
///
/// # Errors
/// The disk does not give it.
pub(super) fn has_block_at(place: &Place) -> io::Result<Option<bool>> {
    let attribute = attribute_by(|buffer| lgetxattr(place.notes(), ATTRIBUTE_NAME, buffer))?;
    Ok(match attribute {
        Some(attribute) => record::read_attribute(place.stem(), &attribute).map(|_| true),
        None => Some(false),
    })
}

/// What the attribute of `file` holds, if there is one: as much as can be of use.
fn attribute(file: &File) -> io::Result<Option<Vec<u8>>> {
    attribute_by(|buffer| fgetxattr(file, ATTRIBUTE_NAME, buffer))
}

/// The same, of what `get` gets.
fn attribute_by(
    get: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; ATTRIBUTE];
    match get(&mut buffer) {
        Ok(len) => Ok(Some(buffer[..len].to_vec())),
        Err(Errno::NODATA) => Ok(None),
        // It is longer than any of ours.
        Err(Errno::RANGE) => Ok(Some(Vec::new())),
        Err(error) => Err(error.into()),
    }
}

/// Reads as much of `buffer` as the file has from `place` on.
fn read_what_is_there(file: &File, buffer: &mut [u8], place: u64) -> io::Result<()> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], place + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Where the record of a block is in a file of notes.
pub(super) fn place_of(number: u64) -> u64 {
    HEAD as u64 + number * RECORD as u64
}

/// The attribute of a file of bytes that has the notes.
pub(super) const ATTRIBUTE_NAME: &str = "user.mount-s3";

/// Records that are read at a time: 64 KiB.
const RECORDS_AT_A_TIME: u64 = 8192;
