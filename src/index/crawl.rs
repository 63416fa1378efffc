//! Lists a whole bucket, or what is below a prefix, in many requests at once.
//!
//! A listing goes on where the page before ended, so one listing is one request at a time. But a
//! listing may also begin after any text. So the keys are cut into ranges that are listed at once:
//! at first there is one; whenever fewer requests are under way than may be, a listing is begun in
//! the middle of a range ([`middle`](super::middle)), and cuts it into two if there is something.
//! The first page of the new range is the answer itself, so that a cut costs no request; only a
//! middle with nothing after it does, and that range is smaller from then on.
//!
//! A store that lists in another order than that of bytes cannot be cut. It is found out by its
//! pages, and listed again, one page after the other.

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use super::Error;
use super::middle::Cuts;
use crate::s3::{self, ListFrom, ListPage, ListRequest, ListedObject, PageToken, Store};

/// Gives every object of `store` whose key starts with `prefix` to `take`, a page at a time. Some
/// may come twice.
///
/// # Errors
/// [`Error::S3`] when a page could not be had, and what `take` answers.
///
/// # Cancel safety
/// Dropping the future cancels the requests that are under way.
pub async fn crawl(
    store: &dyn Store,
    prefix: &str,
    take: &mut dyn FnMut(Vec<ListedObject>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut crawl = Crawl::new(store, prefix, MOST_REQUESTS);
    if crawl.run(take).await? == Outcome::Unordered {
        log::debug!("the store lists in an order of its own: listing one page after the other");
        Crawl::new(store, prefix, 1).run(take).await?;
    }
    Ok(())
}

struct Crawl<'a> {
    store: &'a dyn Store,
    prefix: &'a str,
    most_requests: usize,
    ranges: Vec<Range>,
    running: FuturesUnordered<BoxFuture<'a, Answer>>,
}

/// The keys after one text, up to another one.
struct Range {
    /// The last key that came.
    after: String,
    /// The last key that may come; `None` for no end.
    end: Option<String>,
    is_done: bool,
    /// Whether no listing in its middle is under way, and another one makes sense.
    may_be_cut: bool,
    cuts: Cuts,
}

/// What a request was for.
enum Purpose {
    /// The next page of this range.
    Next(usize),
    /// A listing that begins in the middle of this range, after this text.
    Cut(usize, String),
}

struct Answer {
    purpose: Purpose,
    page: Result<ListPage, s3::Error>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Complete,
    /// What came is not to be relied upon.
    Unordered,
}

impl<'a> Crawl<'a> {
    fn new(store: &'a dyn Store, prefix: &'a str, most_requests: usize) -> Self {
        Self {
            store,
            prefix,
            most_requests,
            ranges: Vec::new(),
            running: FuturesUnordered::new(),
        }
    }

    async fn run(
        &mut self,
        take: &mut dyn FnMut(Vec<ListedObject>) -> Result<(), Error>,
    ) -> Result<Outcome, Error> {
        self.ranges.push(Range {
            after: String::new(),
            end: None,
            is_done: false,
            may_be_cut: true,
            cuts: Cuts::new(self.prefix),
        });
        self.ask(Purpose::Next(0), ListFrom::Start);
        while let Some(Answer { purpose, page }) = self.running.next().await {
            let page = page.map_err(Error::S3)?;
            let after = match &purpose {
                Purpose::Next(range) => self.ranges.get(*range).map(|range| &*range.after),
                Purpose::Cut(_, after) => Some(&**after),
            };
            let may_cut = self.most_requests > 1;
            if may_cut && !is_ordered(&page.objects, after.unwrap_or_default()) {
                return Ok(Outcome::Unordered);
            }
            let objects = match purpose {
                Purpose::Next(range) => self.go_on(range, page),
                Purpose::Cut(range, after) => self.cut(range, after, page),
            };
            take(objects)?;
            if may_cut {
                self.begin_cuts();
            }
        }
        Ok(Outcome::Complete)
    }

    fn ask(&self, purpose: Purpose, from: ListFrom) {
        let store = self.store;
        let request = ListRequest {
            prefix: self.prefix.to_owned(),
            from,
            ..ListRequest::default()
        };
        self.running.push(Box::pin(async move {
            let page = store.list(&request).await;
            Answer { purpose, page }
        }));
    }

    /// Takes the next page of a range: its objects, and where it goes on.
    fn go_on(&mut self, number: usize, page: ListPage) -> Vec<ListedObject> {
        let Some(range) = self.ranges.get_mut(number) else {
            return Vec::new();
        };
        let (objects, next) = range.take(page);
        match next {
            Some(next) => self.ask(Purpose::Next(number), ListFrom::Page(next)),
            None => range.is_done = true,
        }
        objects
    }

    /// Takes a page that begins in the middle of a range, after the text `at`.
    fn cut(&mut self, number: usize, at: String, page: ListPage) -> Vec<ListedObject> {
        let Some(range) = self.ranges.get_mut(number) else {
            return Vec::new();
        };
        range.may_be_cut = true;
        if range.is_done {
            // It was faster.
            return Vec::new();
        }
        let mut half = Range {
            after: at.clone(),
            end: range.end.clone(),
            is_done: false,
            may_be_cut: true,
            cuts: range.cuts.clone(),
        };
        let (objects, next) = half.take(page);
        range.cuts.note(!objects.is_empty());
        half.cuts = range.cuts.clone();
        range.end = Some(at);
        if let Some(next) = next {
            let number = self.ranges.len();
            self.ranges.push(half);
            self.ask(Purpose::Next(number), ListFrom::Page(next));
        }
        objects
    }

    /// Begins listings in the middle of ranges, as long as there may be more requests.
    fn begin_cuts(&mut self) {
        while self.running.len() < self.most_requests {
            let free = self.ranges.iter_mut().enumerate();
            let free = free.filter(|(_, range)| !range.is_done && range.may_be_cut);
            let Some((number, range)) = free.min_by_key(|(_, range)| range.cuts.tried()) else {
                return;
            };
            range.may_be_cut = false;
            let Some(at) = range.cuts.next(&range.after, range.end.as_deref()) else {
                continue;
            };
            self.ask(Purpose::Cut(number, at.clone()), ListFrom::After(at));
        }
    }
}

impl Range {
    /// The objects of the next page that are in the range, and the page after it, unless the range
    /// has ended.
    fn take(&mut self, mut page: ListPage) -> (Vec<ListedObject>, Option<PageToken>) {
        if let Some(end) = &self.end {
            let inside = page.objects.partition_point(|object| object.key <= *end);
            if inside < page.objects.len() {
                page.next = None;
                page.objects.truncate(inside);
            }
        }
        if let Some(last) = page.objects.last() {
            self.after.clone_from(&last.key);
        }
        (page.objects, page.next)
    }
}

/// Whether the keys rise, and are all greater than `after`.
fn is_ordered(objects: &[ListedObject], after: &str) -> bool {
    let keys = objects.iter().map(|object| &*object.key);
    let follows = objects.first().is_none_or(|first| *first.key > *after);
    follows && keys.is_sorted_by(|a, b| a < b)
}

/// Enough to hide the time that a page takes, and few enough for any store.
const MOST_REQUESTS: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use futures::executor::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::s3::ErrorKind;
    use crate::s3::fake::{FakeStore, Op, Order};

    /// The keys that a crawl finds, and how many pages had any.
    fn found(store: &FakeStore, prefix: &str) -> Result<BTreeSet<String>, Error> {
        let mut keys = BTreeSet::new();
        let mut take = |objects: Vec<ListedObject>| {
            keys.extend(objects.into_iter().map(|object| object.key));
            Ok(())
        };
        block_on(crawl(store, prefix, &mut take))?;
        Ok(keys)
    }

    fn bucket(keys: &BTreeSet<String>) -> FakeStore {
        let store = FakeStore::deterministic();
        for key in keys {
            store.put(key, Bytes::from_static(b"x"));
        }
        store
    }

    proptest! {
        #[test]
        fn prop_everything_below_the_prefix_is_found(
            keys in prop::collection::btree_set("[ab/é0~ ]{1,6}", 0..80),
            page_size in 1_usize..20,
            is_ordered: bool,
        ) {
            let store = bucket(&keys);
            store.set_page_size(page_size);
            store.set_order(if is_ordered { Order::Utf8 } else { Order::Scrambled });
            for prefix in ["", "a/", "é/"] {
                let expected: BTreeSet<String> =
                    keys.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
                prop_assert_eq!(found(&store, prefix).expect("listed"), expected);
            }
        }
    }

    #[test]
    fn flat_and_deep_buckets_cost_few_requests_more_than_pages() {
        let flat = (0..20_000).map(|number| format!("{number:07}.jpg"));
        let deep = (0..20_000).map(|number| {
            format!(
                "data/set/train/n{:04}/n{:04}_{number}.jpg",
                number / 100,
                number / 100
            )
        });
        for keys in [flat.collect::<BTreeSet<_>>(), deep.collect()] {
            let store = bucket(&keys);
            store.set_page_size(100);
            assert_eq!(found(&store, "").expect("listed"), keys);
            let requests = store.count(Op::List);
            assert!(requests < 200 + 200, "{requests} requests for 200 pages");
        }
    }

    #[test]
    fn failed_page_is_an_error() {
        let store = bucket(&BTreeSet::from(["a".to_owned()]));
        store.fail_next(Op::List, None, ErrorKind::Denied, 1);
        let error = found(&store, "").expect_err("denied");
        assert!(matches!(error, Error::S3(error) if error.kind() == ErrorKind::Denied));
    }
}
