//! User metadata that may change while a file is written.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::s3::{CopyRequest, Error, Key, PutCondition, Store, Stored};

/// What an object is to have as its user metadata, and what it has so far.
pub(super) struct Description {
    wanted: Box<dyn Fn() -> Metadata + Send + Sync>,
    sent: Mutex<Metadata>,
}

type Metadata = BTreeMap<String, String>;

impl Description {
    /// `wanted` gives the metadata of the moment. An object that exists has that of now.
    pub(super) fn new(wanted: Box<dyn Fn() -> Metadata + Send + Sync>) -> Self {
        let sent = Mutex::new(wanted());
        Self { wanted, sent }
    }

    /// The metadata of the moment, which a request takes to the object now.
    pub(super) fn sent(&self) -> Metadata {
        let wanted = (self.wanted)();
        self.lock().clone_from(&wanted);
        wanted
    }

    /// Gives the object `stored` the metadata of the moment, unless it has it.
    ///
    /// # Errors
    /// Those of [`Store::copy`]: the object then has other metadata, or was replaced.
    pub(super) async fn settle(
        &self,
        store: &dyn Store,
        key: &Key,
        stored: Stored,
    ) -> Result<(), Error> {
        let wanted = (self.wanted)();
        if *self.lock() == wanted {
            return Ok(());
        }
        let request = CopyRequest {
            from: key.clone(),
            version: stored.etag.clone(),
            size: stored.size,
            to: key.clone(),
            condition: PutCondition::Version(stored.etag),
            metadata: Some(wanted.clone()),
        };
        store.copy(request).await?;
        *self.lock() = wanted;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Metadata> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
