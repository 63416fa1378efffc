//! S3 operations, typed.
//!
//! Everything above this module talks to a [`Store`]: an object-safe trait with one method per
//! S3 operation that the file system needs. Its errors ([`Error`]) are sorted by what a caller
//! can do about them.

mod bucket;
mod buffers;
mod call;
mod checksum;
mod classify;
mod client;
mod config;
mod confirm;
mod connect;
mod copy;
mod credentials;
mod delete;
mod encryption;
mod endpoint;
mod error;
mod etag;
#[cfg(test)]
pub(crate) mod fake;
mod fetch;
mod find;
mod follow;
mod get;
mod head;
mod layer;
mod list;
mod message;
mod metadata;
mod multipart;
mod observe;
mod probe;
mod proof;
mod put;
mod rename;
mod session;
mod types;
mod upload;
mod write;
mod xml;

pub use bucket::{BucketKind, BucketName, InvalidBucketName};
pub use checksum::UploadChecksums;
pub use client::S3Store;
pub use config::{Auth, S3Config};
pub use credentials::{Attempt, NoCredentials, Search, Signer};
pub use encryption::Encryption;
pub use endpoint::Addressing;
pub use error::{Context, Error, ErrorKind};
pub use etag::ETag;
pub use find::find;
pub use follow::PageToken;
pub use layer::Layer;
pub use types::{
    InvalidKey, InvalidPrefix, Key, ListFrom, ListPage, ListRequest, ListedObject, ObjectDetails,
    ObjectInfo, Prefix, Restore, StorageClass,
};
pub use write::{CopyRequest, PutCondition, PutRequest, RenameRequest, Stored, Upload};

pub use crate::crt::s3::memory_for_get;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

/// One bucket's objects.
///
/// Object-safe on purpose: an S3 request takes milliseconds and a virtual call nanoseconds, so
/// nothing above this trait is generic over the kind of store.
pub trait Store: Debug + Send + Sync + 'static {
    /// Fetches an object's metadata, with its [`details`](ObjectInfo::details).
    /// S3: [HeadObject](https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no object has this key; any other kind as the service answers.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request; nothing is left in flight.
    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<ObjectInfo, Error>>;

    /// Fetches one page of a listing. Whoever follows its pages comes to an end.
    /// S3: [ListObjectsV2](https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html).
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`], [`ErrorKind::Denied`], or any other kind as the service answers;
    /// [`ErrorKind::Protocol`] when following it would never end.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request; nothing is left in flight.
    fn list<'a>(&'a self, request: &'a ListRequest) -> BoxFuture<'a, Result<ListPage, Error>>;

    /// Starts to fetch a byte range of an object and returns at once; data arrives at `sink`.
    /// S3: [GetObject](https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html), split
    /// by the CRT into ranged requests that run in parallel.
    ///
    /// # Errors
    /// Only a request that could not be started. Failures of a started request reach
    /// [`BodySink::finish`].
    fn get(&self, request: GetRequest, sink: Arc<dyn BodySink>)
    -> Result<Box<dyn InFlight>, Error>;

    /// Stores `body` as an object, or at the end of one ([`PutRequest::append_at`]), by one
    /// request. S3: [PutObject](https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html).
    ///
    /// # Errors
    /// [`ErrorKind::Precondition`] when the request's condition does not hold;
    /// [`ErrorKind::Integrity`] when what was uploaded is not what was given; any other kind as
    /// the service answers. After an error of kind [`ErrorKind::Timeout`] or
    /// [`ErrorKind::Connection`] the object may or may not have been stored; after one of kind
    /// [`ErrorKind::Precondition`] it has been if an earlier try's answer was lost.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request; the object may have been stored.
    fn put(&self, request: PutRequest, body: Bytes) -> BoxFuture<'_, Result<Stored, Error>>;

    /// Starts to upload an object whose length is not known yet, in parts that are sent in
    /// parallel. `buffer` is how many bytes it may hold at first, see [`Upload::set_buffer`]; one
    /// part is always allowed. The request has no [`PutRequest::append_at`].
    /// S3: [multipart upload](https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html).
    ///
    /// # Errors
    /// Only an upload that could not be started. Later failures reach [`Upload::write`] and
    /// [`Upload::complete`].
    fn upload(&self, request: PutRequest, buffer: u64) -> Result<Box<dyn Upload>, Error>;

    /// Deletes an object. That there is none is no error.
    /// S3: [DeleteObject](https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html).
    ///
    /// # Errors
    /// As the service answers.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request; the object may have been deleted.
    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), Error>>;

    /// Copies an object inside the bucket, without its bytes passing here.
    /// S3: [CopyObject](https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html), or
    /// a multipart upload of
    /// [UploadPartCopy](https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] without a source; [`ErrorKind::Precondition`] when it is another
    /// version, or the condition on the target does not hold; any other kind as the service answers.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request; the target may have been stored.
    fn copy(&self, request: CopyRequest) -> BoxFuture<'_, Result<Stored, Error>>;

    /// Renames an object, atomically. Directory buckets only. Succeeds only if the store is known
    /// to have done it: the first call asks for a trial, and each makes sure that the source is
    /// gone.
    /// S3: [RenameObject](https://docs.aws.amazon.com/AmazonS3/latest/API/API_RenameObject.html).
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`] when the store does not do it, whatever it answers;
    /// [`ErrorKind::NotFound`] without a source; [`ErrorKind::Precondition`] when it is another
    /// version, or there is a target that may not be replaced; any other kind as the service
    /// answers.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request; the object may have been renamed.
    fn rename(&self, request: RenameRequest) -> BoxFuture<'_, Result<(), Error>>;
}

/// A bucket whose objects can be fetched without their versions being known.
pub trait Fetch: Store {
    /// Fetches the bytes `range` of an object, which must not be empty and are held in memory as
    /// a whole, of whatever version is there. S3:
    /// [GetObject](https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no object has this key; [`ErrorKind::InvalidRange`] or
    /// [`ErrorKind::Protocol`] when it is shorter; any other kind as the service answers.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request; nothing is left in flight.
    fn fetch<'a>(
        &'a self,
        key: &'a Key,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Fetched, Error>>;
}

/// What [`Fetch::fetch`] has brought: all of it from one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The bytes that were asked for.
    pub bytes: Bytes,
    /// User metadata by name, in lower case and without the prefix `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
}

/// What to fetch with [`Store::get`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetRequest {
    /// The object.
    pub key: Key,
    /// The version that the caller has pinned (`If-Match`). If the object has another one by now,
    /// the request ends with [`ErrorKind::Precondition`].
    pub if_match: ETag,
    /// Length of that version in bytes.
    pub size: u64,
    /// Bytes to fetch, from the start of the object. Never empty, never past the object's end.
    pub range: Range<u64>,
    /// Bytes that may be delivered before the first [`InFlight::extend_window`].
    pub window: u64,
    /// Whether the caller has asked for the same before, and that takes too long: it must not be
    /// waited for.
    pub is_hedge: bool,
}

/// Receives the body of one [`Store::get`].
///
/// Called from the store's own threads, one call at a time: implementations enqueue and wake,
/// they never block and never do work for longer than that.
pub trait BodySink: Send + Sync + 'static {
    /// Delivers the next bytes of the body, which start at `offset` of the object.
    /// Calls come in order of offset, without gaps.
    fn part(&self, offset: u64, bytes: Bytes);

    /// Ends the body, exactly once, after the last [`Self::part`]. `Ok` means that every byte of
    /// the range was delivered. After the request was dropped, `Err` with
    /// [`ErrorKind::Canceled`] may come, or nothing at all.
    fn finish(&self, result: Result<(), Error>);
}

/// A [`Store::get`] that is under way. Dropping it cancels the request; a part that is being
/// delivered at that moment may still arrive.
pub trait InFlight: Debug + Send + Sync {
    /// Allows `bytes` more to be delivered.
    fn extend_window(&self, bytes: u64);
}
