//! The pages of one listing, in the order of a serial listing, asked for several at a time.
//!
//! A listing goes page by page: where the next one begins is known when the one before has come. A
//! large one is split into [ranges](Range) of the key space, which are listed at the same time and
//! handed out one after the other. Where to split is [guessed](guess) from the names that came. A
//! wrong guess costs at most one page, so the [`Budget`] limits how many are made.
//!
//! All that depends on the order of the keys, and not every store lists in byte order. Nothing is
//! split before several pages have come in order, and a boundary between two ranges is passed only
//! if both show the same entries behind it: then the second range goes on where the first one would
//! have. If not, or if the order breaks, the first one goes on instead. Only where that could have
//! lost an entry already, the listing fails.

mod budget;
mod guess;
mod range;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Core;
use super::expiry::Moment;
use crate::s3::{self, ErrorKind, ListFrom, ListPage, ListRequest};
use budget::{Budget, End};
use guess::Alphabet;
use range::{Answer, Guess, Order, Range};

/// The pages of one listing.
pub(super) struct Pager {
    core: Arc<Core>,
    prefix: String,
    delimited: bool,
    /// In the order of the keys. The first one is being handed out; never empty.
    ranges: VecDeque<Range>,
    budget: Budget,
    alphabet: Alphabet,
    pace: Pace,
    /// Pages handed out.
    taken: usize,
    /// Whether a page of a second range was handed out.
    crossed: bool,
    /// Whether ranges may still be split.
    splits: bool,
    /// Why no page can follow.
    failed: Option<s3::Error>,
    /// When the requests were last looked after.
    polled: Moment,
    /// Whether the caller has been waiting since then.
    awaited: bool,
}

/// One page of a listing.
#[derive(Debug)]
pub(super) struct Page {
    /// What it shows. [`ListPage::next`] is of no use.
    pub(super) entries: ListPage,
    /// When it was asked for.
    pub(super) asked: Moment,
    /// When it came, or before.
    pub(super) arrived: Moment,
    /// Whether no page follows.
    pub(super) is_last: bool,
}

impl Pager {
    /// A listing of the keys that start with `prefix`; those with a `/` after it are rolled up if
    /// it is `delimited`. Makes no request.
    pub(super) fn new(core: Arc<Core>, prefix: String, delimited: bool) -> Self {
        let polled = core.clock.now();
        let splits = core.config.ordered;
        Self {
            ranges: VecDeque::from([Range::whole()]),
            core,
            prefix,
            delimited,
            budget: Budget::default(),
            alphabet: Alphabet::default(),
            pace: Pace::default(),
            taken: 0,
            crossed: false,
            splits,
            failed: None,
            polled,
            awaited: false,
        }
    }

    /// What its keys start with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Asks for the first page, without waiting for it.
    pub(super) fn begin(&mut self) {
        self.plan(true);
        self.progress();
    }

    /// The next page. Not to be called after the last one.
    ///
    /// # Errors
    /// As [`s3::Store::list`]: the next call tries again. [`ErrorKind::Protocol`] when the order of
    /// the store turns out to be another one too late: so does every later call.
    ///
    /// # Cancel safety
    /// Safe: requests go on, and the next call takes their answers.
    pub(super) async fn next(&mut self) -> Result<Page, s3::Error> {
        self.pace.ask(self.core.clock.now());
        self.awaited = false;
        if let Some(front) = self.ranges.front_mut() {
            front.failed = None;
        }
        let page = poll_fn(|cx| self.poll_next(cx)).await?;
        self.pace.hand_out(self.core.clock.now());
        Ok(page)
    }

    /// Takes the answers that have come and asks on, without waiting.
    pub(super) fn progress(&mut self) {
        self.awaited = false;
        let mut cx = Context::from_waker(Waker::noop());
        while self.poll_requests(&mut cx) {
            self.plan(false);
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Page, s3::Error>> {
        loop {
            if let Some(error) = &self.failed {
                return Poll::Ready(Err(error.clone()));
            }
            if let Some(page) = self.take() {
                self.taken += 1;
                self.plan(false);
                while self.poll_requests(cx) {
                    self.plan(false);
                }
                return Poll::Ready(Ok(page));
            }
            if let Some(error) = self
                .ranges
                .front_mut()
                .and_then(|front| front.failed.take())
            {
                return Poll::Ready(Err(error));
            }
            self.plan(true);
            if !self.poll_requests(cx) {
                self.awaited = true;
                return Poll::Pending;
            }
        }
    }

    /// The next page, if it is here.
    fn take(&mut self) -> Option<Page> {
        loop {
            let front = self.ranges.front_mut()?;
            if let Some(page) = front.pages.pop_front() {
                let is_drained = front.is_drained();
                return Some(Page {
                    is_last: is_drained && self.ranges.len() == 1,
                    ..page
                });
            }
            if !front.is_drained() {
                return None;
            }
            let [front, next] = [self.ranges.front()?, self.ranges.get(1)?];
            if next.is_fresh() {
                next.failed.as_ref()?;
                log::debug!("{:?} is listed serially: {:?}", self.prefix, next.failed);
                self.collapse();
            } else if front.is_continued_by(next) {
                self.ranges.pop_front();
                self.crossed = true;
                if let Some(front) = self.ranges.front_mut() {
                    front.failed = None;
                }
            } else {
                log::debug!("{:?} is listed serially: it changes meanwhile", self.prefix);
                self.collapse();
            }
        }
    }

    /// Looks after every request. Says whether an answer came.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> bool {
        let mut came = false;
        let mut at = 0;
        while let Some(range) = self.ranges.get_mut(at) {
            if let Some(answer) = range.poll(cx) {
                came = true;
                self.absorb(at, answer);
            }
            at += 1;
        }
        self.polled = self.core.clock.now();
        came
    }

    /// Takes in the answer to the request of the range `at`.
    fn absorb(&mut self, at: usize, answer: Answer) {
        let Some(range) = self.ranges.get_mut(at) else {
            return;
        };
        let mut entries = match answer.page {
            Ok(page) => page,
            Err(error) => {
                range.failed = Some(error);
                return;
            }
        };
        let order = if self.splits {
            range.order_of(&entries)
        } else {
            Order::Bytes
        };
        match order {
            Order::Bytes => {}
            Order::Broken if self.crossed => {
                self.note_order();
                self.failed = Some(self.too_late());
                return;
            }
            Order::Names | Order::Broken => {
                self.note_order();
                self.collapse();
                if at > 0 {
                    return;
                }
            }
        }
        let Some(range) = self.ranges.get_mut(at) else {
            return;
        };
        let next = entries.next.take();
        let arrived = if self.awaited {
            self.core.clock.now()
        } else {
            self.polled.max(answer.asked)
        };
        self.alphabet.learn(&entries, &self.prefix);
        let page = Page {
            entries,
            asked: answer.asked,
            arrived,
            is_last: false,
        };
        let (size, kept) = range.absorb(page, next);
        self.budget.note_page(size, kept);
        if range.is_closed() {
            self.budget.note_closed(range.requests, range.entries);
        }
        if range.is_last() {
            // What is asked for after the end was guessed too far.
            for beyond in self.ranges.iter().skip(at + 1).filter(|r| !r.is_closed()) {
                self.budget.note_closed(beyond.requests, beyond.entries);
            }
            self.ranges.truncate(at + 1);
        }
    }

    /// Goes on with the first range alone, to the end of the listing.
    fn collapse(&mut self) {
        self.splits = false;
        self.ranges.truncate(1);
        if let Some(front) = self.ranges.front_mut() {
            front.reopen();
        }
    }

    /// Remembers that the store lists in another order than that of the bytes.
    fn note_order(&mut self) {
        self.splits = false;
        self.core.lists_otherwise.store(true, Ordering::Relaxed);
    }

    fn too_late(&self) -> s3::Error {
        let message = "the store does not list in the order of the keys, which showed too late: \
                       list again";
        let context = s3::Context {
            operation: "ListObjectsV2",
            key: self.prefix.clone(),
            message: Some(message.to_owned()),
            ..s3::Context::default()
        };
        s3::Error::new(ErrorKind::Protocol, context)
    }

    /// Asks for the next page if it `is_awaited`, and ahead as far as that is worth it.
    fn plan(&mut self, mut is_awaited: bool) {
        let depth = self.depth();
        self.split(depth);
        let mut ahead: usize = self.ranges.iter().map(Range::ahead).sum();
        let mut in_flight = self.ranges.iter().filter(|range| range.is_asked()).count();
        for range in &mut self.ranges {
            let is_wanted = is_awaited || (ahead < depth && in_flight < MOST_IN_FLIGHT);
            if is_wanted && range.can_ask() {
                let request = ListRequest {
                    prefix: self.prefix.clone(),
                    delimited: self.delimited,
                    from: range.from.clone().unwrap_or_default(),
                    max_keys: None,
                };
                range.ask(&self.core, request);
                ahead += 1;
                in_flight += 1;
            }
            is_awaited = is_awaited && range.is_drained();
        }
    }

    /// How many pages may be here or asked for before the caller wants them.
    ///
    /// The attributes of files count from when their page came. So only that much is asked for
    /// ahead as the caller will have read before they are too old.
    fn depth(&self) -> usize {
        if self.taken < 2 {
            return 0;
        }
        let patience = self.core.config.ttl.of_file() / 2;
        self.pace.pages_within(patience).min(MOST_AHEAD)
    }

    /// Splits ranges as far as the budget allows and `depth` makes sense of it.
    fn split(&mut self, depth: usize) {
        loop {
            let ahead: usize = self.ranges.iter().map(Range::ahead).sum();
            let open = self.ranges.iter().filter(|range| !range.is_closed());
            let open = open.count();
            let last = self.ranges.back().and_then(|range| range.from.as_ref());
            let end = match last {
                None => End::Here,
                Some(ListFrom::Page(_)) => End::After,
                Some(_) => End::Unknown,
            };
            let is_allowed = self.splits
                && ahead + 1 < depth
                && open < MOST_IN_FLIGHT
                && self.budget.allows_split(open, end)
                && !self.core.lists_otherwise.load(Ordering::Relaxed);
            if !is_allowed || !self.split_one() {
                return;
            }
        }
    }

    /// Splits the first range that is too long, or else the longest one that is worth it. Says
    /// whether there was one.
    fn split_one(&mut self) -> bool {
        let page = self.budget.page_size();
        let fresh = self.ranges.iter().filter(|range| range.is_fresh()).count();
        if fresh * PAGES_A_RANGE > self.budget.pages_known() {
            return false;
        }
        let mut found: Option<(usize, Guess)> = None;
        for (at, range) in self.ranges.iter().enumerate() {
            let guess = range.guess(&self.alphabet, &self.prefix, page);
            let Some(guess) = guess.filter(|guess| self.is_sound(&guess.middle)) else {
                continue;
            };
            let is_too_long = guess.rest > PAGES_A_RANGE * 3 / 2;
            if found
                .as_ref()
                .is_none_or(|(_, best)| best.rest < guess.rest)
            {
                found = Some((at, guess));
            }
            if is_too_long {
                break;
            }
        }
        let Some((at, guess)) = found else {
            return false;
        };
        let Some(range) = self.ranges.get_mut(at) else {
            return false;
        };
        let second = range.split(format!("{}{}", self.prefix, guess.middle));
        self.ranges.insert(at + 1, second);
        true
    }

    /// Whether a range may end at this text, the prefix of the listing left out.
    fn is_sound(&self, text: &str) -> bool {
        let is_on_one_side = !(self.delimited && text.contains('/'));
        is_on_one_side && self.prefix.len() + text.len() <= MOST_BYTES
    }
}

impl fmt::Debug for Pager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pager")
            .field("prefix", &self.prefix)
            .field("taken", &self.taken)
            .field("ranges", &self.ranges.len())
            .finish_non_exhaustive()
    }
}

/// How fast the caller reads.
#[derive(Debug, Default)]
struct Pace {
    /// When the last page was handed out.
    handed_out: Option<Moment>,
    /// What a page takes the caller.
    a_page: Duration,
}

impl Pace {
    /// Notes that the caller wants a page.
    fn ask(&mut self, now: Moment) {
        if let Some(since) = self.handed_out.take() {
            self.a_page = (self.a_page + now.since(since)) / 2;
        }
    }

    /// Notes that the caller has got it.
    fn hand_out(&mut self, now: Moment) {
        self.handed_out = Some(now);
    }

    /// How many pages the caller reads in such a time.
    fn pages_within(&self, time: Duration) -> usize {
        let pages = time.as_micros() / self.a_page.as_micros().max(1);
        usize::try_from(pages).unwrap_or(usize::MAX)
    }
}

/// Requests of one listing at the same time, at most.
const MOST_IN_FLIGHT: usize = 16;

/// Pages that are here or asked for before the caller wants them, at most. One takes about
/// 300 KB.
const MOST_AHEAD: usize = 64;

/// Pages that a range is split off at. Longer ones make fewer guesses, shorter ones keep more
/// requests in flight within [`MOST_AHEAD`].
const PAGES_A_RANGE: usize = 8;

/// The length of a key, at most.
const MOST_BYTES: usize = 1024;
