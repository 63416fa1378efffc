//! How much may be fetched ahead.

use std::sync::Arc;

use super::parts::Hedger;
use super::plan::Limits;
use crate::memory::Budget;

/// How much a [`ReadHandle`](super::ReadHandle) may fetch ahead.
#[derive(Debug, Clone)]
pub struct ReadConfig {
    /// Size in bytes of the parts that the store splits a GET into; values below 1 count as 1.
    pub part_size: u64,
    /// The most bytes by which one handle fetches ahead of its readers. It is reached only while
    /// a larger window still makes reading faster. Two parts for each stream are always allowed.
    pub max_window: u64,
    /// The throughput to aim at, in bytes per second, of all handles together.
    pub rate: u64,
    /// What pays for the buffers of all handles.
    pub budget: Arc<Budget>,
    /// Fetches by parts and hedges the slow ones. Without it, every GET is left to the store.
    pub hedger: Option<Arc<Hedger>>,
    /// Whether a GET that succeeds proves that the version is still the object's. A cache may answer
    /// one by itself.
    pub gets_prove: bool,
}

impl ReadConfig {
    /// The configuration for a throughput of `gbps` gigabits per second.
    pub fn for_throughput(part_size: u64, gbps: f64, budget: Arc<Budget>) -> Self {
        Self {
            part_size,
            max_window: Self::window_for_throughput(gbps),
            rate: bytes_per_second(gbps),
            budget,
            hedger: None,
            gets_prove: true,
        }
    }

    /// Lets slow parts be hedged.
    #[must_use]
    pub fn hedged(self, hedger: Hedger) -> Self {
        Self {
            hedger: Some(Arc::new(hedger)),
            ..self
        }
    }

    /// The window of a stream that is to reach `gbps` gigabits per second: it holds what arrives
    /// in 0.25 s, but no less than 64 MiB and no more than 2 GiB.
    pub fn window_for_throughput(gbps: f64) -> u64 {
        let bytes = bytes_per_second(gbps / 1000.0).saturating_mul(WINDOW_MILLIS);
        let mib = (bytes >> 20).clamp(64, 2048);
        mib << 20
    }

    /// The limits of one handle.
    pub(super) fn limits(&self) -> Limits {
        let part_size = self.part_size.max(1);
        let window = (2 * part_size).min(self.max_window).max(part_size);
        Limits {
            part_size,
            whole: WHOLE_OBJECT,
            head: HEAD,
            opening: if self.gets_prove { OPENING } else { 0 },
            patience: PATIENCE,
            reorder: REORDER,
            tail: part_size.clamp(2 * REORDER, 4 * REORDER),
            window,
            rate: self.rate,
            held: self.max_window.max(window),
            piece: PIECE,
            pieces: PIECES,
            streams: STREAMS,
            kept: KEPT,
        }
    }
}

impl Default for ReadConfig {
    /// Parts of 8 MiB, 10 Gbit/s, as much memory as that takes.
    fn default() -> Self {
        Self::for_throughput(8 << 20, 10.0, Budget::unlimited())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and NaN becomes 0, which smallest windows make up for"
)]
fn bytes_per_second(gbps: f64) -> u64 {
    (gbps * 1e9 / 8.0) as u64
}

/// Time that a window covers: a round trip, and the transfer of a part over one connection, twice,
/// as readers take their bytes in bursts.
const WINDOW_MILLIS: u64 = 250;

/// Objects of at most this size are fetched whole, by the first read wherever it is.
const WHOLE_OBJECT: u64 = 1 << 20;

/// Fetched for a read at offset 0, which is most often the first of a run.
const HEAD: u64 = 1 << 20;

/// Fetched of a small object when it is opened, to prove its version: hardly more than a round trip,
/// and little to lose if the file is never read.
const OPENING: u64 = 64 << 10;

/// The rest of an object of at most one part is fetched in pieces of about this size.
const PIECE: u64 = 1 << 20;

/// Fetches that one handle has under way when it reads an object in pieces.
const PIECES: usize = 8;

/// What a run elsewhere must have read before it becomes a stream.
const PATIENCE: u64 = 2 << 20;

/// The kernel has up to this many bytes of read-ahead under way, in any order.
const REORDER: u64 = 1 << 20;

/// Streams of one handle.
const STREAMS: usize = 8;

/// Bounded pieces of runs that one handle keeps.
const KEPT: usize = 2 * STREAMS;
