//! Brings any number of objects into byte order of their keys, in little memory.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::vec;

use super::Error;
use super::format::{Fields, Malformed, Record, put_record};
use super::writer::directory_of;
use crate::s3::ListedObject;

/// Takes in objects in any order. What is more than 64 MiB goes to files without a name, in sorted
/// runs, which [`Self::finish`] merges.
#[derive(Debug)]
pub struct Sorter {
    directory: PathBuf,
    limit: usize,
    objects: Vec<ListedObject>,
    /// About as much memory as `objects` take, in bytes.
    held: usize,
    runs: Vec<File>,
}

impl Sorter {
    /// A sorter that puts what is too much into the directory that `path` is in.
    pub fn beside(path: &Path) -> Self {
        Self::with_limit(path, RUN_BYTES)
    }

    pub(super) fn with_limit(path: &Path, limit: usize) -> Self {
        Self {
            directory: directory_of(path).to_owned(),
            limit,
            objects: Vec::new(),
            held: 0,
            runs: Vec::new(),
        }
    }

    /// Takes in an object.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Object`] when its key, its ETag or its date is out of bounds.
    pub fn push(&mut self, object: ListedObject) -> Result<(), Error> {
        self.held += OBJECT_BYTES + object.key.len() + object.info.etag.text().len();
        self.objects.push(object);
        if self.held >= self.limit {
            self.spill()?;
        }
        Ok(())
    }

    /// All objects in byte order, each key once: if it came more than once, as it was modified last.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn finish(mut self) -> Result<Sorted, Error> {
        self.sort();
        let mut sources = vec![Source::Memory(self.objects.into_iter())];
        for mut run in self.runs {
            run.seek(SeekFrom::Start(0))
                .map_err(|error| Error::file(&self.directory, error))?;
            sources.push(Source::Run(BufReader::with_capacity(READ_BYTES, run)));
        }
        let mut sorted = Sorted {
            directory: self.directory,
            heads: BinaryHeap::new(),
            sources,
            failed: false,
        };
        for source in 0..sorted.sources.len() {
            sorted.refill(source)?;
        }
        Ok(sorted)
    }

    fn sort(&mut self) {
        self.objects.sort_unstable_by(order);
    }

    fn spill(&mut self) -> Result<(), Error> {
        self.sort();
        self.held = 0;
        let failed = |error| Error::file(&self.directory, error);
        let run = tempfile::tempfile_in(&self.directory).map_err(failed)?;
        let mut run = BufWriter::with_capacity(READ_BYTES, run);
        let mut record = Vec::new();
        for object in mem::take(&mut self.objects) {
            record.clear();
            put_record(&mut record, &object, 0).ok_or_else(|| {
                Error::object(&object.key, "its key, ETag or date is out of bounds")
            })?;
            let length = u32::try_from(record.len())
                .unwrap_or(u32::MAX)
                .to_le_bytes();
            run.write_all(&length).map_err(failed)?;
            run.write_all(&record).map_err(failed)?;
        }
        let run = run.into_inner();
        self.runs
            .push(run.map_err(|error| failed(error.into_error()))?);
        Ok(())
    }
}

/// Objects in byte order. After an error it ends.
#[derive(Debug)]
pub struct Sorted {
    directory: PathBuf,
    /// The next object of each source that has one.
    heads: BinaryHeap<Reverse<Head>>,
    sources: Vec<Source>,
    failed: bool,
}

#[derive(Debug)]
enum Source {
    Memory(vec::IntoIter<ListedObject>),
    Run(BufReader<File>),
}

#[derive(Debug)]
struct Head {
    object: ListedObject,
    source: usize,
}

impl Sorted {
    fn step(&mut self) -> Result<Option<ListedObject>, Error> {
        let Some(mut object) = self.pop()? else {
            return Ok(None);
        };
        while let Some(Reverse(next)) = self.heads.peek()
            && next.object.key == object.key
        {
            if let Some(later) = self.pop()? {
                object = later;
            }
        }
        Ok(Some(object))
    }

    fn pop(&mut self) -> Result<Option<ListedObject>, Error> {
        let Some(Reverse(Head { object, source })) = self.heads.pop() else {
            return Ok(None);
        };
        self.refill(source)?;
        Ok(Some(object))
    }

    fn refill(&mut self, source: usize) -> Result<(), Error> {
        let object = match self.sources.get_mut(source) {
            None => None,
            Some(Source::Memory(objects)) => objects.next(),
            Some(Source::Run(run)) => {
                read_object(run).map_err(|error| Error::file(&self.directory, error))?
            }
        };
        if let Some(object) = object {
            self.heads.push(Reverse(Head { object, source }));
        }
        Ok(())
    }
}

impl Iterator for Sorted {
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

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.object, &other.object).then(self.source.cmp(&other.source))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// By key, and of one key the one that was modified last comes last.
fn order(a: &ListedObject, b: &ListedObject) -> Ordering {
    let by_key = a.key.cmp(&b.key);
    by_key.then_with(|| a.info.last_modified.cmp(&b.info.last_modified))
}

/// The next object of a run, which this process has written.
fn read_object(run: &mut BufReader<File>) -> io::Result<Option<ListedObject>> {
    let mut length = [0; size_of::<u32>()];
    match run.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = Vec::new();
    run.take(u64::from(u32::from_le_bytes(length)))
        .read_to_end(&mut bytes)?;
    let mut key = Vec::new();
    let object = Record::decode(&mut Fields(&bytes)).and_then(|record| {
        record.follow(&mut key)?;
        record.listed(&key)
    });
    object
        .map(Some)
        .map_err(|Malformed(what)| io::Error::new(io::ErrorKind::InvalidData, what))
}

/// What is held in memory at a time.
const RUN_BYTES: usize = 64 << 20;

/// About what an object takes beside its texts: itself, and what allocating adds.
const OBJECT_BYTES: usize = size_of::<ListedObject>() + 48;

/// Buffers of files.
const READ_BYTES: usize = 256 << 10;
