//! Fetching files before they are opened.
//!
//! A program that reads many small files waits for a round trip with each of them. Which ones it
//! reads next can often be told from those that it has read: the next ones in the order of the
//! listing, those that followed the last time, or, in no order, all of a data set. A
//! [`Prefetcher`] fetches them whole, many at a time, and whoever opens one of them finds its bytes
//! in memory or under way.
//!
//! | file | what it does |
//! |---|---|
//! | `recent` | sees in the last reads what may be going on |
//! | `listing`, `history` | the order of a directory, and that in which files were read before |
//! | `order`, `set` | files in such an order: which were read, which come next |
//! | `pace` | how many at a time, and how much may be fetched for nothing |
//! | `guide` | joins these: reads in, names to list and files to fetch out |
//! | `shelf` | what was fetched and is not open yet, in memory that gives way first |
//! | `worker` | the thread that listens, lists and fetches |
//!
//! # Consistency
//! A file is the bytes of one version of one key, fetched with `If-Match`. Whoever opens a file says
//! which version it is to be, and gets the bytes of that one or none: names and versions that a
//! listing gave, however old, decide about what is fetched, never about what is read.

mod guide;
mod history;
mod listing;
mod order;
mod pace;
mod recent;
mod set;
mod shelf;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::channel::mpsc::{self, UnboundedSender};
use futures::channel::oneshot;

use crate::read::{ReadConfig, ReadHandle};
use crate::s3::{Context, ETag, Error, ErrorKind, Key, Prefix, Store};
use guide::{Guide, is_below};
pub use shelf::PrefetchCounters;
use shelf::Shelf;
use worker::{Event, Told, Worker, run_until_done};

/// One version of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The object.
    pub key: Key,
    /// The version.
    pub etag: ETag,
    /// Its length in bytes.
    pub size: u64,
}

/// Fetches files before they are opened. Dropping it ends its thread and cancels what is under way.
pub struct Prefetcher {
    store: Arc<dyn Store>,
    read: ReadConfig,
    shelf: Arc<Shelf>,
    events: UnboundedSender<Event>,
    thread: Option<JoinHandle<()>>,
}

/// An open file, as far as fetching ahead is concerned: tells what is read of it.
#[derive(Debug)]
pub struct Visit {
    file: File,
    was_fetched: bool,
    is_read: AtomicBool,
    bytes: AtomicU64,
    shelf: Arc<Shelf>,
    events: UnboundedSender<Event>,
}

impl Prefetcher {
    /// Fetches files of `store` whose keys start with `root`, in memory of the budget of `read`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(store: Arc<dyn Store>, read: ReadConfig, root: &Prefix) -> io::Result<Self> {
        Self::start_with_patience(store, read, root, PATIENCE)
    }

    fn start_with_patience(
        store: Arc<dyn Store>,
        read: ReadConfig,
        root: &Prefix,
        patience: Duration,
    ) -> io::Result<Self> {
        let shelf = Shelf::new(&read.budget);
        let (events, inbox) = mpsc::unbounded();
        let worker = Worker {
            store: Arc::clone(&store),
            read: read.clone(),
            shelf: Arc::clone(&shelf),
            guide: Guide::new(root.as_str().to_owned(), read.part_size.max(1)),
            root: root.as_str().to_owned(),
        };
        let to_itself = events.clone();
        let thread = thread::Builder::new()
            .name("prefetch".into())
            .spawn(move || {
                run_until_done(worker.run(inbox), patience, || {
                    // This thread has the other end.
                    let _heard = to_itself.unbounded_send(Event::Idle);
                });
            })?;
        Ok(Self {
            store,
            read,
            shelf,
            events,
            thread: Some(thread),
        })
    }

    /// Opens a version of a file that is believed to be the object's, from what was fetched ahead
    /// if it is there.
    pub fn open(&self, file: File) -> (ReadHandle, Visit) {
        let fetched = self.shelf.take(&file.key, &file.etag);
        let was_fetched = fetched.is_some();
        let reader = match fetched {
            Some(fetch) => ReadHandle::of_whole(fetch, &self.read),
            None => ReadHandle::new(
                Arc::clone(&self.store),
                file.key.clone(),
                file.etag.clone(),
                file.size,
                self.read.clone(),
            ),
        };
        let visit = Visit {
            file,
            was_fetched,
            is_read: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            shelf: Arc::clone(&self.shelf),
            events: self.events.clone(),
        };
        (reader, visit)
    }

    /// Follows the order of `keys`, in which they will be read. Answers which of them are files that
    /// can be read; from then on they are fetched.
    ///
    /// # Errors
    /// Those of the store, of a listing; [`ErrorKind::Canceled`] when this ends meanwhile.
    ///
    /// # Cancel safety
    /// The order is followed also when the future is dropped.
    pub async fn follow(&self, keys: Vec<Key>) -> Result<Vec<bool>, Error> {
        let (found, answer) = oneshot::channel();
        self.tell(Event::Told(Told { keys, found }));
        answer.await.unwrap_or_else(|oneshot::Canceled| {
            Err(Error::new(ErrorKind::Canceled, Context::default()))
        })
    }

    /// Notes that this mount changes `key`: what was fetched of it goes.
    pub fn note_changed(&self, key: &Key) {
        self.shelf.give_up_one(key);
        self.tell(Event::Changed(key.clone()));
    }

    /// Notes that this mount changes all in the directory `path`: what was fetched of it goes.
    pub fn note_changed_below(&self, path: &Key) {
        self.shelf.give_up(|key| is_below(key, path));
        self.tell(Event::ChangedBelow(path.clone()));
    }

    /// What happened so far.
    pub fn counters(&self) -> PrefetchCounters {
        self.shelf.counters()
    }

    fn tell(&self, event: Event) {
        // Without its thread nothing is fetched ahead, and nothing else changes.
        let _unheard = self.events.unbounded_send(event);
    }
}

impl Drop for Prefetcher {
    fn drop(&mut self) {
        self.tell(Event::End);
        let thread = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_panic)) = thread {
            log::error!("the thread that fetches files ahead has panicked");
        }
        self.shelf.close();
        let PrefetchCounters {
            fetched,
            hits,
            read,
            wasted,
            ..
        } = self.shelf.counters();
        if fetched > 0 {
            log::info!(
                "fetched {fetched} bytes of files ahead, of which {wasted} were not read; {hits} \
                 files were there when they were opened; {read} bytes of files were read"
            );
        }
    }
}

impl fmt::Debug for Prefetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefetcher")
            .field("shelf", &self.shelf)
            .finish_non_exhaustive()
    }
}

impl Visit {
    /// Notes that somebody reads.
    pub fn note_reading(&self) {
        if !self.is_read.swap(true, Ordering::Relaxed) {
            // Without its thread nothing is fetched ahead, and nothing else changes.
            let _unheard = self.events.unbounded_send(Event::Read {
                file: self.file.clone(),
                was_fetched: self.was_fetched,
            });
        }
    }

    /// Notes that so many bytes were read.
    pub fn note_read(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let read = self.bytes.load(Ordering::Relaxed);
        self.shelf
            .note_closed(read, self.file.size, self.was_fetched);
    }
}

/// What nobody has opened when nothing was read for so long is given up.
const PATIENCE: Duration = Duration::from_secs(600);
