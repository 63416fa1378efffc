//! The pages of split listings, over stores of several kinds.

mod store;

use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use futures::executor::block_on;

use super::*;
use crate::s3::Prefix;
use crate::s3::fake::{FakeStore, Op};
use crate::tree::{Clock, DirEntry, Emit, NodeKind, ROOT, Tree, TreeConfig, Ttl};
use store::{Kind, Shelf};

/// What a pager over a store makes of a listing.
#[derive(Debug)]
struct Outcome {
    /// The texts of the entries.
    texts: Vec<String>,
    /// Round trips that it took: requests of one are under way at the same time.
    trips: usize,
    requests: usize,
}

fn config() -> TreeConfig {
    TreeConfig {
        prefix: Prefix::default(),
        ttl: Ttl::Minimal,
        negative_ttl: Ttl::Minimal,
        details: false,
        pages: false,
        ordered: true,
    }
}

fn pager(shelf: &Shelf) -> Pager {
    let now = Instant::now();
    pager_by(shelf, Clock::new(move || now))
}

fn pager_by(shelf: &Shelf, clock: Clock) -> Pager {
    let tree = Tree::with_clock(Arc::new(shelf.clone()), config(), clock);
    Pager::new(
        Arc::clone(tree.core().expect("a bucket")),
        String::new(),
        true,
    )
}

/// The next page, as many round trips as that takes.
fn next(pager: &mut Pager, shelf: &Shelf) -> Result<Page, s3::Error> {
    let mut next = pin!(pager.next());
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(page) = next.as_mut().poll(&mut cx) {
            return page;
        }
        shelf.pass();
    }
}

fn texts(page: &ListPage) -> Vec<String> {
    let objects = page.objects.iter().map(|object| object.key.clone());
    let mut texts: Vec<_> = objects.chain(page.common_prefixes.clone()).collect();
    texts.sort_unstable();
    texts
}

fn list(shelf: &Shelf) -> Result<Outcome, s3::Error> {
    list_by(shelf, &mut pager(shelf))
}

fn list_by(shelf: &Shelf, pager: &mut Pager) -> Result<Outcome, s3::Error> {
    let mut found = Vec::new();
    loop {
        let page = next(pager, shelf)?;
        found.extend(texts(&page.entries));
        if page.is_last {
            break;
        }
    }
    let (trips, requests) = shelf.reset();
    Ok(Outcome {
        texts: found,
        trips,
        requests,
    })
}

/// Lists names of a store that does as S3, and says in how many round trips.
#[track_caller]
fn check(names: Vec<String>, page: usize) -> usize {
    let shelf = Shelf::new(Kind::LikeS3, names, page);
    let pages = shelf.texts().len().div_ceil(page).max(1);
    let outcome = list(&shelf).unwrap();
    assert!(outcome.texts == shelf.texts(), "other entries");
    assert!(
        outcome.requests * 5 <= pages * 6,
        "{} requests for {pages} pages",
        outcome.requests
    );
    outcome.trips
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("img-{i:08}.jpg")).collect()
}

#[test]
fn hundred_pages_of_counted_names_take_a_fifth_of_the_trips() {
    let trips = check(numbers(100_000), 1000);
    assert!(trips <= 22, "{trips}");
}

#[test]
fn million_of_counted_names_keeps_many_requests_in_flight() {
    let trips = check(numbers(1_000_000), 1000);
    assert!(trips <= 125, "{trips}");
}

#[test]
fn names_from_hashes_take_a_part_of_the_trips() {
    let mut random = Random(11);
    let names = (0..20_000).map(|_| format!("{:016x}", random.next()));
    let trips = check(names.collect(), 100);
    assert!(trips <= 70, "{trips} for 200 pages");
}

#[test]
fn numbers_of_any_length_take_a_part_of_the_trips() {
    let trips = check((0..100_000).map(|i| i.to_string()).collect(), 1000);
    assert!(trips <= 50, "{trips} for 100 pages");
}

#[test]
fn listing_equals_the_serial_one_for_any_names() {
    for seed in 1..=10_000 {
        let (names, page) = key_set(&mut Random::new(seed));
        let shelf = Shelf::new(Kind::LikeS3, names, page);
        let outcome = list(&shelf).unwrap();
        assert!(outcome.texts == shelf.texts(), "seed {seed}: {outcome:?}");
        let pages = shelf.texts().len().div_ceil(page).max(1);
        assert!(
            outcome.requests * 5 <= pages * 6,
            "seed {seed}: {} requests for {pages} pages",
            outcome.requests
        );
    }
}

#[test]
fn directory_shows_the_same_whatever_a_page_holds() {
    for seed in 1..=2_000 {
        let (names, page) = key_set(&mut Random::new(seed));
        let store = FakeStore::deterministic();
        for name in &names {
            store.put_synthetic(name, 1, 0);
        }
        let expected = shown(&store);
        assert_eq!(store.count(Op::List), 1, "one page has all");
        store.clear_log();
        store.set_page_size(page);
        assert!(shown(&store) == expected, "seed {seed}");
    }
}

/// The entries of the root, in the order in which they come.
fn shown(store: &FakeStore) -> Vec<(String, Option<NodeKind>)> {
    let made = Instant::now();
    let tree = Tree::with_clock(Arc::new(store.clone()), config(), Clock::new(move || made));
    let directory = block_on(tree.open_dir(ROOT)).unwrap();
    let mut entries = Vec::new();
    let mut offset = 0;
    loop {
        let before = offset;
        let mut emit = |entry: DirEntry| {
            offset = entry.offset;
            let kind = match entry.node.kind {
                NodeKind::Directory { .. } => None,
                kind => Some(kind),
            };
            entries.push((entry.name.to_string(), kind));
            Emit::Taken
        };
        block_on(directory.read(before, false, &mut emit)).unwrap();
        if offset == before {
            return entries;
        }
    }
}

#[test]
fn listing_is_whole_where_it_cannot_be_split() {
    for kind in [
        Kind::ByName,
        Kind::FromTheStart,
        Kind::SkipsOne,
        Kind::Refuses,
    ] {
        for seed in 1..=2_000 {
            let (names, page) = key_set(&mut Random::new(seed));
            let shelf = Shelf::new(kind, names, page);
            let mut expected = shelf.texts().to_vec();
            expected.sort_unstable();
            let mut found = list(&shelf).unwrap().texts;
            found.sort_unstable();
            assert!(found == expected, "{kind:?}, seed {seed}");
        }
    }
}

#[test]
fn order_that_breaks_before_a_boundary_is_passed_loses_nothing() {
    // The last names are out of order, and a range that begins before them shows it.
    let mut names = numbers(100);
    names.swap(97, 99);
    let shelf = Shelf::in_order(names, 2);
    let mut pager = pager(&shelf);
    let outcome = list_by(&shelf, &mut pager);
    let is_serial_from_now_on = pager.core.lists_otherwise.load(Ordering::Relaxed);
    assert!(is_serial_from_now_on);
    match outcome {
        Ok(outcome) => assert_eq!(outcome.texts.len(), 100),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Protocol),
    }
    let mut again = Pager::new(Arc::clone(&pager.core), String::new(), true);
    let found = list_by(&shelf, &mut again).unwrap().texts;
    assert_eq!(found.len(), 100, "listed serially");
}

#[test]
fn failure_ahead_is_not_seen_and_one_that_is_waited_for_is() {
    let shelf = Shelf::new(Kind::LikeS3, numbers(40), 1);
    let mut pager = pager(&shelf);
    let mut found = Vec::new();
    for _ in 0..10 {
        found.extend(texts(&next(&mut pager, &shelf).unwrap().entries));
    }
    shelf.fail_next(3);
    shelf.pass();
    pager.progress();
    found.extend(texts(&next(&mut pager, &shelf).unwrap().entries));
    shelf.fail_next(100);
    let failed = loop {
        match next(&mut pager, &shelf) {
            Ok(page) => found.extend(texts(&page.entries)),
            Err(error) => break error,
        }
    };
    assert_eq!(failed.kind(), ErrorKind::Throttled);
    shelf.fail_next(0);
    found.extend(list_by(&shelf, &mut pager).unwrap().texts);
    assert_eq!(found, shelf.texts());
}

#[test]
fn dropped_pager_cancels_its_requests() {
    let shelf = Shelf::new(Kind::LikeS3, numbers(100), 1);
    let mut pager = pager(&shelf);
    for _ in 0..20 {
        next(&mut pager, &shelf).unwrap();
    }
    assert!(pager.ranges.iter().filter(|range| range.is_asked()).count() > 1);
    drop(pager);
    assert!(shelf.is_idle());
}

#[test]
fn no_more_is_read_ahead_than_the_bound() {
    let shelf = Shelf::new(Kind::LikeS3, numbers(2_000), 1);
    let mut pager = pager(&shelf);
    for _ in 0..100 {
        next(&mut pager, &shelf).unwrap();
    }
    for _ in 0..200 {
        shelf.pass();
        pager.progress();
    }
    let (_, requests) = shelf.reset();
    assert!(requests > 100 + MOST_AHEAD / 2, "{requests}");
    assert!(requests <= 100 + 20 + MOST_AHEAD, "{requests}");
}

#[test]
fn slow_caller_is_read_ahead_of_as_far_as_attributes_stay_valid() {
    for (a_page, expected) in [(60, 0), (30, 1), (12, 4)] {
        let shelf = Shelf::new(Kind::LikeS3, numbers(100), 1);
        let millis = Arc::new(AtomicU64::new(0));
        let (start, passed) = (Instant::now(), Arc::clone(&millis));
        let clock = move || start + Duration::from_millis(passed.load(Ordering::Relaxed));
        let mut pager = pager_by(&shelf, Clock::new(clock));
        for taken in 1..60 {
            next(&mut pager, &shelf).unwrap();
            millis.fetch_add(a_page, Ordering::Relaxed);
            for _ in 0..5 {
                shelf.pass();
                pager.progress();
            }
            if taken > 40 {
                let ahead: usize = pager.ranges.iter().map(Range::ahead).sum();
                assert_eq!(ahead, expected, "{a_page} ms a page, page {taken}");
            }
        }
    }
}

/// Names, and the entries of a page, to list them by.
fn key_set(random: &mut Random) -> (Vec<String>, usize) {
    let count = random.below(400) + 1;
    let page = random.below(20) + 1;
    let kind = random.below(10);
    let long = "p".repeat(random.below(200));
    let letters: Vec<char> = "ab-./0\u{1}~\u{e9}\u{7ff}\u{ffff}\u{1f600}"
        .chars()
        .collect();
    let names = (0..count).map(|i| match kind {
        0 => format!("img-{i:06}.jpg"),
        1 => format!("{i}"),
        2 => format!("{:08x}", random.next() >> 32),
        3 => format!("{long}{}", random.below(1_000)),
        4 => "a".repeat(i + 1),
        5 => random.text(&letters, 6),
        6 => format!(
            "2024-{:02}-{:02}T{:02}",
            i / 28 % 12 + 1,
            i % 28 + 1,
            random.below(24)
        ),
        7 => random.text(&letters[..6], 4),
        8 => format!("{}{:03}", ["a", "m", "mm", "z/"][random.below(4)], i),
        _ => format!("d{:04}/x", i / 2 * 7),
    });
    let names = names.filter(|name| !name.is_empty() && name.len() <= 1024);
    (names.collect(), page)
}

/// A small generator of numbers, so that a run can be repeated from its seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from((self.next() >> 11) % end as u64).unwrap()
    }

    fn text(&mut self, letters: &[char], most: usize) -> String {
        let length = self.below(most) + 1;
        let letters = (0..length).map(|_| letters[self.below(letters.len())]);
        letters.collect()
    }
}
