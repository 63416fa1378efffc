//! The log of changes: every name that a mount with this cache has begun to change, or has changed, in
//! the order in which that was. What was known of a name at a length of the log is void when the name
//! stands in what came after.
//!
//! A process that is killed leaves a change that has not ended: of that name nothing is believed as long
//! as there is this log. A machine that stops leaves a log that has lost its end, which shows: before
//! the first change of a process is begun it is on the disk that there is one, and that the process has
//! not closed the log.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::clocks::{Boot, random};
use super::record::{ID, Id, LogId};
use crate::cache::place::{self, NEW};
use crate::crt::crc32c;

/// The log, open.
#[derive(Debug)]
pub(super) struct Log {
    id: LogId,
    path: PathBuf,
    file: File,
    /// Whether it stands in it that this process has not closed it.
    is_told: bool,
    /// Whether that is on the disk.
    is_safe: bool,
}

/// What stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// A name is being changed.
    Begun(Id, Scope),
    /// One of the changes that were begun is done.
    Ended(Id, Scope),
    /// A process writes here, on a machine that was started then.
    Opened(Boot),
    /// One of these processes is done, and all that it wrote is on the disk.
    Closed(Boot),
}

/// What a change makes void of what was known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// All of it.
    All,
    /// That it is a file.
    Files,
}

impl Log {
    /// Opens the log in `directory`, or begins one.
    ///
    /// # Errors
    /// It can be neither opened nor made.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        for _ in 0..TRIES {
            match place::open_to_append(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => create(directory, &path)?,
                Err(error) => return Err(error),
                Ok(file) => {
                    let mut head = [0; HEAD];
                    if file.read_exact_at(&mut head, 0).is_ok()
                        && let Some(id) = read_head(&head)
                    {
                        return Ok(Self {
                            id,
                            path,
                            file,
                            is_told: false,
                            is_safe: false,
                        });
                    }
                    fs::remove_file(&path)?;
                }
            }
        }
        Err(ErrorKind::ResourceBusy.into())
    }

    /// What it is told from other logs by.
    pub(super) fn id(&self) -> LogId {
        self.id
    }

    /// How many entries it has; `None` when it is the log no more.
    ///
    /// # Errors
    /// The file system does not say.
    pub(super) fn len(&self) -> io::Result<Option<u32>> {
        let found = self.file.metadata()?;
        let entries = found.len().saturating_sub(HEAD as u64) / ENTRY as u64;
        Ok(u32::try_from(entries).ok().filter(|_| found.nlink() > 0))
    }

    /// Appends `entries`, for other processes to see from then on. Nothing may be changed before
    /// [`Self::is_safe`].
    ///
    /// # Errors
    /// The disk does not take them: the log is of no more use.
    pub(super) fn append(&mut self, boot: Boot, entries: &[Entry]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(ENTRY * (entries.len() + 1));
        if !self.is_told {
            bytes.extend(self.bytes_of(Entry::Opened(boot)));
        }
        for entry in entries {
            bytes.extend(self.bytes_of(*entry));
        }
        self.write(&bytes)?;
        self.is_told = true;
        Ok(())
    }

    /// Whether it is on the disk that this process has not closed the log.
    pub(super) fn is_safe(&self) -> bool {
        self.is_safe
    }

    /// Notes that what was appended is on the disk, by [`Self::sync`].
    pub(super) fn note_safe(&mut self) {
        self.is_safe = self.is_told;
    }

    /// Waits until what was appended is on the disk.
    ///
    /// # Errors
    /// The disk does not take it.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Notes that this process is done with it, until it appends more.
    ///
    /// # Errors
    /// The disk does not take that.
    pub(super) fn close(&mut self, boot: Boot) -> io::Result<()> {
        if !self.is_told {
            return Ok(());
        }
        // What is said here has to be true before it is there.
        self.sync()?;
        self.write(&self.bytes_of(Entry::Closed(boot)))?;
        (self.is_told, self.is_safe) = (false, false);
        Ok(())
    }

    /// The entries from number `from` on; `None` when any is damaged.
    ///
    /// # Errors
    /// The disk does not give them.
    pub(super) fn read(&self, from: u32) -> io::Result<Option<Vec<Entry>>> {
        let Some(len) = self.len()? else {
            return Ok(None);
        };
        let count = usize::try_from(len.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; count * ENTRY];
        let place = HEAD as u64 + u64::from(from) * ENTRY as u64;
        self.file.read_exact_at(&mut bytes, place)?;
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        Ok(entries.iter().map(|bytes| self.entry_of(bytes)).collect())
    }

    /// Another handle of the same log.
    ///
    /// # Errors
    /// The system has none.
    pub(super) fn reader(&self) -> io::Result<Self> {
        Ok(Self {
            id: self.id,
            path: self.path.clone(),
            file: self.file.try_clone()?,
            is_told: false,
            is_safe: false,
        })
    }

    /// Makes it the log no more, and void what refers to it.
    ///
    /// # Errors
    /// It is still there.
    pub(super) fn remove(directory: &Path) -> io::Result<()> {
        place::remove_file(&directory.join(NAME))
    }

    /// At once, as others append as well.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match (&self.file).write(bytes) {
                Ok(written) if written == bytes.len() => return Ok(()),
                Ok(_) => return Err(ErrorKind::StorageFull.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn bytes_of(&self, entry: Entry) -> [u8; ENTRY] {
        let (kind, what) = match entry {
            Entry::Begun(id, Scope::All) => (1u32, id.0),
            Entry::Begun(id, Scope::Files) => (2, id.0),
            Entry::Ended(id, Scope::All) => (3, id.0),
            Entry::Ended(id, Scope::Files) => (4, id.0),
            Entry::Opened(boot) => (5, boot.0),
            Entry::Closed(boot) => (6, boot.0),
        };
        let mut bytes = [0; ENTRY];
        bytes[..ID].copy_from_slice(&what);
        bytes[ID..ID + 4].copy_from_slice(&kind.to_le_bytes());
        let sum = self.sum(&bytes[..ID + 4]);
        bytes[ID + 4..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn entry_of(&self, bytes: &[u8; ENTRY]) -> Option<Entry> {
        let (said, sum) = bytes.split_last_chunk()?;
        let (what, kind) = said.split_first_chunk::<ID>()?;
        if u32::from_le_bytes(*sum) != self.sum(said) {
            return None;
        }
        Some(match u32::from_le_bytes(kind.try_into().ok()?) {
            1 => Entry::Begun(Id(*what), Scope::All),
            2 => Entry::Begun(Id(*what), Scope::Files),
            3 => Entry::Ended(Id(*what), Scope::All),
            4 => Entry::Ended(Id(*what), Scope::Files),
            5 => Entry::Opened(Boot(*what)),
            6 => Entry::Closed(Boot(*what)),
            _ => return None,
        })
    }

    /// Of an entry of just this log.
    fn sum(&self, bytes: &[u8]) -> u32 {
        crc32c(crc32c(0, &self.id.0), bytes)
    }
}

/// Whether `entries` are all that was written: not if the machine stopped before a process was done that
/// wrote them.
pub(super) fn is_complete(entries: &[Entry], boot: Boot) -> bool {
    let mut earlier: Vec<(Boot, u32)> = Vec::new();
    for entry in entries {
        let (of, is_opened) = match entry {
            Entry::Opened(of) => (of, true),
            Entry::Closed(of) => (of, false),
            Entry::Begun(..) | Entry::Ended(..) => continue,
        };
        if *of == boot {
            continue;
        }
        let known = earlier.iter_mut().find(|(known, _)| known == of);
        match known {
            Some((_, open)) if is_opened => *open += 1,
            Some((_, open)) => *open = open.saturating_sub(1),
            None if is_opened => earlier.push((*of, 1)),
            None => {}
        }
    }
    earlier.iter().all(|(_, open)| *open == 0)
}

fn create(directory: &Path, path: &Path) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(NEW)
        .tempfile_in(directory)?;
    file.write_all(&head_of(LogId(random())))?;
    match file.persist_noclobber(path) {
        // Somebody else was faster.
        Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(failed) => Err(failed.error),
        Ok(_) => Ok(()),
    }
}

fn head_of(id: LogId) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(MAGIC);
    head[8..24].copy_from_slice(&id.0);
    let sum = crc32c(0, &head[..24]);
    head[24..28].copy_from_slice(&sum.to_le_bytes());
    head
}

fn read_head(head: &[u8; HEAD]) -> Option<LogId> {
    let id = head.get(8..24)?.try_into().ok()?;
    (*head == head_of(LogId(id))).then_some(LogId(id))
}

/// The file, in the directory of what is known of names.
const NAME: &str = "changes";

/// Bytes before the entries.
const HEAD: usize = 32;

/// Bytes of an entry.
const ENTRY: usize = ID + 8;

/// Changes with the format.
const MAGIC: &[u8; 8] = b"MS3CHNG1";

/// Others may remove what was just found.
const TRIES: usize = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THIS: Boot = Boot([1; 16]);
    const OTHER: Boot = Boot([2; 16]);

    fn entries() -> Vec<Entry> {
        let (a, b) = (Id::of("a"), Id::of("b"));
        vec![
            Entry::Begun(a, Scope::All),
            Entry::Begun(b, Scope::Files),
            Entry::Ended(a, Scope::All),
            Entry::Ended(b, Scope::Files),
        ]
    }

    #[test]
    fn what_one_appends_all_read_in_order() {
        let place = tempfile::tempdir().expect("a directory");
        let mut one = Log::open(place.path()).expect("made");
        let mut two = Log::open(place.path()).expect("there");
        assert_eq!(one.id(), two.id());
        one.append(THIS, &entries()).expect("written");
        two.append(THIS, &entries()[..1]).expect("written");
        one.append(THIS, &entries()[1..2]).expect("written");
        one.close(THIS).expect("written");
        let mut expected = vec![Entry::Opened(THIS)];
        expected.extend(entries());
        expected.push(Entry::Opened(THIS));
        expected.extend(&entries()[..2]);
        expected.push(Entry::Closed(THIS));
        assert_eq!(one.read(0).expect("read"), Some(expected.clone()));
        assert_eq!(two.read(5).expect("read").expect("good"), expected[5..]);
        assert_eq!(two.len().expect("there"), Some(9));
        Log::remove(place.path()).expect("removed");
        assert_eq!(two.len().expect("open"), None);
        assert_ne!(Log::open(place.path()).expect("made").id(), one.id());
    }

    #[test]
    fn log_of_another_start_of_the_machine_is_complete_when_all_have_closed_it() {
        let opened = |boot| Entry::Opened(boot);
        let closed = |boot| Entry::Closed(boot);
        assert!(is_complete(&[], THIS));
        assert!(is_complete(&[opened(THIS), opened(THIS)], THIS));
        assert!(!is_complete(&[opened(THIS)], OTHER));
        let mut all = vec![opened(OTHER), opened(OTHER), closed(OTHER)];
        assert!(!is_complete(&all, THIS));
        all.push(closed(OTHER));
        assert!(is_complete(&all, THIS));
        all.push(opened(OTHER));
        assert!(!is_complete(&all, THIS));
    }

    #[test]
    fn file_that_is_no_log_is_replaced() {
        let place = tempfile::tempdir().expect("a directory");
        fs::write(place.path().join(NAME), [7; 1000]).expect("written");
        let log = Log::open(place.path()).expect("made");
        assert_eq!(log.len().expect("there"), Some(0));
    }

    proptest! {
        #[test]
        fn prop_damage_shows(at in 0usize..5 * ENTRY, bit in 0u32..8) {
            let place = tempfile::tempdir().expect("a directory");
            let mut log = Log::open(place.path()).expect("made");
            log.append(THIS, &entries()).expect("written");
            let path = place.path().join(NAME);
            let mut bytes = fs::read(&path).expect("read");
            bytes[HEAD + at] ^= 1 << bit;
            fs::write(&path, &bytes).expect("written");
            prop_assert_eq!(log.read(0).expect("read"), None);
        }
    }
}
