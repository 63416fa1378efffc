//! What is counted of a cache on a local disk.

use super::counter::Counter;
use super::names;
use super::snapshot::Snapshot;

/// Counts of one cache. Any thread may add to them at any time.
#[derive(Debug, Default)]
pub struct CacheMetrics {
    /// Bytes that were read from it.
    pub hits: Counter,
    /// Bytes that it lacked.
    pub misses: Counter,
    /// Bytes that were written to it.
    pub filled: Counter,
    /// Bytes that were not, as there was no room, or no time.
    pub left_out: Counter,
    /// Blocks that were not what had been written.
    pub bad_blocks: Counter,
    /// Opens of versions that it had as a whole, for the kernel to read.
    pub whole: Counter,
    /// Bytes that were removed to make room.
    pub removed: Counter,
    /// Failures of the disk.
    pub errors: Counter,
}

impl CacheMetrics {
    /// Adds the counts to `snapshot`, and that the cache takes `used` bytes of the disk.
    pub fn report(&self, used: u64, snapshot: &mut Snapshot) {
        for (metric, counter) in [
            (&names::CACHE_HITS, &self.hits),
            (&names::CACHE_MISSES, &self.misses),
            (&names::CACHE_FILLED, &self.filled),
            (&names::CACHE_LEFT_OUT, &self.left_out),
            (&names::CACHE_BAD_BLOCKS, &self.bad_blocks),
            (&names::CACHE_WHOLE, &self.whole),
            (&names::CACHE_REMOVED, &self.removed),
            (&names::CACHE_ERRORS, &self.errors),
        ] {
            snapshot.counter(metric, [], counter.get());
        }
        snapshot.gauge(&names::CACHE_USED, [], used);
    }
}
