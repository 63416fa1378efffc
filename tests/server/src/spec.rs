//! Objects as tests describe them, to plant them without S3 traffic.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{Checksum, ChecksumType};
use serde::{Deserialize, Serialize};

use crate::object::{self, Blob, Content, Meta, Object, Restore, Stored};

/// One object.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectSpec {
    /// Made if it is not there.
    pub bucket: String,
    /// Any non-empty UTF-8.
    pub key: String,
    /// Seed of synthetic content.
    pub seed: u64,
    /// Bytes of synthetic content.
    pub size: u64,
    /// The content itself instead of a synthetic one.
    pub text: Option<String>,
    /// `None` is STANDARD.
    pub storage_class: Option<String>,
    /// Whether an archived object is restored.
    pub restore: RestoreSpec,
    /// MIME type.
    pub content_type: Option<String>,
    /// User metadata, without `x-amz-meta-`.
    pub metadata: HashMap<String, String>,
    /// Seconds since 1970; `None` is now.
    pub modified: Option<u32>,
    /// Give the object a CRC64NVME checksum of its content (computed now: about 0.1 s a GiB).
    pub checksum: bool,
}

/// Many synthetic objects that differ by a number in their keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BulkSpec {
    /// Made if it is not there.
    pub bucket: String,
    /// The keys, with the number in place of `{i}`, or of `{i:07}` with leading zeros to that width.
    pub key: String,
    /// First number.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Seed of the first object's content; each next one has the next seed.
    pub seed: u64,
    /// Bytes of each.
    pub size: u64,
    /// `None` is STANDARD.
    pub storage_class: Option<String>,
}

/// State of restoring an archived object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreSpec {
    /// Not asked for.
    #[default]
    None,
    /// Asked for: still not readable.
    InProgress,
    /// Readable for a day.
    Restored,
}

impl ObjectSpec {
    /// A synthetic object.
    #[must_use]
    pub fn synthetic(bucket: &str, key: &str, seed: u64, size: u64) -> Self {
        Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            seed,
            size,
            ..Self::default()
        }
    }

    /// An object of this content.
    #[must_use]
    pub fn text(bucket: &str, key: &str, text: &str) -> Self {
        let text = Some(text.to_owned());
        Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            text,
            ..Self::default()
        }
    }

    pub(crate) fn to_object(&self) -> Object {
        let restore = match self.restore {
            RestoreSpec::None => Restore::None,
            RestoreSpec::InProgress => Restore::InProgress,
            RestoreSpec::Restored => Restore::Until(object::now() + 24 * 60 * 60),
        };
        let blob = match &self.text {
            Some(text) => Blob::from(Bytes::from(text.clone())),
            None => Blob::Synthetic {
                seed: self.seed,
                size: self.size,
            },
        };
        let checksum = self.checksum.then(|| crc64nvme(&blob));
        let content = match &self.text {
            Some(text) => stored(text.clone().into(), checksum.clone().unwrap_or_default()),
            None => Content::Synthetic {
                seed: self.seed,
                size: self.size,
            },
        };
        let meta = Meta {
            storage_class: self.storage_class.clone(),
            restore,
            content_type: self.content_type.clone(),
            user: self.metadata.clone(),
            checksum,
            ..Meta::default()
        };
        let modified = self.modified.unwrap_or_else(object::now);
        Object {
            content,
            modified,
            meta: Some(Arc::new(meta)),
        }
    }
}

impl BulkSpec {
    /// The objects with their keys; `None` if the key has no place for the number.
    pub(crate) fn objects(&self) -> Option<impl Iterator<Item = (String, Object)> + '_> {
        let (head, rest) = self.key.split_once("{i")?;
        let (format, tail) = rest.split_once('}')?;
        let width = match format {
            "" => 0,
            _ => format.strip_prefix(':')?.parse().ok()?,
        };
        let class = self.storage_class.clone();
        let meta = class.map(|class| {
            Arc::new(Meta {
                storage_class: Some(class),
                ..Meta::default()
            })
        });
        let modified = object::now();
        Some((0..self.count).map(move |index| {
            let number = self.first + index;
            let content = Content::Synthetic {
                seed: self.seed.wrapping_add(index),
                size: self.size,
            };
            (
                format!("{head}{number:0width$}{tail}"),
                Object {
                    content,
                    modified,
                    meta: meta.clone(),
                },
            )
        }))
    }
}

/// Content as an upload of `bytes` would leave it.
pub(crate) fn stored(bytes: Bytes, checksum: Checksum) -> Content {
    Content::Stored(Arc::new(Stored {
        etag: Md5::checksum(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        checksum,
        blob: Blob::from(bytes),
        parts: Vec::new(),
    }))
}

fn crc64nvme(blob: &Blob) -> Checksum {
    let mut hasher = ChecksumHasher {
        crc64nvme: Some(s3s::crypto::Crc64Nvme::new()),
        ..ChecksumHasher::default()
    };
    blob.pieces_of(0..blob.size())
        .for_each(|piece| hasher.update(&piece));
    let mut checksum = hasher.finalize();
    checksum.checksum_type = Some(ChecksumType::from_static(ChecksumType::FULL_OBJECT));
    checksum
}
