//! A cache of objects on a local disk.
//!
//! A [`CachedStore`] stands before another store and answers its GETs from files, as far as they have
//! the bytes; what they lack is fetched from the other store in whole blocks, and written on the way.
//! Everything else is the other store's. Whatever happens to the files, a GET gives the bytes that
//! the store would have given: a block is believed when it has the checksum that was noted for it.
//!
//! | file | what it is |
//! |---|---|
//! | `store` | the store: which GET goes where |
//! | `get` | a GET under way: from files as long as they have it, then from the store |
//! | `claim`, `follow` | who fetches what at the moment, and who waits for it |
//! | `fill` | bytes on their way from the store, and into files |
//! | `entry`, `entries` | one version of one object, and those that are open |
//! | `place` | where its files are |
//! | `notes` | which of its blocks are there, and their checksums |
//! | `uses` | when it was used |
//! | `direct`, `buffers` | bytes past the page cache, and the memory that they are read into |
//! | `record` | what the notes look like |
//! | `name` | which files belong to a version |
//! | `directory` | where they are, and whom they may belong to |
//! | `names` | what is known of names, kept for the next mount |
//! | `whole` | files that have all of a version, for the kernel to read them by itself |
//! | `proof`, `prover` | which files these are |
//! | `probe`, `failures` | when the disk gives no longer what it has |
//! | `amount`, `usage`, `keeper` | how much they take, and what makes room |
//! | `warm` | filling it before anybody reads |
//! | `holdings`, `verify`, `evict` | what is there, counted, checked and removed on demand |
//! | `parallel`, `watch` | what these need: many threads, who follows |
//!
//! # On the disk
//! `DIRECTORY/mount-s3-cache/v1/XX/NAME.data` is the object, with holes where nothing was fetched;
//! `NAME.map` notes for each block whether it is there, and its checksum. An object of one block has
//! a single file, `NAME.block`, with its notes in an attribute, where the file system takes attributes:
//! data sets have millions of them. What is known of names is beside these, in `names`. `NAME` is made of
//! hashes of the store, the bucket, the key and the version: keys cannot be read off it. Several processes
//! may use the same directory: whoever removes files removes names only, so that who has them open goes on.
//!
//! A block is written before its note, and a note is no more than a claim: after a crash, also of
//! the machine, blocks whose bytes did not make it to the disk are found out by their checksums.

mod amount;
mod buffers;
mod claim;
mod direct;
mod directory;
mod entries;
mod entry;
mod evict;
mod failures;
mod fill;
mod follow;
mod get;
mod holdings;
mod keeper;
mod name;
mod names;
mod notes;
mod parallel;
mod place;
mod probe;
mod proof;
mod prover;
mod record;
mod store;
#[cfg(test)]
mod tests;
mod usage;
mod uses;
mod verify;
mod warm;
mod watch;
mod whole;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use futures::executor::ThreadPool;

pub use directory::{Refused, Surroundings};
pub use evict::{Evicted, Eviction, ObjectSet};
pub use holdings::{Disk, Holdings, Survey};
pub use name::Source;
pub(crate) use name::{Name, hex};
pub use names::{Known, Names, NotingStore};
pub use store::CachedStore;
pub use verify::Verified;
pub use warm::{End, FetchLimits, Fetched, Lacking, Trouble, Version, Wanted};
pub use watch::Watch;
pub use whole::WholeFile;

use crate::memory::{Account, Budget};
use crate::metrics::{CacheMetrics, Snapshot};
use buffers::Buffers;
use directory::Directory;
use entries::Entries;
use failures::Failures;
use follow::Followers;
use keeper::Keeper;
use probe::Probes;
use proof::Proven;
use prover::Prover;
use usage::Usage;

/// How much a [`Cache`] may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Bytes of the disk for the files; `None`: as many as leave the share below free.
    pub most: Option<u64>,
    /// Share of the file system that stays free, in percent of its bytes and of its inodes.
    pub free_percent: u8,
}

/// Files of objects in a directory. Clones share them.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    entries: Entries,
    proven: Arc<Proven>,
    is_stacked: bool,
    usage: Arc<Usage>,
    metrics: Arc<CacheMetrics>,
    /// Look into files and answer from them.
    readers: ThreadPool,
    /// Write them.
    writers: ThreadPool,
    /// GETs that wait for what others fetch.
    followers: Followers,
    /// Bytes that wait to be written.
    queued: AtomicU64,
    /// Pays for them.
    account: OnceLock<Arc<Account>>,
    buffers: Arc<Buffers>,
    keeper: Keeper,
    probes: Probes,
    failures: Arc<Failures>,
}

impl Shared {
    /// Takes note of a failure of the disk.
    fn failed(&self, what: &str, error: &io::Error) {
        let text = format!("a file of the cache cannot be {what}");
        self.failures.note(&text, error);
        if failures::is_full(error) {
            self.usage.refused();
            self.keeper.make_room();
        }
    }
}

/// A directory cannot be used for a cache.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not ours alone.
    #[error("{}: {refused}", path.display())]
    Refused {
        /// The directory, or one above it.
        path: PathBuf,
        /// What is wrong with it.
        refused: Refused,
    },
    /// The system does not let us.
    #[error("{}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is none, where one is looked for.
    #[error("there is no cache in {}", path.display())]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// No thread can be started.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
}

impl Cache {
    /// Opens the cache in `directory`, or begins one. What it has is not looked at now, however much
    /// that is.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the directory.
    pub fn open(
        directory: &Path,
        surroundings: Surroundings,
        limits: CacheLimits,
    ) -> Result<Self, OpenError> {
        let metrics = Arc::<CacheMetrics>::default();
        let proven = Arc::<Proven>::default();
        let failures = Arc::new(Failures::new(Arc::clone(&metrics), Arc::clone(&proven)));
        let directory = Arc::new(Directory::open(directory, surroundings)?);
        let usage = Arc::new(Usage::new(limits));
        let keeper = Keeper::start(
            Arc::clone(&directory),
            Arc::clone(&usage),
            Arc::clone(&metrics),
            Arc::clone(&failures),
        )
        .map_err(OpenError::Thread)?;
        let is_stacked = directory.is_stacked().unwrap_or_default();
        let root = File::open(directory.root()).map_err(|source| OpenError::Io {
            path: directory.root().to_owned(),
            source,
        })?;
        let prover = Prover::start(
            Arc::clone(&directory),
            root,
            Arc::clone(&proven),
            Arc::clone(&failures),
        )
        .map_err(OpenError::Thread)?;
        let pool = |name: &str, threads| {
            let mut builder = ThreadPool::builder();
            builder.name_prefix(name).pool_size(threads).create()
        };
        Ok(Self(Arc::new(Shared {
            entries: Entries::new(directory, prover, Arc::clone(&usage)),
            proven,
            is_stacked,
            usage,
            metrics,
            readers: pool("cache-read", READERS).map_err(OpenError::Thread)?,
            writers: pool("cache-write", WRITERS).map_err(OpenError::Thread)?,
            followers: Followers::start().map_err(OpenError::Thread)?,
            queued: AtomicU64::new(0),
            account: OnceLock::new(),
            buffers: Arc::default(),
            keeper,
            probes: Probes::default(),
            failures,
        })))
    }

    /// Lets `budget` pay for the bytes that wait to be written: what it does not pay for is left out.
    /// Only the first budget counts.
    pub fn pay_from(&self, budget: &Arc<Budget>) {
        self.0.account.get_or_init(|| budget.open_without_holder());
    }

    /// Adds what it has counted to `snapshot`.
    pub fn report(&self, snapshot: &mut Snapshot) {
        self.0.metrics.report(self.0.usage.used(), snapshot);
    }
}

/// Bytes of a block: what is fetched, checked and believed at a time.
const BLOCK: u64 = 128 << 10;

/// They wait for the disk, if the page cache does not have it.
const READERS: usize = 16;

/// As many as a disk works at, also when something else wants the processors.
const WRITERS: usize = 8;
