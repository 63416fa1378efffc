//! Buffers to read into, which are used again: fresh memory costs a page fault for each 4 KiB.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::direct::PAGE;
use super::entry::block_len;
use super::get::piece_len;

/// Memory of buffers that nobody uses now.
#[derive(Default)]
pub(super) struct Buffers {
    small: Mutex<Vec<Vec<u8>>>,
    large: Mutex<Vec<Vec<u8>>>,
}

/// A buffer, which begins at a page. What it holds at first is of no meaning.
pub(super) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    /// A buffer of `len` bytes.
    pub(super) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let class = self.class(len);
        let used = class.and_then(|(free, _)| lock(free).pop());
        let bytes = class.map_or(len, |(_, bytes)| bytes) + PAGE;
        let memory = used.unwrap_or_else(|| vec![0; bytes]);
        Buffer {
            start: memory.as_ptr().align_offset(PAGE).min(PAGE),
            memory,
            len,
            home: Arc::clone(self),
        }
    }

    /// Where buffers of `len` bytes are kept, and how long those are.
    fn class(&self, len: usize) -> Option<(&Mutex<Vec<Vec<u8>>>, usize)> {
        if len <= block_len() {
            Some((&self.small, block_len()))
        } else if len <= piece_len() {
            Some((&self.large, piece_len()))
        } else {
            None
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..][..self.len]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some((free, _)) = self.home.class(self.len) {
            let mut free = lock(free);
            if free.len() < MOST_FREE {
                free.push(std::mem::take(&mut self.memory));
            }
        }
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers")
            .field("small", &lock(&self.small).len())
            .field("large", &lock(&self.large).len())
            .finish()
    }
}

fn lock(free: &Mutex<Vec<Vec<u8>>>) -> MutexGuard<'_, Vec<Vec<u8>>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of each kind: what a reader gives back is taken again at once, so that few wait here.
const MOST_FREE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_at_a_page_and_are_used_again() {
        let buffers = Arc::<Buffers>::default();
        for len in [
            1,
            PAGE,
            block_len(),
            block_len() + 1,
            piece_len(),
            2 * piece_len(),
        ] {
            let mut buffer = buffers.take(len);
            assert_eq!(buffer.as_ref().len(), len);
            assert_eq!(buffer.as_ref().as_ptr().align_offset(PAGE), 0, "of {len}");
            buffer.as_mut().fill(7);
            let place = buffer.as_ref().as_ptr();
            drop(buffer);
            if len <= piece_len() {
                assert_eq!(buffers.take(len).as_ref().as_ptr(), place, "of {len}");
            }
        }
    }

    #[test]
    fn no_more_are_kept_than_are_of_use() {
        let buffers = Arc::<Buffers>::default();
        let taken: Vec<_> = (0..2 * MOST_FREE)
            .map(|_| buffers.take(piece_len()))
            .collect();
        drop(taken);
        assert_eq!(lock(&buffers.large).len(), MOST_FREE);
    }
}
