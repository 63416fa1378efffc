use proptest::prelude::*;

use super::super::pace::START;
use super::super::tests::{file, page};
use super::*;
use crate::s3::{ListFrom, PageToken};

/// The size of the files of [`page`].
const SIZE: u64 = 100 << 10;

fn name(i: usize) -> String {
    format!("d/{i:05}")
}

fn key(i: usize) -> Key {
    file(&name(i), SIZE).key
}

/// A listing of `count` files, in one page.
fn listed(make: fn(Listing) -> Set, count: usize) -> Set {
    let scope = Scope::Directory("d/".to_owned());
    let mut set = make(Listing::new(scope, ListFrom::Start));
    _ = set.list().expect("a page");
    let names: Vec<String> = (0..count).map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(set.absorb(page(&names, None), |_, _| State::Unread));
    set
}

/// Reads a file, and fetches as much as may be. Returns whether the file had been fetched, and how
/// many were given up.
fn read(set: &mut Set, i: usize, fetched: &mut Vec<Key>) -> (bool, usize) {
    let mut gone = Vec::new();
    let was_fetched = fetched.contains(&key(i));
    fetched.retain(|one| *one != key(i));
    set.note_read(&key(i), 0, &mut gone);
    fetched.retain(|one| !gone.contains(one));
    while let Some((_, file)) = set.next() {
        fetched.push(file.key);
    }
    (was_fetched, gone.len())
}

#[test]
fn run_in_order_finds_every_file_after_the_first_few() {
    let mut set = listed(Set::run, 500);
    let mut fetched = Vec::new();
    let hits = (0..500).filter(|&i| read(&mut set, i, &mut fetched).0);
    assert_eq!(hits.count(), 497);
    assert_eq!(fetched, []);
}

#[test]
fn run_of_several_processes_that_overtake_each_other_goes_on() {
    let mut set = listed(Set::run, 800);
    let mut fetched = Vec::new();
    // Each eight files are read in the order 7, 6, .. 0.
    let order = (0..800).map(|i| i / 8 * 8 + 7 - i % 8);
    let hits = order.filter(|&i| read(&mut set, i, &mut fetched).0);
    assert!(hits.count() > 770);
}

#[test]
fn reads_in_no_order_fetch_nothing_for_a_run() {
    let mut set = listed(Set::run, 5000);
    let mut fetched = Vec::new();
    for i in 0..300 {
        read(&mut set, i * 1777 % 5000, &mut fetched);
        assert!(fetched.is_empty(), "{i}");
    }
}

#[test]
fn run_that_skips_most_files_gives_up_what_it_passed() {
    let mut set = listed(Set::run, 5000);
    let mut fetched = Vec::new();
    let mut gone = 0;
    for i in (0..5000).step_by(10) {
        gone += read(&mut set, i, &mut fetched).1;
    }
    assert!(gone > 3000, "{gone}");
    assert!(fetched.len() < 1000, "{}", fetched.len());
}

#[test]
fn run_once_more_from_the_start_is_followed() {
    let mut set = listed(Set::run, 300);
    let mut fetched = Vec::new();
    for i in 0..300 {
        read(&mut set, i, &mut fetched);
    }
    let hits = (0..300).filter(|&i| read(&mut set, i, &mut fetched).0);
    assert!(hits.count() > 280);
}

#[test]
fn run_that_leaves_the_part_that_is_known_is_lost() {
    let mut set = listed(Set::run, 10);
    let mut gone = Vec::new();
    for i in 0..MOST_STRAYS {
        assert!(!set.is_lost(), "{i}");
        set.note_read(&file(&format!("d/x{i}"), 1).key, 0, &mut gone);
        set.note_read(&file("elsewhere", 1).key, 0, &mut gone);
    }
    assert!(set.is_lost());
}

#[test]
fn whole_set_is_fetched_in_listing_order_as_it_is_read() {
    let mut set = listed(Set::whole, 2000);
    let mut fetched = Vec::new();
    let mut hits = 0;
    for i in 0..2000 {
        let i = i * 777 % 2000;
        hits += usize::from(read(&mut set, i, &mut fetched).0);
    }
    assert!(hits > 1700, "{hits}");
    assert_eq!(fetched, []);
}

#[test]
fn whole_set_is_left_alone_when_the_same_part_is_read_all_the_time() {
    let mut set = listed(Set::whole, 5000);
    let mut fetched = Vec::new();
    // The last 500 files only, which come last in the listing.
    for i in 0..500 {
        read(&mut set, 4500 + i * 77 % 500, &mut fetched);
    }
    assert!(!set.leads());
    assert_eq!(set.next(), None);
}

#[test]
fn whole_set_read_once_more_is_fetched_once_more() {
    let mut set = listed(Set::whole, 1000);
    let mut fetched = Vec::new();
    for i in 0..1000 {
        read(&mut set, i * 777 % 1000, &mut fetched);
    }
    let hits = (0..1000).filter(|i| read(&mut set, i * 333 % 1000, &mut fetched).0);
    assert!(hits.count() > 700);
}

#[test]
fn pages_are_asked_for_as_they_are_needed() {
    let scope = Scope::Directory("d/".to_owned());
    let mut set = Set::run(Listing::new(scope, ListFrom::Start));
    let mut gone = Vec::new();
    _ = set.list().expect("the first page, whatever comes");
    let names: Vec<String> = (0..1000).map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    set.absorb(page(&names, Some("2")), |_, _| State::Unread);
    for i in 0..300 {
        set.note_read(&key(i), 0, &mut gone);
        assert_eq!(set.list(), None, "{i}");
    }
    for i in 300..1000 {
        set.note_read(&key(i), 0, &mut gone);
        if let Some(request) = set.list() {
            assert_eq!(request.from, ListFrom::Page(PageToken::new("2")));
            return;
        }
    }
    panic!("the second page was not asked for");
}

#[test]
fn put_back_and_skipped_files_do_not_count_as_held() {
    let mut set = listed(Set::whole, 100);
    let (place, first) = set.next().expect("a file");
    set.put_back(place);
    assert_eq!(set.next(), Some((place, first.clone())));
    set.skip(&first.key);
    set.put_back(place);
    let fetched: Vec<_> = set.fetched().collect();
    assert!(fetched.is_empty());
    assert_ne!(set.next().expect("another file").1, first);
}

proptest! {
    #[test]
    fn prop_what_is_fetched_is_bounded_by_what_was_read(
        reads in prop::collection::vec(0usize..3000, 1..400), whole: bool,
    ) {
        let mut set = listed(if whole { Set::whole } else { Set::run }, 3000);
        let mut fetched = Vec::new();
        for (count, i) in reads.into_iter().enumerate() {
            read(&mut set, i, &mut fetched);
            let ratio = if whole { super::super::pace::WHOLE_RATIO } else { 1 };
            let most = START + ratio * SIZE * (count as u64 + 1);
            prop_assert!(fetched.len() as u64 * SIZE <= most);
        }
    }
}
