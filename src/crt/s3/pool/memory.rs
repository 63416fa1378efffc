//! Memory for buffers, from the system and back to it.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::{self, NonNull};
use std::slice;

use super::ledger::Memory;

/// Memory for one buffer, not initialised. Nothing but its owner touches it.
///
/// Small blocks come from the allocator of the process. Larger ones are mappings of their own, so
/// that the system gets them back at once, and those of at least a huge page begin at one: a
/// stream touches hundreds of MiB a second, which costs a page fault each 4 KiB otherwise.
#[derive(Debug)]
pub(super) struct Block {
    start: NonNull<u8>,
    bytes: usize,
}

impl Block {
    /// Where it begins.
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Memory for Block {
    fn allocate(bytes: u64) -> Option<Self> {
        let bytes = usize::try_from(bytes).ok()?;
        let start = match layout(bytes) {
            // SAFETY: the size of the layout is not 0.
            Some(layout) => NonNull::new(unsafe { alloc(layout) })?,
            None => map_aligned(bytes)?,
        };
        Some(Self { start, bytes })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        match layout(self.bytes) {
            // SAFETY: allocated with this layout; the owner ends here.
            Some(layout) => unsafe { dealloc(self.as_ptr(), layout) },
            None => unmap(self.as_ptr(), self.bytes),
        }
    }
}

/// Memory like that of a pool, for who reads and writes files: it begins at a page, and if it is large,
/// at a huge one, which a disk fills in one go where it would fill 512 others. Zeros at first.
#[derive(Debug)]
pub struct Pages(Block);

impl Pages {
    /// Of `bytes` bytes, at least; 128 KiB if that is more. `None` if the system has none.
    pub fn allocate(bytes: usize) -> Option<Self> {
        // Not from the allocator of the process: a mapping begins at a page, and is zeros.
        Block::allocate(bytes.max(SMALLEST_MAPPING) as u64).map(Self)
    }
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the block's own memory, initialised by the system; who writes has `&mut self`.
        unsafe { slice::from_raw_parts(self.0.as_ptr(), self.0.bytes) }
    }
}

impl AsMut<[u8]> for Pages {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has it.
        unsafe { slice::from_raw_parts_mut(self.0.as_ptr(), self.0.bytes) }
    }
}

/// Where a block of the allocator of the process lies; `None` for a mapping.
fn layout(bytes: usize) -> Option<Layout> {
    let small = (1..SMALLEST_MAPPING).contains(&bytes);
    small
        .then(|| Layout::from_size_align(bytes, ALIGNMENT).ok())
        .flatten()
}

/// A mapping; one of at least a huge page begins at a huge page, and consists of such if the
/// system has them.
fn map_aligned(bytes: usize) -> Option<NonNull<u8>> {
    if bytes < HUGE_PAGE {
        return map(bytes);
    }
    let end = bytes.checked_next_multiple_of(LARGEST_PAGE)?;
    let all = end.checked_add(HUGE_PAGE)?;
    let mapping = map(all)?;
    let before = mapping.as_ptr().align_offset(HUGE_PAGE);
    let start = mapping.as_ptr().wrapping_add(before);
    // Nobody has touched what lies around it, so that what should fail here costs addresses only.
    unmap(mapping.as_ptr(), before);
    unmap(start.wrapping_add(end), all - end - before);
    // SAFETY: a mapping of this function's; its contents do not matter (madvise(2)).
    let _refused = unsafe { libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE) };
    NonNull::new(start)
}

fn map(bytes: usize) -> Option<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping where the system wants it changes no other memory (mmap(2)).
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    (start != libc::MAP_FAILED)
        .then(|| NonNull::new(start.cast()))
        .flatten()
}

/// Gives `bytes` bytes of a mapping back, of which nothing is used any more.
fn unmap(start: *mut u8, bytes: usize) {
    if bytes == 0 {
        return;
    }
    // SAFETY: pages of a mapping of this module's that nobody uses (munmap(2)).
    let result = unsafe { libc::munmap(start.cast(), bytes) };
    if result != 0 {
        // A process may have so many mappings only, and a hole in one makes two of it. The memory
        // can be given back without.
        // SAFETY: as above; their contents do not matter (madvise(2)).
        let _refused = unsafe { libc::madvise(start.cast(), bytes, libc::MADV_DONTNEED) };
    }
}

// SAFETY: the memory belongs to the block, and may be given back on any thread.
unsafe impl Send for Block {}
// SAFETY: `&Block` gives nothing but the address.
unsafe impl Sync for Block {}

/// A mapping for less would cost more than it saves, and a process may have 65530 of them.
const SMALLEST_MAPPING: usize = 128 << 10;

/// Of blocks that are no mappings: a cache line.
const ALIGNMENT: usize = 64;

/// Of the processors that have 4 KiB pages.
const HUGE_PAGE: usize = 2 << 20;

/// Of any processor, huge ones aside.
const LARGEST_PAGE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::once_in_five;

    #[test]
    fn blocks_of_every_size_hold_their_bytes() {
        let sizes = [1, 4096, 128 << 10, 1 << 20, 5_000_000, 8 << 20, 33 << 20];
        let blocks = sizes.map(|bytes| Block::allocate(bytes).expect("memory"));
        for (block, value) in blocks.iter().zip(1..) {
            // SAFETY: the block's own memory.
            unsafe { block.as_ptr().write_bytes(value, block.bytes) };
        }
        for ((block, value), bytes) in blocks.iter().zip(1..).zip(sizes) {
            // SAFETY: written above.
            let held = unsafe { slice::from_raw_parts(block.as_ptr(), block.bytes) };
            assert_eq!(held.len() as u64, bytes);
            assert!(held.iter().all(|byte| *byte == value), "of {bytes}");
        }
    }

    #[test]
    fn large_blocks_begin_at_a_huge_page() {
        for bytes in [2 << 20, 5_000_000, 8 << 20] {
            let block = Block::allocate(bytes).expect("memory");
            assert_eq!(block.as_ptr().align_offset(HUGE_PAGE), 0, "of {bytes}");
        }
    }

    #[test]
    fn pages_are_zeros_that_can_be_written() {
        for bytes in [0, 1, 128 << 10, 1 << 20, 5_000_000] {
            let mut pages = Pages::allocate(bytes).expect("memory");
            assert!(pages.as_ref().len() >= bytes);
            assert_eq!(pages.as_ref().as_ptr().align_offset(4096), 0);
            assert!(pages.as_ref().iter().all(|byte| *byte == 0));
            pages.as_mut().fill(7);
            assert!(pages.as_ref().iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn more_than_there_is_is_refused() {
        for bytes in [1 << 47, u64::MAX >> 1, u64::MAX] {
            assert!(Block::allocate(bytes).is_none(), "{bytes}");
        }
    }

    #[test]
    fn dropped_blocks_leave_the_resident_set() {
        const BYTES: u64 = 256 << 20;
        // Other tests take memory, or give some back, meanwhile.
        once_in_five(|_| {
            let before = resident();
            let block = Block::allocate(BYTES).expect("memory");
            // SAFETY: the block's own memory.
            unsafe { block.as_ptr().write_bytes(1, block.bytes) };
            let held = resident();
            drop(block);
            let after = resident();
            let most = BYTES / 4 * 3;
            if held >= before + most && held >= after + most {
                Ok(())
            } else {
                Err(format!("{before}, {held}, {after}"))
            }
        });
    }

    /// proc(5), `/proc/self/statm`: the second field is the resident set, in pages.
    fn resident() -> u64 {
        let text = std::fs::read_to_string("/proc/self/statm").expect("readable");
        let pages = text.split(' ').nth(1).expect("a field");
        pages.parse::<u64>().expect("a number") * 4096
    }
}
