//! Inventories in CSV: without a heading, the columns in the order of the manifest.

use std::borrow::Cow;
use std::io::Read;
use std::time::SystemTime;

use csv::{Position, ReaderBuilder, StringRecord};
use percent_encoding::percent_decode_str;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Take;
use super::row::Row;
use crate::index::Error;

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
    /// The name of one that is missing.
    pub(super) fn new(schema: &str) -> Result<Self, &'static str> {
        let find = |name: &str| schema.split(',').position(|column| column.trim() == name);
        let needed = |name: &'static str| find(name).ok_or(name);
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

    /// Reads the rows of the file `name`, and gives the objects below `prefix` to `take`.
    pub(super) fn read(
        &self,
        file: impl Read,
        name: &str,
        prefix: &str,
        take: Take<'_>,
    ) -> Result<(), Error> {
        let mut reader = ReaderBuilder::new().has_headers(false).from_reader(file);
        let mut record = StringRecord::new();
        loop {
            let more = reader.read_record(&mut record);
            if !more.map_err(|error| Error::inventory(name, error))? {
                return Ok(());
            }
            let object = self.row(&record).and_then(|row| row.object(prefix));
            let object = object.map_err(|reason| {
                let line = record.position().map_or(0, Position::line);
                Error::inventory(name, format!("line {line} cannot be used: {reason}"))
            })?;
            if let Some(object) = object {
                take(object)?;
            }
        }
    }

    fn row(&self, record: &StringRecord) -> Result<Row, String> {
        let field = |column: usize| record.get(column).filter(|text| !text.is_empty());
        let optional = |column: Option<usize>| column.and_then(field);
        let flag = |column| optional(column).map(|text| text.eq_ignore_ascii_case("true"));
        let size = field(self.size).map(|text| {
            text.parse()
                .map_err(|_not_a_number| format!("{text:?} is no size"))
        });
        let modified = field(self.modified).map(|text| {
            OffsetDateTime::parse(text, &Rfc3339)
                .map(SystemTime::from)
                .map_err(|_no_date| format!("{text:?} is no date"))
        });
        let key = decode(field(self.key).unwrap_or_default());
        Ok(Row {
            key: key.ok_or("its key is not UTF-8")?,
            is_latest: flag(self.is_latest),
            is_delete_marker: flag(self.is_delete_marker),
            size: size.transpose()?,
            modified: modified.transpose()?,
            etag: field(self.etag).map(str::to_owned),
            storage_class: optional(self.storage_class).map(str::to_owned),
        })
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
