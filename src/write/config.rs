//! How much a file that is being written may hold, and how many there may be.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::window::SendWindow;
use crate::memory::Budget;

/// Settings of every [`WriteHandle`](super::WriteHandle) of a mount.
#[derive(Debug, Clone)]
pub struct WriteConfig {
    /// Size in bytes of the parts of an upload, at least 1. A file of at most one part is stored
    /// by one request.
    pub part_size: u64,
    /// What the uploads of all handles may hold together. Two parts are always wished for, and one
    /// is always allowed.
    pub window: SendWindow,
    /// What pays for the buffers of all handles.
    pub budget: Arc<Budget>,
    /// How many files may be open for writing at once.
    pub places: Places,
}

impl WriteConfig {
    /// The most parts that S3 makes an object of.
    /// S3: [limits](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
    pub const MAX_PARTS: u64 = 10_000;

    /// The largest file that can be written in parts, in bytes.
    pub fn largest_file(&self) -> u64 {
        self.part_size.saturating_mul(Self::MAX_PARTS)
    }
}

impl Default for WriteConfig {
    /// Parts of 8 MiB, as much memory and as many files as that takes.
    fn default() -> Self {
        Self {
            part_size: 8 << 20,
            window: SendWindow::new(8 << 20, 64 << 20, 1 << 30),
            budget: Budget::unlimited(),
            places: Places::new(usize::MAX),
        }
    }
}

/// A number of places, of which each file that is open for writing takes one. Clones share them.
#[derive(Clone)]
pub struct Places(Arc<Shared>);

struct Shared {
    number: usize,
    taken: AtomicUsize,
}

impl Places {
    /// So many places.
    pub fn new(number: usize) -> Self {
        Self(Arc::new(Shared {
            number,
            taken: AtomicUsize::new(0),
        }))
    }

    /// Takes a place, if one is free.
    pub fn take(&self) -> Option<Place> {
        let next = |taken: usize| (taken < self.0.number).then_some(taken + 1);
        self.0
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()
            .map(|_before| Place(Arc::clone(&self.0)))
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places")
            .field("number", &self.0.number)
            .field("taken", &self.0.taken)
            .finish()
    }
}

/// One of the [`Places`], until this is dropped.
pub struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_beyond_the_number_waits_for_a_place_to_be_given_back() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.clone().take());
        assert!(first.is_some() && second.is_some());
        assert!(places.take().is_none());
        drop(first);
        assert!(places.take().is_some());
    }

    #[test]
    fn s23_largest_file_has_ten_thousand_parts() {
        assert_eq!(WriteConfig::default().largest_file(), 83_886_080_000);
    }
}
