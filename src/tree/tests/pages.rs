//! Lookups by the page around the name.

use std::pin::pin;

use futures::poll;

use super::*;
use crate::s3::fake::Order;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn many() -> Vec<String> {
    (0..2000).map(|number| format!("f{number:04}")).collect()
}

fn paged(keys: &[String], ttls: (Ttl, Ttl)) -> Fixture {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    Fixture::paged(&keys, ttls)
}

#[test]
fn first_miss_fetches_the_page_around_the_name_and_siblings_cost_nothing() {
    let f = paged(&many(), MINIMAL);
    assert_eq!(info(&f.lookup(ROOT, "f0500").unwrap()).size, 5);
    assert_eq!(f.requests(), (0, 1));
    for name in ["f0501", "f0999", "f1498"] {
        let node = f.lookup(ROOT, name).unwrap();
        assert_eq!(node.valid_for, 100 * MS);
    }
    assert_eq!(f.requests(), (0, 0));
    f.lookup(ROOT, "f1499").unwrap();
    assert_eq!(
        f.requests(),
        (0, 1),
        "a directory might hide it on the next page"
    );
}

#[test]
fn s12_page_is_believed_for_a_second_about_what_is_there() {
    let f = paged(&many(), MINIMAL);
    f.lookup(ROOT, "f0000").unwrap();
    f.store.put("f0001", "longer");
    f.advance(950 * MS);
    let node = f.lookup(ROOT, "f0001").unwrap();
    assert_eq!((info(&node).size, node.valid_for), (5, 50 * MS));
    f.requests();
    f.advance(50 * MS);
    assert_eq!(info(&f.lookup(ROOT, "f0001").unwrap()).size, 6);
    assert_eq!(f.requests(), (0, 1));
}

#[test]
fn s12_new_names_are_seen_at_once() {
    let f = Fixture::paged(&["a", "c"], MINIMAL);
    f.lookup(ROOT, "a").unwrap();
    assert!(matches!(f.lookup(ROOT, "b"), Err(Error::NotFound)));
    f.store.put("b", "x");
    f.advance(MS);
    assert!(f.lookup(ROOT, "b").is_ok());
}

#[test]
fn absent_name_costs_one_list_and_nothing_within_the_ttl() {
    let f = Fixture::paged(&["a", "c"], MINUTE);
    assert!(matches!(f.lookup(ROOT, "b"), Err(Error::NotFound)));
    assert_eq!(f.requests(), (0, 1));
    for name in ["b", "bb", "d"] {
        assert!(matches!(f.lookup(ROOT, name), Err(Error::NotFound)));
    }
    assert!(f.lookup(ROOT, "c").is_ok());
    assert_eq!(f.requests(), (0, 0));
    f.advance(61 * SECOND);
    f.store.put("bb", "x");
    assert!(f.lookup(ROOT, "bb").is_ok());
}

#[test]
fn directory_on_the_next_page_hides_the_file() {
    let f = Fixture::paged(&["a", "a-", "a-b", "a/x", "b"], MINIMAL);
    f.store.set_page_size(2);
    assert!(is_directory(&f.lookup(ROOT, "a").unwrap()));
    assert!(f.lookup(ROOT, "a-").is_ok());
    assert!(matches!(f.lookup(ROOT, "a."), Err(Error::NotFound)));
}

#[test]
fn directory_in_which_a_key_was_found_is_not_asked_for() {
    let f = Fixture::paged(&["d/e/a", "d/e/b"], MINIMAL);
    f.walk("d/e/a").unwrap();
    f.requests();
    f.advance(600 * MS);
    let node = f.walk("d/e/b").unwrap();
    assert_eq!(f.requests(), (0, 0));
    f.open(node.ino, Freshness::Newest).unwrap();
    f.advance(600 * MS);
    assert_eq!(f.lookup(ROOT, "d").unwrap().valid_for, 400 * MS);
    assert_eq!(f.walk("d/e").unwrap().valid_for, 400 * MS);
    assert_eq!(f.requests(), (1, 0));
    f.store.remove("d/e/a");
    f.store.remove("d/e/b");
    f.advance(400 * MS);
    assert!(matches!(f.lookup(ROOT, "d"), Err(Error::NotFound)));
}

#[test]
fn own_changes_outdate_what_a_page_said() {
    let f = Fixture::paged(&["a", "b"], MINUTE);
    f.lookup(ROOT, "a").unwrap();
    let named = block_on(f.tree.find(ROOT, OsStr::new("b"))).unwrap();
    block_on(f.tree.unlink(&named)).unwrap();
    drop(named);
    assert!(matches!(f.lookup(ROOT, "b"), Err(Error::NotFound)));
    assert_eq!(f.names(ROOT), ["a"]);
    let named = block_on(f.tree.find(ROOT, OsStr::new("a"))).unwrap();
    block_on(f.tree.rename(&named, ROOT, OsStr::new("b"), false)).unwrap();
    drop(named);
    assert!(matches!(f.lookup(ROOT, "a"), Err(Error::NotFound)));
    assert!(f.lookup(ROOT, "b").is_ok());
}

#[test]
fn version_that_was_found_replaced_is_not_believed_again() {
    let f = Fixture::paged(&["a", "b"], MINUTE);
    let old = f.lookup(ROOT, "b").unwrap();
    f.store.put("b", "longer");
    f.tree.note_replaced(old.ino);
    let new = f.lookup(ROOT, "b").unwrap();
    assert_ne!(new.ino, old.ino);
    assert_eq!(info(&new).size, 6);
    f.store.remove("b");
    assert!(matches!(
        f.open(new.ino, Freshness::Newest),
        Err(Error::NotFound)
    ));
    assert!(matches!(f.lookup(ROOT, "b"), Err(Error::NotFound)));
    assert!(f.lookup(ROOT, "a").is_ok());
}

#[test]
fn lookups_that_begin_near_each_other_share_a_page() {
    let f = paged(&many(), MINIMAL);
    f.store.hold_next(Op::List, None, 1);
    block_on(async {
        let mut first = Box::pin(f.tree.lookup(ROOT, OsStr::new("f0100")));
        assert!(poll!(&mut first).is_pending());
        f.advance(MS);
        let mut second = pin!(f.tree.lookup(ROOT, OsStr::new("f0200")));
        assert!(poll!(&mut second).is_pending());
        // The one who asked may leave.
        drop(first);
        f.store.release();
        assert_eq!(second.await.unwrap().valid_for, 100 * MS);
    });
    assert_eq!(f.requests(), (0, 1));
}

#[test]
fn store_in_another_order_is_found_out_and_asked_for_each_name() {
    let keys: Vec<String> = (0..50).map(|number| format!("f{number:04}")).collect();
    let f = paged(&keys, MINIMAL);
    f.store.set_order(Order::Scrambled);
    for key in &keys {
        assert!(f.lookup(ROOT, key).is_ok(), "{key}");
    }
    assert_eq!(f.requests(), (50, 51));
    assert!(matches!(f.lookup(ROOT, "f"), Err(Error::NotFound)));
}

#[test]
fn pages_that_answer_nothing_are_not_fetched_for_ever() {
    let f = paged(&[], MINIMAL);
    for number in 0..20 {
        assert!(f.lookup(ROOT, &format!("n{number}")).is_err());
        f.advance(SECOND);
    }
    let (heads, lists) = f.requests();
    assert_eq!((heads, lists), (16, 20));
}

#[test]
fn listed_file_is_offered_where_files_are_read_and_once_the_page_is_old() {
    let f = paged(&many(), MINIMAL);
    let listed = |name: &str| f.tree.listed(ROOT, OsStr::new(name));
    let node = f.lookup(ROOT, "f0000").unwrap();
    f.advance(SECOND);
    assert!(listed("f0001").is_none(), "nobody reads here");
    f.tree.note_read(node.ino);
    let first = listed("f0001").expect("it was listed");
    assert_eq!(first.version.key.as_str(), "f0001");
    let node = f.tree.learn_listed(&first).unwrap();
    assert_eq!((info(&node).size, node.valid_for), (5, 100 * MS));
    assert!(listed("f0001").is_none(), "it is known");
    assert!(listed("f0002").is_some());
    assert!(listed("f0003").is_none(), "two were not opened");
    f.tree.note_read(node.ino);
    assert!(listed("nothing").is_none());
    let doubted = listed("f0004").expect("it was listed");
    f.tree.doubt_listed(&doubted);
    assert!(listed("f0004").is_none());
    f.advance(60 * SECOND);
    assert!(listed("f0005").is_none(), "it was too long ago");
    assert_eq!(f.requests(), (0, 1));
}

#[test]
fn listed_file_is_not_offered_under_a_ttl_or_once_opened() {
    let f = paged(&many(), MINUTE);
    let node = f.lookup(ROOT, "f0000").unwrap();
    f.tree.note_read(node.ino);
    f.advance(61 * SECOND);
    assert!(f.tree.listed(ROOT, OsStr::new("f0001")).is_none());
    let f = paged(&many(), MINIMAL);
    let node = f.lookup(ROOT, "f0000").unwrap();
    f.tree.note_read(node.ino);
    f.open(node.ino, Freshness::Cached).unwrap();
    f.advance(2 * SECOND);
    assert!(f.tree.listed(ROOT, OsStr::new("f0000")).is_none());
}
