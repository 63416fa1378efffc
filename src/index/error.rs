//! What is wrong with the file of an index, and what helps.

use std::io;
use std::path::{Path, PathBuf};

/// A failed operation on the file of an index.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refuses, or the file ends before its time.
    #[error("{}: {error}", path.display())]
    File {
        /// The file, or the directory it is in.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It is the file of something else.
    #[error("{} is not an index: make one with `mount-s3 index`", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It was written by another version of this program.
    #[error(
        "{} is an index of format {found}, and this version of mount-s3 reads format {}: \
         make it again with `mount-s3 index`",
        path.display(),
        super::format::VERSION
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is not what was written.
    #[error("{} is damaged ({what}): make it again with `mount-s3 index`", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What shows it.
        what: &'static str,
    },
    /// An object cannot be in an index.
    #[error("the object {key:?} cannot be in an index: {reason}")]
    Object {
        /// Its key.
        key: String,
        /// Why not.
        reason: &'static str,
    },
}

impl Error {
    /// A failure of the operating system at `path`.
    pub(super) fn file(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        Self::File { path, error }
    }

    /// An object that cannot be in an index.
    pub(super) fn object(key: &str, reason: &'static str) -> Self {
        let key = key.to_owned();
        Self::Object { key, reason }
    }
}
