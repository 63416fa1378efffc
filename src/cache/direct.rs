//! Much of a file at once, past the page cache.
//!
//! What the kernel keeps of the mount's files is what was read; a second copy, of the files behind
//! it, would cost as much time as the disk itself, and push out what is of use. Little at a time
//! goes through the page cache, which puts it together.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file, opened once more to go past the page cache, if its file system lets us. Every method may
/// be called from any thread.
#[derive(Debug, Default)]
pub(super) struct Direct {
    file: OnceLock<Option<File>>,
    /// It has other ideas of what is aligned.
    is_refused: AtomicBool,
}

impl Direct {
    /// Reads all of `buffer` from `offset` of `file` on.
    ///
    /// # Errors
    /// The disk does not give it, or the file ends before.
    pub(super) fn read_exact_at(
        &self,
        file: &File,
        buffer: &mut [u8],
        offset: u64,
    ) -> io::Result<()> {
        let len = aligned(buffer, offset);
        let read = self.attempt(file, len, |direct| {
            direct.read_at(&mut buffer[..len], offset)
        })?;
        file.read_exact_at(&mut buffer[read..], offset + read as u64)
    }

    /// Writes all of `bytes` from `offset` of `file` on.
    ///
    /// # Errors
    /// The disk does not take it.
    pub(super) fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let len = aligned(bytes, offset);
        let written = self.attempt(file, len, |direct| direct.write_at(&bytes[..len], offset))?;
        file.write_all_at(&bytes[written..], offset + written as u64)
    }

    /// What `transfer` does with a file that is past the page cache, in bytes; 0 if there is none.
    fn attempt(
        &self,
        file: &File,
        len: usize,
        transfer: impl FnOnce(&File) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if len < LEAST || self.is_refused.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let Some(direct) = self.file.get_or_init(|| open(file)) else {
            return Ok(0);
        };
        match transfer(direct) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.is_refused.store(true, Ordering::Relaxed);
                Ok(0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            // A transfer that was cut short may go on at a place that is not aligned.
            done => done,
        }
    }
}

/// How many of these bytes, from the first on, can be taken past the page cache.
fn aligned(bytes: &[u8], offset: u64) -> usize {
    let is_aligned = bytes.as_ptr().align_offset(PAGE) == 0 && offset.is_multiple_of(PAGE as u64);
    if is_aligned {
        bytes.len() / PAGE * PAGE
    } else {
        0
    }
}

fn open(file: &File) -> Option<File> {
    // Also when it has lost its name.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    options.open(path).ok()
}

/// Addresses, places and lengths are multiples of it: disks want no more.
const PAGE: usize = 4096;

/// For less, the page cache does better: it writes many of them at once, and has what surrounds a
/// small read when that is read next.
const LEAST: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where a place that is a multiple of a page is in memory of `len` bytes and one page.
    fn page_in(memory: &[u8]) -> usize {
        memory.as_ptr().align_offset(PAGE)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn prop_bytes_come_back_whatever_is_aligned(
            len in 1usize..3 << 20, offset in 0u64..3 * PAGE as u64, skip in 0usize..2 * PAGE,
            on_memory: bool, round: bool,
        ) {
            let (len, offset, skip) = match round {
                true => (len, offset / PAGE as u64 * PAGE as u64, skip / PAGE * PAGE),
                false => (len, offset, skip),
            };
            // Some file systems refuse what others do.
            let place = if on_memory { "/dev/shm" } else { env!("CARGO_MANIFEST_DIR") };
            let file = tempfile::tempfile_in(place).expect("a file");
            let mut memory: Vec<u8> = (0..251).cycle().take(len + 3 * PAGE).collect();
            let start = page_in(&memory) + skip;
            let expected = memory[start..][..len].to_vec();
            let direct = Direct::default();
            direct.write_all_at(&file, &memory[start..][..len], offset).expect("written");
            memory.fill(0);
            direct.read_exact_at(&file, &mut memory[start..][..len], offset).expect("read");
            prop_assert!(memory[start..][..len] == expected);
            prop_assert_eq!(file.metadata().expect("there").len(), offset + len as u64);
        }
    }

    #[test]
    fn file_that_ends_before_is_an_error() {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).expect("a file");
        file.set_len(1 << 20).expect("made longer");
        let mut memory = vec![0; (2 << 20) + PAGE];
        let start = page_in(&memory);
        let read = Direct::default().read_exact_at(&file, &mut memory[start..], 0);
        assert_eq!(
            read.expect_err("too short").kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn large_transfers_leave_nothing_in_the_page_cache_that_they_need_not() {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).expect("a file");
        let memory = vec![7; (1 << 20) + PAGE];
        let start = page_in(&memory);
        let direct = Direct::default();
        direct
            .write_all_at(&file, &memory[start..][..1 << 20], 0)
            .expect("written");
        let is_past = direct.file.get().is_some_and(Option::is_some);
        let written = aligned(&memory[start..][..1 << 20], 0);
        assert_eq!(written, 1 << 20);
        assert_eq!(aligned(&memory[start + 1..][..1 << 20], 0), 0);
        assert_eq!(aligned(&memory[start..][..1 << 20], 1), 0);
        assert!(is_past, "the file was opened once more");
    }
}
