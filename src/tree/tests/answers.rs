//! What a lookup costs, how long its answer counts, and what becomes of inodes.

use std::pin::pin;

use futures::poll;

use super::*;
use crate::s3::{ErrorKind, Restore, StorageClass};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn s10_lookup_asks_head_and_list_at_once_and_a_file_needs_both() {
    let f = Fixture::new(&["a"]);
    f.store.hold_next(Op::Head, None, 1);
    f.store.hold_next(Op::List, None, 1);
    block_on(async {
        let mut lookup = pin!(f.tree.lookup(ROOT, OsStr::new("a")));
        assert!(poll!(&mut lookup).is_pending());
        assert_eq!(f.store.waiting(), 2);
        f.store.release();
        assert_eq!(info(&lookup.await.unwrap()).size, 1);
    });
    assert_eq!(f.requests(), (1, 1));
}

#[test]
fn s10_directory_does_not_wait_for_the_head() {
    let f = Fixture::new(&["a/b"]);
    f.store.hold_next(Op::Head, None, 1);
    assert!(is_directory(&f.lookup(ROOT, "a").unwrap()));
}

#[test]
fn s10_file_waits_for_the_list() {
    let f = Fixture::new(&["a", "a/b"]);
    f.store.hold_next(Op::List, None, 1);
    block_on(async {
        let mut lookup = pin!(f.tree.lookup(ROOT, OsStr::new("a")));
        assert!(poll!(&mut lookup).is_pending());
        f.store.release();
        assert!(is_directory(&lookup.await.unwrap()));
    });
}

#[test]
fn s10_lookups_of_one_name_share_their_requests() {
    let f = Fixture::new(&["a"]);
    f.store.hold_next(Op::Head, None, 1);
    block_on(async {
        let mut first = pin!(f.tree.lookup(ROOT, OsStr::new("a")));
        assert!(poll!(&mut first).is_pending());
        f.advance(MS);
        let mut second = Box::pin(f.tree.lookup(ROOT, OsStr::new("a")));
        let mut third = pin!(f.tree.lookup(ROOT, OsStr::new("a")));
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        drop(second);
        f.store.release();
        let (first, third) = (first.await.unwrap(), third.await.unwrap());
        assert_eq!(first.ino, third.ino);
        assert_eq!((first.valid_for, third.valid_for), (100 * MS, 99 * MS));
        f.tree.forget(first.ino, 1);
        assert_eq!(f.known_inodes(), 2);
        f.tree.forget(first.ino, 1);
        assert_eq!(f.known_inodes(), 1);
    });
    assert_eq!(f.requests(), (1, 1));
}

#[test]
fn s10_lookup_dropped_by_all_leaves_nothing() {
    let f = Fixture::new(&["a"]);
    f.store.hold_next(Op::Head, None, 1);
    block_on(async {
        let mut lookup = Box::pin(f.tree.lookup(ROOT, OsStr::new("a")));
        assert!(poll!(&mut lookup).is_pending());
    });
    assert_eq!(format!("{:?}", f.core().flights), "[]");
    assert!(f.lookup(ROOT, "a").is_ok());
    assert_eq!(format!("{:?}", f.core().flights), "[]");
}

#[test]
fn s11_minimal_is_valid_100_ms_for_files_and_1_s_for_directories() {
    let f = Fixture::new(&["a", "d/x"]);
    let file = f.lookup(ROOT, "a").unwrap();
    let directory = f.lookup(ROOT, "d").unwrap();
    assert_eq!((file.valid_for, directory.valid_for), (100 * MS, SECOND));
    f.requests();
    f.advance(60 * MS);
    assert_eq!(f.getattr(file.ino).unwrap().valid_for, 40 * MS);
    assert_eq!(f.lookup(ROOT, "a").unwrap().valid_for, 40 * MS);
    assert_eq!(f.getattr(directory.ino).unwrap().valid_for, 940 * MS);
    assert_eq!(f.requests(), (0, 0), "an answer at hand costs nothing");
    f.advance(40 * MS);
    assert_eq!(f.getattr(file.ino).unwrap().valid_for, 100 * MS);
    assert_eq!(f.requests(), (1, 0));
    f.advance(900 * MS);
    assert_eq!(f.getattr(directory.ino).unwrap().valid_for, SECOND);
    assert_eq!(f.requests(), (0, 1));
}

#[test]
fn s11_minimal_open_always_asks() {
    let f = Fixture::new(&["a"]);
    let a = f.lookup(ROOT, "a").unwrap();
    f.requests();
    for _ in 0..2 {
        let version = f.open(a.ino, Freshness::Cached).unwrap();
        assert_eq!((version.key.as_str(), &version.info), ("a", info(&a)));
    }
    assert_eq!(f.requests(), (2, 0));
    f.advance(50 * MS);
    f.open(a.ino, Freshness::Cached).unwrap();
    f.advance(60 * MS);
    f.requests();
    f.getattr(a.ino).unwrap();
    assert_eq!(f.requests(), (0, 0), "what open learned is at hand");
    f.lookup(ROOT, "a").unwrap();
    assert_eq!(f.requests(), (1, 1), "open did not ask for a directory");
}

#[test]
fn s11_minimal_remembers_no_absence() {
    let f = Fixture::new(&[]);
    for _ in 0..2 {
        assert!(matches!(f.lookup(ROOT, "a"), Err(Error::NotFound)));
    }
    assert_eq!(f.requests(), (2, 2));
}

#[test]
fn s11_ttl_answers_from_what_is_known_until_it_ends() {
    let f = Fixture::with(&["a", "d/x"], "", MINUTE);
    let a = f.lookup(ROOT, "a").unwrap();
    let d = f.lookup(ROOT, "d").unwrap();
    assert!(matches!(f.lookup(ROOT, "none"), Err(Error::NotFound)));
    f.requests();
    f.store.put("a", "new content");
    f.store.remove("d/x");
    f.store.put("none", "");
    f.advance(59 * SECOND);
    assert_eq!(f.lookup(ROOT, "a").unwrap().valid_for, SECOND);
    assert_eq!(f.getattr(a.ino).unwrap().valid_for, SECOND);
    assert_eq!(f.getattr(d.ino).unwrap().valid_for, SECOND);
    assert_eq!(&f.open(a.ino, Freshness::Cached).unwrap().info, info(&a));
    assert!(matches!(f.lookup(ROOT, "none"), Err(Error::NotFound)));
    assert_eq!(f.requests(), (0, 0));
    f.advance(SECOND);
    assert!(matches!(f.getattr(a.ino), Err(Error::Stale)));
    assert!(matches!(f.getattr(d.ino), Err(Error::NotFound)));
    assert_eq!(info(&f.lookup(ROOT, "a").unwrap()).size, 11);
    assert!(matches!(f.lookup(ROOT, "d"), Err(Error::NotFound)));
    assert_eq!(info(&f.lookup(ROOT, "none").unwrap()).size, 0);
}

#[test]
fn s11_newest_open_ignores_what_is_known() {
    let f = Fixture::with(&["a"], "", MINUTE);
    let a = f.lookup(ROOT, "a").unwrap();
    f.requests();
    assert!(f.open(a.ino, Freshness::Newest).is_ok());
    assert_eq!(f.requests(), (1, 0));
    let etag = f.store.put("a", "other");
    assert!(matches!(
        f.open(a.ino, Freshness::Newest),
        Err(Error::Stale)
    ));
    let again = f.lookup(ROOT, "a").unwrap();
    assert_eq!(info(&again).etag, etag, "the retry finds the new version");
    assert!(f.open(again.ino, Freshness::Newest).is_ok());
}

#[test]
fn s12_new_objects_are_visible_at_once() {
    let f = Fixture::new(&[]);
    assert!(matches!(f.lookup(ROOT, "a"), Err(Error::NotFound)));
    f.store.put("a", "");
    assert!(f.lookup(ROOT, "a").is_ok());
}

#[test]
fn s12_absence_asked_for_before_is_not_shared() {
    let f = Fixture::new(&[]);
    f.store.hold_next(Op::List, None, 1);
    block_on(async {
        let mut first = pin!(f.tree.lookup(ROOT, OsStr::new("a")));
        // The HEAD of the first lookup is answered: there is no such object.
        assert!(poll!(&mut first).is_pending());
        f.store.put("a", "");
        f.advance(MS);
        let mut second = pin!(f.tree.lookup(ROOT, OsStr::new("a")));
        assert!(poll!(&mut second).is_pending());
        assert_eq!(f.requests(), (1, 1));
        f.store.release();
        assert!(second.await.is_ok());
        assert!(matches!(first.await, Err(Error::NotFound)));
    });
    assert_eq!(f.requests(), (1, 1));
    assert!(f.lookup(ROOT, "a").is_ok());
    assert_eq!(
        f.requests(),
        (0, 0),
        "the older answer did not undo the newer one"
    );
}

#[test]
fn s14_new_version_is_a_new_inode_and_the_old_one_is_stale() {
    let f = Fixture::new(&["a"]);
    let old = f.lookup(ROOT, "a").unwrap();
    f.store.put("a", "version two");
    f.advance(100 * MS);
    let new = f.lookup(ROOT, "a").unwrap();
    assert_ne!(old.ino, new.ino);
    f.requests();
    assert!(matches!(f.getattr(old.ino), Err(Error::Stale)));
    for freshness in [Freshness::Cached, Freshness::Newest] {
        assert!(matches!(f.open(old.ino, freshness), Err(Error::Stale)));
    }
    assert_eq!(f.requests(), (0, 0));
    assert_eq!(f.getattr(new.ino).unwrap().kind, new.kind);
    f.tree.forget(old.ino, 1);
    assert!(f.getattr(new.ino).is_ok());
    f.tree.forget(new.ino, 1);
    assert_eq!(f.known_inodes(), 1);
}

#[test]
fn s14_open_that_finds_a_new_version_is_stale_and_the_next_lookup_finds_it() {
    let f = Fixture::new(&["a"]);
    let old = f.lookup(ROOT, "a").unwrap();
    let etag = f.store.put("a", "version two");
    let answer = f.open(old.ino, Freshness::Cached);
    assert!(matches!(answer, Err(Error::Stale)));
    let new = f.lookup(ROOT, "a").unwrap();
    assert_eq!(info(&new).etag, etag);
    assert!(f.open(new.ino, Freshness::Cached).is_ok());
}

#[test]
fn s14_same_version_keeps_its_number_after_it_was_forgotten() {
    let f = Fixture::new(&["d/a"]);
    let first = f.walk("d/a").unwrap();
    let listed = f.entries(f.lookup(ROOT, "d").unwrap().ino);
    assert_eq!(listed[0].node.ino, first.ino);
    f.tree.forget(first.ino, 1);
    assert_eq!(f.walk("d/a").unwrap().ino, first.ino);
}

#[test]
fn s14_removed_object_is_not_found_and_comes_back_as_itself() {
    let f = Fixture::with(&["d/x"], "", (Ttl::Minimal, MINUTE.1));
    let d = f.lookup(ROOT, "d").unwrap();
    let x = f.lookup(d.ino, "x").unwrap();
    f.store.remove("d/x");
    f.advance(SECOND);
    assert!(matches!(f.getattr(x.ino), Err(Error::NotFound)));
    assert!(matches!(f.lookup(d.ino, "x"), Err(Error::NotFound)));
    f.requests();
    assert!(matches!(f.getattr(x.ino), Err(Error::NotFound)));
    let answer = f.open(x.ino, Freshness::Cached);
    assert!(matches!(answer, Err(Error::NotFound)));
    assert_eq!(f.requests(), (0, 0), "the lookup's answer is at hand");
    assert!(matches!(f.getattr(d.ino), Err(Error::NotFound)));
    f.store.put("d/y", "");
    assert!(is_directory(&f.getattr(d.ino).unwrap()));
    assert_eq!(f.lookup(ROOT, "d").unwrap().ino, d.ino);
    assert!(f.lookup(d.ino, "y").is_ok());
}

#[test]
fn s14_file_replaced_by_a_directory_is_stale() {
    let f = Fixture::new(&["a"]);
    let file = f.lookup(ROOT, "a").unwrap();
    f.store.put("a/b", "");
    f.advance(SECOND);
    let directory = f.lookup(ROOT, "a").unwrap();
    assert!(is_directory(&directory));
    assert!(matches!(f.getattr(file.ino), Err(Error::Stale)));
    f.store.remove("a/b");
    f.advance(SECOND);
    assert_eq!(f.lookup(ROOT, "a").unwrap().ino, file.ino);
    assert!(matches!(f.getattr(directory.ino), Err(Error::Stale)));
}

#[test]
fn s04_open_of_a_hidden_file_does_not_bring_its_name_back() {
    let f = Fixture::with(&["a"], "", MINUTE);
    let file = f.lookup(ROOT, "a").unwrap();
    f.store.put("a/b", "");
    assert_eq!(f.names(ROOT), ["a/"]);
    assert!(f.open(file.ino, Freshness::Newest).is_ok());
    assert!(is_directory(&f.lookup(ROOT, "a").unwrap()));
    let answer = f.open(file.ino, Freshness::Newest);
    assert!(matches!(answer, Err(Error::Stale)));
}

#[test]
fn s14_older_answer_does_not_undo_a_newer_one() {
    let f = Fixture::new(&["a"]);
    let a = f.lookup(ROOT, "a").unwrap();
    f.advance(100 * MS);
    block_on(async {
        f.store.hold_next(Op::Head, None, 1);
        let mut slow = pin!(f.tree.getattr(a.ino));
        assert!(poll!(&mut slow).is_pending());
        f.advance(MS);
        assert!(f.tree.getattr(a.ino).await.is_ok());
        f.store.remove("a");
        f.store.release();
        assert!(slow.await.is_ok());
    });
}

#[test]
fn s20_open_of_a_directory_or_a_missing_file_fails() {
    let f = Fixture::new(&["d/x", "a"]);
    let d = f.lookup(ROOT, "d").unwrap();
    let a = f.lookup(ROOT, "a").unwrap();
    for ino in [d.ino, ROOT] {
        let answer = f.open(ino, Freshness::Cached);
        assert!(matches!(answer, Err(Error::IsDirectory)));
    }
    f.store.remove("a");
    let answer = f.open(a.ino, Freshness::Cached);
    assert!(matches!(answer, Err(Error::NotFound)));
}

#[test]
fn s32_s34_attributes_are_those_of_the_object() {
    let f = Fixture::new(&["a"]);
    f.store
        .set_storage("a", StorageClass::Archived, Restore::None);
    let a = f.lookup(ROOT, "a").unwrap();
    assert!(!info(&a).is_readable());
    f.store
        .set_storage("a", StorageClass::Archived, Restore::Done);
    assert!(f.open(a.ino, Freshness::Cached).unwrap().info.is_readable());
    assert!(info(&f.getattr(a.ino).unwrap()).is_readable());
}

#[test]
fn s35_failed_revalidation_changes_nothing() {
    let f = Fixture::new(&["a"]);
    let a = f.lookup(ROOT, "a").unwrap();
    f.advance(SECOND);
    f.store.fail_next(Op::Head, None, ErrorKind::Connection, 2);
    assert!(matches!(f.getattr(a.ino), Err(Error::S3(_))));
    assert!(matches!(
        f.open(a.ino, Freshness::Cached),
        Err(Error::S3(_))
    ));
    assert_eq!(f.getattr(a.ino).unwrap(), a);
}

#[test]
fn root_never_costs_a_request() {
    let f = Fixture::new(&[]);
    for _ in 0..3 {
        assert!(is_directory(&f.getattr(ROOT).unwrap()));
        f.advance(100 * SECOND);
    }
    drop(f.open_dir(ROOT));
    f.tree.forget(ROOT, 7);
    assert!(f.getattr(ROOT).is_ok());
    assert_eq!(f.requests(), (0, 0));
}

#[test]
fn forget_more_than_counted_drops_the_inode_and_no_other() {
    let f = Fixture::new(&["d/a", "d/b"]);
    let a = f.walk("d/a").unwrap();
    let b = f.walk("d/b").unwrap();
    f.tree.forget(a.ino, u64::MAX);
    f.tree.forget(a.ino, 1);
    assert!(matches!(f.getattr(a.ino), Err(Error::Stale)));
    assert!(f.getattr(b.ino).is_ok());
}

#[test]
fn forget_of_a_directory_keeps_it_for_its_children_and_handles() {
    let f = Fixture::new(&["d/e/a"]);
    let a = f.walk("d/e/a").unwrap();
    let e = f.walk("d/e").unwrap();
    let d = f.walk("d").unwrap();
    let handle = f.open_dir(e.ino);
    f.tree.forget(d.ino, 3);
    f.tree.forget(e.ino, 2);
    assert_eq!(
        f.open(a.ino, Freshness::Cached).unwrap().key.as_str(),
        "d/e/a"
    );
    f.tree.forget(a.ino, 1);
    assert_eq!(f.known_inodes(), 3);
    assert_eq!(read_all(&handle, false, 9).unwrap().len(), 1);
    drop(handle);
    assert_eq!(f.known_inodes(), 1);
}

#[test]
fn number_taken_by_another_inode_is_passed_over() {
    let f = Fixture::new(&["a", "b"]);
    let a = f.lookup(ROOT, "a").unwrap();
    let mut table = f.core().table();
    let found = Found::File(info(&a).clone());
    assert_eq!(table.number(ROOT, "a", &found), a.ino);
    let occupied = InodeNo::derive(ROOT, "b", Some(&info(&a).etag));
    table.occupy(a.ino, occupied);
    assert_eq!(table.number(ROOT, "b", &found), occupied.next());
}
