//! Small objects that are fetched whole before anybody opens them.

use std::sync::Arc;
use std::time::Instant;

use super::funds::Funds;
use super::queue::Queue;
use super::stream::{Source, Stream};
use super::window::Window;
use super::{Fetch, ReadConfig, ReadHandle, Role, Work};
use crate::memory::Account;
use crate::s3::{self, ETag, Key, Store};

/// One GET of one version of an object, all of it, whose bytes wait for a [`ReadHandle`]. Dropping
/// it cancels the GET and frees what has arrived.
#[derive(Debug)]
pub struct WholeFetch {
    source: Arc<Source>,
    size: u64,
    stream: Arc<Stream>,
}

/// How far a [`WholeFetch`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Bytes are still to come.
    UnderWay,
    /// All bytes are here.
    Complete,
    /// It has failed, and nobody has waited for it.
    Failed,
}

impl WholeFetch {
    /// Bytes of memory that a fetch of `size` bytes takes; `None` for what is not fetched whole:
    /// nothing, or more than a part.
    pub fn price(size: u64, config: &ReadConfig) -> Option<u64> {
        let part_size = config.part_size.max(1);
        (1..=part_size)
            .contains(&size)
            .then(|| s3::memory_for_get(size, part_size))
    }

    /// Begins to fetch version `etag` of the object `key`, which is `size` bytes long. `account`
    /// pays until the bytes are freed, whoever has them then. `None` when that does not fit, or
    /// [when the size does not](Self::price). Failures reach who reads.
    pub fn start(
        store: Arc<dyn Store>,
        key: Key,
        etag: ETag,
        size: u64,
        config: &ReadConfig,
        account: &Arc<Account>,
    ) -> Option<Self> {
        let lease = account.lease(Self::price(size, config)?)?;
        let source = Arc::new(Source::new(store, key, etag, size, config));
        let now = Instant::now();
        let window = Window::whole(&(0..size), now);
        let queue = Queue::new(0..size, window, Funds::whole(Some(lease)), size);
        let stream = Arc::new(Stream::new(Arc::clone(&source), queue));
        stream.start();
        Some(Self {
            source,
            size,
            stream,
        })
    }

    /// The version that is fetched.
    pub fn etag(&self) -> &ETag {
        &self.source.etag
    }

    /// Bytes of memory that are paid for.
    pub fn held(&self) -> u64 {
        self.stream.queue().held()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let queue = self.stream.queue();
        if queue.extent().received == self.size {
            Progress::Complete
        } else if queue.has_failed() {
            Progress::Failed
        } else {
            Progress::UnderWay
        }
    }
}

impl ReadHandle {
    /// Opens what `fetch` fetches. Reads wait for its bytes instead of asking for them again.
    pub fn of_whole(fetch: WholeFetch, config: &ReadConfig) -> Self {
        let WholeFetch {
            source,
            size,
            stream,
        } = fetch;
        let handle = Self::with_limits(source, size, config.limits(), &config.budget);
        let mut work = Work::default();
        let fetch = Fetch {
            stream,
            role: Role::Piece,
            used: Instant::now(),
            _permit: None,
        };
        work.dropped
            .extend(handle.fetches.add(&mut handle.fetches.lock(), fetch));
        work.finish();
        handle
    }
}
