//! What is noted beside the bytes of a staged file, and of the mount that staged it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::s3::{ETag, Key};

/// A version of an object, and its length in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The version.
    pub etag: ETag,
    /// Its length in bytes.
    pub size: u64,
}

/// What is to become of a staged file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The key that it is stored under.
    pub(super) key: String,
    /// The version that blocks which are not on the disk are of, and that is replaced; `None` for
    /// a file that is all on the disk, and replaces whatever is there.
    pub(super) base: Option<Base>,
    /// Whether an object has the key, as far as is known.
    pub(super) has_object: bool,
    pub(super) content_type: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// A [`Version`], as it is noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Base {
    etag: String,
    pub(super) size: u64,
}

impl Base {
    pub(super) fn new(version: &Version) -> Self {
        Self {
            etag: version.etag.text().into_owned(),
            size: version.size,
        }
    }

    pub(super) fn version(&self) -> Version {
        Version {
            etag: self.etag(),
            size: self.size,
        }
    }

    pub(super) fn etag(&self) -> ETag {
        ETag::new(&*self.etag)
    }
}

impl Record {
    /// # Errors
    /// [`Error::Unusable`] for a record that was changed by hand.
    pub(super) fn key(&self, path: &Path) -> Result<Key, Error> {
        Key::new(self.key.clone()).map_err(|error| Error::Unusable {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }
}

/// The mount that a stage belongs to: what a later process needs to reach the same bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The bucket.
    pub bucket: String,
    /// The words of the command line, without the name of the program.
    pub arguments: Vec<String>,
    /// Environment variables that count for the mount; no credentials.
    pub environment: BTreeMap<String, String>,
    /// Identifies the system since its start: when it has another one, files may lack bytes that were
    /// written, but not synced.
    pub boot: String,
}

/// Writes `value` to `path`, all or nothing.
pub(super) fn save(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(value)?)?;
        fs::rename(&new, path)
    };
    write().map_err(|error| Error::disk(path, error))
}

/// Reads what [`save`] wrote.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = fs::read(path).map_err(|error| Error::disk(path, error))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Unusable {
        path: path.to_owned(),
        reason: format!("the record cannot be read: {error}"),
    })
}
