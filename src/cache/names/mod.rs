//! What mounts know of names, kept for the mounts after them.
//!
//! | file | what it is |
//! |---|---|
//! | `record`, `journal` | what S3 has said of names, as bytes, and where these are |
//! | `change_log`, `change` | which names were changed since |
//! | `table` | what of the former the latter has left |
//! | `clocks` | how old it is |
//! | `store` | tells of the changes of a mount |
//!
//! Three rules make this safe. What is kept says when S3 was asked, so that it is believed no longer than
//! if the mount had not ended. A mount that changes a name says so before it asks for that, and again when
//! it was done: nothing counts that was asked for before the latter, whoever asked, and nothing of a name
//! whose change has not ended, as who asked for it was killed. And what does not have its checksum counts
//! as not there.

mod change;
mod change_log;
mod clocks;
mod journal;
mod record;
mod store;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::executor::ThreadPool;

pub use store::NotingStore;

use super::Cache;
use super::directory::Directory;
use super::name::Source;
use crate::s3::ObjectInfo;
use change_log::{Entry, Log, is_complete};
use clocks::{Clocks, micros};
use journal::{File, Journal};
use record::{Condition, Head, Id, LogId, Row, batch, read_batches};
use table::Table;

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Keys that begin with it and a `/`.
    Directory,
    /// The object that has this key, and no directory. Its details are not kept.
    Object(ObjectInfo),
}

/// What is known of the names of one bucket, also by mounts before this one and after it. All methods may
/// be called from any thread; they wait for the disk no longer than a small file takes.
pub struct Names {
    directory: Arc<Directory>,
    clocks: Clocks,
    bucket: u64,
    /// How long something is believed; `None` when nothing is.
    believed: Option<Duration>,
    state: Mutex<State>,
    journal: Arc<Journal>,
    writers: ThreadPool,
}

#[derive(Debug)]
struct State {
    log: Option<Log>,
    memory: Memory,
    /// How many entries the log had since when, as far as that was seen; the oldest first.
    lengths: Vec<(Instant, u32)>,
    /// When that was looked at.
    looked: Instant,
    /// A directory, and its short id: that of the last name that was noted.
    above: (String, u64),
    /// What was noted, and not handed over to be written.
    rows: Vec<u8>,
}

/// What mounts before this one have known.
#[derive(Debug)]
enum Memory {
    Nothing,
    /// It is being read; of these names something was noted meanwhile.
    Coming(Vec<Id>),
    Here(Table),
}

impl Cache {
    /// What is known of the names of `source`, if it is believed for some time; and who is told of the
    /// changes of its names.
    pub fn names(&self, source: &Source, believed: Option<Duration>) -> Arc<Names> {
        let directory = Arc::clone(self.0.entries.directory());
        let writers = self.0.writers.clone();
        Names::open(
            directory,
            Clocks::system(),
            source.short(),
            believed,
            writers,
        )
    }
}

impl Names {
    fn open(
        directory: Arc<Directory>,
        clocks: Clocks,
        bucket: u64,
        believed: Option<Duration>,
        writers: ThreadPool,
    ) -> Arc<Self> {
        let names = Arc::new(Self {
            journal: Arc::new(Journal::new(Arc::clone(&directory), MOST_BYTES)),
            directory,
            clocks,
            bucket,
            believed,
            state: Mutex::new(State::new()),
            writers,
        });
        names.start();
        names
    }

    /// Begins to read what mounts before have known: what is little at once.
    fn start(self: &Arc<Self>) {
        if self.believed.is_none() {
            return;
        }
        self.state().memory = Memory::Coming(Vec::new());
        if self.journal.len() <= READ_AT_ONCE {
            self.load();
        } else {
            let names = Arc::clone(self);
            self.writers.spawn_ok(async move { names.load() });
        }
    }

    /// What the key, or the directory without a `/` at its end, led to when S3 was asked last, and how long
    /// ago that was.
    pub fn recall(&self, path: &str) -> Option<(Known, Duration)> {
        let believed = micros(self.believed?);
        let mut state = self.state();
        if matches!(state.memory, Memory::Here(_)) {
            self.look(&mut state);
        }
        let Memory::Here(table) = &state.memory else {
            return None;
        };
        let now = self.clocks.now().ago(0);
        if now.saturating_sub(table.newest()) > believed {
            state.memory = Memory::Nothing;
            return None;
        }
        let (known, asked) = table.get(Id::of(path))?;
        let age = Duration::from_micros(now.saturating_sub(asked));
        Some((known.clone(), age))
    }

    /// Takes note of what the key, or the directory without a `/` at its end, led to when S3 was asked at
    /// `asked`; `None` when what was known of it counts no more.
    pub fn note(&self, path: &str, known: Option<Known>, asked: Instant) {
        if self.believed.is_none() {
            return;
        }
        let id = Id::of(path);
        // In this order, so that it may seem older than it is, but not newer.
        let running = self.clocks.now().running;
        let now = Instant::now();
        let age = micros(now.saturating_duration_since(asked));
        let mut state = self.state();
        match &mut state.memory {
            Memory::Nothing => {}
            Memory::Coming(noted) => noted.push(id),
            Memory::Here(table) => table.forget(id),
        }
        let is_long_ago = now.saturating_duration_since(state.looked) >= LOOK_AGAIN;
        if (state.log.is_none() || is_long_ago) && self.look(&mut state).is_none() {
            return;
        }
        // What was asked for before there was this log may have been changed before, too.
        let Some(since) = state.length_at(asked) else {
            return;
        };
        let row = Row {
            id,
            above: state.above(path),
            asked: running.saturating_sub(age),
            since,
            known,
        };
        row.write(&mut state.rows);
        if state.rows.len() >= BATCH {
            self.hand_over(&mut state);
            drop(state);
            let journal = Arc::clone(&self.journal);
            self.writers.spawn_ok(async move { journal.write() });
        }
    }

    /// Writes what was noted so far, for mounts after this one.
    pub fn save(&self) {
        let mut state = self.state();
        self.hand_over(&mut state);
        let boot = self.clocks.now().boot;
        if let Some(Err(error)) = state.log.as_mut().map(|log| log.close(boot)) {
            log::debug!("the log of changes is not closed: {error}");
        }
        drop(state);
        self.journal.write();
    }

    /// Writes `entries` into the log of changes. Where that cannot be, nothing counts any more that was known.
    fn append(&self, entries: &[Entry]) {
        let mut state = self.state();
        for _ in 0..TRIES {
            let appended = self.try_append(&mut state, entries);
            let synced = match appended {
                Ok(None) => return,
                Ok(Some(log)) => {
                    // Others need not wait for that.
                    drop(state);
                    let synced = log.sync();
                    state = self.state();
                    match state.log.as_mut().filter(|known| known.id() == log.id()) {
                        Some(known) if synced.is_ok() => return known.note_safe(),
                        Some(_) => synced,
                        // The entries are not in the one that was begun meanwhile.
                        None => continue,
                    }
                }
                Err(error) => Err(error),
            };
            if let Err(error) = synced {
                log::debug!("the log of changes: {error}");
                self.renew(&mut state);
            }
        }
        log::debug!("changes are not noted in the cache");
        self.renew(&mut state);
    }

    /// Appends to the log, and gives a handle of it if it is to be [synced](Log::sync).
    fn try_append(&self, state: &mut State, entries: &[Entry]) -> io::Result<Option<Log>> {
        for _ in 0..TRIES {
            self.look(state);
            let log = state.log.as_mut().ok_or(io::ErrorKind::NotFound)?;
            log.append(self.clocks.now().boot, entries)?;
            match log.len()? {
                // Somebody has just begun another one.
                None => state.lose(),
                Some(len) if len > MOST_ENTRIES => return Err(io::ErrorKind::FileTooLarge.into()),
                Some(_) => {
                    let handle = (!log.is_safe()).then(|| log.reader()).transpose()?;
                    // What is asked for from here on is known to be later.
                    self.look(state);
                    return Ok(handle);
                }
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Opens the log of changes, if it is not, and takes in what others have changed. `None` when there is
    /// no log, so that nothing can be noted.
    fn look(&self, state: &mut State) -> Option<LogId> {
        for _ in 0..TRIES {
            let log = match state.log.take() {
                Some(log) => log,
                None => self.open_log()?,
            };
            if let Ok(Some(len)) = log.len() {
                // After the length was seen.
                let now = Instant::now();
                state.looked = now;
                if state.lengths.last().is_none_or(|(_, last)| *last != len) {
                    state.lengths.push((now, len));
                    let excess = state.lengths.len().saturating_sub(MOST_LENGTHS);
                    state.lengths.drain(..excess);
                }
                let id = log.id();
                let news = match &mut state.memory {
                    Memory::Here(table) if table.taken() > len => Ok(None),
                    Memory::Here(table) if table.taken() < len => log.read(table.taken()),
                    _ => Ok(Some(Vec::new())),
                };
                if let Ok(Some(news)) = news {
                    if let Memory::Here(table) = &mut state.memory {
                        table.take(&news);
                    }
                    state.log = Some(log);
                    return Some(id);
                }
                self.renew(state);
            }
            state.lose();
        }
        None
    }

    fn open_log(&self) -> Option<Log> {
        let made = self.directory.make_names();
        let opened = made.and_then(|()| Log::open(&self.directory.names()));
        opened
            .inspect_err(|error| log::debug!("the log of changes cannot be opened: {error}"))
            .ok()
    }

    /// Begins another log of changes: nothing counts any more that was known.
    fn renew(&self, state: &mut State) {
        if let Err(error) = Log::remove(&self.directory.names()) {
            log::warn!(
                "the cache may know names as they were before this mount changed them: the log of \
                 changes can be neither written nor removed: {error}"
            );
        }
        state.lose();
    }

    /// Reads what mounts before have known.
    fn load(&self) {
        let read = self.read_table();
        let mut state = self.state();
        let Memory::Coming(noted) = std::mem::replace(&mut state.memory, Memory::Nothing) else {
            return;
        };
        match read {
            Ok(Some((id, mut table))) => {
                for id in noted {
                    table.forget(id);
                }
                let is_same = state.log.as_ref().is_some_and(|log| log.id() == id);
                if is_same {
                    state.memory = Memory::Here(table);
                }
            }
            Ok(None) => {
                self.renew(&mut state);
                self.look(&mut state);
            }
            Err(error) => log::debug!("what is known of names cannot be read: {error}"),
        }
    }

    /// What mounts before have known, and the log of changes that it refers to; `None` when that is damaged,
    /// or not complete.
    fn read_table(&self) -> io::Result<Option<(LogId, Table)>> {
        let log = {
            let mut state = self.state();
            self.look(&mut state);
            state.log.as_ref().map(Log::reader)
        };
        let log = log.ok_or(io::ErrorKind::NotFound)??;
        let believed = micros(self.believed.unwrap_or_default());
        let oldest = self.clocks.now().ago(believed);
        let (mut rows, mut least, mut is_good) = (Vec::new(), 0, true);
        for file in File::ALL {
            let bytes = self.journal.read(file)?;
            // After it was read: nothing in it is newer.
            let now = self.clocks.now();
            let condition = read_batches(&bytes, |head, row| {
                let Some(age) = now.age_of(row.asked, &head.written) else {
                    is_good = false;
                    return;
                };
                let asked = now.ago(age);
                // Something in a directory may be newer than that is.
                let may_count = asked >= oldest || row.known == Some(Known::Directory);
                if may_count && head.log == log.id() && head.bucket == self.bucket {
                    least = least.max(head.entries);
                    rows.push(Row { asked, ..row });
                }
            });
            is_good &= condition != Condition::Damaged;
            if condition == Condition::Torn && file == File::Now {
                // What is written after a torn batch cannot be read.
                self.journal.begin_file()?;
            }
        }
        if !is_good {
            self.journal.remove()?;
            rows.clear();
        }
        let Some(entries) = log.read(0)? else {
            return Ok(None);
        };
        let is_cut = (entries.len() as u64) < u64::from(least);
        if is_cut || !is_complete(&entries, self.clocks.now().boot) {
            return Ok(None);
        }
        let mut table = Table::new(rows, oldest);
        table.take(&entries);
        Ok(Some((log.id(), table)))
    }

    /// Hands over to the journal what was noted.
    fn hand_over(&self, state: &mut State) {
        let rows = std::mem::take(&mut state.rows);
        let Some(log) = state.log.as_ref().filter(|_| !rows.is_empty()) else {
            return;
        };
        let Ok(Some(entries)) = log.len() else {
            return state.lose();
        };
        let head = Head {
            log: log.id(),
            entries,
            bucket: self.bucket,
            written: self.clocks.now(),
        };
        self.journal.push(batch(&head, &rows));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names")
            .field("believed", &self.believed)
            .finish_non_exhaustive()
    }
}

impl State {
    fn new() -> Self {
        Self {
            log: None,
            memory: Memory::Nothing,
            lengths: Vec::new(),
            looked: Instant::now(),
            above: (String::new(), Id::of("").short()),
            rows: Vec::new(),
        }
    }

    /// The short id of the directory that `path` is in.
    fn above(&mut self, path: &str) -> u64 {
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        if self.above.0 != above {
            self.above = (above.to_owned(), Id::of(above).short());
        }
        self.above.1
    }

    /// Takes in that there is another log of changes: nothing counts any more that was known.
    fn lose(&mut self) {
        *self = Self::new();
    }

    /// How many entries the log had at `asked`, at least, if that is known.
    fn length_at(&self, asked: Instant) -> Option<u32> {
        let known = self.lengths.iter().rev().find(|(at, _)| *at <= asked);
        known.map(|(_, len)| *len)
    }
}

/// Removes what is known of names from the cache in `directory`.
///
/// # Errors
/// Some of it is still there.
pub(super) fn remove(directory: &Directory) -> io::Result<()> {
    match fs::remove_dir_all(directory.names()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Bytes of what is noted that are written at a time.
const BATCH: usize = 64 << 10;

/// Bytes of one of the two files of what was noted.
const MOST_BYTES: u64 = 16 << 20;

/// Bytes of both files that are read before the mount goes on: a few milliseconds.
const READ_AT_ONCE: u64 = 1 << 20;

/// Entries of the log of changes: 16 MiB.
const MOST_ENTRIES: u32 = (16 << 20) / 24;

/// Lengths of the log that are remembered: more than change while S3 answers.
const MOST_LENGTHS: usize = 64;

/// How long it may take until it is seen that others have changed something, or have begun another log of
/// changes, when something is noted. Until then more is taken to be void than is.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Others may begin another log at any time.
const TRIES: usize = 3;
