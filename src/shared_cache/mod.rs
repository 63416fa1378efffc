//! A cache of objects in a bucket, which many machines share.
//!
//! A [`SharedCacheStore`] stands before another store and answers its GETs from blocks in the bucket
//! of the cache, as far as it has them; what it lacks is fetched from the other store by one request,
//! and stored as blocks in the background. Everything else is the other store's. Whatever the bucket
//! of the cache answers, or does not, a GET gives the bytes that the store would have given: a block
//! is believed when it says that it is of this version, and has the checksums that it says.
//!
//! | file | what it is |
//! |---|---|
//! | `store` | the store: which GET goes where |
//! | `get` | a GET under way: from blocks as long as they are there, then from the store |
//! | `fill` | bytes on their way from the store, and into blocks |
//! | `upload` | blocks on their way into the bucket |
//! | `block` | what a block is, and what is noted with it |
//! | `health` | whether the bucket is of any use at the moment |
//! | `clock` | when something has taken too long |
//! | `recent` | what was noted lately |
//!
//! # In the bucket
//! `mount-s3-cache/v1/NAME-NUMBER` is a block of 1 MiB, or what there is at the end of the object.
//! `NAME` is made of hashes of the store, the bucket, the key and the version: keys cannot be read
//! off it. Its user metadata has these hashes whole, and a CRC-32C of each 128 KiB, so that a part of
//! it can be fetched and checked alone. Nothing is removed: that is for a lifecycle rule of the bucket.
//!
//! # Memory
//! What is fetched from a block was paid for by whoever asked for it. What is fetched beyond that, to
//! make a whole block, and what is being stored, is paid for from the [`Budget`] as long as it has
//! some to spare.

mod block;
mod clock;
mod fill;
mod get;
mod health;
mod recent;
mod store;
#[cfg(test)]
mod tests;
mod upload;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::executor::ThreadPool;

pub use store::SharedCacheStore;

use crate::cache::Name;
use crate::memory::{Account, Budget};
use crate::metrics::{SharedCacheMetrics, Snapshot};
use crate::s3::{self, Context, ErrorKind, Fetch, Key, PutRequest};
use block::{BLOCK, Block, NOTES, PREFIX};
use clock::Clock;
use health::Health;
use recent::Recent;
use upload::Uploads;

/// Blocks of objects in a bucket. Clones share them.
#[derive(Debug, Clone)]
pub struct SharedCache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bucket: Arc<dyn Fetch>,
    metrics: SharedCacheMetrics,
    /// Pays for what nobody asked for.
    account: Arc<Account>,
    /// Checks blocks, and makes them.
    pool: ThreadPool,
    clock: Clock,
    reads: Health,
    writes: Health,
    /// Blocks that the cache lacks, and of which a little was read. To fetch all of a block for a few
    /// of its bytes pays when more of it is read, and that it is read twice is a sign.
    touched: Recent<Block>,
    /// Versions that the cache lacked when it was asked last.
    lacking: Recent<Name>,
    uploads: Uploads,
    /// Whether a block was bad, which is told once.
    was_bad: AtomicBool,
}

impl Shared {
    /// Takes note of a block that is not what was stored.
    fn bad(&self, key: &Key) {
        self.metrics.bad_blocks.add(1);
        let text = "of the shared cache is not what it should be, and is replaced";
        if !self.was_bad.swap(true, Ordering::Relaxed) {
            log::warn!("{key} {text}; more of this is logged as debug");
        } else {
            log::debug!("{key} {text}");
        }
    }
}

/// A bucket cannot be used for a cache.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing can be stored in it.
    #[error("nothing can be stored in it")]
    Put(#[source] s3::Error),
    /// What was stored in it cannot be fetched, or is not the same.
    #[error("what was stored in it cannot be fetched")]
    Get(#[source] s3::Error),
    /// No thread can be started.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// For the bytes that are due next, before they are asked of the store, while nothing else comes
    /// from the bucket either.
    patience: Duration,
    /// For how long a bucket that fails is left alone.
    rest: Duration,
}

impl SharedCache {
    /// What the keys of all of its objects begin with.
    pub const PREFIX: &str = PREFIX;

    /// The most bytes that it fetches by one request.
    pub const LARGEST_GET: u64 = BLOCK;

    /// Opens the cache in `bucket`, after it was made sure that objects can be stored in it and
    /// fetched. `budget` pays for what is fetched and held beyond what reads ask for.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the bucket.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind but, perhaps, a small object.
    pub async fn open(bucket: Arc<dyn Fetch>, budget: &Arc<Budget>) -> Result<Self, OpenError> {
        let timing = Timing {
            patience: PATIENCE,
            rest: REST,
        };
        Self::open_with(bucket, budget, timing).await
    }

    async fn open_with(
        bucket: Arc<dyn Fetch>,
        budget: &Arc<Budget>,
        timing: Timing,
    ) -> Result<Self, OpenError> {
        probe(bucket.as_ref()).await?;
        let mut pool = ThreadPool::builder();
        let pool = pool.name_prefix("shared-cache").pool_size(THREADS).create();
        Ok(Self(Arc::new(Shared {
            bucket,
            metrics: SharedCacheMetrics::default(),
            account: budget.open_without_holder(),
            pool: pool.map_err(OpenError::Thread)?,
            clock: Clock::start(timing.patience).map_err(OpenError::Thread)?,
            reads: Health::new("read", timing.rest),
            writes: Health::new("written", timing.rest),
            touched: Recent::default(),
            lacking: Recent::default(),
            uploads: Uploads::default(),
            was_bad: AtomicBool::new(false),
        })))
    }

    /// Waits until what was read is stored, for no longer than `limit`, and not for a bucket that takes
    /// nothing at the moment. Returns how many blocks are left out.
    pub fn settle(&self, limit: Duration) -> usize {
        self.0.settle(limit)
    }

    /// Adds what it has counted to `snapshot`.
    pub fn report(&self, snapshot: &mut Snapshot) {
        self.0.metrics.report(self.0.uploads.count(), snapshot);
    }
}

/// Makes sure that objects can be stored in `bucket` and fetched: stores an object that tells whoever
/// finds it what the others are, and fetches it.
///
/// # Errors
/// [`OpenError`] says what is wrong with the bucket.
///
/// # Cancel safety
/// As [`SharedCache::open`].
pub async fn probe(bucket: &dyn Fetch) -> Result<(), OpenError> {
    let context = |operation| Context {
        operation,
        key: ABOUT.to_owned(),
        ..Context::default()
    };
    let invalid = || OpenError::Put(s3::Error::new(ErrorKind::Invalid, context("PutObject")));
    let key = Key::new(ABOUT).map_err(|_| invalid())?;
    let mut request = PutRequest::new(key.clone());
    request.content_type = Some("text/plain".to_owned());
    request
        .metadata
        .insert(NOTES.to_owned(), "about".to_owned());
    let metadata = request.metadata.clone();
    let body = Bytes::from_static(ABOUT_TEXT.as_bytes());
    let stored = bucket.put(request, body.clone()).await;
    stored.map_err(OpenError::Put)?;
    let fetched = bucket.fetch(&key, 0..body.len() as u64).await;
    let fetched = fetched.map_err(OpenError::Get)?;
    if fetched.bytes == body && fetched.metadata == metadata {
        return Ok(());
    }
    let context = Context {
        message: Some("it is not what was stored, with its user metadata".to_owned()),
        ..context("GetObject")
    };
    Err(OpenError::Get(s3::Error::new(
        ErrorKind::Integrity,
        context,
    )))
}

/// The key of an object beside the blocks.
const ABOUT: &str = "mount-s3-cache/about.txt";

const ABOUT_TEXT: &str = "\
The objects under mount-s3-cache/v1/ are blocks of other objects, which mount-s3 --cache-xz has
stored to read them from here again. They can be deleted at any time, also while they are used.
";

/// Many times what a bucket takes that is well.
const PATIENCE: Duration = Duration::from_secs(2);

const REST: Duration = Duration::from_secs(30);

/// They only copy bytes and compute checksums.
const THREADS: usize = 4;
