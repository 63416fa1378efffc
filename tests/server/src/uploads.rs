//! Multipart uploads under way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use s3s::dto::Checksum;
use s3s::{S3Result, s3_error};

use crate::object::{Blob, Meta};
use crate::synthetic::mix;

/// All uploads under way.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    next: AtomicU64,
    uploads: Mutex<BTreeMap<String, Upload>>,
}

/// One upload.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) meta: Arc<Meta>,
    /// Name of the checksum algorithm, as the service knows it.
    pub(crate) algorithm: String,
    /// Whether the checksum is of the full object, or of its parts' checksums.
    pub(crate) full_object: bool,
    /// Seconds since 1970.
    pub(crate) started: u32,
    pub(crate) parts: BTreeMap<i32, Part>,
}

/// One part uploaded.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) blob: Blob,
    pub(crate) digest: [u8; 16],
    pub(crate) checksum: Checksum,
    /// Seconds since 1970.
    pub(crate) modified: u32,
}

impl Uploads {
    /// Begins an upload and names it.
    pub(crate) fn begin(&self, upload: Upload) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // In order of their beginning, as S3 lists them.
        let id = format!("{number:08x}{:016x}{:016x}", mix(number), mix(!number));
        self.lock().insert(id.clone(), upload);
        id
    }

    /// Calls `f` on an upload of this object.
    pub(crate) fn with<T>(
        &self,
        id: &str,
        bucket: &str,
        key: &str,
        f: impl FnOnce(&mut Upload) -> T,
    ) -> S3Result<T> {
        let mut uploads = self.lock();
        let upload = uploads
            .get_mut(id)
            .filter(|upload| upload.bucket == bucket && upload.key == key);
        upload.map(f).ok_or_else(|| s3_error!(NoSuchUpload))
    }

    /// Ends an upload of this object.
    pub(crate) fn end(&self, id: &str, bucket: &str, key: &str) -> S3Result<()> {
        self.with(id, bucket, key, |_| ())?;
        self.lock().remove(id);
        Ok(())
    }

    /// The uploads of a bucket in order of key and beginning, without their parts.
    pub(crate) fn of_bucket(&self, bucket: &str) -> Vec<(String, Upload)> {
        let uploads = self.lock();
        let mut found: Vec<_> = uploads
            .iter()
            .filter(|(_, upload)| upload.bucket == bucket)
            .map(|(id, upload)| {
                (
                    id.clone(),
                    Upload {
                        parts: BTreeMap::new(),
                        ..upload.clone()
                    },
                )
            })
            .collect();
        found.sort_by(|(id_a, a), (id_b, b)| (&a.key, id_a).cmp(&(&b.key, id_b)));
        found
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
