//! Stores that lie on others.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::{
    BodySink, CopyRequest, Error, GetRequest, InFlight, Key, ListPage, ListRequest, ObjectInfo,
    PutRequest, RenameRequest, Store, Stored, Upload,
};

/// A [`Store`] that gets objects in a way of its own, and leaves everything else to another one.
pub trait Layer: Debug + Send + Sync + 'static {
    /// The one that it lies on.
    fn below(&self) -> &Arc<dyn Store>;

    /// As [`Store::get`].
    ///
    /// # Errors
    /// As [`Store::get`].
    fn get_through(
        &self,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Result<Box<dyn InFlight>, Error>;
}

impl<L: Layer> Store for L {
    fn get(
        &self,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Result<Box<dyn InFlight>, Error> {
        self.get_through(request, sink)
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<ObjectInfo, Error>> {
        self.below().head(key)
    }

    fn list<'a>(&'a self, request: &'a ListRequest) -> BoxFuture<'a, Result<ListPage, Error>> {
        self.below().list(request)
    }

    fn put(&self, request: PutRequest, body: Bytes) -> BoxFuture<'_, Result<Stored, Error>> {
        self.below().put(request, body)
    }

    fn upload(&self, request: PutRequest, buffer: u64) -> Result<Box<dyn Upload>, Error> {
        self.below().upload(request, buffer)
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), Error>> {
        self.below().delete(key)
    }

    fn copy(&self, request: CopyRequest) -> BoxFuture<'_, Result<Stored, Error>> {
        self.below().copy(request)
    }

    fn rename(&self, request: RenameRequest) -> BoxFuture<'_, Result<(), Error>> {
        self.below().rename(request)
    }
}
