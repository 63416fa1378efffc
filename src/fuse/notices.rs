//! What the kernel is told without having asked.
//!
//! It forgets names that it remembers as missing, and that a listing has shown since; and pages of files
//! that were written, which nobody can read any more: others find them sooner, and what is read keeps its
//! place. Either call waits for locks that whoever waits for us may hold: so a thread of its own makes it.

use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use fuser::{INodeNo, Notifier};
use log::debug;

/// Tells the kernel. Clones share one thread, which ends with the last of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Notices(Arc<Mutex<Option<Sender<Notice>>>>);

#[derive(Debug)]
pub(super) enum Notice {
    /// This name in this directory is not missing any more.
    Revealed(INodeNo, Arc<str>),
    /// These bytes of a file were written.
    Written(INodeNo, Range<i64>),
}

impl Notices {
    /// Starts the thread. Before that nothing is told.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(&self, kernel: Notifier) -> io::Result<()> {
        let (sender, notices) = mpsc::channel();
        thread::Builder::new()
            .name("fuse-notices".into())
            .spawn(move || {
                for notice in notices {
                    // The kernel may have forgotten what this is about.
                    if let Err(error) = tell(&kernel, &notice) {
                        debug!("the kernel has no use for {notice:?}: {error}");
                    }
                }
            })?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        Ok(())
    }

    /// Tells the kernel, soon.
    pub(super) fn tell(&self, notices: impl IntoIterator<Item = Notice>) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            for notice in notices {
                // The thread lives as long as the sender.
                let _told = sender.send(notice);
            }
        }
    }
}

fn tell(kernel: &Notifier, notice: &Notice) -> io::Result<()> {
    match notice {
        Notice::Revealed(directory, name) => kernel.inval_entry(*directory, OsStr::new(&**name)),
        Notice::Written(ino, bytes) => {
            kernel.inval_inode(*ino, bytes.start, bytes.end - bytes.start)
        }
    }
}

/// What need not be kept of a file, after pages of it were written that end at `end` and are `size` bytes:
/// as much at a time as pays for telling it, and so far behind that nothing of it is still to be written.
pub(super) fn behind(ino: INodeNo, end: u64, size: u64) -> Option<Notice> {
    let step = end / STEP;
    if step == end.saturating_sub(size) / STEP || step < 2 {
        return None;
    }
    let start = i64::try_from((step - 2) * STEP).ok()?;
    let end = i64::try_from((step - 1) * STEP).ok()?;
    Some(Notice::Written(ino, start..end))
}

/// Bytes that are told of at a time.
const STEP: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_tells_of_each_byte_once_and_of_none_that_is_near() {
        let mut told = 0;
        let size = 1 << 20;
        for end in (1..200u64).map(|count| count * size) {
            if let Some(Notice::Written(INodeNo(7), bytes)) = behind(INodeNo(7), end, size) {
                assert_eq!(bytes.start, told);
                told = bytes.end;
                assert!(end - u64::try_from(told).expect("not negative") >= STEP);
            }
        }
        assert_eq!(told, 176 << 20);
    }
}
