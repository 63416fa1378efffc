//! S3 Inventory: a list of a bucket's objects that S3 writes into a bucket, daily or weekly.
//!
//! A manifest names the files of the list and their columns; the files are CSV, compressed with
//! gzip, or Parquet. Versions that are not the newest, and delete markers, are left out. Of an object that was
//! changed since the inventory was made, a mount can read nothing: its ETag is another one.
//!
//! S3: [inventory list](https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html).

mod csv;
mod fetch;
mod parquet;
mod row;

#[cfg(test)]
mod tests;

pub use fetch::ObjectReader;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use futures::executor::block_on;
use md5::{Digest, Md5};
use serde::Deserialize;

use self::csv::Columns;
use super::{Error, Scope};
use crate::s3::{Key, ListedObject, Store};

/// An inventory: its manifest, and where its files are.
#[derive(Debug)]
pub struct Inventory {
    manifest: Manifest,
    format: Format,
    place: InventoryPlace,
}

/// What takes the objects.
type Take<'a> = &'a mut dyn FnMut(ListedObject) -> Result<(), Error>;

/// What the files are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Format {
    Csv(Columns),
    Parquet,
}

/// Where an inventory is.
#[derive(Debug, Clone)]
pub enum InventoryPlace {
    /// On the local disk: the path of its manifest. The files are below the directories above it as
    /// they are in the bucket, as `aws s3 sync` leaves them, or beside it.
    Disk(PathBuf),
    /// In a bucket: the key of its manifest.
    Bucket(Arc<dyn Store>, Key),
}

/// The parts of `manifest.json` that matter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    source_bucket: String,
    file_format: String,
    file_schema: String,
    files: Vec<DataFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct DataFile {
    key: String,
    #[serde(rename = "MD5checksum")]
    md5: Option<String>,
}

impl Inventory {
    /// Reads the manifest.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::S3`] when it cannot be had, [`Error::Inventory`] when it is none,
    /// or lacks what an index needs.
    pub fn open(place: InventoryPlace) -> Result<Self, Error> {
        let name = place.name();
        let mut text = Vec::new();
        place
            .manifest()?
            .take(MOST_MANIFEST_BYTES)
            .read_to_end(&mut text)
            .map_err(|error| Error::inventory(&name, error))?;
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| {
            Error::inventory(
                &name,
                format!("is not the manifest of an inventory: {error}"),
            )
        })?;
        let format = Format::new(&manifest).map_err(|reason| Error::inventory(&name, reason))?;
        Ok(Self {
            manifest,
            format,
            place,
        })
    }

    /// How many files it has.
    pub fn files(&self) -> usize {
        self.manifest.files.len()
    }

    /// Gives every object of `scope` to `take`, in any order.
    ///
    /// # Errors
    /// [`Error::Inventory`] when it is of another bucket, or a file is damaged; [`Error::File`] or
    /// [`Error::S3`] when a file cannot be had; and what `take` answers.
    pub fn read(&self, scope: &Scope, take: Take<'_>) -> Result<(), Error> {
        if self.manifest.source_bucket != scope.bucket {
            let reason = format!(
                "the inventory is of the bucket {}, not of {}",
                self.manifest.source_bucket, scope.bucket
            );
            return Err(Error::inventory(self.place.name(), reason));
        }
        for file in &self.manifest.files {
            self.read_file(file, scope.prefix.as_str(), take)?;
        }
        Ok(())
    }

    fn read_file(&self, file: &DataFile, prefix: &str, take: Take<'_>) -> Result<(), Error> {
        let failed = |error: io::Error| Error::inventory(&file.key, error);
        let mut input = Hashing {
            input: self.place.file(&file.key)?,
            md5: Md5::new(),
        };
        match &self.format {
            Format::Csv(columns) => {
                let rows = MultiGzDecoder::new(&mut input);
                columns.read(rows, &file.key, prefix, take)?;
                // What follows the compressed bytes counts, too.
                io::copy(&mut input, &mut io::sink()).map_err(failed)?;
                input.check(file)
            }
            Format::Parquet => {
                // It is read from its end, and only when it is known to be what it should be.
                let mut copy = tempfile::tempfile().map_err(failed)?;
                io::copy(&mut input, &mut copy).map_err(failed)?;
                input.check(file)?;
                parquet::read(copy, &file.key, prefix, take)
            }
        }
    }
}

impl Format {
    /// What the manifest says, if it can be read, and has the columns that are needed: to be found
    /// out now, not after an hour.
    fn new(manifest: &Manifest) -> Result<Self, String> {
        let format = match &*manifest.file_format {
            "CSV" => Columns::new(&manifest.file_schema).map(Self::Csv),
            "Parquet" => parquet::check_schema(&manifest.file_schema).map(|()| Self::Parquet),
            other => {
                return Err(format!(
                    "the inventory is {other}; only CSV and Parquet can be read: configure it so"
                ));
            }
        };
        format.map_err(|missing| {
            format!(
                "the inventory has no field {missing}: choose Size, LastModifiedDate and ETag among \
                 its optional fields"
            )
        })
    }
}

impl InventoryPlace {
    fn name(&self) -> String {
        match self {
            Self::Disk(path) => path.display().to_string(),
            Self::Bucket(_, key) => key.to_string(),
        }
    }

    fn manifest(&self) -> Result<Box<dyn Read>, Error> {
        match self {
            Self::Disk(path) => open(path),
            Self::Bucket(store, key) => fetch(store, key),
        }
    }

    fn file(&self, key: &str) -> Result<Box<dyn Read>, Error> {
        match self {
            Self::Disk(manifest) => {
                let name = Path::new(key).file_name().unwrap_or_default();
                let above = manifest.ancestors().skip(1);
                let beside = manifest.with_file_name(name);
                let places = above.map(|directory| directory.join(key)).chain([beside]);
                match places.into_iter().find(|place| place.is_file()) {
                    Some(path) => open(&path),
                    None => Err(Error::inventory(
                        key,
                        format!("no such file beside or above {}", manifest.display()),
                    )),
                }
            }
            Self::Bucket(store, _) => {
                let key = Key::new(key).map_err(|error| Error::inventory(key, error))?;
                fetch(store, &key)
            }
        }
    }
}

fn open(path: &Path) -> Result<Box<dyn Read>, Error> {
    let file = File::open(path).map_err(|error| Error::file(path, error))?;
    Ok(Box::new(file))
}

fn fetch(store: &Arc<dyn Store>, key: &Key) -> Result<Box<dyn Read>, Error> {
    let reader = block_on(ObjectReader::open(store, key)).map_err(Error::S3)?;
    Ok(Box::new(reader))
}

/// Computes the MD5 of what is read.
struct Hashing<R> {
    input: R,
    md5: Md5,
}

impl<R> Hashing<R> {
    /// Compares the MD5 with that of the manifest.
    fn check(self, file: &DataFile) -> Result<(), Error> {
        let md5 = self.md5.finalize();
        let md5: String = md5.iter().map(|byte| format!("{byte:02x}")).collect();
        match &file.md5 {
            Some(expected) if !expected.eq_ignore_ascii_case(&md5) => {
                let reason = "it is damaged: its MD5 is not the one in the manifest";
                Err(Error::inventory(&file.key, reason))
            }
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.md5.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Far more than the manifest of any bucket has: it names some hundred thousand files.
const MOST_MANIFEST_BYTES: u64 = 256 << 20;
