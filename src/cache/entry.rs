//! One version of one object, as far as the cache has it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::SystemTime;

use super::BLOCK;
use super::direct::Direct;
use super::directory::Directory;
use super::name::{Name, Short};
use super::notes::Notes;
use super::place::{self, Layout, NEW, Place};
use super::proof::{Era, Proof, Stamp};
use super::prover::Prover;
use super::record::{self, HEAD};
use super::uses::{self, note_use};
use crate::crt::crc32c;

/// A version of an object, as far as the cache has it. Every method may be called from any thread,
/// and beside those of other processes.
#[derive(Debug)]
pub(super) struct Entry {
    data: Arc<File>,
    /// What goes past the page cache of `data`.
    direct: Direct,
    notes: Notes,
    name: Short,
    proof: Proof,
    /// When it was opened.
    era: Era,
    prover: Prover,
    has_made_notes: bool,
}

/// A block of it, checked or not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Good,
    Missing,
    /// Its bytes are not those that were written. It counts as missing from now on.
    Bad,
}

impl Entry {
    /// Opens the files of `name`, or makes them. `None` when others remove them each time.
    pub(super) fn open(
        directory: &Directory,
        prover: &Prover,
        name: &Name,
        size: u64,
    ) -> io::Result<Option<Self>> {
        let (place, era) = (directory.place(name, size), prover.era());
        let mut is_made = false;
        // Of two tries the second one meets what another process has done to the first.
        for _ in 0..TRIES {
            let opened = match place.layout() {
                Layout::Map => open_with_map(directory, &place, name, size)?,
                Layout::Attribute => open_with_attribute(directory, &place, name, size)?,
            };
            if let Some((data, notes)) = opened {
                return Ok(Some(Self {
                    data,
                    direct: Direct::default(),
                    notes,
                    name: name.short(),
                    proof: Proof::new(size.div_ceil(BLOCK)),
                    era,
                    prover: prover.clone(),
                    has_made_notes: is_made && place.layout() == Layout::Map,
                }));
            }
            is_made = true;
        }
        Ok(None)
    }

    /// Reads the blocks from number `first` on into `buffer`, as many as it has room for, the last one
    /// of the object being shorter; says of the first one that is not good why, and how many good ones
    /// are before it.
    ///
    /// # Errors
    /// The disk does not give them.
    pub(super) fn read(&self, first: u64, buffer: &mut [u8]) -> io::Result<(usize, Found)> {
        let count = buffer.len().div_ceil(block_len());
        let sums = self.notes.sums(first, count)?;
        let known = sums.iter().take_while(|sum| sum.is_some()).count();
        let len = buffer.len().min(known * block_len());
        let bytes = &mut buffer[..len];
        match self.direct.read_exact_at(&self.data, bytes, first * BLOCK) {
            // A machine has ended before the bytes were on the disk that were noted.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                self.forget(first)?;
                return Ok((0, Found::Bad));
            }
            read => read?,
        }
        let blocks = bytes.chunks(block_len());
        for (index, (block, sum)) in blocks.zip(sums.into_iter().flatten()).enumerate() {
            if crc32c(0, block) != sum {
                self.note_good(first, index);
                self.forget(first + index as u64)?;
                return Ok((index, Found::Bad));
            }
        }
        self.note_good(first, known);
        let found = if known < count {
            Found::Missing
        } else {
            Found::Good
        };
        Ok((known, found))
    }

    /// Writes `bytes`, which are those of the object from the start of block `first` on: whole blocks,
    /// or all up to the object's end.
    ///
    /// # Errors
    /// The disk does not take them; they count as missing.
    pub(super) fn write(&self, first: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let sums: Vec<_> = bytes
            .chunks(block_len())
            .map(|block| crc32c(0, block))
            .collect();
        self.direct.write_all_at(&self.data, bytes, first * BLOCK)?;
        self.notes.add(first, &sums)?;
        self.note_good(first, sums.len());
        Ok(())
    }

    /// Which of its blocks were good.
    pub(super) fn proof(&self) -> &Proof {
        &self.proof
    }

    /// What is noted of it.
    pub(super) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Whether a file of notes was made when it was opened.
    pub(super) fn has_made_notes(&self) -> bool {
        self.has_made_notes
    }

    /// Notes that `count` blocks from `first` on are good.
    fn note_good(&self, first: u64, count: usize) {
        if self.proof.note_good(first..first + count as u64) {
            // Without it the file is not proven.
            if let Ok(metadata) = self.data.metadata()
                && metadata.len() == self.size()
            {
                self.prover.whole(self.name, Stamp::of(&metadata), self.era);
            }
        }
    }

    /// Length of the object in bytes.
    pub(super) fn size(&self) -> u64 {
        self.notes.size()
    }

    /// Whether there is a block of this number, as far as the notes say.
    pub(super) fn has(&self, number: u64) -> bool {
        let sums = self.notes.sums(number, 1);
        sums.is_ok_and(|sums| sums.iter().all(Option::is_some))
    }

    /// Whether what was seen of it counts: its files still have their names, and the disk has not failed
    /// since they were opened.
    pub(super) fn is_current(&self) -> bool {
        self.era == self.prover.era() && self.is_linked()
    }

    fn is_linked(&self) -> bool {
        let linked = |file: &File| file.metadata().is_ok_and(|found| found.nlink() > 0);
        linked(&self.data) && (self.notes.are_in(&self.data) || linked(self.notes.file()))
    }

    fn forget(&self, number: u64) -> io::Result<()> {
        self.proof.note_bad(number);
        self.notes.forget(number)?;
        // Whoever has seen the file to be good looks again.
        self.data.set_modified(SystemTime::now())
    }
}

/// The bytes of an entry, and its notes.
type Opened = (Arc<File>, Notes);

/// Opens the file at `place`, which is made if there is none. `None` when it was not this version's.
fn open_with_attribute(
    directory: &Directory,
    place: &Place,
    name: &Name,
    size: u64,
) -> io::Result<Option<Opened>> {
    let file = match place::open_or_create(&place.data()) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            directory.make_place(place)?;
            return Ok(None);
        }
        file => file?,
    };
    let metadata = file.metadata()?;
    // Until it is filled it is empty.
    if ![0, size].contains(&metadata.len()) {
        place.remove()?;
        return Ok(None);
    }
    note_use(place.layout(), &file, &metadata);
    let file = Arc::new(file);
    let notes = Notes::new(Arc::clone(&file), place.layout(), name, size);
    Ok(Some((file, notes)))
}

/// Opens the two files at `place`, if they are there and this version's; otherwise makes them, and gives
/// `None`.
fn open_with_map(
    directory: &Directory,
    place: &Place,
    name: &Name,
    size: u64,
) -> io::Result<Option<Opened>> {
    let head = record::head(name, size);
    match place::open(&place.notes()) {
        Ok(map) => {
            let mut found = [0; HEAD];
            let is_ours = map.read_exact_at(&mut found, 0).is_ok() && found == head;
            let data = place::open(&place.data());
            if let (true, Ok(data)) = (is_ours, data)
                && data.metadata()?.len() == size
            {
                note_use(place.layout(), &map, &map.metadata()?);
                let notes = Notes::new(Arc::new(map), place.layout(), name, size);
                return Ok(Some((Arc::new(data), notes)));
            }
            // Half of what was removed, or damaged, or another version's.
            place.remove()?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    create(directory, place, &head, size)?;
    Ok(None)
}

/// Makes empty files, unless somebody else was faster.
fn create(directory: &Directory, place: &Place, head: &[u8; HEAD], size: u64) -> io::Result<()> {
    let data = match place::open_or_create(&place.data()) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            directory.make_place(place)?;
            place::open_or_create(&place.data())?
        }
        data => data?,
    };
    data.set_len(size)?;
    // The notes come last, whole, and never replace others.
    let mut map = tempfile::Builder::new()
        .prefix(NEW)
        .tempfile_in(place.directory())?;
    io::Write::write_all(&mut map, head)?;
    map.as_file().set_times(uses::unused())?;
    match map.persist_noclobber(place.notes()) {
        Err(error) if error.error.kind() != ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a constant of 128 KiB")]
pub(super) const fn block_len() -> usize {
    BLOCK as usize
}

const TRIES: usize = 4;
