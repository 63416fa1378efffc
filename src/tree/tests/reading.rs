//! Reading open directories.

use std::pin::pin;

use futures::poll;

use super::*;
use crate::s3::{ErrorKind, Key};

const MINUTE_LONG: Duration = Duration::from_secs(60);

#[test]
fn s06_readdir_lists_page_by_page_as_far_as_it_is_read() {
    let keys: Vec<String> = (0..10).map(|i| format!("k{i}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let f = Fixture::new(&keys);
    f.store.set_page_size(4);
    let directory = f.open_dir(ROOT);
    assert_eq!(f.requests(), (0, 0));
    // The last file of a page is held back until the next page shows no directory of its name.
    let first = read(&directory, 0, false, usize::MAX).unwrap();
    assert_eq!(first.len(), 2 + 3);
    assert_eq!(f.requests(), (0, 1));
    let second = read(&directory, 5, false, usize::MAX).unwrap();
    assert_eq!(second.len(), 4);
    assert_eq!(f.requests(), (0, 2), "whoever reads on is read ahead of");
    let third = read(&directory, 9, false, usize::MAX).unwrap();
    assert_eq!(&*third[2].name, "k9");
    for _ in 0..2 {
        assert_eq!(read(&directory, 12, false, 9).unwrap(), []);
    }
    assert_eq!(f.requests(), (0, 0), "the end is known");
}

#[test]
fn s06_rewind_and_reopen_list_anew() {
    let f = Fixture::with(&["a"], "", MINUTE);
    let directory = f.open_dir(ROOT);
    assert_eq!(read_all(&directory, false, 9).unwrap().len(), 1);
    f.store.put("b", "");
    assert_eq!(read_all(&directory, false, 9).unwrap().len(), 2);
    f.store.put("c", "");
    assert_eq!(f.names(ROOT), ["a", "b", "c"]);
    assert_eq!(f.requests(), (0, 3));
}

#[test]
fn s06_small_buffers_go_on_where_they_ended() {
    let f = Fixture::new(&["a", "b", "c/x", "d", "e"]);
    f.store.set_page_size(2);
    for room in 1..8 {
        let entries = read_all(&f.open_dir(ROOT), false, room).unwrap();
        let names: Vec<_> = entries.iter().map(display).collect();
        assert_eq!(names, ["a", "b", "c/", "d", "e"], "{room}");
    }
}

#[test]
fn s06_entries_of_the_last_page_can_be_read_again() {
    let f = Fixture::new(&["a", "b", "c", "d"]);
    let directory = f.open_dir(ROOT);
    let all = read(&directory, 0, false, 9).unwrap();
    assert_eq!(all.len(), 6);
    f.requests();
    for offset in 1..6 {
        let again = read(&directory, offset, false, 9).unwrap();
        let start = usize::try_from(offset).unwrap();
        assert_eq!(again, all[start..]);
    }
    assert_eq!(f.requests(), (0, 0));
}

#[test]
fn s06_other_positions_are_refused() {
    let f = Fixture::new(&["a", "b", "c", "d", "e", "f"]);
    f.store.set_page_size(2);
    let directory = f.open_dir(ROOT);
    for offset in [3, 100, u64::MAX] {
        let answer = read(&directory, offset, false, 9);
        assert!(matches!(answer, Err(Error::BadOffset)), "{offset}");
    }
    read_all(&directory, false, 9).unwrap();
    for offset in [1, 2, 3, 9, u64::MAX] {
        let answer = read(&directory, offset, false, 9);
        assert!(matches!(answer, Err(Error::BadOffset)), "{offset}");
    }
    assert_eq!(read(&directory, 8, false, 9).unwrap(), []);
    assert_eq!(read_all(&directory, false, 9).unwrap().len(), 6);
}

/// A directory of six files in pages of two, kept by the kernel, and a handle that was not read.
fn kept() -> (Fixture, DirHandle) {
    let f = Fixture::with(&["a", "b", "c", "d", "e", "f"], "", MINUTE);
    f.store.set_page_size(2);
    assert_eq!(f.names(ROOT).len(), 6);
    let directory = f.open_dir(ROOT);
    assert_eq!(directory.caching(), Caching::Keep);
    (f, directory)
}

fn shown(entries: &[DirEntry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.name).collect()
}

#[test]
fn reading_goes_on_where_another_handle_was() {
    for plus in [false, true] {
        for offset in 1..=8 {
            let (_f, directory) = kept();
            let mut at = offset;
            let mut names: Vec<String> = Vec::new();
            loop {
                let entries = read(&directory, at, plus, 9).unwrap();
                let Some(last) = entries.last() else { break };
                at = last.offset;
                names.extend(entries.iter().map(|entry| entry.name.to_string()));
            }
            let all = [".", "..", "a", "b", "c", "d", "e", "f"];
            assert_eq!(names, all[usize::try_from(offset).unwrap()..]);
        }
    }
    // What is beyond was given to nobody.
    let (_f, directory) = kept();
    for offset in [9, 100, u64::MAX] {
        let answer = read(&directory, offset, false, 9);
        assert!(matches!(answer, Err(Error::BadOffset)), "{offset}");
    }
}

#[test]
fn reading_goes_on_after_and_before_its_own_pages() {
    let (_f, directory) = kept();
    assert_eq!(
        shown(&read(&directory, 0, false, 9).unwrap()),
        [".", "..", "a"]
    );
    assert_eq!(shown(&read(&directory, 7, false, 9).unwrap()), ["f"]);
    assert_eq!(shown(&read(&directory, 3, false, 1).unwrap()), ["b"]);
    assert_eq!(shown(&read(&directory, 1, false, 2).unwrap()), ["..", "a"]);
}

#[test]
fn reading_of_a_directory_that_has_changed_leaves_no_entry_out() {
    // By this mount, which knows of it.
    let (f, directory) = kept();
    let a = f.lookup(ROOT, "a").unwrap();
    f.store.remove("a");
    f.core().table().note_other(a.ino, f.core().clock.now());
    f.advance(Duration::from_secs(1));
    let entries = read(&directory, 5, false, 9).unwrap();
    assert_eq!(shown(&entries), ["b"]);
    assert_eq!(shown(&read(&directory, 3, false, 9).unwrap()), ["c", "d"]);
    // By somebody else, so that there are fewer.
    let (f, directory) = kept();
    for key in ["a", "b", "c"] {
        f.store.remove(key);
    }
    assert_eq!(shown(&read(&directory, 6, false, 9).unwrap()), ["d"]);
    assert_eq!(read_all(&directory, false, 9).unwrap().len(), 3);
}

#[test]
fn s06_failed_page_fails_the_read_and_the_next_read_goes_on() {
    let f = Fixture::new(&["a", "b", "c", "d"]);
    f.store.set_page_size(2);
    f.store.fail_next(Op::List, None, ErrorKind::Throttled, 1);
    let directory = f.open_dir(ROOT);
    assert!(matches!(read(&directory, 0, true, 9), Err(Error::S3(_))));
    assert_eq!(read(&directory, 0, true, 9).unwrap().len(), 3);
    f.store.fail_next(Op::List, None, ErrorKind::Throttled, 1);
    assert!(matches!(read(&directory, 3, true, 9), Err(Error::S3(_))));
    assert_eq!(f.known_inodes(), 2);
    assert_eq!(read(&directory, 3, true, 9).unwrap().len(), 3);
}

#[test]
fn s06_dots_have_the_numbers_of_the_directory_and_its_parent() {
    let f = Fixture::new(&["d/e/a"]);
    let d = f.lookup(ROOT, "d").unwrap();
    let e = f.lookup(d.ino, "e").unwrap();
    let dots = |ino| {
        let entries = read(&f.open_dir(ino), 0, true, 2).unwrap();
        (entries[0].node.ino, entries[1].node.ino)
    };
    assert_eq!(dots(e.ino), (e.ino, d.ino));
    assert_eq!(dots(ROOT), (ROOT, ROOT));
}

#[test]
fn s06_dropped_read_loses_nothing() {
    let f = Fixture::new(&["a", "b"]);
    let directory = f.open_dir(ROOT);
    f.store.hold_next(Op::List, None, 1);
    let mut emit = |_| panic!("nothing is there yet");
    block_on(async {
        let mut reading = pin!(directory.read(0, true, &mut emit));
        assert!(poll!(&mut reading).is_pending());
    });
    assert_eq!(read_all(&directory, true, 9).unwrap().len(), 2);
}

#[test]
fn s06_plus_counts_a_reference_for_each_entry_taken() {
    let f = Fixture::new(&["a", "b", "c"]);
    let directory = f.open_dir(ROOT);
    let entries = read(&directory, 0, true, 4).unwrap();
    assert_eq!(f.known_inodes(), 3, "root, a, b; c had no room");
    let again = read(&directory, 2, true, 4).unwrap();
    assert_eq!(again.len(), 3);
    for entry in entries.iter().skip(2).chain(&again) {
        assert!(f.known_inodes() > 1);
        f.tree.forget(entry.node.ino, 1);
    }
    assert_eq!(f.known_inodes(), 1);
}

#[test]
fn s06_without_plus_no_reference_is_counted() {
    let f = Fixture::new(&["a", "b/c"]);
    assert_eq!(f.names(ROOT), ["a", "b/"]);
    assert_eq!(f.known_inodes(), 1);
}

#[test]
fn plus_attributes_come_from_the_listing_and_count_for_later() {
    let f = Fixture::with(&["a", "b/c"], "", MINUTE);
    let entries = read_all(&f.open_dir(ROOT), true, 9).unwrap();
    assert_eq!(f.requests(), (0, 1));
    f.advance(Duration::from_secs(20));
    let (a, b) = (&entries[0].node, &entries[1].node);
    let looked_up = f.lookup(ROOT, "a").unwrap();
    assert_eq!((looked_up.ino, &looked_up.kind), (a.ino, &a.kind));
    assert_eq!(looked_up.valid_for, Duration::from_secs(40));
    assert_eq!(f.getattr(b.ino).unwrap().kind, b.kind);
    assert!(f.open(a.ino, Freshness::Cached).is_ok());
    assert_eq!(f.requests(), (0, 0));
}

#[test]
fn entries_are_valid_from_when_the_page_came() {
    let f = Fixture::new(&["a", "b/c"]);
    let directory = f.open_dir(ROOT);
    read(&directory, 0, true, 2).unwrap();
    f.advance(Duration::from_millis(70));
    let entries = read(&directory, 2, true, 9).unwrap();
    let valid: Vec<u128> = entries
        .iter()
        .map(|entry| entry.node.valid_for.as_millis())
        .collect();
    assert_eq!(valid, [30, 930]);
}

#[test]
fn listing_refreshes_what_is_known_with_and_without_plus() {
    let f = Fixture::with(&["a", "b"], "", MINUTE);
    let a = f.lookup(ROOT, "a").unwrap();
    assert!(matches!(f.lookup(ROOT, "c"), Err(Error::NotFound)));
    f.store.put("a", "changed");
    f.store.put("c", "made");
    f.advance(Duration::from_secs(1));
    f.entries(ROOT);
    let new = f.lookup(ROOT, "a").unwrap();
    assert_eq!(info(&new).size, 7);
    assert_ne!(new.ino, a.ino);
    assert!(matches!(f.getattr(a.ino), Err(Error::Stale)));
    assert_eq!(info(&f.lookup(ROOT, "c").unwrap()).size, 4);
}

#[test]
fn listing_asked_before_does_not_undo_a_newer_answer() {
    let f = Fixture::with(&["a"], "", MINUTE);
    let directory = f.open_dir(ROOT);
    read(&directory, 0, true, 2).unwrap();
    f.advance(Duration::from_secs(1));
    let etag = f.store.put("a", "changed");
    let new = f.lookup(ROOT, "a").unwrap();
    let entries = read(&directory, 2, true, 9).unwrap();
    assert_eq!(info(&entries[0].node).etag, etag);
    assert_eq!(entries[0].node.ino, new.ino);
    f.tree.forget(new.ino, 2);
    assert_eq!(f.known_inodes(), 1);
}

#[test]
fn page_asked_for_ahead_does_not_undo_a_newer_answer() {
    let f = Fixture::with(&["a", "b", "c", "d", "e", "f"], "", MINUTE);
    f.store.set_page_size(2);
    let directory = f.open_dir(ROOT);
    read(&directory, 0, true, 9).unwrap();
    read(&directory, 3, true, 9).unwrap();
    assert_eq!(f.requests(), (0, 3), "the last page was asked for");
    f.advance(Duration::from_secs(1));
    let etag = f.store.put("e", "changed");
    f.lookup(ROOT, "e").unwrap();
    let entries = read(&directory, 5, true, 9).unwrap();
    let e = entries.iter().find(|entry| &*entry.name == "e").unwrap();
    assert_eq!(info(&e.node).etag, etag);
    assert_eq!(e.node.valid_for, Duration::from_secs(59));
}

#[test]
fn page_asked_for_before_a_change_of_this_mount_is_not_believed() {
    for plus in [false, true] {
        let f = Fixture::with(&["a", "b", "c"], "", MINUTE);
        let directory = f.open_dir(ROOT);
        assert_eq!(read(&directory, 0, plus, 3).unwrap().len(), 3);
        f.advance(Duration::from_secs(1));
        // One is removed, one is replaced.
        let b = f.lookup(ROOT, "b").unwrap();
        let named = block_on(f.tree.find(ROOT, OsStr::new("b"))).unwrap();
        block_on(f.tree.unlink(&named)).unwrap();
        drop(named);
        f.tree.forget(b.ino, 1);
        let c = f.lookup(ROOT, "c").unwrap();
        f.tree
            .start_writing(c.ino, &Key::new("c").unwrap(), 0)
            .unwrap();
        f.store.put("c", "another one");
        f.tree.end_writing(c.ino, true);
        f.tree.forget(c.ino, 1);
        f.advance(Duration::from_secs(1));
        for entry in read(&directory, 3, plus, 9).unwrap() {
            assert_eq!(entry.node.valid_for, Duration::ZERO, "{}", entry.name);
        }
        assert!(matches!(f.lookup(ROOT, "b"), Err(Error::NotFound)));
        assert_eq!(info(&f.lookup(ROOT, "c").unwrap()).size, 11);
        // What comes next is believed again.
        let c = &f.entries(ROOT)[1];
        assert_eq!((info(&c.node).size, c.node.valid_for), (11, MINUTE_LONG));
    }
}

#[test]
fn vanished_directory_reads_as_empty_and_is_asked_for_again() {
    let f = Fixture::with(&["d/x"], "", MINUTE);
    let d = f.lookup(ROOT, "d").unwrap();
    let directory = f.open_dir(d.ino);
    f.store.remove("d/x");
    f.advance(Duration::from_secs(1));
    assert_eq!(read_all(&directory, true, 9).unwrap(), []);
    assert!(matches!(f.getattr(d.ino), Err(Error::NotFound)));
    assert!(matches!(f.lookup(ROOT, "d"), Err(Error::NotFound)));
}
