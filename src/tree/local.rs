//! Files that S3 does not have yet, or not in the version that is being written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::posix::PosixAttr;

/// A file between its creation, or its opening for writing, and the moment when S3 has it. The
/// tree shows it, and who writes it says how long it is by now. It lives in memory alone.
#[derive(Debug)]
pub struct LocalFile {
    size: AtomicU64,
    set: Mutex<Set>,
}

/// The attributes of a [`LocalFile`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAttr {
    /// Length in bytes, as far as it was written.
    pub size: u64,
    /// Time of the last access.
    pub accessed: SystemTime,
    /// Time of the last modification.
    pub modified: SystemTime,
    /// What somebody has set, to be kept with the object.
    pub posix: PosixAttr,
}

/// What can be set.
#[derive(Debug, Clone, Copy)]
struct Set {
    accessed: SystemTime,
    modified: SystemTime,
    posix: PosixAttr,
}

impl LocalFile {
    /// A file of `size` bytes, made at `now`.
    pub(super) fn new(size: u64, now: SystemTime) -> Arc<Self> {
        Arc::new(Self {
            size: AtomicU64::new(size),
            set: Mutex::new(Set {
                accessed: now,
                modified: now,
                posix: PosixAttr::default(),
            }),
        })
    }

    /// Its attributes now.
    pub fn attr(&self) -> LocalAttr {
        let Set {
            accessed,
            modified,
            posix,
        } = *self.set();
        LocalAttr {
            size: self.size.load(Ordering::Relaxed),
            accessed,
            modified,
            posix,
        }
    }

    /// Notes that the file has `size` bytes.
    pub fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// Notes that the file has at least `size` bytes.
    pub fn grow_to(&self, size: u64) {
        self.size.fetch_max(size, Ordering::Relaxed);
    }

    /// Sets the times that are given.
    pub fn set_times(&self, accessed: Option<SystemTime>, modified: Option<SystemTime>) {
        let mut set = self.set();
        set.accessed = accessed.unwrap_or(set.accessed);
        set.modified = modified.unwrap_or(set.modified);
    }

    /// Notes that the file was written at `now`, whatever time was set before.
    pub fn note_written(&self, now: SystemTime) {
        let mut set = self.set();
        set.modified = now;
        set.posix.modified = None;
    }

    /// Sets the attributes that are given, to be kept with the object.
    pub fn set_posix(&self, attr: PosixAttr) {
        let mut set = self.set();
        set.posix = attr.or(set.posix);
        set.modified = attr.modified.unwrap_or(set.modified);
    }

    fn set(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A local file, as the table keeps it.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) file: Arc<LocalFile>,
    pub(super) phase: Phase,
}

/// How far a local file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It was made, and nobody has opened it.
    Made,
    /// It is open for writing.
    Written,
    /// S3 has it, so that its name leads to what S3 says.
    Stored,
    /// It never reached S3.
    Failed,
}

impl Phase {
    /// Whether the name still leads to the local file, whatever S3 has there.
    pub(super) fn is_local(self) -> bool {
        matches!(self, Self::Made | Self::Written)
    }
}
