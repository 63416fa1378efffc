//! Writing with the real binary to the local S3 server, as programs do it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::process::Command;

use rustix::io::Errno;
use s3_test_server::{Fault, Model, Rule};

use crate::namespace::{assert_errno, names, on_all_stores};
use crate::reading::{MIB, bytes};
use crate::support::local::Local;
use crate::support::mount::Mount;
use crate::support::rgw::Rgw;
use crate::support::store::TestStore;

on_all_stores!(
    written_files_are_read_back_from_another_mount,
    s09_s28_deleted_files_are_gone_at_once,
    s16_overwritten_files_show_their_new_version_at_once,
);

fn written_files_are_read_back_from_another_mount(store: &dyn TestStore) {
    let bucket = store.fresh_bucket();
    let mount = store.mounting(&bucket).mount();
    fs::create_dir_all(mount.join("a/b")).unwrap();
    let sizes = [
        0,
        1,
        4096,
        8 * MIB - 1,
        8 * MIB,
        8 * MIB + 1,
        40 * MIB + 999,
    ];
    for size in sizes {
        let path = mount.join(&format!("a/b/{size}"));
        let mut file = File::create(&path).unwrap();
        file.write_all(&bytes(size, 0, size)).unwrap();
        file.sync_all().unwrap();
        drop(file);
        assert!(fs::read(&path).unwrap() == bytes(size, 0, size), "{size}");
    }
    drop(mount);
    let mount = store.mounting(&bucket).mount();
    for size in sizes {
        let body = fs::read(mount.join(&format!("a/b/{size}"))).unwrap();
        assert!(body == bytes(size, 0, size), "{size}");
    }
}

fn s16_overwritten_files_show_their_new_version_at_once(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("f", b"old")]);
    let flags = ["--allow-overwrite", "--metadata-ttl", "3600"];
    let mount = store.mounting(&bucket).with(&flags).mount();
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"old");
    for text in ["new", "a longer one", "new", ""] {
        fs::write(mount.join("f"), text).unwrap();
        assert_eq!(
            fs::metadata(mount.join("f")).unwrap().len(),
            text.len() as u64
        );
        assert_eq!(fs::read_to_string(mount.join("f")).unwrap(), text);
    }
}

fn s09_s28_deleted_files_are_gone_at_once(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("a", b"1"), ("b", b"2")]);
    let flags = ["--allow-delete", "--metadata-ttl", "3600"];
    let mount = store.mounting(&bucket).with(&flags).mount();
    assert_eq!(fs::read(mount.join("a")).unwrap(), b"1");
    fs::remove_file(mount.join("a")).unwrap();
    assert_errno(fs::metadata(mount.join("a")), Errno::NOENT);
    assert_eq!(names(mount.path()), ["b"]);
    fs::write(mount.join("a"), "anew").unwrap();
    assert_eq!(fs::read(mount.join("a")).unwrap(), b"anew");
}

/// Runs a shell script in the root of the mount.
pub(super) fn sh(mount: &Mount, script: &str) {
    let output = Command::new("bash")
        .args(["-ec", script])
        .current_dir(mount.path())
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{script}: {output:?}");
}

#[test]
fn s25_programs_that_write_find_their_files_stored() {
    let local = Local::start();
    let bucket = local.fresh_bucket();
    let mount = local.mounting(&bucket).mount();
    let source = tempfile::NamedTempFile::new().unwrap();
    let body = bytes(5, 0, 20 * MIB + 5);
    fs::write(source.path(), &body).unwrap();
    let source = source.path().display();
    sh(&mount, "echo text > redirected; (echo 1; echo 2) > group");
    sh(&mount, "echo teed | tee tee-a > tee-b");
    sh(&mount, &format!("cp {source} copied; cmp {source} copied"));
    sh(&mount, &format!("cp -a {source} kept; cmp {source} kept"));
    sh(&mount, &format!("dd if={source} of=small bs=4k 2>&1"));
    sh(
        &mount,
        &format!("dd if={source} of=direct bs=4M oflag=direct 2>&1"),
    );
    sh(
        &mount,
        &format!("dd if={source} of=synced bs=1M conv=fsync 2>&1"),
    );
    for key in ["copied", "kept", "small", "direct", "synced"] {
        assert!(local.body(&bucket, key).expect(key) == body, "{key}");
    }
    for (key, text) in [
        ("redirected", "text\n"),
        ("group", "1\n2\n"),
        ("tee-a", "teed\n"),
        ("tee-b", "teed\n"),
    ] {
        assert_eq!(
            local.body(&bucket, key).expect(key),
            text.as_bytes(),
            "{key}"
        );
    }
    sh(&mount, "touch touched; test -f touched; cat touched");
    assert!(mount.unmount().success());
    assert_eq!(local.body(&bucket, "touched"), Some(Vec::new()));
    assert_eq!(local.uploads(&bucket), [""; 0]);
}

#[test]
fn s25_child_that_closes_does_not_complete_what_its_parent_writes() {
    let local = Local::start();
    let bucket = local.fresh_bucket();
    let mount = local.mounting(&bucket).mount();
    let mut file = File::create(mount.join("f")).unwrap();
    drop(file.try_clone().unwrap());
    file.write_all(b"before ").unwrap();
    // The child has a copy of every descriptor, and closes them when it becomes another program.
    assert!(Command::new("true").status().unwrap().success());
    assert_eq!(local.body(&bucket, "f"), None);
    file.write_all(b"after").unwrap();
    drop(file);
    assert_eq!(
        local.body(&bucket, "f").as_deref(),
        Some(&b"before after"[..])
    );
}

#[test]
fn killed_daemon_leaves_nothing_under_the_name() {
    let local = Local::start();
    let bucket = local.fresh_bucket();
    let mut mount = local.mounting(&bucket).mount();
    let mut small = File::create(mount.join("small")).unwrap();
    small.write_all(b"lost").unwrap();
    let mut large = File::create(mount.join("large")).unwrap();
    large.write_all(&bytes(1, 0, 30 * MIB)).unwrap();
    mount.kill();
    assert!(large.write_all(b"more").is_err());
    assert!(large.sync_all().is_err());
    assert_eq!(local.keys(&bucket), [""; 0]);
}

#[test]
fn unmount_while_a_file_is_written_leaves_nothing() {
    let local = Local::start();
    let bucket = local.fresh_bucket();
    let mut mount = local.mounting(&bucket).mount();
    let mut file = File::create(mount.join("f")).unwrap();
    file.write_all(&bytes(1, 0, 30 * MIB)).unwrap();
    let pid = mount.pid().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(sent.expect("it runs").success());
    assert!(mount.wait().success());
    assert!(file.sync_all().is_err());
    // What the daemon has asked for may be done after its end.
    local.wait_for_no_connection();
    assert_eq!(local.keys(&bucket), [""; 0]);
    assert_eq!(local.uploads(&bucket), [""; 0]);
}

#[test]
fn small_file_costs_one_lookup_and_one_put() {
    let local = Local::start();
    let bucket = local.fresh_bucket();
    let mount = local.mounting(&bucket).mount();
    let before = local.requests();
    fs::write(mount.join("f"), "text").unwrap();
    assert_eq!(local.count("PutObject"), 1);
    // And the LIST of the lookup.
    assert_eq!(local.requests() - before, 2);
}

#[test]
fn s24_s27_s29_directory_bucket_appends_and_renames() {
    let local = Local::start_with_directory_buckets();
    let bucket = local.bucket_with(&[("log", b"old\n")]);
    let flags = ["--bucket-type", "directory", "--incremental-upload"];
    let mount = local.mounting(&bucket).with(&flags).mount();
    sh(&mount, "echo one >> log; echo two >> log; echo new > new");
    assert_eq!(
        local.body(&bucket, "log").as_deref(),
        Some(&b"old\none\ntwo\n"[..])
    );
    let mut file = OpenOptions::new()
        .append(true)
        .open(mount.join("log"))
        .unwrap();
    file.write_all(b"three\n").unwrap();
    file.sync_all().unwrap();
    assert!(
        local
            .body(&bucket, "log")
            .unwrap()
            .ends_with(b"two\nthree\n")
    );
    file.write_all(b"four\n").unwrap();
    drop(file);
    assert!(
        local
            .body(&bucket, "log")
            .unwrap()
            .ends_with(b"three\nfour\n")
    );
    fs::rename(mount.join("new"), mount.join("moved")).unwrap();
    assert_eq!(fs::read(mount.join("moved")).unwrap(), b"new\n");
    assert_errno(fs::metadata(mount.join("new")), Errno::NOENT);
    assert_errno(
        fs::rename(mount.join("moved"), mount.join("log")),
        Errno::EXIST,
    );
    assert_eq!(local.keys(&bucket), ["log", "moved"]);
}

/// On a store that takes a rename for a PutObject of nothing, and an append for one of its bytes.
fn unaware_store_loses_nothing(store: &dyn TestStore, bucket: &str) {
    let flags = [
        "--bucket-type",
        "directory",
        "--incremental-upload",
        "--allow-overwrite",
    ];
    let mount = store.mounting(bucket).with(&flags).mount();
    for to in ["d/to", "d/new"] {
        assert_errno(fs::rename(mount.join("from"), mount.join(to)), Errno::IO);
        assert_eq!(fs::read(mount.join("from")).unwrap(), b"source");
        assert_eq!(fs::read(mount.join("d/to")).unwrap(), b"target");
        assert_errno(fs::metadata(mount.join("d/new")), Errno::NOENT);
    }
    let mut log = OpenOptions::new();
    let mut log = log.append(true).open(mount.join("log")).unwrap();
    log.write_all(b"two\n").unwrap();
    assert_errno(log.sync_all(), Errno::IO);
    drop(log);
    assert_eq!(fs::read(mount.join("log")).unwrap(), b"one\n");
    assert_eq!(names(mount.path()), ["d", "from", "log"]);
    assert_eq!(names(&mount.join("d")), ["to"]);
}

const BEFORE: [(&str, &[u8]); 3] = [("d/to", b"target"), ("from", b"source"), ("log", b"one\n")];

#[test]
fn s27_s29_appends_and_renames_on_an_unaware_server_lose_nothing() {
    let local = Local::start();
    let bucket = local.bucket_with(&BEFORE);
    local.set_model(Model {
        rules: vec![Rule::new(Fault::Unaware)],
        ..Model::default()
    });
    unaware_store_loses_nothing(&local, &bucket);
    assert_eq!(local.keys(&bucket), ["d/to", "from", "log"]);
}

#[test]
fn s27_s29_appends_and_renames_on_rgw_lose_nothing() {
    let rgw = Rgw::shared();
    unaware_store_loses_nothing(rgw, &rgw.bucket_with(&BEFORE));
}
