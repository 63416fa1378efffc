//! Where fetching ahead meets opens and changes.

use std::sync::Arc;

use super::Fs;
use crate::prefetch::{File, Visit};
use crate::read::ReadHandle;
use crate::s3::{Key, ObjectInfo};
use crate::tree::{Named, NodeKind};

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
        (self.plain_reader(key, info), None)
    }

    /// Opens the version `info` of `key`, of which nothing was fetched ahead.
    pub(super) fn plain_reader(&self, key: &Key, info: &ObjectInfo) -> ReadHandle {
        let store = Arc::clone(&self.store);
        let (key, etag) = (key.clone(), info.etag.clone());
        ReadHandle::new(store, key, etag, info.size, self.read.clone())
    }

    /// Notes that `source` is renamed, and replaces `target`.
    pub(super) fn note_renamed(&self, source: &Named, target: Option<&Named>) {
        let Some(prefetcher) = &self.prefetcher else {
            return;
        };
        for named in [Some(source), target].into_iter().flatten() {
            match named.kind() {
                NodeKind::Directory { .. } => prefetcher.note_changed_below(named.key()),
                NodeKind::File(_) | NodeKind::Local(_) => prefetcher.note_changed(named.key()),
            }
        }
    }

    /// Notes that the file `key` is changed: what was fetched of it is of no use.
    pub(super) fn note_changed(&self, key: &Key) {
        if let Some(prefetcher) = &self.prefetcher {
            prefetcher.note_changed(key);
        }
    }
}
