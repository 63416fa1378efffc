//! Statements that need keys or answers which only the local server gives.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;

use crate::namespace::{assert_errno, names};
use crate::support::local::Local;
use crate::support::store::TestStore;
use crate::support::wait::once_in_five;

#[test]
fn s02_marker_with_content_is_a_directory() {
    let store = Local::shared();
    let bucket = store.bucket_with(&[("blue/", b"content"), ("blue/x", b"1")]);
    let mount = store.mounting(&bucket).mount();
    assert_eq!(names(mount.path()), ["blue"]);
    assert_eq!(names(&mount.join("blue")), ["x"]);
}

#[test]
fn s03_keys_that_no_path_can_name_are_not_shown() {
    let store = Local::shared();
    let long = format!("long/{}", "n".repeat(256));
    let bucket = store.bucket_with(&[
        ("a//b", b"1"),
        ("c/./d", b"1"),
        ("c/../e", b"1"),
        ("./f", b"1"),
        ("../g", b"1"),
        ("/h", b"1"),
        ("c/fine", b"1"),
        ("nul\0byte", b"1"),
        (&long, b"1"),
        ("ctl\u{1}\u{1f}", b"1"),
        ("é ü+%2F&<>\"'", b"1"),
    ]);
    let mount = store.mounting(&bucket).mount();
    let shown = names(mount.path());
    assert_eq!(shown, ["a", "c", "ctl\u{1}\u{1f}", "long", "é ü+%2F&<>\"'"]);
    assert_eq!(names(&mount.join("c")), ["fine"]);
    assert_eq!(names(&mount.join("a")), [""; 0]);
    assert_eq!(names(&mount.join("long")), [""; 0]);
    assert_eq!(fs::read(mount.join("é ü+%2F&<>\"'")).unwrap(), b"1");
    assert_eq!(fs::read(mount.join("ctl\u{1}\u{1f}")).unwrap(), b"1");
}

#[test]
fn s04_last_file_below_gone_uncovers_the_file() {
    let store = Local::shared();
    let bucket = store.bucket_with(&[("blue/x", b"1"), ("blue", b"file")]);
    let mount = store.mounting(&bucket).mount();
    assert!(fs::metadata(mount.join("blue")).unwrap().is_dir());
    store.delete(&bucket, "blue/x");
    sleep(Duration::from_millis(1_100));
    assert_eq!(fs::read(mount.join("blue")).unwrap(), b"file");
}

#[test]
fn s10_lookup_costs_one_list_and_those_of_its_siblings_nothing() {
    // What was listed is repeated for a second only.
    once_in_five(|_| {
        let store = Local::start();
        let bucket = store.bucket_with(&[("d/f", b"1"), ("d/g", b"1")]);
        let mount = store.mounting(&bucket).mount();
        fs::metadata(mount.join("d")).unwrap();
        let before = store.requests();
        assert_errno(fs::metadata(mount.join("d/e")), Errno::NOENT);
        let first = store.requests() - before;
        fs::metadata(mount.join("d/f")).unwrap();
        fs::metadata(mount.join("d/g")).unwrap();
        match (first, store.requests() - before) {
            (1, 1) => Ok(()),
            (first, all) => Err(format!("{first} requests, then {all}, instead of a LIST")),
        }
    });
}

#[test]
fn s10_lookup_costs_one_head_and_one_list_where_a_head_is_needed() {
    // What was listed is repeated for a second only.
    once_in_five(|_| {
        let store = Local::start();
        let bucket = store.bucket_with(&[("d/f", b"1")]);
        let mount = store.mounting(&bucket).with(&["--xattrs"]).mount();
        fs::metadata(mount.join("d")).unwrap();
        // The listing alone answers that; the HEAD beside it may be counted later.
        let mut before = store.requests();
        loop {
            sleep(Duration::from_millis(50));
            match store.requests() {
                now if now == before => break,
                now => before = now,
            }
        }
        assert_errno(fs::metadata(mount.join("d/missing")), Errno::NOENT);
        match store.requests() - before {
            2 => Ok(()),
            requests => Err(format!("{requests} instead of one HEAD and one LIST")),
        }
    });
}

/// As the README has it: one GET a file and one LIST a page, however long it takes.
#[test]
fn cold_small_files_cost_one_get_each_and_a_list_a_page() {
    let names: Vec<String> = (0..60).map(|number| format!("d/{number:03}")).collect();
    let objects: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b"text"[..])).collect();
    // A GET that takes a second is asked for again, and so is one whose file is opened a second later.
    once_in_five(|_| {
        let store = Local::start();
        let bucket = store.bucket_with(&objects);
        let mount = store.mounting(&bucket).mount();
        let before = store.requests();
        for name in &names {
            assert_eq!(fs::read(mount.join(name)).unwrap(), b"text");
            // A listing is repeated for a second only.
            sleep(Duration::from_millis(40));
        }
        // The lists are of the root and of the directory; another one if a sleep was a long one.
        match (store.count("GetObject"), store.requests() - before) {
            (60, ..=64) => Ok(()),
            (gets, all) => Err(format!("{gets} GETs, {all} requests")),
        }
    });
}

#[test]
fn answers_at_hand_cost_no_request() {
    let store = Local::start();
    let bucket = store.bucket_with(&[("d/f", b"1"), ("d/g", b"1")]);
    let mount = store
        .mounting(&bucket)
        .with(&["--metadata-ttl", "60"])
        .mount();
    assert_eq!(names(&mount.join("d")), ["f", "g"]);
    fs::metadata(mount.join("d/f")).unwrap();
    let before = store.requests();
    for _ in 0..20 {
        fs::metadata(mount.path()).unwrap();
        fs::metadata(mount.join("d/f")).unwrap();
        rustix::fs::statvfs(mount.path()).unwrap();
    }
    assert_eq!(store.requests(), before);
}

#[test]
fn s34_archived_object_has_no_permissions_and_cannot_be_opened() {
    let store = Local::shared();
    let bucket = store.fresh_bucket();
    store.plant_archived(&bucket, "cold", 10);
    let mount = store.mounting(&bucket).mount();
    assert_eq!(fs::metadata(mount.join("cold")).unwrap().mode() & 0o7777, 0);
    assert_errno(fs::File::open(mount.join("cold")), Errno::ACCESS);
}

#[test]
fn listing_of_twenty_thousand_names_is_complete() {
    let store = Local::shared();
    let bucket = store.fresh_bucket();
    store.plant_many(&bucket, "d/", 20_000, 100);
    let mount = store.mounting(&bucket).mount();
    assert_eq!(fs::read_dir(mount.join("d")).unwrap().count(), 20_000);
}
