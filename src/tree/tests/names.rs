//! Which names there are, and what they are.

use std::os::unix::ffi::OsStrExt;
use std::pin::pin;
use std::sync::atomic::Ordering;

use futures::poll;

use super::*;
use crate::s3::ErrorKind;
use crate::s3::fake::Order;

#[test]
fn s01_every_common_prefix_is_a_directory_as_old_as_the_mount() {
    let f = Fixture::new(&["a/b/c.txt", "d"]);
    let a = f.lookup(ROOT, "a").unwrap();
    let b = f.lookup(a.ino, "b").unwrap();
    let c = f.lookup(b.ino, "c.txt").unwrap();
    let root = f.getattr(ROOT).unwrap();
    assert!(is_directory(&a));
    assert_eq!((&a.kind, &b.kind), (&root.kind, &root.kind));
    assert_eq!(info(&c).size, 9);
    assert_eq!(f.names(ROOT), ["a/", "d"]);
    assert_eq!(f.names(b.ino), ["c.txt"]);
}

#[test]
fn s01_prefix_of_the_mount_is_the_root() {
    let f = Fixture::with(&["in/x/y", "in/z", "out", "in/"], "in/", MINIMAL);
    assert_eq!(f.names(ROOT), ["x/", "z"]);
    let x = f.lookup(ROOT, "x").unwrap();
    assert_eq!(f.names(x.ino), ["y"]);
    let y = f.lookup(x.ino, "y").unwrap();
    let version = f.open(y.ino, Freshness::Cached).unwrap();
    assert_eq!(version.key.as_str(), "in/x/y");
    assert!(matches!(f.lookup(ROOT, "out"), Err(Error::NotFound)));
}

#[test]
fn s02_lone_marker_is_an_empty_directory() {
    let f = Fixture::new(&[]);
    f.store.put("red/", "");
    let red = f.lookup(ROOT, "red").unwrap();
    assert!(is_directory(&red));
    assert_eq!(f.names(ROOT), ["red/"]);
    assert_eq!(f.names(red.ino), [""; 0]);
    assert!(f.getattr(red.ino).is_ok());
    let notices = &f.core().notices;
    assert!(!notices.marker_with_content.load(Ordering::Relaxed));
}

#[test]
fn s02_marker_with_content_is_a_directory_and_reported() {
    let f = Fixture::new(&[]);
    f.store.put("red/", "content");
    assert!(is_directory(&f.lookup(ROOT, "red").unwrap()));
    assert_eq!(f.names(ROOT), ["red/"]);
    let notices = &f.core().notices;
    assert!(notices.marker_with_content.load(Ordering::Relaxed));
}

#[test]
fn s03_lookup_of_impossible_names_is_invalid_without_a_request() {
    let f = Fixture::new(&["a//b", "./c", "d/../e", "n\0l"]);
    for name in [&b"\xff"[..], b"", b".", b"..", b"a/b", b"n\0l"] {
        let answer = block_on(f.tree.lookup(ROOT, OsStr::from_bytes(name)));
        assert!(matches!(answer, Err(Error::InvalidName)), "{name:?}");
    }
    assert_eq!(f.requests(), (0, 0));
}

#[test]
fn s03_keys_that_are_no_paths_are_not_shown() {
    let f = Fixture::new(&["a//b", "./c", "d/../e", "n\0l", "/r", "f", "..", "g/."]);
    assert_eq!(f.names(ROOT), ["a/", "d/", "f", "g/"]);
    for name in ["a", "d", "g"] {
        let directory = f.lookup(ROOT, name).unwrap();
        assert!(is_directory(&directory));
        assert_eq!(f.names(directory.ino), [""; 0], "{name}");
    }
}

#[test]
fn s04_directory_hides_the_file_of_its_name_until_it_is_gone() {
    let f = Fixture::new(&["blue", "blue-x", "blue/x"]);
    f.store.set_page_size(1);
    assert!(is_directory(&f.lookup(ROOT, "blue").unwrap()));
    assert_eq!(f.names(ROOT), ["blue-x", "blue/"]);
    f.store.remove("blue/x");
    f.advance(Duration::from_secs(1));
    assert_eq!(info(&f.lookup(ROOT, "blue").unwrap()).size, 4);
    assert_eq!(f.names(ROOT), ["blue-x", "blue"]);
    f.store.put("blue/", "");
    f.advance(Duration::from_secs(1));
    assert!(is_directory(&f.lookup(ROOT, "blue").unwrap()));
}

#[test]
fn s05_unordered_listing_repeats_no_kind_of_a_name_and_the_directory_is_usable() {
    let f = Fixture::new(&["b", "b/x", "b/y", "a", "a/z", "c", "d/1", "d/2", "e", "b-"]);
    f.store.set_order(Order::Scrambled);
    for page_size in 1..6 {
        f.store.set_page_size(page_size);
        let mut names = f.names(ROOT);
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        names.retain(|name| name != "a" && name != "b");
        assert_eq!(names, ["a/", "b-", "b/", "c", "d/", "e"]);
        for entry in read_all(&f.open_dir(ROOT), true, 3).unwrap() {
            f.tree.forget(entry.node.ino, 1);
        }
        assert!(is_directory(&f.lookup(ROOT, "a").unwrap()));
        assert!(is_directory(&f.lookup(ROOT, "b").unwrap()));
    }
}

#[test]
fn s35_name_too_long_needs_no_request() {
    let long = "n".repeat(255);
    let f = Fixture::with(&[&format!("p/{long}")], "p/", MINIMAL);
    assert!(f.lookup(ROOT, &long).is_ok());
    f.requests();
    let longer = "é".repeat(128);
    assert!(matches!(f.lookup(ROOT, &longer), Err(Error::NameTooLong)));
    assert_eq!(f.requests(), (0, 0));
}

#[test]
fn s35_key_too_long_needs_no_request() {
    // 4 * 251 = 1004 bytes of directories, so that 20 bytes are left for a name.
    let directory = format!("{}/", "d".repeat(250)).repeat(4);
    let f = Fixture::new(&[&format!("{directory}{}", "f".repeat(20))]);
    let parent = f.walk(directory.trim_end_matches('/')).unwrap();
    f.requests();
    let file = f.lookup(parent.ino, &"f".repeat(20)).unwrap();
    assert_eq!(info(&file).size, 1024);
    assert_eq!(
        f.requests(),
        (1, 0),
        "no key can follow a key of 1024 bytes"
    );
    let answer = f.lookup(parent.ino, &"f".repeat(21));
    assert!(matches!(answer, Err(Error::NameTooLong)));
    assert_eq!(f.requests(), (0, 0));
}

#[test]
fn s35_names_too_long_are_not_listed() {
    let long = "n".repeat(256);
    let f = Fixture::new(&[&long, &format!("{long}d/x"), "short"]);
    assert_eq!(f.names(ROOT), ["short"]);
    assert!(f.core().notices.name_too_long.load(Ordering::Relaxed));
}

#[test]
fn s35_lookup_below_a_file_or_an_unknown_inode_fails() {
    let f = Fixture::new(&["a"]);
    let a = f.lookup(ROOT, "a").unwrap();
    assert!(matches!(f.lookup(a.ino, "b"), Err(Error::NotDirectory)));
    assert!(matches!(f.lookup(InodeNo(99), "b"), Err(Error::Stale)));
    assert!(matches!(
        block_on(f.tree.open_dir(a.ino)),
        Err(Error::NotDirectory)
    ));
    assert!(matches!(f.getattr(InodeNo(99)), Err(Error::Stale)));
}

#[test]
fn s35_refusal_of_s3_passes_through() {
    let f = Fixture::new(&["a"]);
    f.store.fail_next(Op::Head, Some("a"), ErrorKind::Denied, 1);
    match f.lookup(ROOT, "a") {
        Err(Error::S3(error)) => assert_eq!(error.kind(), ErrorKind::Denied),
        other => panic!("{other:?}"),
    }
    f.store.fail_next(Op::List, None, ErrorKind::Throttled, 1);
    match f.lookup(ROOT, "a") {
        Err(Error::S3(error)) => assert_eq!(error.kind(), ErrorKind::Throttled),
        other => panic!("{other:?}"),
    }
    assert!(f.lookup(ROOT, "a").is_ok());
    assert_eq!(f.known_inodes(), 2);
}

#[test]
fn s35_directory_wins_over_a_refused_head() {
    let f = Fixture::new(&["a/b"]);
    f.store.fail_next(Op::Head, Some("a"), ErrorKind::Denied, 1);
    f.store.hold_next(Op::List, None, 1);
    block_on(async {
        let mut lookup = pin!(f.tree.lookup(ROOT, OsStr::new("a")));
        assert!(poll!(&mut lookup).is_pending());
        f.store.release();
        assert!(is_directory(&lookup.await.unwrap()));
    });
    assert_eq!(f.requests(), (1, 1));
}
