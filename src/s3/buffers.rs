//! Buffers of parts, used again: the memory of a fresh one costs as much as filling it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Buffers of one capacity that wait for their next use. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Buffers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    capacity: usize,
    idle: Mutex<Vec<Vec<u8>>>,
}

/// A buffer that goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    /// Buffers of `capacity` bytes; none yet.
    pub(super) fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner {
            capacity,
            idle: Mutex::default(),
        }))
    }

    /// An empty buffer.
    pub(super) fn take(&self) -> Buffer {
        let idle = self.idle().pop();
        Buffer {
            bytes: idle.unwrap_or_else(|| Vec::with_capacity(self.0.capacity)),
            home: self.clone(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds `bytes`, which fit.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut idle = self.home.idle();
        if idle.len() < MOST_IDLE {
            idle.push(bytes);
        }
    }
}

/// Enough for the buffers that one upload has between two uses; more would be memory that nobody
/// accounts for.
const MOST_IDLE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_and_empty() {
        let buffers = Buffers::new(1 << 20);
        let mut first = buffers.take();
        first.extend(b"abc");
        assert_eq!(first.as_ref(), b"abc");
        let place = first.as_ref().as_ptr();
        drop(first);
        let second = buffers.take();
        assert_eq!(
            (second.as_ref().as_ptr(), second.as_ref().len()),
            (place, 0)
        );
    }

    #[test]
    fn few_buffers_stay_idle() {
        let buffers = Buffers::new(16);
        let taken: Vec<_> = (0..3 * MOST_IDLE).map(|_| buffers.take()).collect();
        drop(taken);
        assert_eq!(buffers.idle().len(), MOST_IDLE);
    }
}
