//! Whole files that were fetched ahead, and are waiting to be opened.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::File;
use crate::memory::{Account, Budget, Holder};
use crate::read::{Progress, ReadConfig, WholeFetch};
use crate::s3::{ETag, Key, Store};

/// Files in memory, or under way there, by key. All of them together count as one open file, which
/// is the first to give way when memory is short. Every method may be called from any thread.
pub(super) struct Shelf {
    account: Arc<Account>,
    made: Instant,
    inner: Mutex<Inner>,
    counters: Counters,
}

#[derive(Default)]
struct Inner {
    files: HashMap<Key, Entry>,
    /// The keys in the order in which the files were put here.
    order: BTreeMap<u64, Key>,
    next: u64,
    /// What was not complete when last looked at.
    under_way: Vec<Key>,
    closed: bool,
}

struct Entry {
    number: u64,
    size: u64,
    fetch: WholeFetch,
}

/// Bytes of files, and what became of them.
#[derive(Debug, Default)]
struct Counters {
    fetched: AtomicU64,
    hits: AtomicU64,
    read: AtomicU64,
    wasted: AtomicU64,
}

/// What was fetched ahead so far, and what it was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrefetchCounters {
    /// Bytes that were asked for.
    pub fetched: u64,
    /// Files that were opened and had been fetched, or were under way.
    pub hits: u64,
    /// Bytes that programs have read of files that they have closed, fetched ahead or not.
    pub read: u64,
    /// Bytes that were fetched and not read: of files that were given up before anybody opened
    /// them, and of those that were not read to their end.
    pub wasted: u64,
    /// Bytes of memory that are held now for files that nobody has opened yet.
    pub held: u64,
}

impl Shelf {
    /// An empty shelf, which `budget` pays for.
    pub(super) fn new(budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            account: budget.open(Weak::clone(this) as Weak<dyn Holder>),
            made: Instant::now(),
            inner: Mutex::default(),
            counters: Counters::default(),
        })
    }

    /// Begins to fetch `file`, unless it is here. Returns whether there was memory for it.
    pub(super) fn fetch(&self, store: &Arc<dyn Store>, file: &File, config: &ReadConfig) -> bool {
        let fits = WholeFetch::price(file.size, config)
            .is_some_and(|price| price <= self.account.budget().spare());
        if !fits || self.lock().closed {
            return false;
        }
        if self.contains(&file.key) {
            return true;
        }
        let (key, etag) = (file.key.clone(), file.etag.clone());
        let store = Arc::clone(store);
        let fetch = WholeFetch::start(store, key, etag, file.size, config, &self.account);
        let Some(fetch) = fetch else {
            return false;
        };
        self.counters
            .fetched
            .fetch_add(file.size, Ordering::Relaxed);
        let mut inner = self.lock();
        if inner.closed {
            drop(inner);
            self.waste(file.size);
            return false;
        }
        let number = inner.next;
        inner.next += 1;
        inner.order.insert(number, file.key.clone());
        inner.under_way.push(file.key.clone());
        let entry = Entry {
            number,
            size: file.size,
            fetch,
        };
        let before = inner.files.insert(file.key.clone(), entry);
        drop(inner);
        drop(before);
        true
    }

    /// Whether a file with this key is here, in whatever version.
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.lock().files.contains_key(key)
    }

    /// Files under way. Those that have failed go.
    pub(super) fn under_way(&self) -> usize {
        let mut failed = Vec::new();
        let mut guard = self.lock();
        let inner = &mut *guard;
        let mut keys = std::mem::take(&mut inner.under_way);
        keys.retain(
            |key| match inner.files.get(key).map(|entry| entry.fetch.progress()) {
                Some(Progress::UnderWay) => true,
                Some(Progress::Failed) => {
                    failed.extend(inner.remove(key));
                    false
                }
                Some(Progress::Complete) | None => false,
            },
        );
        inner.under_way = keys;
        let count = inner.under_way.len();
        drop(guard);
        self.drop_all(failed);
        count
    }

    /// Takes out version `etag` of the file `key`. Another version, and a fetch that has failed,
    /// are of no use to anybody any more and go.
    pub(super) fn take(&self, key: &Key, etag: &ETag) -> Option<WholeFetch> {
        let entry = self.lock().remove(key)?;
        if entry.fetch.etag() != etag || entry.fetch.progress() == Progress::Failed {
            self.drop_all(Some(entry));
            return None;
        }
        self.counters.hits.fetch_add(1, Ordering::Relaxed);
        Some(entry.fetch)
    }

    /// Gives up the files that `gone` says.
    pub(super) fn give_up(&self, gone: impl Fn(&Key) -> bool) {
        let mut inner = self.lock();
        let keys: Vec<Key> = inner
            .files
            .keys()
            .filter(|key| gone(key))
            .cloned()
            .collect();
        let entries: Vec<Entry> = keys.iter().filter_map(|key| inner.remove(key)).collect();
        drop(inner);
        self.drop_all(entries);
    }

    /// Gives up one file.
    pub(super) fn give_up_one(&self, key: &Key) {
        let entry = self.lock().remove(key);
        self.drop_all(entry);
    }

    /// Gives up everything, and takes nothing any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.give_up(|_| true);
    }

    /// Counts what was read of a file of `size` bytes that was closed, which was `fetched` ahead or
    /// not.
    pub(super) fn note_closed(&self, read: u64, size: u64, fetched: bool) {
        let read = read.min(size);
        self.counters.read.fetch_add(read, Ordering::Relaxed);
        if fetched {
            self.waste(size - read);
        }
    }

    /// What happened so far.
    pub(super) fn counters(&self) -> PrefetchCounters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PrefetchCounters {
            fetched: get(&self.counters.fetched),
            hits: get(&self.counters.hits),
            read: get(&self.counters.read),
            wasted: get(&self.counters.wasted),
            held: self
                .lock()
                .files
                .values()
                .map(|entry| entry.fetch.held())
                .sum(),
        }
    }

    /// Bytes wasted, and bytes read.
    pub(super) fn balance(&self) -> (u64, u64) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (get(&self.counters.wasted), get(&self.counters.read))
    }

    fn waste(&self, bytes: u64) {
        self.counters.wasted.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Drops what nobody has read, without the lock.
    fn drop_all(&self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            self.waste(entry.size);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.files.remove(key)?;
        self.order.remove(&entry.number);
        Some(entry)
    }
}

impl Holder for Shelf {
    /// Nothing that is open was last used before this was made, so what is here goes first.
    fn last_used(&self) -> Option<Instant> {
        (!self.lock().files.is_empty()).then_some(self.made)
    }

    /// What was put here last goes first, however new it is: it is needed last.
    fn give_back(&self, bytes: u64, _idle_since: Instant) -> u64 {
        let mut given = 0;
        let mut entries = Vec::new();
        let mut inner = self.lock();
        while given < bytes
            && let Some((_, key)) = inner.order.pop_last()
        {
            if let Some(entry) = inner.files.remove(&key) {
                given += entry.fetch.held();
                entries.push(entry);
            }
        }
        drop(inner);
        self.drop_all(entries);
        given
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
