//! What a mount counts and measures.
//!
//! Every layer may import this one, which imports none. A mount owns one [`Metrics`], and hands the
//! parts of it to the layers at whose edges something is worth counting; they only ever add to it.
//! Whoever wants figures takes a [`Snapshot`], in which counters never decrease.
//!
//! Adding costs a few nanoseconds and never waits, but for what happens with a failure or an S3
//! request, which looks into a small map.
//!
//! | file | what it holds |
//! |---|---|
//! | `names` | every metric there is: names, units, kinds |
//! | `counter`, `histogram` | numbers that many threads add to |
//! | `fuse`, `s3`, `files`, `cache`, `shared_cache` | what is counted at the edges of the kernel, of S3, of open files, of a disk, and of a bucket that is a cache |
//! | `snapshot` | all figures at one time |

mod cache;
mod counter;
mod files;
mod fuse;
mod histogram;
pub mod names;
mod s3;
mod shared_cache;
mod snapshot;

use std::sync::Arc;

pub use cache::CacheMetrics;
pub use counter::{Counter, Gauge, UnderWay};
pub use files::{FileFigures, FileUse, Files};
pub use fuse::{FuseMetrics, Operation, Timer};
pub use histogram::{Histogram, HistogramFigures, upper_bound};
pub use names::{Kind, Metric, Unit};
pub use s3::{Ended, Failure, S3Metrics};
pub use shared_cache::SharedCacheMetrics;
pub use snapshot::{Label, Sample, Snapshot, Value};

/// What one mount counts at its edges. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Requests of the kernel.
    pub fuse: Arc<FuseMetrics>,
    /// Requests to S3.
    pub s3: Arc<S3Metrics>,
    /// Files that are open, or were.
    pub files: Arc<Files>,
}
