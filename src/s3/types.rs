//! Names and values of S3, parsed once and then trusted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::etag::ETag;
use super::follow::PageToken;

/// The longest key that S3 accepts, in bytes of UTF-8.
/// S3: [object key names](https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
pub(super) const MAX_KEY_BYTES: usize = 1024;

/// The key of an object: 1 to 1024 bytes of UTF-8. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

/// A text that cannot be the key of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The text is empty.
    #[error("an object key cannot be empty")]
    Empty,
    /// The text is longer than S3 accepts.
    #[error("an object key cannot be longer than {MAX_KEY_BYTES} bytes")]
    TooLong,
}

impl Key {
    /// Checks `text` and makes it a key.
    ///
    /// # Errors
    /// [`InvalidKey`] says which rule the text breaks.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidKey> {
        let text = text.into();
        match text.len() {
            0 => Err(InvalidKey::Empty),
            1..=MAX_KEY_BYTES => Ok(Self(text)),
            _ => Err(InvalidKey::TooLong),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The part of a bucket that is mounted: empty for all of it, otherwise a text that ends in `/`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prefix(String);

/// A text that cannot be the prefix of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrefix {
    /// The text is not empty and does not end in `/`.
    #[error("prefix must end in '/'")]
    NoSlash,
    /// The text is so long that no key could follow it.
    #[error("prefix must be shorter than {MAX_KEY_BYTES} bytes")]
    TooLong,
}

impl Prefix {
    /// Checks `text` and makes it a prefix.
    ///
    /// # Errors
    /// [`InvalidPrefix`] says which rule the text breaks.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidPrefix> {
        let text = text.into();
        if !text.is_empty() && !text.ends_with('/') {
            return Err(InvalidPrefix::NoSlash);
        }
        if text.len() >= MAX_KEY_BYTES {
            return Err(InvalidPrefix::TooLong);
        }
        Ok(Self(text))
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How S3 stores an object, as far as reading it is concerned.
/// S3: [storage classes](https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-class-intro.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageClass {
    /// A class whose objects are readable at once.
    Readable,
    /// `GLACIER` or `DEEP_ARCHIVE`: readable only after a restore.
    Archived,
}

impl StorageClass {
    /// Sorts S3's name of a class; an absent or unknown name is readable.
    pub fn from_name(name: Option<&str>) -> Self {
        match name {
            Some("GLACIER" | "DEEP_ARCHIVE") => Self::Archived,
            _ => Self::Readable,
        }
    }
}

/// How far the restore of an archived object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restore {
    /// Not asked for.
    None,
    /// Asked for, not done yet.
    InProgress,
    /// Done: a temporary copy is readable.
    Done,
}

/// What S3 says of an object beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The version.
    pub etag: ETag,
    /// Length of the body in bytes.
    pub size: u64,
    /// When this version was written.
    pub last_modified: SystemTime,
    /// How it is stored.
    pub storage_class: StorageClass,
    /// Whether an archived object was restored.
    pub restore: Restore,
    /// What only [`head`](super::Store::head) says; `None` when it was not asked.
    pub details: Option<Arc<ObjectDetails>>,
}

impl ObjectInfo {
    /// Whether a GET of this object can succeed: not archived, or restored.
    pub fn is_readable(&self) -> bool {
        self.storage_class == StorageClass::Readable || self.restore == Restore::Done
    }
}

/// What S3 says of an object, but not in listings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectDetails {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `x-amz-storage-class`, as S3 names it; absent for the class STANDARD.
    pub storage_class: Option<String>,
    /// `x-amz-version-id`, in a bucket with versions.
    pub version_id: Option<String>,
    /// User metadata by name, in lower case and without the prefix `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
}

/// What to list with [`Store::list`](super::Store::list).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListRequest {
    /// Only keys that start with this text.
    pub prefix: String,
    /// Whether keys with a `/` after the prefix are rolled up into common prefixes.
    pub delimited: bool,
    /// Where the page begins.
    pub from: ListFrom,
    /// Entries a page, at most; 1 to 1000. `None` is S3's default, 1000.
    pub max_keys: Option<u16>,
}

/// Where a page of a listing begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListFrom {
    /// At the first entry.
    #[default]
    Start,
    /// At the first key that is greater than this text in byte order, or at the common prefix of
    /// that key. A store that lists in another order may ignore it.
    After(String),
    /// After the page whose [`next`](ListPage::next) this is.
    Page(PageToken),
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key, as text: listings may hold keys that no file name can stand for.
    pub key: String,
    /// Its metadata.
    pub info: ObjectInfo,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    /// Objects, in the order of the store.
    pub objects: Vec<ListedObject>,
    /// Common prefixes, each ending in `/`, in the order of the store.
    pub common_prefixes: Vec<String>,
    /// Present when another page follows.
    pub next: Option<PageToken>,
}
