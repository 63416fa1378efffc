//! Indexes of hostile keys, damaged files, and the same answers as a bucket.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::executor::block_on;
use proptest::prelude::*;
use tempfile::TempDir;

use super::format::{HEADER_BYTES, Header};
use super::*;
use crate::crt::crc32c;
use crate::s3::fake::{FakeStore, Op};
use crate::s3::{
    BodySink, ETag, ErrorKind, GetRequest, Key, ListFrom, ListPage, ListRequest, ListedObject,
    ObjectInfo, PutRequest, Restore, StorageClass, Store,
};
use crate::tree::{Emit, ROOT, Tree};

fn object(key: &str, number: u64) -> ListedObject {
    ListedObject {
        key: key.to_owned(),
        info: ObjectInfo {
            etag: ETag::new(format!("\"{number:032x}\"")),
            size: number,
            last_modified: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123 + number),
            storage_class: StorageClass::Readable,
            restore: Restore::None,
            details: None,
        },
    }
}

fn scope(prefix: &str) -> Scope {
    Scope {
        bucket: "bucket".to_owned(),
        prefix: Prefix::new(prefix).expect("a prefix"),
    }
}

/// An index of these objects, in a directory of its own.
fn index(objects: &[ListedObject]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("data.idx");
    write(&path, objects).expect("written");
    (directory, path)
}

fn write(path: &Path, objects: &[ListedObject]) -> Result<Summary, Error> {
    let mut writer = IndexWriter::create(path, &scope(""))?;
    for object in objects {
        writer.push(object)?;
    }
    writer.finish()
}

fn all(index: &Index) -> Result<Vec<ListedObject>, Error> {
    index.objects().collect()
}

/// Some thousand objects: several blocks.
fn many() -> Vec<ListedObject> {
    (0..2_000)
        .map(|number| object(&format!("dir-{:02}/{number:05}", number / 100), number))
        .collect()
}

/// Keys that share beginnings, have empty components, and sort in every way about `/`.
fn key() -> impl Strategy<Value = String> {
    let parts = vec![
        "a",
        "b",
        "/",
        "/",
        ".",
        "..",
        "é",
        "\u{ffff}",
        "\u{10000}",
        "-",
        "0",
        "\u{1}",
        "\0",
        " ",
        "aaaaaaaaaa",
    ];
    prop::collection::vec(prop::sample::select(parts), 1..8).prop_map(|parts| parts.concat())
}

fn keys(most: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set(key(), 0..most).prop_map(|keys| keys.into_iter().collect())
}

fn info() -> impl Strategy<Value = ObjectInfo> {
    let classes = vec![StorageClass::Readable, StorageClass::Archived];
    let restores = vec![Restore::None, Restore::InProgress, Restore::Done];
    (
        any::<String>(),
        any::<u64>(),
        any::<SystemTime>(),
        prop::sample::select(classes),
        prop::sample::select(restores),
    )
        .prop_map(
            |(etag, size, last_modified, storage_class, restore)| ObjectInfo {
                etag: ETag::new(etag),
                size,
                last_modified,
                storage_class,
                restore,
                details: None,
            },
        )
}

proptest! {
    #[test]
    fn prop_what_is_written_is_read(
        objects in prop::collection::btree_map(key(), info(), 0..50),
    ) {
        let objects: Vec<_> = objects.into_iter().map(|(key, info)| ListedObject { key, info }).collect();
        let (_directory, path) = index(&objects);
        let index = Index::open(&path).expect("an index");
        prop_assert_eq!(all(&index).expect("read"), objects.clone());
        for object in &objects {
            prop_assert_eq!(index.get(&object.key).expect("read"), Some(object.info.clone()));
            let after = format!("{}\0", object.key);
            let known = objects.iter().find(|other| other.key == after);
            prop_assert_eq!(index.get(&after).expect("read"), known.map(|other| other.info.clone()));
        }
    }

    #[test]
    fn prop_listings_are_those_of_the_bucket(
        keys in keys(60),
        prefix in key(),
        after in key(),
        delimited: bool,
        max_keys in prop::option::of(1_u16..5),
    ) {
        let bucket = FakeStore::deterministic();
        for key in &keys {
            bucket.put(key, Bytes::from_static(b"x"));
        }
        let (_directory, indexed) = indexed(&bucket);
        for prefix in ["", "a", "a/", &prefix] {
            for from in [ListFrom::Start, ListFrom::After(after.clone())] {
                let request = ListRequest { prefix: prefix.to_owned(), delimited, from, max_keys };
                prop_assert_eq!(pages(&indexed, &request), pages(&bucket, &request), "{:?}", request);
            }
        }
        for key in &keys {
            let key = Key::new(&**key).expect("a key");
            let there = block_on(bucket.head(&key)).expect("there");
            let here = block_on(indexed.head(&key)).expect("there");
            prop_assert_eq!(here, ObjectInfo { details: None, ..there });
        }
        let missing = block_on(indexed.head(&Key::new("no such key").expect("a key")));
        prop_assert_eq!(missing.map_err(|error| error.kind()), Err(ErrorKind::NotFound));
    }

    #[test]
    fn prop_sorter_sorts_and_keeps_the_last_version(
        objects in prop::collection::vec((key(), 0_u64..1000), 0..200),
        limit in 1_usize..20_000,
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut sorter = Sorter::with_limit(&directory.path().join("x"), limit);
        let mut expected = BTreeMap::new();
        for (key, number) in objects {
            let object = object(&key, number);
            sorter.push(object.clone()).expect("taken");
            let kept = expected.entry(key).or_insert_with(|| object.clone());
            if kept.info.last_modified < object.info.last_modified {
                *kept = object;
            }
        }
        let sorted: Result<Vec<_>, _> = sorter.finish().expect("sorted").collect();
        let expected: Vec<_> = expected.into_values().collect();
        prop_assert_eq!(sorted.expect("read"), expected);
        let left = fs::read_dir(directory.path()).expect("readable").count();
        prop_assert_eq!(left, 0);
    }

    #[test]
    fn prop_damaged_file_is_an_error_or_right(
        bit in any::<prop::sample::Index>(),
        length in any::<prop::sample::Index>(),
    ) {
        let objects = many();
        let (_directory, path) = index(&objects);
        let good = fs::read(&path).expect("readable");

        let mut changed = good.clone();
        let bit = bit.index(good.len() * 8);
        changed[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &changed).expect("written");
        check_damaged(&path, &objects)?;

        fs::write(&path, &good[..length.index(good.len())]).expect("written");
        prop_assert!(Index::open(&path).is_err());
        let error = Index::open(&path).expect_err("too short").to_string();
        prop_assert!(error.contains("data.idx") && error.contains("mount-s3 index"), "{}", error);
    }

    #[test]
    fn prop_file_that_lies_with_right_checksums_is_read_without_panic(
        at in any::<prop::sample::Index>(),
        with in 1_u8..,
        delimited: bool,
    ) {
        let objects: Vec<_> = many().into_iter().step_by(20).collect();
        let (_directory, path) = index(&objects);
        let mut bytes = fs::read(&path).expect("readable");
        let at = HEADER_BYTES + at.index(bytes.len() - HEADER_BYTES);
        bytes[at] ^= with;
        fs::write(&path, sealed(bytes)).expect("written");
        let Ok(index) = Index::open(&path) else { return Ok(()) };
        for object in objects.iter().step_by(7) {
            _ = index.get(&object.key);
        }
        _ = all(&index);
        let request = ListRequest { delimited, ..ListRequest::default() };
        _ = page::page(&index, &request);
        _ = index.samples(&Prefix::default());
        for position in 0..=objects.len() as u64 {
            _ = index.at(position).and_then(|cursor| cursor.info());
        }
        let tree = Tree::of_index(Arc::new(index), Prefix::default());
        if let Ok(root) = block_on(tree.open_dir(ROOT)) {
            _ = block_on(root.read(0, true, &mut |_entry| Emit::Taken));
        }
        _ = block_on(tree.lookup(ROOT, OsStr::new("dir-07")));
    }

    #[test]
    fn prop_file_of_anything_is_refused(bytes: Vec<u8>) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("data.idx");
        fs::write(&path, &bytes).expect("written");
        let is_foreign = matches!(Index::open(&path), Err(Error::Foreign { .. }));
        prop_assert!(is_foreign);
    }
}

/// Whatever is answered is what was written, and something is not answered.
fn check_damaged(path: &Path, objects: &[ListedObject]) -> Result<(), TestCaseError> {
    let index = match Index::open(path) {
        Ok(index) => index,
        Err(error) => {
            prop_assert!(error.to_string().contains("data.idx"), "{}", error);
            return Ok(());
        }
    };
    let mut failed = 0;
    for object in objects {
        match index.get(&object.key) {
            Ok(info) => prop_assert_eq!(info.as_ref(), Some(&object.info)),
            Err(Error::Damaged { .. }) => failed += 1,
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
    prop_assert!(failed > 0, "the damage was not found");
    prop_assert!(all(&index).is_err());
    Ok(())
}

/// Makes all checksums right of a file with one block, as far as it says where that is.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk().expect("a header");
    let mut header = Header::decode(header).expect("a header");
    let table_at = usize::try_from(header.table_offset).expect("small");
    // The names, the number of blocks, the place and the length of the first one come before.
    let crc_at = table_at + (2 + "bucket".len()) + 2 + 4 + 8 + 4;
    let crc = crc32c(0, &bytes[HEADER_BYTES..table_at]).to_le_bytes();
    bytes[crc_at..crc_at + crc.len()].copy_from_slice(&crc);
    header.table_crc = crc32c(0, &bytes[table_at..]);
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    bytes
}

/// A store that answers from an index of what is in `bucket`.
fn indexed(bucket: &FakeStore) -> (TempDir, IndexedStore) {
    let request = ListRequest::default();
    let (objects, _) = pages(bucket, &request).pop().unwrap_or_default();
    let (directory, path) = index(&objects);
    let index = Index::open(&path).expect("an index");
    bucket.clear_log();
    (
        directory,
        IndexedStore::new(Arc::new(bucket.clone()), Arc::new(index)),
    )
}

/// The objects and the common prefixes of each page.
fn pages(store: &dyn Store, request: &ListRequest) -> Vec<(Vec<ListedObject>, Vec<String>)> {
    let mut request = request.clone();
    let mut pages = Vec::new();
    loop {
        let page: ListPage = block_on(store.list(&request)).expect("a page");
        pages.push((page.objects, page.common_prefixes));
        let Some(next) = page.next else {
            return pages;
        };
        request.from = ListFrom::Page(next);
    }
}

#[test]
fn many_blocks_are_found_and_counted() {
    let objects = many();
    let (_directory, path) = index(&objects);
    let index = Index::open(&path).expect("an index");
    let bytes = objects.iter().map(|object| object.info.size).sum();
    assert_eq!(
        index.summary(),
        Summary {
            objects: 2_000,
            bytes
        }
    );
    assert_eq!(index.scope(), &scope(""));
    for (position, object) in (0..).zip(&objects) {
        assert_eq!(
            index.get(&object.key).expect("read"),
            Some(object.info.clone())
        );
        let there = index.at(position).expect("read");
        assert_eq!(&there.object().expect("there"), object);
        let found = index.seek(object.key.as_bytes()).expect("read");
        assert_eq!((there.position(), found.position()), (position, position));
    }
    for beyond in [objects.len() as u64, u64::MAX] {
        let end = index.at(beyond).expect("read");
        assert_eq!((end.key(), end.position()), (None, objects.len() as u64));
    }
    assert!(fs::metadata(&path).expect("there").len() > 3 * (32 << 10));
}

#[test]
fn samples_can_be_read_and_are_far_from_each_other() {
    let mut objects = many();
    for object in &mut objects[600..=605] {
        object.info.storage_class = StorageClass::Archived;
    }
    let (_directory, path) = index(&objects);
    let index = Index::open(&path).expect("an index");
    let samples = |prefix: &str| {
        let prefix = Prefix::new(prefix).expect("a prefix");
        let samples = index.samples(&prefix).expect("read");
        let keys = samples.into_iter().map(|object| object.key);
        keys.collect::<Vec<_>>()
    };
    // The first one is empty.
    assert_eq!(
        samples(""),
        ["dir-00/00001", "dir-06/00666", "dir-13/01332"]
    );
    assert_eq!(
        samples("dir-06/"),
        ["dir-06/00606", "dir-06/00633", "dir-06/00666"]
    );
    assert_eq!(samples("dir-20/"), [""; 0]);
}

#[test]
fn empty_index_has_nothing() {
    let (_directory, path) = index(&[]);
    let index = Index::open(&path).expect("an index");
    assert_eq!(all(&index).expect("read"), []);
    assert_eq!(index.get("a").expect("read"), None);
    let bucket = FakeStore::deterministic();
    let store = IndexedStore::new(Arc::new(bucket), Arc::new(index));
    assert_eq!(
        pages(&store, &ListRequest::default()),
        [(Vec::new(), Vec::new())]
    );
}

#[test]
fn file_truncated_under_an_open_index_is_an_error() {
    let objects = many();
    let (_directory, path) = index(&objects);
    let index = Index::open(&path).expect("an index");
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(100))
        .expect("truncated");
    let last = &objects.last().expect("some").key;
    assert!(matches!(index.get(last), Err(Error::Damaged { .. })));
}

#[test]
fn index_replaced_under_an_open_one_leaves_it_as_it_was() {
    let objects = many();
    let (_directory, path) = index(&objects);
    let before = Index::open(&path).expect("an index");
    write(&path, &[object("a", 1)]).expect("written");
    assert_eq!(all(&before).expect("read"), objects);
    let after = Index::open(&path).expect("an index");
    assert_eq!(all(&after).expect("read"), [object("a", 1)]);
}

#[test]
fn writer_leaves_nothing_behind_until_it_is_finished() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("data.idx");
    let mut writer = IndexWriter::create(&path, &scope("a/")).expect("created");
    writer.push(&object("a/b", 1)).expect("taken");
    for wrong in ["a/b", "a/a", "b", "", "a"] {
        let error = writer.push(&object(wrong, 1)).expect_err(wrong);
        assert!(matches!(error, Error::Object { .. }), "{error}");
    }
    let long = format!("a/c{}", "x".repeat(70_000));
    assert!(matches!(
        writer.push(&object(&long, 1)),
        Err(Error::Object { .. })
    ));
    drop(writer);
    assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0);
    write(&path, &[object("a", 1)]).expect("written");
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o400, 0o400);
    assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1);
    let nowhere = Path::new("/nonexistent/data.idx");
    assert!(matches!(write(nowhere, &[]), Err(Error::File { .. })));
}

#[test]
fn indexed_store_asks_the_bucket_for_bytes_only_and_changes_nothing() {
    let bucket = FakeStore::deterministic();
    bucket.put("a", Bytes::from_static(b"x"));
    let (_directory, store) = indexed(&bucket);
    let key = Key::new("a").expect("a key");
    block_on(store.head(&key)).expect("there");
    pages(&store, &ListRequest::default());
    let request = PutRequest::new(key.clone());
    let put = block_on(store.put(request, Bytes::new()));
    assert_eq!(put.map_err(|error| error.kind()), Err(ErrorKind::Invalid));
    let deleted = block_on(store.delete(&key));
    assert_eq!(
        deleted.map_err(|error| error.kind()),
        Err(ErrorKind::Invalid)
    );
    assert_eq!(bucket.log(), []);
    assert_eq!(bucket.count(Op::Get), 0);
}

#[test]
fn body_of_an_object_that_is_gone_or_replaced_is_of_another_version() {
    let bucket = FakeStore::deterministic();
    for key in ["gone", "replaced", "same"] {
        bucket.put(key, Bytes::from_static(b"body"));
    }
    let (_directory, store) = indexed(&bucket);
    bucket.remove("gone");
    bucket.put("replaced", Bytes::from_static(b"other"));
    for (key, expected) in [
        ("gone", Err(ErrorKind::Precondition)),
        ("replaced", Err(ErrorKind::Precondition)),
        ("same", Ok(())),
    ] {
        let key = Key::new(key).expect("a key");
        let info = block_on(store.head(&key)).expect("there");
        let request = GetRequest {
            key,
            if_match: info.etag,
            size: info.size,
            range: 0..info.size,
            window: info.size,
            is_hedge: false,
        };
        let sink = Arc::new(Outcome::default());
        let started = store.get(request, Arc::clone(&sink) as Arc<dyn BodySink>);
        drop(started.expect("started"));
        let outcome = sink.0.lock().expect("no panic").take();
        assert_eq!(outcome.expect("it has ended"), expected);
    }
}

/// Keeps how a body has ended.
#[derive(Default)]
struct Outcome(Mutex<Option<Result<(), ErrorKind>>>);

impl BodySink for Outcome {
    fn part(&self, _offset: u64, _bytes: Bytes) {}

    fn finish(&self, result: Result<(), crate::s3::Error>) {
        let result = result.map_err(|error| error.kind());
        *self.0.lock().expect("no panic") = Some(result);
    }
}

#[test]
fn compare_tells_what_was_added_removed_and_changed() {
    let known = [object("a", 1), object("b", 1), object("c", 1)];
    let found = [
        object("b", 2),
        object("c", 1),
        object("d", 1),
        object("e", 1),
    ];
    let mut lines = Vec::new();
    let mut report = |change: Change, key: &str| lines.push(format!("{change:?} {key}"));
    let count = compare(
        known.clone().into_iter().map(Ok),
        found.into_iter().map(Ok),
        &mut report,
    );
    assert_eq!(count.expect("compared"), 4);
    assert_eq!(lines, ["Removed a", "Changed b", "Added d", "Added e"]);
    let same = compare(
        known.clone().into_iter().map(Ok),
        known.into_iter().map(Ok),
        &mut |change, key| panic!("{change:?} {key}"),
    );
    assert_eq!(same.expect("compared"), 0);
}
