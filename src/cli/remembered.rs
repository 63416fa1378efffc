//! What is known of names, kept in the cache for the next mount.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::Config;
use super::observed::Caches;
use crate::cache::{Known, Names, NotingStore, Source};
use crate::s3::{Key, Store};
use crate::tree::{Found, Memory, Tree, TreeConfig, Ttl};

/// What a cache knows of names, if there is one.
#[derive(Debug, Clone)]
pub(super) struct Remembered(Option<Arc<Names>>);

impl Remembered {
    /// What `caches` know of the names of `source`, as far as the mount believes what was known before.
    pub(super) fn open(config: &Config, caches: &Caches, source: &Source) -> Self {
        let options = &config.mount;
        let believed = match options.metadata_ttl {
            // User metadata is not kept.
            Ttl::For(ttl) if !options.posix_metadata => Some(ttl),
            Ttl::For(_) | Ttl::Minimal => None,
        };
        // An index has all names, and nothing changes.
        let cache = caches.disk.as_ref().filter(|_| options.index.is_none());
        Self(cache.map(|cache| cache.names(source, believed)))
    }

    /// `store`, whose changes are noted.
    pub(super) fn noting(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        match &self.0 {
            Some(names) => Arc::new(NotingStore::new(store, Arc::clone(names))),
            None => store,
        }
    }

    /// The names of `store`, also those that were known before; and the store to change them by.
    pub(super) fn tree(&self, store: Arc<dyn Store>, config: TreeConfig) -> (Arc<dyn Store>, Tree) {
        let store = self.noting(store);
        let tree = match &self.0 {
            Some(names) => {
                let memory = Arc::new(Shared(Arc::clone(names)));
                Tree::remembering(Arc::clone(&store), config, memory)
            }
            None => Tree::new(Arc::clone(&store), config),
        };
        (store, tree)
    }

    /// Keeps what is known by now for the next mount.
    pub(super) fn save(&self) {
        if let Some(names) = &self.0 {
            names.save();
        }
    }
}

/// What a cache knows of names, as a tree asks for it.
#[derive(Debug)]
struct Shared(Arc<Names>);

impl Memory for Shared {
    fn recall(&self, key: &Key) -> Option<(Found, Duration)> {
        let (known, age) = self.0.recall(key.as_str())?;
        let found = match known {
            Known::Directory => Found::Directory,
            Known::Object(info) => Found::File(info),
        };
        Some((found, age))
    }

    fn note(&self, key: &Key, found: Option<Found>, asked: Instant) {
        let known = found.map(|found| match found {
            Found::Directory => Known::Directory,
            Found::File(info) => Known::Object(info),
        });
        self.0.note(key.as_str(), known, asked);
    }
}
