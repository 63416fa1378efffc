//! Files that are written in any order (`--write-mode staged`), with the real binary.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::io::Errno;
use s3_test_server::{Fault, Model, Rule};
use tempfile::TempDir;

use crate::namespace::{assert_errno, on_all_stores};
use crate::reading::{MIB, bytes};
use crate::support::local::Local;
use crate::support::mount::{Mount, Mounting};
use crate::support::store::TestStore;
use crate::writeback::wait_for_no_upload;

on_all_stores!(writes_in_any_order_are_stored);

/// A mount that stages files in `stage`.
fn mounting(store: &dyn TestStore, bucket: &str, stage: &Path) -> Mounting {
    let stage = stage.to_str().expect("UTF-8");
    let flags = ["--write-mode", "staged", "--stage", stage];
    let allowed = ["--allow-overwrite", "--allow-delete", "--allow-rename"];
    store.mounting(bucket).with(&flags).with(&allowed)
}

fn stage() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Staged files, of any mount.
fn records(stage: &Path) -> usize {
    let sessions = fs::read_dir(stage).expect("a directory");
    let files = sessions.flat_map(|session| fs::read_dir(session.unwrap().path()).unwrap());
    let names = files.map(|file| file.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".json"))
        .count()
}

/// Runs `mount-s3 staged` as a process that has the credentials of the store.
fn staged(store: &dyn TestStore, action: &str, stage: &Path, more: &[&str]) -> Output {
    let (access_key, secret_key) = store.credentials();
    Command::new(env!("CARGO_BIN_EXE_mount-s3"))
        .args(["staged", action, "--stage"])
        .arg(stage)
        .args(more)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ACCESS_KEY_ID", access_key)
        .env("AWS_SECRET_ACCESS_KEY", secret_key)
        .stdin(Stdio::null())
        .output()
        .expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn open(mount: &Mount, name: &str) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options.open(mount.join(name)).expect("it opens")
}

fn writes_in_any_order_are_stored(store: &dyn TestStore) {
    let mut body = bytes(5, 0, 30 * MIB + 77);
    let bucket = store.bucket_with(&[("large", &body)]);
    let stage = stage();
    let mount = mounting(store, &bucket, stage.path()).mount();
    let mut file = open(&mount, "large");
    for (offset, length) in [(3, 10), (20 * MIB + 1, 300_000), (9 * MIB, MIB), (0, 1)] {
        let piece = bytes(offset + 99, 0, length);
        file.write_all_at(&piece, offset).unwrap();
        let start = usize::try_from(offset).unwrap();
        body[start..start + piece.len()].copy_from_slice(&piece);
    }
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(b"the end").unwrap();
    body.extend_from_slice(b"the end");
    // Before it is stored, after that, and by another open.
    for _ in 0..2 {
        let mut read = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut read).unwrap();
        assert!(read == body);
        file.sync_all().unwrap();
        assert!(fs::read(mount.join("large")).unwrap() == body);
    }
    drop(file);

    let mut new = File::create(mount.join("new")).unwrap();
    new.write_all(b"header:    ; body").unwrap();
    new.write_all_at(b"1234", 7).unwrap();
    drop(new);
    let mut again = OpenOptions::new()
        .append(true)
        .open(mount.join("new"))
        .unwrap();
    again.write_all(b" and more").unwrap();
    drop(again);
    open(&mount, "new").set_len(6).unwrap();
    fs::write(mount.join("empty"), "").unwrap();
    assert!(mount.unmount().success());
    assert_eq!(fs::read_dir(stage.path()).unwrap().count(), 0);

    let mount = store.mounting(&bucket).mount();
    assert!(fs::read(mount.join("large")).unwrap() == body);
    assert_eq!(fs::read(mount.join("new")).unwrap(), b"header");
    assert_eq!(fs::read(mount.join("empty")).unwrap(), b"");
}

#[test]
fn parts_that_did_not_change_are_copied_in_the_store() {
    let local = Local::start();
    let bucket = local.fresh_bucket();
    local.plant(&bucket, "f", 400 * MIB, 1);
    let stage = stage();
    let mount = mounting(&local, &bucket, stage.path()).mount();
    let file = open(&mount, "f");
    file.write_all_at(b"changed", 200 * MIB).unwrap();
    let sent = local.body_bytes_sent();
    assert!(sent <= MIB, "{sent} bytes were fetched for a write of 7");
    file.sync_all().unwrap();
    assert_eq!(local.count("UploadPart"), 1);
    assert!((2..=4).contains(&local.count("UploadPartCopy")));
    assert!(local.body_bytes_sent() <= 9 * MIB);
    let mut expected = bytes(1, 0, 400 * MIB);
    expected[usize::try_from(200 * MIB).unwrap()..][..7].copy_from_slice(b"changed");
    assert!(local.body(&bucket, "f").unwrap() == expected);
    // Nothing has changed since.
    let requests = local.requests();
    file.sync_all().unwrap();
    assert_eq!(local.requests(), requests);
}

#[test]
fn killed_daemon_leaves_what_can_be_recovered() {
    let local = Local::start();
    let bucket = local.bucket_with(&[("old", b"0123456789"), ("other", b"x"), ("taken", b"1")]);
    let stage = stage();
    let mut mount = mounting(&local, &bucket, stage.path()).mount();
    let (old, taken) = (open(&mount, "old"), open(&mount, "taken"));
    old.write_all_at(b"abc", 2).unwrap();
    taken.write_all_at(b"mine, and longer", 0).unwrap();
    let new = File::create(mount.join("new")).unwrap();
    new.write_all_at(&bytes(1, 0, 20 * MIB), 0).unwrap();
    let thrown = File::create(mount.join("thrown away")).unwrap();
    thrown.write_all_at(b"x", 0).unwrap();

    let listed = staged(&local, "list", stage.path(), &[]);
    assert!(text(&listed.stdout).contains("mounted"), "{listed:?}");
    let refused = staged(&local, "recover", stage.path(), &["--all"]);
    assert!(
        refused.status.success() && refused.stdout.is_empty(),
        "{refused:?}"
    );

    mount.kill();
    drop((old, taken, new, thrown, mount));
    assert_eq!(local.body(&bucket, "old").unwrap(), b"0123456789");
    assert_eq!(local.keys(&bucket), ["old", "other", "taken"]);
    local.put(&bucket, "taken", b"by somebody else");

    let listed = staged(&local, "list", stage.path(), &[]);
    let table = text(&listed.stdout);
    let line = |name: &str| {
        let object = format!("s3://{bucket}/{name}");
        let line = table.lines().find(|line| line.ends_with(&object));
        line.unwrap_or_else(|| panic!("{object} in {table}"))
            .to_owned()
    };
    assert!(line("old").contains(" left "), "{table}");
    let name = |line: String| line.split(' ').next().unwrap_or_default().to_owned();
    let thrown = name(line("thrown away"));
    let discarded = staged(&local, "discard", stage.path(), &[&thrown]);
    assert!(discarded.status.success(), "{discarded:?}");

    let recovered = staged(&local, "recover", stage.path(), &["--all"]);
    assert_eq!(recovered.status.code(), Some(1), "{recovered:?}");
    assert!(text(&recovered.stderr).contains("taken"), "{recovered:?}");
    assert_eq!(local.body(&bucket, "old").unwrap(), b"01abc56789");
    assert!(local.body(&bucket, "new").unwrap() == bytes(1, 0, 20 * MIB));
    assert_eq!(local.body(&bucket, "taken").unwrap(), b"by somebody else");
    assert_eq!(records(stage.path()), 1);

    let forced = staged(&local, "recover", stage.path(), &["--all", "--force"]);
    assert!(forced.status.success(), "{forced:?}");
    assert_eq!(local.body(&bucket, "taken").unwrap(), b"mine, and longer");
    assert_eq!(local.keys(&bucket), ["new", "old", "other", "taken"]);
    let listed = staged(&local, "list", stage.path(), &[]);
    assert_eq!(text(&listed.stdout), "no file is staged\n");
    assert_eq!(fs::read_dir(stage.path()).unwrap().count(), 0);
}

/// A file system of a few bytes, until this is dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(bytes: u64) -> Self {
        let disk = Self(stage());
        let size = format!("size={bytes},mode=700");
        let line = ["-t", "tmpfs", "-o", &size, "tmpfs"];
        let status = Command::new("mount").args(line).arg(disk.0.path()).status();
        assert!(status.expect("run mount").success());
        disk
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .status();
    }
}

#[test]
fn full_disk_is_told_to_the_writer_and_nothing_is_lost() {
    let local = Local::start();
    let bucket = local.bucket_with(&[("old", &bytes(1, 0, MIB))]);
    let disk = SmallDisk::new(2 * MIB);
    let mount = mounting(&local, &bucket, disk.0.path()).mount();
    let old = open(&mount, "old");
    old.write_all_at(b"changed", 5).unwrap();
    fs::write(mount.join("new"), "").unwrap();
    let new = open(&mount, "new");
    new.write_all_at(b"first", 0).unwrap();
    let huge = bytes(2, 0, 4 * MIB);
    assert_errno(new.write_all_at(&huge, 5), Errno::NOSPC);
    // What was written before is there, and can be stored.
    let mut head = [0; 5];
    new.read_exact_at(&mut head, 0).unwrap();
    assert_eq!(&head, b"first");
    new.set_len(5).unwrap();
    new.sync_all().unwrap();
    assert_eq!(local.body(&bucket, "new").unwrap(), b"first");
    drop(new);
    old.sync_all().unwrap();
    let mut expected = bytes(1, 0, MIB);
    expected[5..12].copy_from_slice(b"changed");
    assert!(local.body(&bucket, "old").unwrap() == expected);
    drop(old);
    fs::write(mount.join("later"), "there is room").unwrap();
    assert_eq!(local.body(&bucket, "later").unwrap(), b"there is room");
    assert!(mount.unmount().success());
}

#[test]
fn failed_upload_is_told_by_close_and_tried_again() {
    let local = Local::start();
    let bucket = local.fresh_bucket();
    let stage = stage();
    let mount = mounting(&local, &bucket, stage.path()).mount();
    let denied = |operation: &str| {
        let rule = Rule::new(Fault::Error {
            status: 403,
            code: "AccessDenied".to_owned(),
        });
        local.set_model(Model {
            rules: vec![rule.on(operation)],
            ..Model::default()
        });
    };
    for (name, size, operation) in [
        ("small", 10, "PutObject"),
        ("a", 9 * MIB, "CreateMultipartUpload"),
        ("b", 9 * MIB, "UploadPart"),
        ("c", 9 * MIB, "CompleteMultipartUpload"),
    ] {
        denied(operation);
        let body = bytes(size, 0, size);
        let file = File::create(mount.join(name)).unwrap();
        file.write_all_at(&body, 0).unwrap();
        assert_errno(file.sync_all(), Errno::ACCESS);
        // Nothing is lost for those who look again.
        assert!(fs::read(mount.join(name)).unwrap() == body);
        drop(file);
        assert_eq!(local.body(&bucket, name), None);
        assert!(fs::read(mount.join(name)).unwrap() == body);
        local.set_model(Model::default());
        open(&mount, name).sync_all().unwrap();
        assert!(local.body(&bucket, name).unwrap() == body);
    }
    wait_for_no_upload(&local, &bucket);
    // What could not be stored is tried once more at the end of the mount.
    denied("PutObject");
    let file = File::create(mount.join("last")).unwrap();
    file.write_all_at(b"last", 0).unwrap();
    assert_errno(file.sync_all(), Errno::ACCESS);
    drop(file);
    local.set_model(Model::default());
    assert!(mount.unmount().success());
    assert_eq!(local.body(&bucket, "last").unwrap(), b"last");
    assert_eq!(fs::read_dir(stage.path()).unwrap().count(), 0);
}

#[test]
fn removed_and_replaced_files_stay_for_those_who_have_them_open() {
    let local = Local::start();
    let bucket = local.bucket_with(&[("f", b"text"), ("g", b"other")]);
    let stage = stage();
    let mount = mounting(&local, &bucket, stage.path()).mount();
    let (f, g) = (open(&mount, "f"), open(&mount, "g"));
    f.write_all_at(b"T", 0).unwrap();
    g.write_all_at(b"O", 0).unwrap();
    fs::remove_file(mount.join("f")).unwrap();
    assert_errno(fs::metadata(mount.join("f")), Errno::NOENT);
    assert_eq!(local.keys(&bucket), ["g"]);
    f.write_all_at(b"longer", 0).unwrap();
    let mut read = [0; 6];
    f.read_exact_at(&mut read, 0).unwrap();
    assert_eq!(&read, b"longer");
    fs::write(mount.join("new"), "new").unwrap();
    fs::rename(mount.join("new"), mount.join("g")).unwrap();
    let mut read = [0; 5];
    g.read_exact_at(&mut read, 0).unwrap();
    assert_eq!(&read, b"Other");
    g.sync_all().unwrap();
    drop((f, g));
    assert!(mount.unmount().success());
    assert_eq!(local.keys(&bucket), ["g"]);
    assert_eq!(local.body(&bucket, "g").unwrap(), b"new");
}
