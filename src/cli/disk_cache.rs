//! The cache on the disk that `--cache` names.

use std::sync::Arc;

use super::config::{CacheOptions, ClientOptions};
use super::exit::Failure;
use crate::cache::{Cache, CacheLimits, CachedStore, Source};
use crate::s3::{S3Store, Store};

/// Opens the cache on the disk, or begins one.
pub(super) fn open_cache(options: &CacheOptions) -> Result<Cache, Failure> {
    let limits = CacheLimits {
        most: options.most,
        free_percent: FREE_PERCENT,
    };
    Cache::open(&options.directory, options.surroundings, limits).map_err(|error| {
        Failure::new("Failed to open the cache")
            .caused_by(&error)
            .with_remedy("name a directory of your own with --cache, or go without")
    })
}

/// The store, of which what was read is kept in `cache`.
pub(super) fn cached(
    client: &ClientOptions,
    store: &Arc<S3Store>,
    cache: &Cache,
) -> Arc<CachedStore> {
    let source = cache_source(client, store);
    let store = Arc::clone(store) as Arc<dyn Store>;
    Arc::new(CachedStore::new(store, cache, source))
}

/// What tells the bucket of `store` apart in a cache.
pub(super) fn cache_source(client: &ClientOptions, store: &S3Store) -> Source {
    Source::new(cache_origin(client, store), store.bucket().to_owned())
}

/// What tells stores apart in a cache that have buckets of the same name.
pub(super) fn cache_origin(client: &ClientOptions, store: &S3Store) -> String {
    let endpoint = client.endpoint_url.as_deref().unwrap_or_default();
    format!("{endpoint} {}", store.region())
}

/// The share of the disk that a cache leaves free, as with Mountpoint for Amazon S3.
pub(super) const FREE_PERCENT: u8 = 5;
