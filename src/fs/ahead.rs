//! Where fetching ahead meets opens and changes.

use std::sync::Arc;

use super::Fs;
use crate::prefetch::{File, Visit};
use crate::read::ReadHandle;
use crate::s3::{Key, ObjectInfo};
use crate::tree::Named;

impl Fs {
    /// Opens the version `info` of `key`, and uses what was fetched ahead if it `is_sure` that this
    /// is the newest one.
    pub(super) fn reader(
        &self,
        key: &Key,
        info: &ObjectInfo,
        is_sure: bool,
    ) -> (ReadHandle, Option<Box<Visit>>) {
        if let Some(prefetcher) = &self.prefetcher
            && is_sure
            && info.is_readable()
        {
            let (reader, visit) = prefetcher.open(File {
                key: key.clone(),
                etag: info.etag.clone(),
                size: info.size,
            });
            return (reader, Some(Box::new(visit)));
        }
        let store = Arc::clone(&self.store);
        let (key, etag) = (key.clone(), info.etag.clone());
        let reader = ReadHandle::new(store, key, etag, info.size, self.read.clone());
        (reader, None)
    }

    /// Notes that `source` is renamed, and replaces `target`.
    pub(super) fn note_renamed(&self, source: &Named, target: Option<&Named>) {
        self.note_changed(source.key());
        if let Some(target) = target {
            self.note_changed(target.key());
        }
    }

    /// Notes that `key` is changed, or everything below it: what was fetched of it is of no use.
    pub(super) fn note_changed(&self, key: &Key) {
        if let Some(prefetcher) = &self.prefetcher {
            prefetcher.note_changed(key);
        }
    }
}
