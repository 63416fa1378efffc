//! Names that the kernel remembers as missing, and that a listing has shown since.
//!
//! The kernel forgets such a name when it is told so. That call waits for the lock of the directory,
//! which a reader of it holds while it waits for us: so a thread of its own makes it.
//!
//! The kernel is not told to drop the pages of files that were written: that waits for those that are still to
//! be written, and cannot be interrupted, so that a killed process would never end, nor its mount.

use std::ffi::OsStr;
use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use fuser::{INodeNo, Notifier};
use log::debug;

/// Tells the kernel. Clones share one thread, which ends with the last of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Revealed(Arc<Mutex<Option<Sender<Name>>>>);

type Name = (INodeNo, Arc<str>);

impl Revealed {
    /// Starts the thread. Before that nothing is told.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(&self, kernel: Notifier) -> io::Result<()> {
        let (sender, names) = mpsc::channel::<Name>();
        thread::Builder::new()
            .name("fuse-revealed".into())
            .spawn(move || {
                for (directory, name) in names {
                    // The kernel may have forgotten the name, or the directory.
                    if let Err(error) = kernel.inval_entry(directory, OsStr::new(&*name)) {
                        debug!("{name:?} in inode {directory} is not missing any more: {error}");
                    }
                }
            })?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        Ok(())
    }

    /// Tells the kernel that these names are not missing any more.
    pub(super) fn tell(&self, names: impl IntoIterator<Item = Name>) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            for name in names {
                // The thread lives as long as the sender.
                let _told = sender.send(name);
            }
        }
    }
}
