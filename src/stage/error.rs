//! Errors of staging. Which errno each becomes is decided above this module.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::s3;

/// Why a staged file could not be read, changed or stored. Nothing that was written before is lost
/// by any of them.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The local disk.
    #[error("{}: {error}", path.display())]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        error: Arc<io::Error>,
    },
    /// The stage, or a record in it, is not as it has to be.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong, and what helps.
        reason: String,
    },
    /// The object would have more parts than S3 takes.
    #[error("the file is larger than {largest} bytes: choose larger parts (--write-part-size)")]
    TooLarge {
        /// The largest file that parts of this size make.
        largest: u64,
    },
    /// The file is not staged any more: S3 has it.
    #[error("the file is stored, and not staged any more")]
    LetGo,
    /// S3 did not give the bytes, or did not take them.
    #[error(transparent)]
    S3(#[from] s3::Error),
}

impl Error {
    /// An error of the file or directory `path`.
    pub(super) fn disk(path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self::Disk {
            path: path.into(),
            error: Arc::new(error),
        }
    }
}
