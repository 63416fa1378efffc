//! The namespace on all stores, statement by statement.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use crate::support::store::TestStore;

/// Makes every function a test on the local server, one on SeaweedFS and one on Ceph RGW.
macro_rules! on_all_stores {
    ($($name:ident),* $(,)?) => {
        mod local {
            $(#[test] fn $name() { super::$name(crate::support::local::Local::shared()); })*
        }
        mod seaweed {
            $(#[test] fn $name() { super::$name(crate::support::seaweed::SeaweedFs::shared()); })*
        }
        mod rgw {
            $(#[test] fn $name() { super::$name(crate::support::rgw::Rgw::shared()); })*
        }
    };
}
pub(crate) use on_all_stores;

on_all_stores!(
    s01_common_prefixes_are_directories,
    s01_prefix_mount_shows_only_the_prefix,
    s02_markers_are_empty_directories,
    s03_names_that_cannot_exist_are_refused,
    s04_directory_hides_the_file_of_its_name,
    s06_readdir_pages_through_a_large_directory_in_order,
    s06_rewinddir_lists_anew,
    s11_missing_name_that_appears_is_seen_at_once,
    s11_ttl_keeps_what_was_looked_up,
    s12_changes_by_others_are_seen_within_a_second,
    s13_open_handle_never_mixes_two_versions,
    s14_replaced_object_has_another_inode,
    s15_synchronous_open_is_refused,
    s16_changing_what_exists_is_refused,
    s20_open_of_directories_and_missing_names,
    s31_links_and_attributes_are_refused,
    s32_stat_shows_object_metadata,
    s33_statfs_shows_a_file_system_without_limits,
);

fn s01_common_prefixes_are_directories(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("a/b/c.txt", b"hello"), ("a/d.txt", b"world"), ("top", b"")]);
    let before = SystemTime::now() - Duration::from_secs(1);
    let mount = store.mounting(&bucket).mount();
    assert_eq!(names(mount.path()), ["a", "top"]);
    assert_eq!(names(&mount.join("a")), ["b", "d.txt"]);
    assert_eq!(fs::read(mount.join("a/b/c.txt")).unwrap(), b"hello");
    let directory = fs::metadata(mount.join("a/b")).unwrap();
    assert!(directory.is_dir());
    assert_eq!(
        (directory.permissions().mode() & 0o7777, directory.nlink()),
        (0o755, 2)
    );
    assert!(
        directory.modified().unwrap() >= before,
        "mtime is the mount's time"
    );
    let root = fs::metadata(mount.path()).unwrap();
    assert_eq!(
        (root.permissions().mode() & 0o7777, root.nlink()),
        (0o755, 2)
    );
}

fn s01_prefix_mount_shows_only_the_prefix(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("in/x/y", b"1"), ("in/z", b"22"), ("out", b"333")]);
    let mount = store.mounting(&bucket).with(&["--prefix", "in/"]).mount();
    assert_eq!(names(mount.path()), ["x", "z"]);
    assert_eq!(fs::read(mount.join("x/y")).unwrap(), b"1");
    let mount = store.mounting(&format!("s3://{bucket}/in/x/")).mount();
    assert_eq!(names(mount.path()), ["y"]);
}

fn s02_markers_are_empty_directories(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("red/", b""), ("with/", b""), ("with/file", b"1")]);
    let mount = store.mounting(&bucket).mount();
    assert_eq!(names(mount.path()), ["red", "with"]);
    assert!(fs::metadata(mount.join("red")).unwrap().is_dir());
    assert_eq!(names(&mount.join("red")), [""; 0]);
    assert_eq!(names(&mount.join("with")), ["file"]);
}

fn s03_names_that_cannot_exist_are_refused(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("file", b"1")]);
    let mount = store.mounting(&bucket).mount();
    let not_text = mount.path().join(OsStr::from_bytes(b"\xff\xfe"));
    assert_errno(fs::metadata(not_text), Errno::INVAL);
    assert_errno(
        fs::metadata(mount.join(&"n".repeat(256))),
        Errno::NAMETOOLONG,
    );
    assert_errno(fs::metadata(mount.join(&"n".repeat(255))), Errno::NOENT);
    assert_errno(fs::metadata(mount.join("file/x")), Errno::NOTDIR);
}

fn s04_directory_hides_the_file_of_its_name(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("blue/x", b"1"), ("blue", b"file"), ("blue-2", b"22")]);
    let mount = store.mounting(&bucket).mount();
    assert_eq!(names(mount.path()), ["blue", "blue-2"]);
    assert!(fs::metadata(mount.join("blue")).unwrap().is_dir());
    assert_eq!(fs::read(mount.join("blue/x")).unwrap(), b"1");
}

fn s06_readdir_pages_through_a_large_directory_in_order(store: &dyn TestStore) {
    let bucket = store.fresh_bucket();
    let expected: Vec<_> = (0..2_345).map(|i| format!("{i:05}")).collect();
    for name in &expected {
        store.put(&bucket, &format!("d/{name}"), name.as_bytes());
    }
    let mount = store.mounting(&bucket).mount();
    let listed: Vec<_> = fs::read_dir(mount.join("d"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(listed, expected);
}

fn s06_rewinddir_lists_anew(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("a", b"1"), ("b", b"2")]);
    let mount = store.mounting(&bucket).mount();
    let directory = fs::File::open(mount.path()).unwrap();
    let mut stream = rustix::fs::Dir::read_from(&directory).unwrap();
    let mut listed = || {
        let mut names = BTreeSet::new();
        while let Some(entry) = stream.read() {
            names.insert(entry.unwrap().file_name().to_string_lossy().into_owned());
        }
        stream.rewind();
        names
    };
    assert_eq!(
        listed(),
        BTreeSet::from([".", "..", "a", "b"].map(str::to_owned))
    );
    store.put(&bucket, "c", b"3");
    assert_eq!(
        listed(),
        BTreeSet::from([".", "..", "a", "b", "c"].map(str::to_owned))
    );
}

fn s11_missing_name_that_appears_is_seen_at_once(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("other", b"1")]);
    let mount = store.mounting(&bucket).mount();
    assert_errno(fs::metadata(mount.join("new")), Errno::NOENT);
    store.put(&bucket, "new", b"12345");
    assert_eq!(fs::read(mount.join("new")).unwrap(), b"12345");
    assert_eq!(names(mount.path()), ["new", "other"]);
}

fn s11_ttl_keeps_what_was_looked_up(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("known", b"1")]);
    let mount = store
        .mounting(&bucket)
        .with(&["--metadata-ttl", "3600"])
        .mount();
    assert_eq!(fs::metadata(mount.join("known")).unwrap().len(), 1);
    assert_errno(fs::metadata(mount.join("new")), Errno::NOENT);
    store.put(&bucket, "known", b"22");
    store.put(&bucket, "new", b"333");
    sleep(Duration::from_millis(1_200));
    assert_eq!(fs::metadata(mount.join("known")).unwrap().len(), 1);
    assert_errno(fs::metadata(mount.join("new")), Errno::NOENT);
}

fn s12_changes_by_others_are_seen_within_a_second(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("f", b"1"), ("gone", b"1")]);
    let mount = store.mounting(&bucket).mount();
    assert_eq!(fs::metadata(mount.join("f")).unwrap().len(), 1);
    assert!(fs::metadata(mount.join("gone")).is_ok());
    store.put(&bucket, "f", b"22");
    store.delete(&bucket, "gone");
    // An open always asks S3, whatever the kernel still believes.
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"22");
    sleep(Duration::from_millis(1_100));
    assert_eq!(fs::metadata(mount.join("f")).unwrap().len(), 2);
    assert_errno(fs::metadata(mount.join("gone")), Errno::NOENT);
    assert_eq!(names(mount.path()), ["f"]);
}

fn s13_open_handle_never_mixes_two_versions(store: &dyn TestStore) {
    const LENGTH: usize = 24 << 20;
    let (old, new) = (vec![b'o'; LENGTH], vec![b'n'; LENGTH]);
    let bucket = store.bucket_with(&[("f", &old)]);
    let mount = store.mounting(&bucket).mount();
    let mut file = fs::File::open(mount.join("f")).unwrap();
    let mut head = vec![0; 1 << 20];
    file.read_exact(&mut head).unwrap();
    assert_eq!(head, old[..1 << 20]);
    store.put(&bucket, "f", &new);
    let mut rest = Vec::new();
    match file.read_to_end(&mut rest) {
        Ok(_) => assert!(
            rest == old[1 << 20..],
            "the handle shows bytes of another version"
        ),
        Err(error) => {
            assert_stale(&error);
            assert!(
                rest.iter().all(|&byte| byte == b'o'),
                "bytes of another version"
            );
        }
    }
    assert!(
        fs::read(mount.join("f")).unwrap() == new,
        "a new open shows the new version"
    );
}

fn s14_replaced_object_has_another_inode(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("f", b"old")]);
    let mount = store.mounting(&bucket).mount();
    let old = fs::metadata(mount.join("f")).unwrap().ino();
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"old");
    store.put(&bucket, "f", b"new");
    sleep(Duration::from_millis(1_100));
    assert_ne!(fs::metadata(mount.join("f")).unwrap().ino(), old);
    // The page cache of the old version must not show through.
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"new");
}

fn s15_synchronous_open_is_refused(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("f", b"1")]);
    let mount = store.mounting(&bucket).mount();
    for flag in [libc::O_SYNC, libc::O_DSYNC] {
        let opened = fs::OpenOptions::new()
            .read(true)
            .custom_flags(flag)
            .open(mount.join("f"));
        assert_errno(opened, Errno::INVAL);
    }
}

fn s16_changing_what_exists_is_refused(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("f", b"1"), ("d/x", b"1")]);
    let mount = store.mounting(&bucket).mount();
    assert_errno(
        fs::OpenOptions::new().write(true).open(mount.join("f")),
        Errno::PERM,
    );
    assert_errno(
        fs::OpenOptions::new().append(true).open(mount.join("f")),
        Errno::PERM,
    );
    assert_errno(fs::remove_file(mount.join("f")), Errno::PERM);
    assert!(fs::File::create(mount.join("f")).is_err());
    assert!(fs::remove_dir(mount.join("d")).is_err());
    assert!(fs::rename(mount.join("f"), mount.join("g")).is_err());
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"1");
    assert_eq!(names(mount.path()), ["d", "f"]);
    drop(mount);

    let mount = store.mounting(&bucket).with(&["--read-only"]).mount();
    assert_errno(
        fs::OpenOptions::new().write(true).open(mount.join("f")),
        Errno::ROFS,
    );
    assert_errno(fs::File::create(mount.join("new")), Errno::ROFS);
    assert_errno(fs::create_dir(mount.join("new")), Errno::ROFS);
    assert_errno(fs::remove_file(mount.join("f")), Errno::ROFS);
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"1");
}

fn s20_open_of_directories_and_missing_names(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("d/x", b"1")]);
    let mount = store.mounting(&bucket).mount();
    assert_errno(
        fs::OpenOptions::new().write(true).open(mount.join("d")),
        Errno::ISDIR,
    );
    assert_errno(fs::File::open(mount.join("missing")), Errno::NOENT);
    assert_errno(fs::File::open(mount.join("missing/below")), Errno::NOENT);
}

fn s31_links_and_attributes_are_refused(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("f", b"1")]);
    let mount = store.mounting(&bucket).mount();
    assert_errno(
        std::os::unix::fs::symlink("f", mount.join("link")),
        Errno::PERM,
    );
    assert_errno(
        fs::hard_link(mount.join("f"), mount.join("link")),
        Errno::PERM,
    );
    let mut value = [0_u8; 16];
    let attribute = rustix::fs::getxattr(mount.join("f"), "user.x", &mut value[..]);
    assert_eq!(attribute.unwrap_err(), Errno::OPNOTSUPP);
}

fn s32_stat_shows_object_metadata(store: &dyn TestStore) {
    let before = SystemTime::now() - Duration::from_secs(2);
    let bucket = store.bucket_with(&[("f", &[7; 1_025])]);
    let mounting = store
        .mounting(&bucket)
        .with(&["--uid", "1234", "--gid", "4321"]);
    let mount = mounting
        .with(&["--file-mode", "0640", "--dir-mode", "0750"])
        .mount();
    let stat = fs::metadata(mount.join("f")).unwrap();
    assert_eq!(
        (stat.len(), stat.blocks(), stat.blksize(), stat.nlink()),
        (1_025, 3, 4_096, 1)
    );
    assert_eq!(
        (stat.uid(), stat.gid(), stat.mode()),
        (1_234, 4_321, 0o100_640)
    );
    assert_eq!((stat.atime(), stat.ctime()), (stat.mtime(), stat.mtime()));
    assert!(stat.modified().unwrap() >= before && stat.modified().unwrap() <= SystemTime::now());
    assert_eq!(fs::metadata(mount.path()).unwrap().mode(), 0o040_750);
}

fn s33_statfs_shows_a_file_system_without_limits(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("f", b"1")]);
    let mount = store.mounting(&bucket).mount();
    let statfs = rustix::fs::statvfs(mount.path()).unwrap();
    let without_limit = u64::MAX / 1024;
    assert_eq!(
        (statfs.f_blocks, statfs.f_bavail),
        (without_limit, without_limit)
    );
    assert_eq!(
        (statfs.f_files, statfs.f_ffree),
        (without_limit, without_limit)
    );
    assert_eq!((statfs.f_bsize, statfs.f_namemax), (512, 255));
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

/// Asserts that an operation failed with `errno`.
#[track_caller]
pub(crate) fn assert_errno<T: std::fmt::Debug>(result: io::Result<T>, errno: Errno) {
    let error = result.expect_err("the operation must fail");
    assert_eq!(Errno::from_io_error(&error), Some(errno), "{error}");
}

/// Asserts that a buffered read failed because the object is another version by now. The daemon
/// answers `ESTALE`; the page cache of newer kernels makes one error of all, `EIO`.
pub(crate) fn assert_stale(error: &io::Error) {
    let errno = Errno::from_io_error(error);
    assert!(matches!(errno, Some(Errno::STALE | Errno::IO)), "{error}");
}
