//! Errors of writing. Which errno each becomes is decided above this module.

use crate::s3;

/// Why bytes could not be written. A handle that has failed fails the same way ever after.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A write that does not begin where the file ends.
    #[error("bytes at {offset} do not continue a file that ends at {end}: writes must be in order")]
    NotAtEnd {
        /// Where the write began.
        offset: u64,
        /// Where the file ends.
        end: u64,
    },
    /// The file was given a length, and ends before.
    #[error("the file was given a length of {length} bytes, and only {end} were written")]
    TooShort {
        /// The length.
        length: u64,
        /// Where the file ends.
        end: u64,
    },
    /// The file would have more parts than S3 takes.
    #[error("the file is larger than {largest} bytes: choose larger parts (--write-part-size)")]
    TooLarge {
        /// The largest file that parts of this size make.
        largest: u64,
    },
    /// A write after the file was stored.
    #[error("the file is stored already, and cannot be written on")]
    Stored,
    /// A write or its completion was given up in the middle.
    #[error("writing was given up")]
    GivenUp,
    /// S3 did not take the bytes.
    #[error(transparent)]
    S3(#[from] s3::Error),
}
