//! One row of an inventory, in whatever kind of file it is.

use std::time::SystemTime;

use crate::s3::{ETag, ListedObject, ObjectInfo, Restore, StorageClass};

/// What a row says of an object. What it does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Row {
    pub(super) key: String,
    pub(super) is_latest: Option<bool>,
    pub(super) is_delete_marker: Option<bool>,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<SystemTime>,
    /// Without quotes.
    pub(super) etag: Option<String>,
    pub(super) storage_class: Option<String>,
}

impl Row {
    /// The object, if it is one that can be read, and is below `prefix`.
    ///
    /// # Errors
    /// The text says what is missing.
    pub(super) fn object(self, prefix: &str) -> Result<Option<ListedObject>, String> {
        let is_gone = self.is_latest == Some(false) || self.is_delete_marker == Some(true);
        if is_gone || !self.key.starts_with(prefix) {
            return Ok(None);
        }
        let missing = |what: &str| format!("the object {:?} has no {what}", self.key);
        let etag = self.etag.as_deref().map(|etag| etag.trim_matches('"'));
        let etag = etag.filter(|etag| !etag.is_empty());
        let info = ObjectInfo {
            etag: ETag::new(format!("\"{}\"", etag.ok_or_else(|| missing("ETag"))?)),
            size: self.size.ok_or_else(|| missing("size"))?,
            last_modified: self.modified.ok_or_else(|| missing("date"))?,
            storage_class: StorageClass::from_name(self.storage_class.as_deref()),
            restore: Restore::None,
            details: None,
        };
        let key = self.key;
        Ok(Some(ListedObject { key, info }))
    }
}
