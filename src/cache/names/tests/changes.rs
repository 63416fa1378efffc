//! Changes, by this mount and by others.

use std::collections::BTreeMap;
use std::fs::OpenOptions;

use bytes::Bytes;
use futures::executor::block_on;

use super::*;
use crate::s3::fake::FakeStore;
use crate::s3::{CopyRequest, PutCondition, PutRequest, RenameRequest, Store};

#[test]
fn changes_of_any_mount_make_void_what_was_known_before() {
    let place = Place::new();
    let one = place.names();
    for name in [
        "changed",
        "begun",
        "kept",
        "d/removed",
        "d/other",
        "d/new/hidden",
    ] {
        note(&one, name, object(1));
    }
    note(&one, "d", Some(Known::Directory));
    note(&one, "d/new", object(1));
    one.save();
    let (two, three) = (place.names(), place.believing(None));
    assert_eq!(recall(&two, "changed"), object(1));
    // One knows it still, and ends later than the change.
    note(&one, "changed", object(1));
    let change = Change::put(&three, &key("changed"));
    assert_eq!(recall(&two, "changed"), None, "it may have changed by now");
    // What was asked for before the end of the change counts no more, whenever that was noted.
    note(&one, "changed", object(1));
    let asked = Instant::now();
    change.end();
    one.note("changed", object(1), asked);
    // That of a process that is killed never ends.
    drop(Change::put(&three, &key("begun")));
    note(&one, "begun", object(1));
    Change::removal(&three, &key("d/removed")).end();
    Change::put(&three, &key("d/new/file")).end();
    one.save();
    for names in [two, place.names()] {
        for path in ["changed", "begun", "d/removed", "d", "d/new"] {
            assert_eq!(recall(&names, path), None, "{path}");
        }
        for path in ["kept", "d/other", "d/new/hidden"] {
            assert_eq!(recall(&names, path), object(1), "{path}");
        }
    }
    // What is asked for after the change counts, once it was seen that there was one.
    thread::sleep(LOOK_AGAIN);
    note(&one, "unrelated", object(2));
    note(&one, "changed", object(2));
    note(&one, "begun", object(2));
    note(&one, "d", Some(Known::Directory));
    one.save();
    let names = place.names();
    assert_eq!(recall(&names, "changed"), object(2));
    assert_eq!(recall(&names, "begun"), None);
    assert_eq!(recall(&names, "d"), Some(Known::Directory));
}

/// Changes the object that is named as what is done to it.
fn change(name: &str, store: &dyn Store, etag: ETag) {
    let request = PutRequest::new(key(name));
    match name {
        "put" => _ = block_on(store.put(request, Bytes::from_static(b"x"))).expect("stored"),
        "upload" => {
            let mut upload = store.upload(request, 1 << 20).expect("begun");
            block_on(upload.write(Bytes::from_static(b"x"))).expect("taken");
            block_on(upload.complete()).expect("stored");
        }
        "delete" => block_on(store.delete(&key(name))).expect("deleted"),
        "copy" => {
            let request = CopyRequest {
                from: key("from"),
                version: etag,
                size: 4,
                to: key(name),
                condition: PutCondition::Any,
                metadata: Some(BTreeMap::new()),
            };
            block_on(store.copy(request)).expect("copied");
        }
        "rename" => {
            let request = RenameRequest {
                from: key(name),
                version: None,
                to: key("renamed"),
                replace: true,
            };
            block_on(store.rename(request)).expect("renamed");
        }
        _ => panic!("{name}"),
    }
}

#[test]
fn every_operation_of_the_store_that_changes_anything_is_noted() {
    let place = Place::new();
    let fake = FakeStore::deterministic();
    fake.put("from", "body");
    let etag = block_on(fake.head(&key("from"))).expect("there").etag;
    fake.put("rename", "body");
    for name in ["put", "upload", "delete", "copy", "rename"] {
        let names = place.names();
        for path in [name, "renamed", "kept"] {
            note(&names, path, object(1));
        }
        names.save();
        let next = place.names();
        assert_eq!(recall(&next, name), object(1));
        let store = NotingStore::new(Arc::new(fake.clone()), place.believing(None));
        change(name, &store, etag.clone());
        for names in [next, place.names()] {
            assert_eq!(recall(&names, name), None, "{name}");
            assert_eq!(recall(&names, "renamed").is_none(), name == "rename");
            assert_eq!(recall(&names, "kept"), object(1));
        }
    }
    // What failed may have happened: nothing is believed any more.
    let names = place.names();
    let store = NotingStore::new(Arc::new(fake.clone()), Arc::clone(&names));
    let request = PutRequest {
        condition: PutCondition::Absent,
        ..PutRequest::new(key("from"))
    };
    block_on(store.put(request, Bytes::new())).expect_err("it is there");
    note(&names, "from", object(1));
    names.save();
    assert_eq!(recall(&place.names(), "from"), None);
}

#[test]
fn whoever_removes_files_makes_void_and_harms_nobody() {
    for remove in [
        |place: &Place| fs::remove_file(place.file("changes")),
        |place: &Place| fs::remove_dir_all(place.file("")),
        |place: &Place| fs::remove_dir_all(place.directory.path().join("mount-s3-cache")),
        |place: &Place| remove(&place.opened()),
    ] {
        let place = Place::new();
        let names = place.names();
        note(&names, "a", object(1));
        names.save();
        let (one, two) = (place.names(), place.names());
        note(&one, "b", object(1));
        remove(&place).expect("removed");
        assert_eq!(recall(&two, "a"), None, "changes since are not known");
        Change::put(&two, &key("a")).end();
        let asked = Instant::now();
        thread::sleep(LOOK_AGAIN);
        // What was asked for before it was seen that there is another log may have changed since.
        one.note("b", object(1), asked);
        note(&one, "c", object(1));
        one.save();
        let names = place.names();
        assert_eq!(recall(&names, "a"), None);
        assert_eq!(recall(&names, "b"), None);
        assert_eq!(recall(&names, "c"), object(1));
    }
}

#[test]
fn log_of_changes_that_is_long_is_begun_anew() {
    let place = Place::new();
    let names = place.names();
    note(&names, "a", object(1));
    names.save();
    let next = place.names();
    let log = place.file("changes");
    let file = OpenOptions::new().write(true).open(&log).expect("there");
    file.set_len(u64::from(MOST_ENTRIES) * 24).expect("grown");
    Change::put(&names, &key("b")).end();
    assert!(fs::metadata(&log).expect("there").len() < 1000);
    assert_eq!(recall(&next, "a"), None);
    note(&next, "a", object(2));
    next.save();
    assert_eq!(recall(&place.names(), "a"), object(2));
}
