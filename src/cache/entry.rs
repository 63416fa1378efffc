//! The two files of one version of one object, and those that are open.

use std::collections::HashMap;
use std::fs::{self, File, FileTimes, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::BLOCK;
use super::direct::Direct;
use super::directory::Directory;
use super::name::{Name, Short, stem_of};
use super::proof::{Proof, Stamp};
use super::prover::Prover;
use super::record::{self, HEAD, RECORD};
use crate::crt::crc32c;

/// A version of an object, as far as the cache has it. Every method may be called from any thread,
/// and beside those of other processes.
#[derive(Debug)]
pub(super) struct Entry {
    data: File,
    /// What goes past the page cache of `data`.
    direct: Direct,
    map: File,
    size: u64,
    name: Short,
    /// Of its records.
    seed: u32,
    proof: Proof,
    prover: Prover,
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
    fn open(
        directory: &Directory,
        prover: &Prover,
        name: &Name,
        size: u64,
    ) -> io::Result<Option<Self>> {
        let place = directory.place(&name.stem());
        let (data, map) = (data_of(&place), map_of(&place));
        let head = record::head(name, size);
        // Of two tries the second one meets what another process has done to the first.
        for _ in 0..TRIES {
            match open(&map) {
                Ok(map_file) => {
                    let mut found = [0; HEAD];
                    let is_ours = map_file.read_exact_at(&mut found, 0).is_ok() && found == head;
                    let data_file = open(&data);
                    if let (true, Ok(data_file)) = (is_ours, data_file)
                        && data_file.metadata()?.len() == size
                    {
                        touch(&map_file);
                        return Ok(Some(Self {
                            data: data_file,
                            direct: Direct::default(),
                            map: map_file,
                            size,
                            name: name.short(),
                            seed: record::seed(&name.whole()),
                            proof: Proof::new(size.div_ceil(BLOCK)),
                            prover: prover.clone(),
                        }));
                    }
                    // Half of what was removed, or damaged, or another version's.
                    remove(&place)?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            create(directory, &place, &head, size)?;
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
        let records = records(&self.map, self.seed, first, count)?;
        let known = records.iter().take_while(|sum| sum.is_some()).count();
        let len = buffer.len().min(known * block_len());
        self.direct
            .read_exact_at(&self.data, &mut buffer[..len], first * BLOCK)?;
        let blocks = buffer[..len].chunks(block_len());
        for (index, (block, sum)) in blocks.zip(records.into_iter().flatten()).enumerate() {
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
        let mut records = Vec::with_capacity(bytes.len().div_ceil(block_len()) * RECORD);
        for (number, block) in (first..).zip(bytes.chunks(block_len())) {
            records.extend(record::record(self.seed, number, crc32c(0, block)));
        }
        self.direct.write_all_at(&self.data, bytes, first * BLOCK)?;
        self.map.write_all_at(&records, place_of(first))?;
        self.note_good(first, records.len() / RECORD);
        Ok(())
    }

    /// Which of its blocks were good.
    pub(super) fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Whether every block has a record.
    ///
    /// # Errors
    /// The disk does not give the records.
    pub(super) fn is_complete(&self) -> io::Result<bool> {
        let walked = walk(&self.map, self.seed, self.size, |_number, sum| match sum {
            Some(_) => ControlFlow::Continue(()),
            None => ControlFlow::Break(()),
        })?;
        Ok(walked.is_continue())
    }

    /// Notes that `count` blocks from `first` on are good.
    fn note_good(&self, first: u64, count: usize) {
        if self.proof.note_good(first..first + count as u64) {
            // Without it the file is not proven.
            if let Ok(metadata) = self.data.metadata() {
                self.prover.whole(self.name, Stamp::of(&metadata));
            }
        }
    }

    /// Length of the object in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether there is a block of this number, as far as the notes say.
    pub(super) fn has(&self, number: u64) -> bool {
        let records = records(&self.map, self.seed, number, 1);
        records.is_ok_and(|records| records.iter().all(Option::is_some))
    }

    /// The file of its notes.
    pub(super) fn map(&self) -> &File {
        &self.map
    }

    /// Whether its files still have their names.
    fn is_linked(&self) -> bool {
        let linked = |file: &File| file.metadata().is_ok_and(|found| found.nlink() > 0);
        linked(&self.map) && linked(&self.data)
    }

    fn forget(&self, number: u64) -> io::Result<()> {
        self.proof.note_bad(number);
        self.map.write_all_at(&[0; RECORD], place_of(number))
    }
}

/// The checksums of `count` blocks from number `first` on, of those that `map`
/// notes for the version of `seed`.
///
/// # Errors
/// The disk does not give them.
pub(super) fn records(
    map: &File,
    seed: u32,
    first: u64,
    count: usize,
) -> io::Result<Vec<Option<u32>>> {
    let mut bytes = vec![0; count * RECORD];
    // What was never written counts as zeros.
    read_what_is_there(map, &mut bytes, place_of(first))?;
    let (records, _) = bytes.as_chunks::<RECORD>();
    Ok((first..)
        .zip(records)
        .map(|(number, record)| record::sum(seed, number, *record))
        .collect())
}

/// Shows `look` each block of an object of `size` bytes, with its checksum if `map` notes it, until that
/// has seen enough.
///
/// # Errors
/// The disk does not give the notes.
pub(super) fn walk(
    map: &File,
    seed: u32,
    size: u64,
    mut look: impl FnMut(u64, Option<u32>) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let blocks = size.div_ceil(BLOCK);
    let mut first = 0;
    while first < blocks {
        let count = RECORDS_AT_A_TIME.min(blocks - first);
        let found = records(
            map,
            seed,
            first,
            usize::try_from(count).unwrap_or(usize::MAX),
        )?;
        for (number, sum) in (first..).zip(found) {
            if look(number, sum).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        first += count;
    }
    Ok(ControlFlow::Continue(()))
}

/// The length of the object of which `map`, of the files at `place`, has the notes, and the
/// [seed](record::seed) of its records; `None` when they are those of other files, or damaged.
///
/// # Errors
/// The disk does not give them.
pub(super) fn noted(map: &File, place: &Path) -> io::Result<Option<(u64, u32)>> {
    let mut head = [0; HEAD];
    read_what_is_there(map, &mut head, 0)?;
    Ok(record::read_head(&head)
        .filter(|(_, name)| {
            place
                .file_name()
                .is_some_and(|stem| stem == &*stem_of(name))
        })
        .map(|(size, name)| (size, record::seed(&name))))
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

/// Makes empty files, unless somebody else was faster.
fn create(directory: &Directory, place: &Path, head: &[u8; HEAD], size: u64) -> io::Result<()> {
    directory.make_place(place)?;
    let data = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(data_of(place))?;
    data.set_len(size)?;
    // The notes come last, whole, and never replace others.
    let mut map = tempfile::Builder::new()
        .prefix(NEW)
        .tempfile_in(place.parent().unwrap_or(place))?;
    io::Write::write_all(&mut map, head)?;
    let file = map.as_file();
    file.set_times(FileTimes::new().set_accessed(NEVER))?;
    match map.persist_noclobber(map_of(place)) {
        Err(error) if error.error.kind() != ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}

/// Removes the files of an entry, the notes first.
///
/// # Errors
/// They are still there.
pub(super) fn remove(place: &Path) -> io::Result<()> {
    for file in [map_of(place), data_of(place)] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// As [`remove`], unless the kernel reads the file by itself for somebody, so that removing it would
/// make no room. Returns whether it was removed.
///
/// # Errors
/// As [`remove`].
pub(super) fn remove_unused(place: &Path) -> io::Result<bool> {
    // Nobody begins to use it while this is locked.
    let locked = open_to_read(&data_of(place)).map(|data| data.try_lock().map(|()| data));
    if let Ok(Err(TryLockError::WouldBlock)) = locked {
        return Ok(false);
    }
    remove(place)?;
    Ok(true)
}

/// Lets a block of the entry at `place` count as missing. Who has seen it to be good looks again.
///
/// # Errors
/// The disk does not take that.
pub(super) fn forget_block(place: &Path, number: u64) -> io::Result<()> {
    open(&map_of(place))?.write_all_at(&[0; RECORD], place_of(number))?;
    open_to_read(&data_of(place))?.set_modified(SystemTime::now())
}

/// The file of the object's bytes.
pub(super) fn data_of(place: &Path) -> PathBuf {
    place.with_extension("data")
}

/// The file of the notes.
pub(super) fn map_of(place: &Path) -> PathBuf {
    place.with_extension("map")
}

/// How the names of files begin that nobody uses yet.
pub(super) const NEW: &str = "new-";

/// When an entry was used for a second time, if it never was.
pub(super) const NEVER: SystemTime = SystemTime::UNIX_EPOCH;

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Opens a file of an entry for reading only.
///
/// # Errors
/// There is none, or it is a symbolic link.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Notes in the times of `map` that the entry is used: modified is the last use, accessed the last
/// one but for the first.
fn touch(map: &File) {
    let now = SystemTime::now();
    let last = map.metadata().and_then(|found| found.modified());
    let is_later = last.is_ok_and(|last| now.duration_since(last).is_ok_and(|age| age > ONE_USE));
    if is_later {
        // Only the order in which entries are removed depends on it.
        _ = map.set_times(FileTimes::new().set_accessed(now).set_modified(now));
    }
}

/// As [`touch`], of the notes at `map`, whose last use is known to be long ago.
pub(super) fn touch_at(map: &Path) {
    let (now, follow) = (TimeSpec::UTIME_NOW, UtimensatFlags::NoFollowSymlink);
    // As above.
    _ = utimensat(AT_FDCWD, map, &now, &now, follow);
}

/// Where the record of a block is.
pub(super) fn place_of(number: u64) -> u64 {
    HEAD as u64 + number * RECORD as u64
}

#[expect(clippy::cast_possible_truncation, reason = "a constant of 128 KiB")]
pub(super) const fn block_len() -> usize {
    BLOCK as usize
}

/// Records that are read at a time: 64 KiB.
const RECORDS_AT_A_TIME: u64 = 8192;

/// What is closer together is one use.
pub(super) const ONE_USE: Duration = Duration::from_secs(10);

const TRIES: usize = 3;

/// The entries that are open.
#[derive(Debug)]
pub(super) struct Entries {
    directory: Arc<Directory>,
    prover: Prover,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// With the number of the use that was the last one.
    entries: HashMap<Name, (Arc<Entry>, u64)>,
    uses: u64,
}

impl Entries {
    /// None yet. What is good of them is told to `prover`.
    pub(super) fn new(directory: Arc<Directory>, prover: Prover) -> Self {
        Self {
            directory,
            prover,
            open: Mutex::default(),
        }
    }

    /// The entry of `name`, made if there is none; `None` when others remove it each time.
    ///
    /// # Errors
    /// The disk does not have it, and does not take it.
    pub(super) fn get(&self, name: &Name, size: u64) -> io::Result<Option<Arc<Entry>>> {
        if let Some(entry) = self.known(name).filter(|entry| entry.is_linked()) {
            return Ok(Some(entry));
        }
        let Some(entry) = Entry::open(&self.directory, &self.prover, name, size)? else {
            return Ok(None);
        };
        let entry = Arc::new(entry);
        self.prover.check(&entry);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let uses = open.uses;
        open.entries.insert(*name, (Arc::clone(&entry), uses));
        let oldest = (open.entries.len() > MOST_OPEN)
            .then(|| open.entries.iter().min_by_key(|(_, (_, uses))| *uses))
            .flatten()
            .map(|(name, _)| *name);
        let closed = oldest.and_then(|oldest| open.entries.remove(&oldest));
        drop(open);
        drop(closed);
        Ok(Some(entry))
    }

    /// Where the files are.
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Where the files of `name` are, without what tells them apart.
    pub(super) fn place(&self, name: &Name) -> PathBuf {
        self.directory.place(&name.stem())
    }

    /// Closes the files of `name`: the next one who asks for them opens them again.
    pub(super) fn forget(&self, name: &Name) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = open.entries.remove(name);
        drop(open);
        drop(closed);
    }

    /// The directory whose file system has the files.
    pub(super) fn root(&self) -> &Path {
        self.directory.root()
    }

    /// Closes all.
    #[cfg(test)]
    pub(super) fn forget_all(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.entries.clear();
    }

    fn known(&self, name: &Name) -> Option<Arc<Entry>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let uses = open.uses;
        let (entry, last) = open.entries.get_mut(name)?;
        *last = uses;
        Some(Arc::clone(entry))
    }
}

/// Entries that are kept open; each takes two descriptors.
const MOST_OPEN: usize = 256;
