//! What to write: puts, uploads, copies, renames.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::{ETag, Error, Key};

/// What to store with [`Store::put`](super::Store::put) or
/// [`Store::upload`](super::Store::upload). Storage class, encryption and checksums are those of
/// the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutRequest {
    /// The object.
    pub key: Key,
    /// When to store it.
    pub condition: PutCondition,
    /// Offset at which the body continues an object of exactly that size
    /// (`x-amz-write-offset-bytes`); `None` stores a whole object. Directory buckets only.
    pub append_at: Option<u64>,
    /// `Content-Type`; `None` leaves it to S3.
    pub content_type: Option<String>,
    /// User metadata by name, in lower case and without the prefix `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
}

impl PutRequest {
    /// Stores `key` whatever is there, with nothing special.
    pub fn new(key: Key) -> Self {
        Self {
            key,
            condition: PutCondition::Any,
            append_at: None,
            content_type: None,
            metadata: BTreeMap::new(),
        }
    }
}

/// What the key must hold for an object to be stored there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PutCondition {
    /// Anything: it is replaced.
    #[default]
    Any,
    /// No object (`If-None-Match: *`).
    Absent,
    /// This version (`If-Match`).
    Version(ETag),
}

/// An object that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its version.
    pub etag: ETag,
    /// Its length in bytes, as far as the client knows: of the object for a put, an upload and a
    /// copy, including what was there before for an append.
    pub size: u64,
}

/// An upload under way. Nothing is visible under the key before [`Self::complete`] has succeeded.
/// Dropping the upload aborts it: no parts stay behind, as far as S3 can be reached.
pub trait Upload: Debug + Send {
    /// Takes the next bytes. Waits while the upload holds more than its buffer allows.
    ///
    /// # Errors
    /// The upload has failed, and every later call fails the same way.
    ///
    /// # Cancel safety
    /// Not cancel safe: after a dropped call the upload must be dropped, too.
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), Error>>;

    /// Takes the bytes `range` of the version `version` of the object that has the key of the
    /// upload by now as the next bytes, without their passing here. What came before has to be a
    /// whole number of parts, and so have these bytes unless they are the last; at most 5 GiB.
    /// S3: [UploadPartCopy](https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html).
    ///
    /// # Errors
    /// As [`Self::write`], there or of a later call: [`Precondition`](super::ErrorKind::Precondition)
    /// when the object is another version by now.
    ///
    /// # Cancel safety
    /// As [`Self::write`].
    fn copy(&mut self, version: ETag, range: Range<u64>) -> BoxFuture<'_, Result<(), Error>>;

    /// Takes the next bytes if that is possible without waiting: `None` when it is not, and nothing
    /// has happened.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    fn write_now(&mut self, bytes: &[u8]) -> Option<Result<(), Error>>;

    /// Sets how many bytes may be held that S3 has not confirmed; one part is always allowed.
    fn set_buffer(&self, bytes: u64);

    /// The shortest time that a part of full size took from its request to the answer, if there was
    /// one.
    fn delay(&self) -> Option<Duration>;

    /// Ends the upload and makes the object visible, after it was made sure that S3 has the bytes
    /// that [`Self::write`] took.
    ///
    /// # Errors
    /// The object was not stored if the kind is [`Precondition`](super::ErrorKind::Precondition),
    /// [`Denied`](super::ErrorKind::Denied), [`Integrity`](super::ErrorKind::Integrity) or
    /// [`TooLarge`](super::ErrorKind::TooLarge). After any other it may have been: an answer may
    /// have been lost.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the upload; the object may have been stored.
    fn complete(self: Box<Self>) -> BoxFuture<'static, Result<Stored, Error>>;
}

/// What to copy with [`Store::copy`](super::Store::copy).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRequest {
    /// The source.
    pub from: Key,
    /// Its version (`x-amz-copy-source-if-match`).
    pub version: ETag,
    /// Its length in bytes.
    pub size: u64,
    /// The target.
    pub to: Key,
    /// What the target must hold.
    pub condition: PutCondition,
    /// New user metadata for the target; `None` keeps that of the source. What else describes the
    /// source, its content type among it, is kept in any case; its storage class and encryption
    /// are, too, when it is copied onto itself.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// What to rename with [`Store::rename`](super::Store::rename).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenameRequest {
    /// The source.
    pub from: Key,
    /// Its version; `None` for any.
    pub version: Option<ETag>,
    /// The target.
    pub to: Key,
    /// Whether an object at the target is replaced.
    pub replace: bool,
}
