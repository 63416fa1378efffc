//! Buffers to read into, which are used again: to have fresh memory from the system takes longer than
//! to fill it from a disk.

use std::collections::VecDeque;
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry::block_len;
use crate::crt::s3::Pages;

/// Memory of buffers that nobody uses now.
#[derive(Default)]
pub(super) struct Buffers {
    free: Mutex<Free>,
}

/// The one that was given back last is at the end.
#[derive(Default)]
struct Free {
    memory: VecDeque<Pages>,
    bytes: usize,
}

/// A buffer, which begins at a page. What it holds at first is of no meaning.
pub(super) struct Buffer {
    /// `None` when it is dropped.
    memory: Option<Pages>,
    len: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    /// A buffer of `len` bytes, which takes the memory of whole blocks.
    ///
    /// # Errors
    /// The system has no memory.
    pub(super) fn take(self: &Arc<Self>, len: usize) -> Result<Buffer> {
        let bytes = len.next_multiple_of(block_len());
        let used = self.free().take(bytes);
        let memory = match used {
            Some(memory) => memory,
            None => Pages::allocate(bytes).ok_or_else(|| Error::from(ErrorKind::OutOfMemory))?,
        };
        Ok(Buffer {
            memory: Some(memory),
            len,
            home: Arc::clone(self),
        })
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Free {
    fn take(&mut self, bytes: usize) -> Option<Pages> {
        let fits = |one: &Pages| one.as_ref().len() == bytes;
        let found = self.memory.remove(self.memory.iter().rposition(fits)?)?;
        self.bytes -= bytes;
        Some(found)
    }

    /// Keeps `memory`, and gives what is too much to be dropped without the lock.
    fn keep(&mut self, memory: Pages) -> Vec<Pages> {
        self.bytes += memory.as_ref().len();
        self.memory.push_back(memory);
        let mut dropped = Vec::new();
        while self.bytes > MOST_FREE
            && let Some(oldest) = self.memory.pop_front()
        {
            self.bytes -= oldest.as_ref().len();
            dropped.push(oldest);
        }
        dropped
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.memory
            .as_ref()
            .map_or(&[], |memory| &memory.as_ref()[..self.len])
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        let memory = self.memory.as_mut();
        memory.map_or(&mut [], |memory| &mut memory.as_mut()[..self.len])
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            let dropped = self.home.free().keep(memory);
            drop(dropped);
        }
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers")
            .field("bytes", &self.free().bytes)
            .finish_non_exhaustive()
    }
}

/// Bytes that may wait here: what a reader gives back is taken again at once.
const MOST_FREE: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_at_a_page_and_are_used_again() {
        let buffers = Arc::<Buffers>::default();
        for len in [1, 4096, block_len(), block_len() + 1, 1 << 20, 8 << 20] {
            let mut buffer = buffers.take(len).expect("memory");
            assert_eq!(buffer.as_ref().len(), len);
            assert_eq!(buffer.as_ref().as_ptr().align_offset(4096), 0, "of {len}");
            buffer.as_mut().fill(7);
            let place = buffer.as_ref().as_ptr();
            drop(buffer);
            assert_eq!(
                buffers.take(len).expect("memory").as_ref().as_ptr(),
                place,
                "of {len}"
            );
        }
    }

    #[test]
    fn no_more_are_kept_than_are_of_use_and_the_latest_ones() {
        let buffers = Arc::<Buffers>::default();
        drop(buffers.take(1).expect("memory"));
        let taken: Vec<_> = (0..9)
            .map(|_| buffers.take(8 << 20).expect("memory"))
            .collect();
        let last = taken[8].as_ref().as_ptr();
        drop(taken);
        assert!(buffers.free().bytes <= MOST_FREE);
        assert_eq!(buffers.free().memory.len(), 4);
        assert_eq!(
            buffers.take(8 << 20).expect("memory").as_ref().as_ptr(),
            last
        );
        drop(buffers.take(MOST_FREE + 1).expect("memory"));
        assert_eq!(buffers.free().bytes, 0);
    }
}
