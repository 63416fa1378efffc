//! The store that reads from the blocks.

use std::sync::Arc;

use super::get::Get;
use super::{Shared, SharedCache};
use crate::cache::Source;
use crate::s3::{BodySink, Error, GetRequest, InFlight, Layer, Store};

/// A bucket, of which what was read once, by whichever mount, is read from a [`SharedCache`].
///
/// A request for an object names its ETag, so that what is answered from blocks is the version that
/// was asked for, also if the bucket has another one by now.
#[derive(Debug)]
pub struct SharedCacheStore {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    source: Source,
}

impl SharedCacheStore {
    /// `store`, which is `source`, read by way of `cache`.
    pub fn new(store: Arc<dyn Store>, cache: &SharedCache, source: Source) -> Self {
        Self {
            store,
            shared: Arc::clone(&cache.0),
            source,
        }
    }
}

impl Layer for SharedCacheStore {
    fn below(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn get_through(
        &self,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Result<Box<dyn InFlight>, Error> {
        if !self.shared.reads.may_try() {
            let length = request.range.end - request.range.start;
            self.shared.metrics.misses.add(length);
            return self.store.get(request, sink);
        }
        let name = self
            .source
            .name(&request.key, &request.if_match, request.size);
        Ok(Get::start(&self.shared, &self.store, name, request, sink))
    }
}
