//! What is counted of a cache in a bucket.

use super::counter::Counter;
use super::names;
use super::snapshot::Snapshot;

/// Counts of one mount. Any thread may add to them at any time.
#[derive(Debug, Default)]
pub struct SharedCacheMetrics {
    /// Bytes that were read from it.
    pub hits: Counter,
    /// Bytes that it lacked.
    pub misses: Counter,
    /// Bytes that were stored in it.
    pub filled: Counter,
    /// Bytes that were not, as there was no memory, or its bucket took none.
    pub left_out: Counter,
    /// Blocks that were not what had been stored.
    pub bad_blocks: Counter,
    /// Requests to its bucket that failed, or took too long.
    pub errors: Counter,
}

impl SharedCacheMetrics {
    /// Adds the counts to `snapshot`, and that `uploads` blocks are being stored.
    pub fn report(&self, uploads: usize, snapshot: &mut Snapshot) {
        for (metric, counter) in [
            (&names::CACHE_XZ_HITS, &self.hits),
            (&names::CACHE_XZ_MISSES, &self.misses),
            (&names::CACHE_XZ_FILLED, &self.filled),
            (&names::CACHE_XZ_LEFT_OUT, &self.left_out),
            (&names::CACHE_XZ_BAD_BLOCKS, &self.bad_blocks),
            (&names::CACHE_XZ_ERRORS, &self.errors),
        ] {
            snapshot.counter(metric, [], counter.get());
        }
        snapshot.gauge(&names::CACHE_XZ_UPLOADS, [], uploads as u64);
    }
}
