//! Inventories in Parquet. Their files say which columns they have.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;

use super::Take;
use super::row::Row;
use crate::index::Error;

/// Whether the manifest's schema has all columns that are needed.
///
/// # Errors
/// The name of one that is missing.
pub(super) fn check_schema(schema: &str) -> Result<(), &'static str> {
    let mut words = schema.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let words: Vec<&str> = words.by_ref().collect();
    let needed = [KEY, SIZE, MODIFIED, ETAG];
    match needed.into_iter().find(|name| !words.contains(name)) {
        Some(missing) => Err(missing),
        None => Ok(()),
    }
}

/// Reads the rows of the file `name`, and gives the objects below `prefix` to `take`.
pub(super) fn read(file: File, name: &str, prefix: &str, take: Take<'_>) -> Result<(), Error> {
    // The reader is written for files that are what they should be, and may panic over others.
    let read = catch_unwind(AssertUnwindSafe(|| read_rows(file, name, prefix, take)));
    read.unwrap_or_else(|_panic| Err(Error::inventory(name, "it is damaged")))
}

fn read_rows(file: File, name: &str, prefix: &str, take: Take<'_>) -> Result<(), Error> {
    let failed = |error: ParquetError| Error::inventory(name, error);
    let reader = SerializedFileReader::new(file).map_err(failed)?;
    let schema = reader.metadata().file_metadata().schema();
    let fields = schema.get_fields().iter();
    let fields = fields.filter(|field| COLUMNS.contains(&field.name()));
    let wanted = Type::group_type_builder(schema.name())
        .with_fields(fields.cloned().collect())
        .build()
        .map_err(failed)?;
    for record in RowIter::from_file(Some(wanted), &reader).map_err(failed)? {
        let row = row(record.map_err(failed)?.into_columns());
        let object = row.and_then(|row| row.object(prefix));
        if let Some(object) = object.map_err(|reason| Error::inventory(name, reason))? {
            take(object)?;
        }
    }
    Ok(())
}

fn row(columns: Vec<(String, Field)>) -> Result<Row, String> {
    let mut row = Row::default();
    for (name, field) in columns {
        match (&*name, field) {
            (KEY, Field::Str(text)) => row.key = text,
            (ETAG, Field::Str(text)) => row.etag = Some(text),
            (STORAGE_CLASS, Field::Str(text)) => row.storage_class = Some(text),
            (IS_LATEST, Field::Bool(flag)) => row.is_latest = Some(flag),
            (IS_DELETE_MARKER, Field::Bool(flag)) => row.is_delete_marker = Some(flag),
            (SIZE, Field::Long(size)) => row.size = u64::try_from(size).ok(),
            (MODIFIED, Field::TimestampMillis(time) | Field::Long(time)) => {
                row.modified = date(time);
            }
            (_, Field::Null) => {}
            (name, field) => return Err(format!("the column {name} has {field}")),
        }
    }
    Ok(row)
}

/// The time so many milliseconds after 1970.
fn date(milliseconds: i64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(milliseconds).ok()?))
}

const KEY: &str = "key";
const SIZE: &str = "size";
const MODIFIED: &str = "last_modified_date";
const ETAG: &str = "e_tag";
const IS_LATEST: &str = "is_latest";
const IS_DELETE_MARKER: &str = "is_delete_marker";
const STORAGE_CLASS: &str = "storage_class";

const COLUMNS: [&str; 7] = [
    KEY,
    SIZE,
    MODIFIED,
    ETAG,
    IS_LATEST,
    IS_DELETE_MARKER,
    STORAGE_CLASS,
];
