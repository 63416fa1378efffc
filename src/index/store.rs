//! A [`Store`] that knows what is in its bucket.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use super::page::page;
use super::{Error, Index};
use crate::s3::{
    self, BodySink, Context, CopyRequest, ErrorKind, GetRequest, InFlight, Key, ListPage,
    ListRequest, ObjectInfo, PutRequest, RenameRequest, Store, Stored, Upload,
};

/// A bucket as an index has it. Listings and metadata come from the index, bytes from the bucket:
/// those of the versions that the index names, as a request for an object always names its ETag.
/// Nothing can be changed.
///
/// The index is read where the request is made: for microseconds, as long as it is in the page
/// cache, so that handing the work to another thread would take longer.
#[derive(Debug)]
pub struct IndexedStore {
    store: Arc<dyn Store>,
    index: Arc<Index>,
}

impl IndexedStore {
    /// The bucket `store` as `index` has it.
    pub fn new(store: Arc<dyn Store>, index: Arc<Index>) -> Self {
        Self { store, index }
    }

    fn context(&self, operation: &'static str, key: &str) -> Context {
        Context {
            operation,
            bucket: self.index.scope().bucket.clone(),
            key: key.to_owned(),
            ..Context::default()
        }
    }

    fn unreadable(&self, operation: &'static str, key: &str, error: Error) -> s3::Error {
        let kind = match error {
            Error::Damaged { .. } => ErrorKind::Integrity,
            _ => ErrorKind::Other,
        };
        let context = Context {
            message: Some(error.to_string()),
            ..self.context(operation, key)
        };
        s3::Error::with_source(kind, context, error)
    }

    fn refusal(&self, operation: &'static str, key: &str) -> s3::Error {
        let context = Context {
            message: Some("what an index is used for cannot be changed".to_owned()),
            ..self.context(operation, key)
        };
        s3::Error::new(ErrorKind::Invalid, context)
    }
}

impl Store for IndexedStore {
    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<ObjectInfo, s3::Error>> {
        async move {
            let known = self.index.get(key.as_str());
            let known =
                known.map_err(|error| self.unreadable("HeadObject", key.as_str(), error))?;
            known.ok_or_else(|| {
                let context = Context {
                    message: Some("the index has no such object".to_owned()),
                    ..self.context("HeadObject", key.as_str())
                };
                s3::Error::new(ErrorKind::NotFound, context)
            })
        }
        .boxed()
    }

    fn list<'a>(&'a self, request: &'a ListRequest) -> BoxFuture<'a, Result<ListPage, s3::Error>> {
        async move {
            page(&self.index, request)
                .map_err(|error| self.unreadable("ListObjectsV2", &request.prefix, error))
        }
        .boxed()
    }

    fn get(
        &self,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Result<Box<dyn InFlight>, s3::Error> {
        self.store.get(request, Arc::new(Pinned(sink)))
    }

    fn put(&self, request: PutRequest, _body: Bytes) -> BoxFuture<'_, Result<Stored, s3::Error>> {
        ready(Err(self.refusal("PutObject", request.key.as_str()))).boxed()
    }

    fn upload(&self, request: PutRequest, _buffer: u64) -> Result<Box<dyn Upload>, s3::Error> {
        Err(self.refusal("CreateMultipartUpload", request.key.as_str()))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), s3::Error>> {
        ready(Err(self.refusal("DeleteObject", key.as_str()))).boxed()
    }

    fn copy(&self, request: CopyRequest) -> BoxFuture<'_, Result<Stored, s3::Error>> {
        ready(Err(self.refusal("CopyObject", request.to.as_str()))).boxed()
    }

    fn rename(&self, request: RenameRequest) -> BoxFuture<'_, Result<(), s3::Error>> {
        ready(Err(self.refusal("RenameObject", request.to.as_str()))).boxed()
    }
}

/// Receives a body of the version that the index names. That the object is gone is, for an index,
/// what it is that there is another version: it still names the one that was there.
struct Pinned(Arc<dyn BodySink>);

impl BodySink for Pinned {
    fn part(&self, offset: u64, bytes: Bytes) {
        self.0.part(offset, bytes);
    }

    fn finish(&self, result: Result<(), s3::Error>) {
        self.0.finish(result.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::Precondition => {
                let context = Context {
                    message: Some(CHANGED.to_owned()),
                    ..error.context().clone()
                };
                s3::Error::with_source(ErrorKind::Precondition, context, error)
            }
            _ => error,
        }));
    }
}

const CHANGED: &str = "the object was replaced or deleted since the index was made; \
                       `mount-s3 index --check` tells what else was";
