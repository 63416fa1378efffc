//! Mounts of an index: the same tree as without it, the versions that it names, and no questions to S3.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;
use tempfile::TempDir;

use crate::lifecycle::status_bytes;
use crate::namespace::{assert_errno, assert_stale, names, on_all_stores};
use crate::support::local::Local;
use crate::support::mount::{Mount, Mounting};
use crate::support::store::TestStore;

on_all_stores!(indexed_mount_shows_the_whole_tree);

/// An index, in a directory of its own.
pub(crate) struct Index {
    _directory: TempDir,
    path: PathBuf,
}

/// Makes an index of `prefix` of the bucket, as the command does.
pub(crate) fn index(store: &dyn TestStore, bucket: &str, prefix: &str) -> Index {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("data.idx");
    let output = index_command(store, bucket, prefix, &path)
        .output()
        .expect("run mount-s3 index");
    assert!(output.status.success(), "{output:?}");
    Index {
        _directory: directory,
        path,
    }
}

fn index_command(store: &dyn TestStore, bucket: &str, prefix: &str, path: &Path) -> Command {
    let (access_key, secret_key) = store.credentials();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mount-s3"));
    command
        .args(["index", &format!("s3://{bucket}/{prefix}"), "-o"])
        .arg(path)
        .args(["--endpoint-url", &store.endpoint(), "--force-path-style"])
        .args(["--region", "us-east-1"])
        .env("AWS_ACCESS_KEY_ID", access_key)
        .env("AWS_SECRET_ACCESS_KEY", secret_key)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

impl Index {
    /// A mount of `source` with this index.
    fn mounting(&self, store: &dyn TestStore, source: &str) -> Mounting {
        store.mounting(source).with(&self.flag())
    }

    /// What makes a mount use it.
    pub(crate) fn flag(&self) -> [&str; 2] {
        ["--index", self.path.to_str().expect("UTF-8")]
    }
}

/// Every file of a tree with its size, its time and its bytes; directories have none.
fn tree(root: &Path) -> BTreeMap<PathBuf, Option<(u64, i64, Vec<u8>)>> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).expect("readable") {
            let path = entry.expect("an entry").path();
            let metadata = fs::metadata(&path).expect("there");
            let name = path.strip_prefix(root).expect("below").to_owned();
            let file = metadata.is_file().then(|| {
                let bytes = fs::read(&path).expect("readable");
                (metadata.len(), metadata.mtime(), bytes)
            });
            found.insert(name, file);
            if metadata.is_dir() {
                left.push(path);
            }
        }
    }
    found
}

fn indexed_mount_shows_the_whole_tree(store: &dyn TestStore) {
    let bucket = store.fresh_bucket();
    for number in 0..60 {
        let key = format!("data/{}/{number:03}.bin", number % 7);
        store.put(&bucket, &key, format!("body {number}").as_bytes());
    }
    let strange = [
        "top",
        "a b+c%20é",
        "data/x y/z",
        "data/3-",
        "data/30",
        "blue-x",
    ];
    for key in strange {
        store.put(&bucket, key, key.as_bytes());
    }
    store.put(&bucket, "empty/nothing", b"");
    let index = index(store, &bucket, "");
    let plain = store.mounting(&bucket).mount();
    let indexed = index.mounting(store, &bucket).mount();
    assert_eq!(tree(indexed.path()), tree(plain.path()));
    assert_errno(fs::metadata(indexed.join("data/none")), Errno::NOENT);
    assert_errno(fs::metadata(indexed.join("top/none")), Errno::NOTDIR);
    drop(indexed);
    let below = index
        .mounting(store, &format!("s3://{bucket}/data/"))
        .mount();
    assert_eq!(tree(below.path()), tree(&plain.join("data")));
}

/// A server with some objects, and an index of them.
fn indexed() -> (Local, String, Index) {
    let server = Local::start();
    let bucket = server.fresh_bucket();
    server.plant_many(&bucket, "data/", 3_000, 1_000);
    server.plant(&bucket, "large", 20 << 20, 7);
    let index = index(&server, &bucket, "");
    (server, bucket, index)
}

fn open_direct(mount: &Mount, path: &str) -> io::Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(mount.join(path))
}

#[test]
fn no_listing_and_no_head_at_all() {
    let (server, bucket, index) = indexed();
    let questions = || server.count("ListObjectsV2") + server.count("HeadObject");
    let before = questions();
    let mount = index.mounting(&server, &bucket).mount();
    assert_eq!(names(&mount.join("data")).len(), 3_000);
    for number in (0..3_000).step_by(100) {
        let path = mount.join(&format!("data/{number:07}"));
        let expected = server.body(&bucket, &format!("data/{number:07}"));
        assert_eq!(Some(fs::read(path).expect("readable")), expected);
    }
    assert_errno(fs::metadata(mount.join("data/missing")), Errno::NOENT);
    let mut bytes = Vec::new();
    for path in ["large", "data/0000001"] {
        let mut file = open_direct(&mount, path).expect("opened");
        file.read_to_end(&mut bytes).expect("read");
    }
    assert_eq!(bytes.len(), (20 << 20) + 1_000);
    assert_eq!(questions(), before);
}

/// What the kernel knows of an object is kept by the kernel, and found in the index again.
#[test]
fn object_that_was_touched_takes_no_memory() {
    const DIRECTORIES: u64 = 100;
    const EACH: u64 = 1_000;
    let server = Local::start();
    let bucket = server.fresh_bucket();
    for number in 0..DIRECTORIES {
        server.plant_many(&bucket, &format!("{number:03}/"), EACH, 1_000);
    }
    let index = index(&server, &bucket, "");
    let mount = index.mounting(&server, &bucket).mount();
    let touch = |directory: &Path| {
        let names = names(directory);
        for name in &names {
            let path = directory.join(name);
            assert_eq!(fs::metadata(&path).expect("there").len(), 1_000);
            File::open(&path).expect("opened");
        }
        names.len() as u64
    };
    // What the process takes for threads, buffers and blocks of the index.
    touch(&mount.join("000"));
    let before = status_bytes(mount.pid(), "VmRSS");
    let mut touched = 0;
    for number in 1..DIRECTORIES {
        touched += touch(&mount.join(&format!("{number:03}")));
    }
    assert_eq!(touched, (DIRECTORIES - 1) * EACH);
    let grown = status_bytes(mount.pid(), "VmRSS").saturating_sub(before);
    assert!(grown / touched <= 50, "{} bytes an object", grown / touched);
}

#[test]
fn object_replaced_or_deleted_since_is_stale() {
    let (server, bucket, index) = indexed();
    server.plant(&bucket, "data/0000001", 1_000, 999);
    server.plant(&bucket, "large", 20 << 20, 999);
    server.delete(&bucket, "data/0000002");
    server.plant(&bucket, "data/new", 10, 1);
    let mount = index.mounting(&server, &bucket).mount();
    for path in ["data/0000001", "large", "data/0000002"] {
        let mut buffer = Vec::new();
        let direct = open_direct(&mount, path).and_then(|mut file| file.read_to_end(&mut buffer));
        assert_errno(direct, Errno::STALE);
        assert_stale(&fs::read(mount.join(path)).expect_err("stale"));
        // It is not there in another version later, either.
        assert_stale(&fs::read(mount.join(path)).expect_err("stale"));
    }
    assert_errno(fs::metadata(mount.join("data/new")), Errno::NOENT);
    fs::read(mount.join("data/0000003")).expect("as it was");
}

#[test]
fn indexed_mount_cannot_be_changed() {
    let (server, bucket, index) = indexed();
    let mount = index.mounting(&server, &bucket).mount();
    assert_errno(fs::write(mount.join("new"), b"x"), Errno::ROFS);
    assert_errno(fs::write(mount.join("large"), b"x"), Errno::ROFS);
    assert_errno(fs::remove_file(mount.join("large")), Errno::ROFS);
    assert_errno(
        fs::rename(mount.join("large"), mount.join("other")),
        Errno::ROFS,
    );
    assert_errno(fs::create_dir(mount.join("dir")), Errno::ROFS);
}

#[test]
fn file_truncated_under_a_mount_is_an_error_of_the_call() {
    let (server, bucket, index) = indexed();
    let mount = index.mounting(&server, &bucket).mount();
    fs::OpenOptions::new()
        .write(true)
        .open(&index.path)
        .and_then(|file| file.set_len(100))
        .expect("truncated");
    let mut failed = 0;
    for number in 0..3_000 {
        // Some blocks of the index are in memory.
        match fs::metadata(mount.join(&format!("data/{number:07}"))) {
            Ok(metadata) => assert_eq!(metadata.len(), 1_000),
            failure => {
                assert_errno(failure, Errno::IO);
                failed += 1;
            }
        }
    }
    assert!(failed > 0, "no call needed the file");
    fs::metadata(mount.path()).expect("the mount lives");
}
