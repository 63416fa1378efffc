//! The pages of split listings, over stores of several kinds.

mod store;

use std::pin::pin;
use std::task::Waker;

use super::*;
use crate::s3::{ListFrom, Prefix};
use crate::tree::{Clock, Tree, TreeConfig, Ttl};
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

fn pager(shelf: &Shelf) -> Pager {
    let config = TreeConfig {
        prefix: Prefix::default(),
        ttl: Ttl::Minimal,
        negative_ttl: Ttl::Minimal,
        details: false,
        pages: false,
    };
    let now = std::time::Instant::now();
    let tree = Tree::with_clock(Arc::new(shelf.clone()), config, Clock::new(move || now));
    Pager::new(tree.core, String::new(), true)
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
    assert!(trips <= 20, "{trips}");
}

#[test]
fn million_of_counted_names_keeps_many_requests_in_flight() {
    let trips = check(numbers(1_000_000), 1000);
    assert!(trips <= 140, "{trips}");
}
