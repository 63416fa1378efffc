//! S3 operations, typed.
//!
//! Everything above this module talks to a [`Store`]: an object-safe trait with one method per
//! S3 operation that the file system needs. Its errors ([`Error`]) are sorted by what a caller
//! can do about them.

mod bucket;
mod call;
mod classify;
mod client;
mod config;
mod connect;
mod endpoint;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod get;
mod head;
mod list;
mod message;
mod observe;
mod types;
mod xml;

pub use bucket::{BucketName, InvalidBucketName};
pub use client::S3Store;
pub use config::{Auth, S3Config};
pub use endpoint::Addressing;
pub use error::{Context, Error, ErrorKind};
pub use types::{
    ETag, InvalidKey, InvalidPrefix, Key, ListPage, ListRequest, ListedObject, ObjectInfo, Prefix,
    Restore, StorageClass,
};

pub use crate::crt::s3::memory_for_get;

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
    /// Fetches an object's metadata.
    /// S3: [HeadObject](https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no object has this key; any other kind as the service answers.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request; nothing is left in flight.
    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<ObjectInfo, Error>>;

    /// Fetches one page of a listing.
    /// S3: [ListObjectsV2](https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html).
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`], [`ErrorKind::Denied`], or any other kind as the service answers.
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
}

/// What to fetch with [`Store::get`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetRequest {
    /// The object.
    pub key: Key,
    /// The version that the caller has pinned (`If-Match`). If the object has another one by now,
    /// the request ends with [`ErrorKind::Precondition`].
    pub if_match: ETag,
    /// Bytes to fetch, from the start of the object. Never empty, never past the object's end.
    pub range: Range<u64>,
    /// Bytes that may be delivered before the first [`InFlight::extend_window`].
    pub window: u64,
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
