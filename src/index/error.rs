//! What is wrong with an index, or with what it is made of, and what helps.

use std::io;
use std::path::{Path, PathBuf};

use crate::s3;

/// An index that cannot be made, or cannot be read.
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
    /// The bucket could not be listed, or an inventory not be fetched.
    #[error(transparent)]
    S3(s3::Error),
    /// An inventory cannot be used.
    #[error("{name}: {reason}")]
    Inventory {
        /// The manifest, or the file of the inventory.
        name: String,
        /// Why not.
        reason: String,
    },
}

impl Error {
    /// A failure of the operating system at `path`.
    pub(super) fn file(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        Self::File { path, error }
    }

    /// An inventory that cannot be used.
    pub(super) fn inventory(name: impl ToString, reason: impl ToString) -> Self {
        let (name, reason) = (name.to_string(), reason.to_string());
        Self::Inventory { name, reason }
    }

    /// An object that cannot be in an index.
    pub(super) fn object(key: &str, reason: &'static str) -> Self {
        let key = key.to_owned();
        Self::Object { key, reason }
    }
}
