//! Blocks on their way into the bucket of the cache.
//!
//! Nobody waits for them: what does not find memory, or comes while the bucket does not take any, is
//! left out.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::Shared;
use super::block::Block;
use crate::memory::Lease;
use crate::s3::ErrorKind;

/// Blocks that are being stored.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    inner: Mutex<Inner>,
    fewer: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    blocks: HashSet<Block>,
    /// There were too many, and they have not become half as many since. What is left out then is
    /// left out in one run: a hole costs as much whether it is one block or several.
    too_many: bool,
}

/// A block that is being stored, and the memory for it, until this is dropped.
struct Place {
    shared: Arc<Shared>,
    block: Block,
    _lease: Lease,
}

impl Uploads {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lock().blocks.len()
    }

    /// Waits until there are none, but not after `until`, and not once none has ended for `patience` or
    /// `is_of_use` says no. Returns how many there are.
    fn wait(&self, until: Instant, patience: Duration, is_of_use: impl Fn() -> bool) -> usize {
        let mut inner = self.lock();
        loop {
            let before = inner.blocks.len();
            if before == 0 || !is_of_use() {
                return before;
            }
            let limit = patience.min(until.saturating_duration_since(Instant::now()));
            let are_as_many = |inner: &mut Inner| inner.blocks.len() >= before;
            let waited = self.fewer.wait_timeout_while(inner, limit, are_as_many);
            let (now, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                return now.blocks.len();
            }
            inner = now;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Adds a block, if there is room and it is not there.
    fn add(&mut self, block: Block) -> bool {
        let least = if self.too_many {
            MOST_UPLOADS / 2
        } else {
            MOST_UPLOADS
        };
        self.too_many = self.blocks.len() >= least;
        !self.too_many && self.blocks.insert(block)
    }
}

impl Place {
    /// `None` while too many are being stored, or there is no memory to spare.
    fn take(shared: &Arc<Shared>, block: Block) -> Option<Self> {
        if shared.account.budget().spare() < block.len() {
            return None;
        }
        let lease = shared.account.lease(block.len())?;
        if !shared.uploads.lock().add(block) {
            return None;
        }
        Some(Self {
            shared: Arc::clone(shared),
            block,
            _lease: lease,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let uploads = &self.shared.uploads;
        uploads.lock().blocks.remove(&self.block);
        uploads.fewer.notify_all();
    }
}

/// Lets `block` be stored, whose bytes are `pieces`, unless that would disturb.
pub(super) fn offer(shared: &Arc<Shared>, block: Block, pieces: Vec<Bytes>) {
    let Some(place) = Place::take(shared, block).filter(|_| shared.writes.may_try()) else {
        return shared.metrics.left_out.add(block.len());
    };
    let task = Arc::clone(shared);
    shared.pool.spawn_ok(async move {
        // A copy, as the buffers that the pieces lie in are many times larger, and for reads.
        let mut body = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
        pieces
            .iter()
            .for_each(|piece| body.extend_from_slice(piece));
        drop(pieces);
        task.store(block, body.freeze()).await;
        drop(place);
    });
}

impl Shared {
    /// Waits for what is being stored, for no longer than `limit`, and as long as the bucket takes blocks.
    /// Returns how many are left.
    pub(super) fn settle(&self, limit: Duration) -> usize {
        let patience = self.clock.patience();
        let until = Instant::now() + limit;
        self.uploads.wait(until, patience, || self.writes.is_well())
    }

    async fn store(&self, block: Block, body: Bytes) {
        let Some(request) = block.put(&body) else {
            return;
        };
        match self.bucket.put(request, body).await {
            Ok(_) => {
                self.metrics.filled.add(block.len());
                self.writes.went_well();
            }
            Err(error) => {
                self.metrics.left_out.add(block.len());
                if error.kind() != ErrorKind::Canceled {
                    self.metrics.errors.add(1);
                    self.writes.failed(&error);
                }
            }
        }
    }
}

/// As many as a fast bucket takes in a tenth of a second: 128 MiB.
const MOST_UPLOADS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Name;
    use crate::shared_cache::block::BLOCK;

    #[test]
    fn after_too_many_none_is_added_before_half_of_them_are_stored() {
        let name = Name::new("s", "b", "k", "e", u64::MAX);
        let block = |number: usize| Block::holding(name, u64::MAX, number as u64 * BLOCK);
        let mut inner = Inner::default();
        for number in 0..MOST_UPLOADS {
            assert!(inner.add(block(number)));
            assert!(!inner.add(block(0)), "it is there");
        }
        for number in 0..=MOST_UPLOADS / 2 {
            assert!(!inner.add(block(MOST_UPLOADS)), "{number}");
            inner.blocks.remove(&block(number));
        }
        for number in 0..=MOST_UPLOADS / 2 {
            assert!(inner.add(block(number)), "{number}");
        }
        assert!(!inner.add(block(MOST_UPLOADS)));
    }
}
