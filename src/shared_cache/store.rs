//! The store that reads from the blocks.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::get::Get;
use super::{Shared, SharedCache};
use crate::cache::Name;
use crate::s3::{
    BodySink, CopyRequest, Error, GetRequest, InFlight, Key, ListPage, ListRequest, ObjectInfo,
    PutRequest, RenameRequest, Store, Stored, Upload,
};

/// A bucket, of which what was read once, by whichever mount, is read from a [`SharedCache`].
///
/// A request for an object names its ETag, so that what is answered from blocks is the version that
/// was asked for, also if the bucket has another one by now.
#[derive(Debug)]
pub struct SharedCacheStore {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    /// What tells this store from others with buckets of the same name, and the bucket.
    origin: (String, String),
}

impl SharedCacheStore {
    /// `bucket` of `store`, read by way of `cache`. `origin` tells stores apart that have buckets of
    /// the same name.
    pub fn new(store: Arc<dyn Store>, cache: &SharedCache, origin: String, bucket: String) -> Self {
        Self {
            store,
            shared: Arc::clone(&cache.0),
            origin: (origin, bucket),
        }
    }
}

impl Store for SharedCacheStore {
    fn get(
        &self,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Result<Box<dyn InFlight>, Error> {
        if !self.shared.reads.may_try() {
            let length = request.range.end - request.range.start;
            self.shared.metrics.misses.add(length);
            return self.store.get(request, sink);
        }
        let (origin, bucket) = &self.origin;
        let (key, etag) = (request.key.as_str(), request.if_match.text());
        let name = Name::new(origin, bucket, key, &etag, request.size);
        Ok(Get::start(&self.shared, &self.store, name, request, sink))
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<ObjectInfo, Error>> {
        self.store.head(key)
    }

    fn list<'a>(&'a self, request: &'a ListRequest) -> BoxFuture<'a, Result<ListPage, Error>> {
        self.store.list(request)
    }

    fn put(&self, request: PutRequest, body: Bytes) -> BoxFuture<'_, Result<Stored, Error>> {
        self.store.put(request, body)
    }

    fn upload(&self, request: PutRequest, buffer: u64) -> Result<Box<dyn Upload>, Error> {
        self.store.upload(request, buffer)
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), Error>> {
        self.store.delete(key)
    }

    fn copy(&self, request: CopyRequest) -> BoxFuture<'_, Result<Stored, Error>> {
        self.store.copy(request)
    }

    fn rename(&self, request: RenameRequest) -> BoxFuture<'_, Result<(), Error>> {
        self.store.rename(request)
    }
}
