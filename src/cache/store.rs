//! The store that reads from files.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::get::Get;
use super::name::Name;
use super::{Cache, Shared, WholeFile};
use crate::s3::{
    BodySink, CopyRequest, ETag, Error, GetRequest, InFlight, Key, ListPage, ListRequest,
    ObjectInfo, PutRequest, RenameRequest, Store, Stored, Upload,
};

/// A bucket, of which what was read once is read from a [`Cache`].
///
/// A request for an object names its ETag, so that what is answered from files is the version that
/// was asked for, also if the bucket has another one by now.
#[derive(Debug)]
pub struct CachedStore {
    store: Arc<dyn Store>,
    pub(super) shared: Arc<Shared>,
    /// What tells this store from others with buckets of the same name, and the bucket.
    origin: (String, String),
}

impl CachedStore {
    /// `bucket` of `store`, read by way of `cache`. `origin` tells stores apart that have buckets of
    /// the same name.
    pub fn new(store: Arc<dyn Store>, cache: &Cache, origin: String, bucket: String) -> Self {
        Self {
            store,
            shared: Arc::clone(&cache.0),
            origin: (origin, bucket),
        }
    }

    /// The file that has all of the version `etag` of `size` bytes of `key`, if there is one that is
    /// known to be good. Waits for the disk no longer than opening a file takes.
    pub fn whole(&self, key: &Key, etag: &ETag, size: u64) -> Option<WholeFile> {
        self.shared.whole(&self.name(key, etag, size), size)
    }

    /// Whether its files lie on a file system that lies on others, such as overlayfs: of which
    /// the kernel allows only so many on top of each other.
    pub fn is_stacked(&self) -> bool {
        self.shared.is_stacked
    }

    /// The name of the files of a version.
    pub(super) fn name(&self, key: &Key, etag: &ETag, size: u64) -> Name {
        let (origin, bucket) = &self.origin;
        Name::new(origin, bucket, key.as_str(), &etag.text(), size)
    }
}

impl Store for CachedStore {
    fn get(
        &self,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Result<Box<dyn InFlight>, Error> {
        let name = self.name(&request.key, &request.if_match, request.size);
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
