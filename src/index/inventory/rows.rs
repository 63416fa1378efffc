//! The rows of an inventory's files.

use std::borrow::Cow;
use std::io::Read;
use std::time::SystemTime;

use csv::{ReaderBuilder, StringRecord};
use percent_encoding::percent_decode_str;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::{Error, Scope};
use crate::s3::{ETag, ListedObject, ObjectInfo, Restore, StorageClass};

/// Where the columns are that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    key: usize,
    size: usize,
    modified: usize,
    etag: usize,
    /// In an inventory of all versions.
    is_latest: Option<usize>,
    is_delete_marker: Option<usize>,
    storage_class: Option<usize>,
}

impl Columns {
    /// Reads the manifest's list of columns.
    ///
    /// # Errors
    /// The text says which one is missing.
    pub(super) fn new(schema: &str) -> Result<Self, String> {
        let find = |name: &str| schema.split(',').position(|column| column.trim() == name);
        let needed = |name: &str| {
            find(name).ok_or_else(|| {
                format!(
                    "the inventory has no field {name}: choose Size, LastModifiedDate and ETag \
                     among its optional fields"
                )
            })
        };
        Ok(Self {
            key: needed("Key")?,
            size: needed("Size")?,
            modified: needed("LastModifiedDate")?,
            etag: needed("ETag")?,
            is_latest: find("IsLatest"),
            is_delete_marker: find("IsDeleteMarker"),
            storage_class: find("StorageClass"),
        })
    }

    /// Reads the rows of the file `name`, and gives the objects of `scope` to `take`.
    pub(super) fn read(
        &self,
        file: impl Read,
        name: &str,
        scope: &Scope,
        take: &mut dyn FnMut(ListedObject) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut reader = ReaderBuilder::new().has_headers(false).from_reader(file);
        let mut row = StringRecord::new();
        loop {
            let more = reader.read_record(&mut row);
            if !more.map_err(|error| Error::inventory(name, error))? {
                return Ok(());
            }
            let object = self.object(&row, scope.prefix.as_str());
            let object = object.map_err(|reason| {
                let line = row.position().map_or(0, csv::Position::line);
                Error::inventory(name, format!("line {line} cannot be used: {reason}"))
            })?;
            if let Some(object) = object {
                take(object)?;
            }
        }
    }

    /// The object of a row, if it is one that can be read, and is below `prefix`.
    fn object(&self, row: &StringRecord, prefix: &str) -> Result<Option<ListedObject>, String> {
        let field = |column: usize| row.get(column).unwrap_or_default();
        let is = |column: Option<usize>, word: &str| {
            column.is_some_and(|column| field(column).eq_ignore_ascii_case(word))
        };
        if is(self.is_latest, "false") || is(self.is_delete_marker, "true") {
            return Ok(None);
        }
        let key = decode(field(self.key)).ok_or("its key is not UTF-8")?;
        if !key.starts_with(prefix) {
            return Ok(None);
        }
        let etag = match field(self.etag) {
            "" => return Err(format!("the object {key:?} has no ETag")),
            etag => ETag::new(format!("\"{}\"", etag.trim_matches('"'))),
        };
        let size = field(self.size);
        let modified = field(self.modified);
        Ok(Some(ListedObject {
            info: ObjectInfo {
                etag,
                size: size.parse().map_err(|_| format!("{size:?} is no size"))?,
                last_modified: OffsetDateTime::parse(modified, &Rfc3339)
                    .map(SystemTime::from)
                    .map_err(|_| format!("{modified:?} is no date"))?,
                storage_class: StorageClass::from_name(self.storage_class.map(field)),
                restore: Restore::None,
                details: None,
            },
            key,
        }))
    }
}

/// Undoes the encoding of keys in CSV files, which is that of a form.
fn decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    match percent_decode_str(&text).decode_utf8().ok()? {
        Cow::Borrowed(_) => Some(text),
        Cow::Owned(decoded) => Some(decoded),
    }
}
