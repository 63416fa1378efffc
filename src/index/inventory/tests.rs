//! Inventories as S3 writes them, and as it does not.

use std::fs;
use std::io::Write;

use ::parquet::basic::Compression as Compressed;
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;
use crate::s3::Prefix;
use crate::s3::fake::FakeStore;

const SCHEMA: &str =
    "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass";

const ROWS: &str = r#""data","b/two+words%2B%C3%A9.bin","v1","true","false","7","2024-05-01T10:20:30.000Z","aa-2","STANDARD"
"data","a.bin","v2","true","false","5","2024-05-01T10:20:30.123Z","bb","DEEP_ARCHIVE"
"data","a.bin","v1","false","false","4","2024-04-01T10:20:30.000Z","cc","STANDARD"
"data","gone.bin","v3","true","true","","2024-05-01T10:20:30.000Z","",""
"#;

fn zipped(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("in memory");
    encoder.finish().expect("in memory")
}

fn manifest(format: &str, schema: &str, file: &[u8]) -> String {
    let md5: String = Md5::digest(file)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!(
        r#"{{"sourceBucket": "data", "destinationBucket": "arn:aws:s3:::lists", "version": "2016-11-30",
            "creationTimestamp": "1714557630000", "fileFormat": "{format}", "fileSchema": "{schema}",
            "files": [{{"key": "lists/data/all/data/part.csv.gz", "size": {}, "MD5checksum": "{md5}"}}]}}"#,
        file.len()
    )
}

/// An inventory on the disk, as `aws s3 sync` leaves it.
fn on_disk(manifest: &str, file: &[u8]) -> (TempDir, InventoryPlace) {
    let directory = tempfile::tempdir().expect("a directory");
    let above = directory.path().join("lists/data/all");
    for sub in ["data", "2024-05-01T01-00Z"] {
        fs::create_dir_all(above.join(sub)).expect("made");
    }
    let path = above.join("2024-05-01T01-00Z/manifest.json");
    fs::write(&path, manifest).expect("written");
    fs::write(above.join("data/part.csv.gz"), file).expect("written");
    (directory, InventoryPlace::Disk(path))
}

fn read(place: InventoryPlace, bucket: &str, prefix: &str) -> Result<Vec<String>, String> {
    let scope = Scope {
        bucket: bucket.to_owned(),
        prefix: Prefix::new(prefix).expect("a prefix"),
    };
    let mut lines = Vec::new();
    let mut take = |object: ListedObject| {
        let info = &object.info;
        let readable = if info.is_readable() { "" } else { " archived" };
        lines.push(format!(
            "{} {} {}{readable}",
            object.key,
            info.size,
            info.etag.text()
        ));
        Ok(())
    };
    let inventory = Inventory::open(place).map_err(|error| error.to_string())?;
    inventory
        .read(&scope, &mut take)
        .map_err(|error| error.to_string())?;
    Ok(lines)
}

#[test]
fn newest_versions_are_read_with_their_keys_decoded() {
    let file = zipped(ROWS);
    let (_directory, place) = on_disk(&manifest("CSV", SCHEMA, &file), &file);
    let expected = ["b/two words+é.bin 7 \"aa-2\"", "a.bin 5 \"bb\" archived"];
    assert_eq!(
        read(place.clone(), "data", ""),
        Ok(expected.map(str::to_owned).to_vec())
    );
    assert_eq!(
        read(place.clone(), "data", "b/"),
        Ok(vec![expected[0].to_owned()])
    );
    let error = read(place, "other", "").expect_err("another bucket");
    assert!(
        error.contains("of the bucket data, not of other"),
        "{error}"
    );
}

#[test]
fn inventory_in_a_bucket_is_the_same() {
    let file = zipped(ROWS);
    let bucket = FakeStore::new();
    let key = "lists/data/all/2024-05-01T01-00Z/manifest.json";
    bucket.put(key, Bytes::from(manifest("CSV", SCHEMA, &file)));
    bucket.set_part_size(10);
    bucket.put("lists/data/all/data/part.csv.gz", Bytes::from(file));
    let place = InventoryPlace::Bucket(Arc::new(bucket.clone()), Key::new(key).expect("a key"));
    assert_eq!(read(place.clone(), "data", "").expect("read").len(), 2);
    bucket.remove("lists/data/all/data/part.csv.gz");
    let error = read(place, "data", "").expect_err("a file is missing");
    assert!(error.contains("part.csv.gz"), "{error}");
}

const PARQUET_SCHEMA: &str = "message s3.inventory { required binary bucket (UTF8); \
    required binary key (UTF8); optional binary version_id (UTF8); optional boolean is_latest; \
    optional boolean is_delete_marker; optional int64 size; \
    optional int64 last_modified_date (TIMESTAMP_MILLIS); optional binary e_tag (UTF8); \
    optional binary storage_class (UTF8); }";

/// The rows of [`ROWS`], as Parquet, compressed as S3 does.
fn parquet_file() -> Vec<u8> {
    let texts = |texts: &[Option<&str>]| {
        let there = texts.iter().flatten();
        let values: Vec<ByteArray> = there.map(|text| ByteArray::from(*text)).collect();
        let levels: Vec<i16> = texts.iter().map(|text| i16::from(text.is_some())).collect();
        (values, levels)
    };
    let schema = Arc::new(parse_message_type(PARQUET_SCHEMA).expect("a schema"));
    let properties = WriterProperties::builder().set_compression(Compressed::SNAPPY);
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties.build()))
        .expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    let mut number = 0;
    while let Some(mut column) = group.next_column().expect("a column") {
        match column.untyped() {
            ColumnWriter::ByteArrayColumnWriter(column) => {
                let (values, levels) = texts(&match number {
                    0 => [Some("data"); 4],
                    1 => ["b/two words+é.bin", "a.bin", "a.bin", "gone.bin"].map(Some),
                    2 => ["v1", "v2", "v1", "v3"].map(Some),
                    7 => [Some("aa-2"), Some("bb"), Some("cc"), None],
                    _ => [
                        Some("STANDARD"),
                        Some("DEEP_ARCHIVE"),
                        Some("STANDARD"),
                        None,
                    ],
                });
                let levels = (number > 1).then_some(&*levels);
                column.write_batch(&values, levels, None).expect("written");
            }
            ColumnWriter::BoolColumnWriter(column) => {
                let values = [[true, true, false, true], [false, false, false, true]];
                let values = if number == 3 { values[0] } else { values[1] };
                column
                    .write_batch(&values, Some(&[1; 4]), None)
                    .expect("written");
            }
            ColumnWriter::Int64ColumnWriter(column) if number == 5 => {
                column
                    .write_batch(&[7, 5, 4], Some(&[1, 1, 1, 0]), None)
                    .expect("written");
            }
            ColumnWriter::Int64ColumnWriter(column) => {
                let time = [1_714_558_830_000; 4];
                column
                    .write_batch(&time, Some(&[1; 4]), None)
                    .expect("written");
            }
            _ => panic!("no column of this kind"),
        }
        column.close().expect("closed");
        number += 1;
    }
    group.close().expect("closed");
    writer.close().expect("closed");
    file
}

#[test]
fn parquet_says_the_same_as_csv() {
    let file = parquet_file();
    let (_directory, place) = on_disk(&manifest("Parquet", PARQUET_SCHEMA, &file), &file);
    let expected = ["b/two words+é.bin 7 \"aa-2\"", "a.bin 5 \"bb\" archived"];
    assert_eq!(
        read(place, "data", ""),
        Ok(expected.map(str::to_owned).to_vec())
    );
}

#[test]
fn damaged_parquet_is_an_error() {
    let good = parquet_file();
    for at in (0..good.len()).step_by(7) {
        let mut file = good.clone();
        file[at] ^= 0x55;
        // As if the manifest had been written for it: the MD5 alone would tell.
        let (_directory, place) = on_disk(&manifest("Parquet", PARQUET_SCHEMA, &file), &file);
        _ = read(place, "data", "");
    }
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    let file = zipped(ROWS);
    let no_etag = "Bucket, Key, Size, LastModifiedDate";
    let bad = |row: &str| zipped(&format!("\"data\",{row}\n"));
    let plain = "Bucket, Key, Size, LastModifiedDate, ETag";
    let cases = [
        ("CSV", no_etag, file.clone(), "no field ETag"),
        (
            "ORC",
            SCHEMA,
            file.clone(),
            "only CSV and Parquet can be read",
        ),
        (
            "Parquet",
            "message s3.inventory { required binary key; optional int64 size; }",
            file.clone(),
            "no field last_modified_date",
        ),
        ("Parquet", PARQUET_SCHEMA, file.clone(), "part.csv.gz"),
        (
            "CSV",
            plain,
            bad(r#""a","1","2024-05-01T10:20:30Z","""#),
            "has no ETag",
        ),
        (
            "CSV",
            plain,
            bad(r#""a","x","2024-05-01T10:20:30Z","e""#),
            "is no size",
        ),
        (
            "CSV",
            plain,
            bad(r#""a","1","yesterday","e""#),
            "is no date",
        ),
        (
            "CSV",
            plain,
            bad(r#""%ff","1","2024-05-01T10:20:30Z","e""#),
            "is not UTF-8",
        ),
        ("CSV", plain, b"no gzip".to_vec(), "part.csv.gz"),
    ];
    for (format, schema, file, reason) in cases {
        let (_directory, place) = on_disk(&manifest(format, schema, &file), &file);
        let error = read(place, "data", "").expect_err(reason);
        assert!(error.contains(reason), "{error}");
    }
    let (_directory, place) = on_disk("{}", &file);
    let error = read(place, "data", "").expect_err("no manifest");
    assert!(
        error.contains("not the manifest of an inventory"),
        "{error}"
    );
}

#[test]
fn damaged_file_is_found() {
    let file = zipped(ROWS);
    let other = zipped(&ROWS.replace("bb", "bc"));
    let (_directory, place) = on_disk(&manifest("CSV", SCHEMA, &file), &other);
    let error = read(place, "data", "").expect_err("another file");
    assert!(error.contains("MD5"), "{error}");
    let (_directory, place) = on_disk(&manifest("CSV", SCHEMA, &file), &file[..file.len() / 2]);
    read(place, "data", "").expect_err("half a file");
}
