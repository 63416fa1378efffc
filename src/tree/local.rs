//! Files that S3 does not have yet, or not in the version that is being written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// A file between its creation, or its opening for writing, and the moment when S3 has it. The
/// tree shows it, and who writes it says how long it is by now. It lives in memory alone.
#[derive(Debug)]
pub struct LocalFile {
    size: AtomicU64,
    times: Mutex<Times>,
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
}

#[derive(Debug, Clone, Copy)]
struct Times {
    accessed: SystemTime,
    modified: SystemTime,
}

impl LocalFile {
    /// A file of `size` bytes, made at `now`.
    pub(super) fn new(size: u64, now: SystemTime) -> Arc<Self> {
        Arc::new(Self {
            size: AtomicU64::new(size),
            times: Mutex::new(Times {
                accessed: now,
                modified: now,
            }),
        })
    }

    /// Its attributes now.
    pub fn attr(&self) -> LocalAttr {
        let Times { accessed, modified } = *self.times();
        LocalAttr {
            size: self.size.load(Ordering::Relaxed),
            accessed,
            modified,
        }
    }

    /// Notes that the file has `size` bytes.
    pub fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// Sets the times that are given.
    pub fn set_times(&self, accessed: Option<SystemTime>, modified: Option<SystemTime>) {
        let mut times = self.times();
        times.accessed = accessed.unwrap_or(times.accessed);
        times.modified = modified.unwrap_or(times.modified);
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
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
