//! Errors of the namespace. Which errno each becomes is decided above this module.

use std::sync::Arc;

use crate::{index, s3};

/// Why the namespace cannot answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No object and no directory has this name.
    #[error("no such file or directory")]
    NotFound,
    /// A directory was needed and this is a file.
    #[error("not a directory")]
    NotDirectory,
    /// A file was needed and this is a directory.
    #[error("is a directory")]
    IsDirectory,
    /// The name is longer than 255 bytes, or its key would be longer than S3 accepts.
    #[error("name too long")]
    NameTooLong,
    /// No key can stand for the name: it is not UTF-8, empty, `.`, `..`, or holds `/` or NUL.
    #[error("invalid name")]
    InvalidName,
    /// The inode no longer stands for what its name leads to; a new lookup finds that.
    #[error("the object was replaced")]
    Stale,
    /// A directory was read from a position that it did not hand out last.
    #[error("invalid position in a directory")]
    BadOffset,
    /// The name leads to something already.
    #[error("file exists")]
    Exists,
    /// The directory has something in it.
    #[error("directory not empty")]
    NotEmpty,
    /// The directory exists in S3, by the keys that begin with its name.
    #[error("directories that exist in S3 cannot be removed")]
    InS3,
    /// A renaming that had to copy, and came to an end before its end. Nothing is lost: objects
    /// were deleted only after all had been copied.
    #[error(
        "renaming {from} to {to} ended early; nothing is lost, but both names may be there now: \
         {error}"
    )]
    Unfinished {
        /// The key of the file, or what the keys in the directory start with.
        from: String,
        /// What it was to become.
        to: String,
        /// Why it ended.
        error: s3::Error,
    },
    /// The names come from an index, which cannot be changed.
    #[error("an index cannot be changed")]
    ReadOnly,
    /// The index cannot be read.
    #[error(transparent)]
    Index(Arc<index::Error>),
    /// S3 did not answer the question.
    #[error(transparent)]
    S3(#[from] s3::Error),
}

impl From<index::Error> for Error {
    fn from(error: index::Error) -> Self {
        Self::Index(Arc::new(error))
    }
}
