//! Directories that are kept by markers.

use super::renaming::{bucket, find, list, mkdir, mounted, place, rename, rmdir, text, unlink};
use super::*;

#[test]
fn kept_directory_is_stored_and_removed_as_a_marker() {
    let store = bucket(&[]);
    let fs = mounted(&store, |config| config.keep_directories = true);
    assert_eq!(mkdir(&fs, "d"), Ok(()));
    assert_eq!(mkdir(&fs, "d/sub"), Ok(()));
    assert_eq!(mkdir(&fs, "d"), Err(Errno::EEXIST));
    assert_eq!(store.keys(), ["d/", "d/sub/"]);
    assert_eq!(rmdir(&fs, "d"), Err(Errno::ENOTEMPTY));
    let fs = mounted(&store, |config| {
        config.keep_directories = true;
        config.allow_delete = false;
    });
    let (parent, name) = place(&fs, "d/sub").expect("it is reached");
    let error = block_on(fs.rmdir(parent, name)).expect_err("not allowed");
    assert_eq!(error.errno(), Errno::EPERM);
    assert!(error.to_string().contains("--allow-delete"), "{error}");
    let fs = mounted(&store, |config| config.keep_directories = true);
    assert_eq!(rmdir(&fs, "d/sub"), Ok(()));
    assert_eq!(list(&fs, "d"), [""; 0]);
    assert_eq!(rmdir(&fs, "d"), Ok(()));
    assert_eq!(find(&fs, "d"), Err(Errno::ENOENT));
    assert_eq!(store.keys(), [""; 0]);
    let fs = mounted(&bucket(&[("d/", "")]), |_| {});
    assert_eq!(
        rmdir(&fs, "d"),
        Err(Errno::EPERM),
        "as ever without the flag"
    );
}

#[test]
fn failed_mkdir_of_a_kept_directory_leaves_nothing() {
    let store = bucket(&[]);
    let fs = mounted(&store, |config| config.keep_directories = true);
    store.fail_next(Op::Put, Some("d/"), ErrorKind::Denied, 1);
    assert_eq!(mkdir(&fs, "d"), Err(Errno::EACCES));
    assert_eq!(find(&fs, "d"), Err(Errno::ENOENT));
    assert_eq!(mkdir(&fs, "d"), Ok(()));
    assert_eq!(store.keys(), ["d/"]);
}

#[test]
fn last_thing_that_goes_leaves_the_kept_directory() {
    let store = bucket(&[
        ("d/a", "1"),
        ("d/b", "1"),
        ("e/sub/", ""),
        ("f/x", "1"),
        ("g/h/x", "1"),
    ]);
    let fs = mounted(&store, |config| config.keep_directories = true);
    assert_eq!(unlink(&fs, "d/a"), Ok(()));
    assert_eq!(store.count(Op::Put), 0, "there is another one");
    assert_eq!(unlink(&fs, "d/b"), Ok(()));
    assert_eq!(rmdir(&fs, "e/sub"), Ok(()));
    assert_eq!(rename(&fs, "f/x", "x"), Ok(()));
    assert_eq!(rename(&fs, "g/h", "h"), Ok(()));
    assert_eq!(store.keys(), ["d/", "e/", "f/", "g/", "h/x", "x"]);
    assert_eq!(list(&fs, ""), ["d", "e", "f", "g", "h", "x"]);
    assert_eq!(list(&fs, "d"), [""; 0]);
}

#[test]
fn marker_that_cannot_be_stored_keeps_the_last_file() {
    let store = bucket(&[("d/a", "1")]);
    let fs = mounted(&store, |config| config.keep_directories = true);
    store.fail_next(Op::Put, Some("d/"), ErrorKind::Denied, 1);
    assert_eq!(unlink(&fs, "d/a"), Err(Errno::EACCES));
    assert_eq!(text(&fs, "d/a"), "1");
}

#[test]
fn known_marker_saves_the_question_for_it() {
    let store = bucket(&[("d/", ""), ("d/a", "1"), ("d/b", "1"), ("d/c", "1")]);
    let fs = mounted(&store, |config| config.keep_directories = true);
    assert!(
        ["a", "b", "c"]
            .iter()
            .all(|name| find(&fs, &format!("d/{name}")).is_ok())
    );
    for (path, lists) in [("d/a", 1), ("d/b", 0), ("d/c", 0)] {
        let (parent, name) = place(&fs, path).expect("it is reached");
        store.clear_log();
        block_on(fs.unlink(parent, name)).expect("it is deleted");
        let asked = (store.count(Op::List), store.count(Op::Put));
        assert_eq!(asked, (lists, 0), "{path}");
    }
    assert_eq!(store.keys(), ["d/"]);
}
