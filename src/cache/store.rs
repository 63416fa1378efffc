//! The store that reads from files.

use std::sync::Arc;

use super::get::Get;
use super::name::{Name, Source};
use super::{Cache, Shared, WholeFile};
use crate::s3::{BodySink, ETag, Error, GetRequest, InFlight, Key, Layer, Store};

/// A bucket, of which what was read once is read from a [`Cache`].
///
/// A request for an object names its ETag, so that what is answered from files is the version that
/// was asked for, also if the bucket has another one by now.
#[derive(Debug)]
pub struct CachedStore {
    store: Arc<dyn Store>,
    pub(super) shared: Arc<Shared>,
    source: Source,
}

impl CachedStore {
    /// `store`, which is `source`, read by way of `cache`.
    pub fn new(store: Arc<dyn Store>, cache: &Cache, source: Source) -> Self {
        Self {
            store,
            shared: Arc::clone(&cache.0),
            source,
        }
    }

    /// The file that has all of the version `etag` of `size` bytes of `key`, if there is one that is
    /// known to be good. Waits for the disk no longer than opening a file takes.
    pub fn whole(&self, key: &Key, etag: &ETag, size: u64) -> Option<WholeFile> {
        self.shared.whole(&self.name(key, etag, size), size)
    }

    /// Whether nothing bad was heard of `file` since it was found, nor of the disk. That somebody has
    /// written to it is only seen by [`Self::whole`].
    pub fn is_trusted(&self, file: &WholeFile) -> bool {
        file.is_in(&self.shared.proven)
    }

    /// Whether its files lie on a file system that lies on others, such as overlayfs: of which
    /// the kernel allows only so many on top of each other.
    pub fn is_stacked(&self) -> bool {
        self.shared.is_stacked
    }

    /// The name of the files of a version.
    pub(super) fn name(&self, key: &Key, etag: &ETag, size: u64) -> Name {
        self.source.name(key, etag, size)
    }
}

impl Layer for CachedStore {
    fn below(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn get_through(
        &self,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Result<Box<dyn InFlight>, Error> {
        let name = self.name(&request.key, &request.if_match, request.size);
        Ok(Get::start(&self.shared, &self.store, name, request, sink))
    }
}
