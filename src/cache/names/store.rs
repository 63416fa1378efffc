//! A store whose changes are noted, so that no mount believes what was known before.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::Names;
use super::change::Change;
use crate::s3::{
    BodySink, CopyRequest, ETag, Error, GetRequest, InFlight, Key, ListPage, ListRequest,
    ObjectInfo, PutRequest, RenameRequest, Store, Stored, Upload,
};

/// A [`Store`] that lets [`Names`] know of each change before it is asked for, and after it was made.
#[derive(Debug)]
pub struct NotingStore {
    store: Arc<dyn Store>,
    names: Arc<Names>,
}

impl NotingStore {
    /// `store`, whose changes `names` is to know.
    pub fn new(store: Arc<dyn Store>, names: Arc<Names>) -> Self {
        Self { store, names }
    }
}

impl Store for NotingStore {
    fn get(
        &self,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Result<Box<dyn InFlight>, Error> {
        self.store.get(request, sink)
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<ObjectInfo, Error>> {
        self.store.head(key)
    }

    fn list<'a>(&'a self, request: &'a ListRequest) -> BoxFuture<'a, Result<ListPage, Error>> {
        self.store.list(request)
    }

    fn put(&self, request: PutRequest, body: Bytes) -> BoxFuture<'_, Result<Stored, Error>> {
        Box::pin(async move {
            let change = Change::put(&self.names, &request.key);
            let stored = self.store.put(request, body).await?;
            change.end();
            Ok(stored)
        })
    }

    fn upload(&self, request: PutRequest, buffer: u64) -> Result<Box<dyn Upload>, Error> {
        let key = request.key.clone();
        let upload = self.store.upload(request, buffer)?;
        Ok(Box::new(NotingUpload {
            upload,
            key,
            names: Arc::clone(&self.names),
        }))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let change = Change::removal(&self.names, key);
            self.store.delete(key).await?;
            change.end();
            Ok(())
        })
    }

    fn copy(&self, request: CopyRequest) -> BoxFuture<'_, Result<Stored, Error>> {
        Box::pin(async move {
            let change = Change::put(&self.names, &request.to);
            let stored = self.store.copy(request).await?;
            change.end();
            Ok(stored)
        })
    }

    fn rename(&self, request: RenameRequest) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let from = Change::removal(&self.names, &request.from);
            let to = Change::put(&self.names, &request.to);
            self.store.rename(request).await?;
            to.end();
            from.end();
            Ok(())
        })
    }
}

/// An upload that is noted when it is completed: nothing changes before.
#[derive(Debug)]
struct NotingUpload {
    upload: Box<dyn Upload>,
    key: Key,
    names: Arc<Names>,
}

impl Upload for NotingUpload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), Error>> {
        self.upload.write(bytes)
    }

    fn copy(&mut self, version: ETag, range: Range<u64>) -> BoxFuture<'_, Result<(), Error>> {
        self.upload.copy(version, range)
    }

    fn write_now(&mut self, bytes: &[u8]) -> Option<Result<(), Error>> {
        self.upload.write_now(bytes)
    }

    fn set_buffer(&self, bytes: u64) {
        self.upload.set_buffer(bytes);
    }

    fn delay(&self) -> Option<Duration> {
        self.upload.delay()
    }

    fn complete(self: Box<Self>) -> BoxFuture<'static, Result<Stored, Error>> {
        Box::pin(async move {
            let change = Change::put(&self.names, &self.key);
            let stored = self.upload.complete().await?;
            change.end();
            Ok(stored)
        })
    }
}
