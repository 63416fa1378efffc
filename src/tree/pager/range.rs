//! One range of the keys of a listing, listed page by page.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::super::Core;
use super::super::expiry::Moment;
use super::guess::{Alphabet, Stretch};
use super::{PAGES_A_RANGE, Page};
use crate::s3::{self, ListFrom, ListPage, ListRequest, PageToken};

/// The entries of a listing whose texts, in byte order, come after one text and not after another.
/// The text of an entry is its key, or its common prefix.
///
/// Boundaries of a listing that rolls up have no `/` behind the listing's prefix. So the keys of
/// one common prefix are on one side of them all, the side of its text.
pub(super) struct Range {
    /// The text that its entries come after; `None` where the listing begins.
    after: Option<String>,
    /// The text that its entries do not come after; `None`: it goes to the end of the listing.
    upto: Option<String>,
    /// Where the next page begins; `None` when all were asked for.
    pub(super) from: Option<ListFrom>,
    request: Option<Request>,
    /// Why the last request has failed.
    pub(super) failed: Option<s3::Error>,
    /// What came and was not handed out.
    pub(super) pages: VecDeque<Page>,
    /// What its last page showed beyond its end.
    beyond: Option<Beyond>,
    /// The greatest text that came.
    last: Option<String>,
    /// How close the entries lie, by the last page, or in the range that this one was split off.
    stretch: Option<Stretch>,
    /// Entries that came.
    pub(super) entries: usize,
    /// Requests that were made, but those that failed.
    pub(super) requests: usize,
}

/// What a page showed beyond the end of its range.
#[derive(Debug)]
struct Beyond {
    page: Page,
    /// Where the next page would have begun, if there is one.
    from: Option<ListFrom>,
}

/// A page that is asked for.
struct Request {
    asked: Moment,
    page: BoxFuture<'static, Result<ListPage, s3::Error>>,
}

/// What came of a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) asked: Moment,
    pub(super) page: Result<ListPage, s3::Error>,
}

/// Where a range might be split.
#[derive(Debug)]
pub(super) struct Guess {
    /// Pages that are still to come.
    pub(super) rest: usize,
    /// A text in the midst of them, without the prefix of the listing.
    pub(super) middle: String,
}

/// In which order a page comes, after the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// In that of the bytes of the texts, as S3 lists.
    Bytes,
    /// In that of the names, the `/` of common prefixes left out.
    Names,
    /// In none of these, or outside of the range.
    Broken,
}

impl Range {
    /// A whole listing.
    pub(super) fn whole() -> Self {
        Self {
            after: None,
            upto: None,
            from: Some(ListFrom::Start),
            request: None,
            failed: None,
            pages: VecDeque::new(),
            beyond: None,
            last: None,
            stretch: None,
            entries: 0,
            requests: 0,
        }
    }

    /// Ends this range at `middle`, and returns the rest of it.
    pub(super) fn split(&mut self, middle: String) -> Self {
        Self {
            upto: self.upto.replace(middle.clone()),
            from: Some(ListFrom::After(middle.clone())),
            after: Some(middle),
            stretch: self.stretch.clone(),
            ..Self::whole()
        }
    }

    /// Takes back the end of this range.
    pub(super) fn reopen(&mut self) {
        self.upto = None;
        if let Some(Beyond { page, from }) = self.beyond.take() {
            self.pages.push_back(page);
            self.from = from;
        }
    }

    /// Whether it can be asked for a page.
    pub(super) fn can_ask(&self) -> bool {
        self.request.is_none() && self.failed.is_none() && self.from.is_some()
    }

    /// Asks for its next page.
    pub(super) fn ask(&mut self, core: &Arc<Core>, request: ListRequest) {
        let asked = core.clock.now();
        let core = Arc::clone(core);
        let page = async move { core.list(&request).await };
        let page = page.boxed();
        self.requests += 1;
        self.request = Some(Request { asked, page });
    }

    /// Looks after the request. Returns the answer when it comes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Answer> {
        let request = self.request.as_mut()?;
        let Poll::Ready(page) = request.page.as_mut().poll(cx) else {
            return None;
        };
        let asked = request.asked;
        self.request = None;
        if page.is_err() {
            self.requests -= 1;
        }
        Some(Answer { asked, page })
    }

    /// Takes in the next page, which comes in order. Returns how many entries it has, and how many
    /// of them are in this range. `next` is where the listing goes on after it; where it does not,
    /// and nothing in the page is beyond this range, this is the last one.
    pub(super) fn absorb(&mut self, mut page: Page, next: Option<PageToken>) -> (usize, usize) {
        let size = count(&page.entries);
        let next = next.map(ListFrom::Page);
        let last = last(&page.entries).map(str::to_owned);
        if let (Some(upto), Some(last)) = (&self.upto, &last)
            && last > upto
        {
            let entries = cut(&mut page.entries, upto);
            let page = Page { entries, ..page };
            self.beyond = Some(Beyond { page, from: next });
            self.from = None;
        } else {
            if next.is_none() {
                self.upto = None;
            }
            self.from = next;
            self.note_stretch(&page.entries, size, last);
        }
        let kept = count(&page.entries);
        self.entries += kept;
        // A serial listing would show no page without entries here, unless it is the last one.
        if kept > 0 || self.beyond.is_none() {
            self.pages.push_back(page);
        }
        (size, kept)
    }

    /// Notes how close the entries of a page lie, the last of which is `last`.
    fn note_stretch(&mut self, page: &ListPage, size: usize, last: Option<String>) {
        let Some(last) = last else { return };
        let from = self.last.take().or_else(|| self.after.clone());
        let from = from.or_else(|| first(page).map(str::to_owned));
        if let Some(from) = from {
            self.stretch = Some(Stretch {
                from,
                to: last.clone(),
                entries: size,
            });
        }
        self.last = Some(last);
    }

    /// In which order the page comes.
    pub(super) fn order_of(&self, page: &ListPage) -> Order {
        let objects = || page.objects.iter().map(|object| object.key.as_str());
        let groups = || page.common_prefixes.iter().map(String::as_str);
        let mut order = Order::Bytes;
        for (before, after) in objects().zip(objects().skip(1)) {
            order = order.max(order_of(before, after));
        }
        for (before, after) in groups().zip(groups().skip(1)) {
            order = order.max(order_of(before, after));
        }
        for first in objects().next().into_iter().chain(groups().next()) {
            if self.after.as_deref().is_some_and(|after| first <= after) {
                return Order::Broken;
            }
            if let Some(last) = &self.last {
                order = order.max(order_of(last, first));
            }
        }
        order
    }

    /// Whether `next` begins with what this range has seen beyond its end.
    pub(super) fn is_continued_by(&self, next: &Self) -> bool {
        let Some(beyond) = &self.beyond else {
            return false;
        };
        let head = next.pages.front();
        let mut head = head.map_or_else(Vec::new, |page| texts(&page.entries));
        if let Some(rest) = next.beyond.as_ref().filter(|_| next.requests == 1) {
            head.extend(texts(&rest.page.entries));
        }
        head.starts_with(&texts(&beyond.page.entries))
    }

    /// Where this range might be split. `page`: the entries of a full page.
    pub(super) fn guess(&self, alphabet: &Alphabet, prefix: &str, page: usize) -> Option<Guess> {
        self.from.as_ref()?;
        let name = |text: &String| text.strip_prefix(prefix).map(str::to_owned);
        let at = name(self.last.as_ref().or(self.after.as_ref())?)?;
        let stretch = self.stretch.as_ref()?;
        let stretch = Stretch {
            from: name(&stretch.from)?,
            to: name(&stretch.to)?,
            entries: stretch.entries,
        };
        let end = self.upto.as_ref().map(name);
        let rest = match &end {
            Some(end) => alphabet.between(&at, end.as_ref()?, &stretch)? / page,
            None => usize::MAX,
        };
        if rest < SPLIT_FROM {
            return None;
        }
        let pages = PAGES_A_RANGE.min(rest.div_ceil(2));
        // A little less than full pages, so that the last one shows the end of the range.
        let middle = alphabet.ahead(&at, &stretch, pages * page - page / 4)?;
        let is_before_end = end.flatten().is_none_or(|end| middle < end);
        (middle > at && is_before_end).then_some(Guess { rest, middle })
    }

    /// Whether no page of it has come.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.from, Some(ListFrom::After(_)))
    }

    /// Whether a page is being asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.request.is_some()
    }

    /// Whether all its pages have come.
    pub(super) fn is_closed(&self) -> bool {
        self.from.is_none()
    }

    /// Whether no range comes after it.
    pub(super) fn is_last(&self) -> bool {
        self.upto.is_none()
    }

    /// Whether all its pages were handed out.
    pub(super) fn is_drained(&self) -> bool {
        self.is_closed() && self.pages.is_empty()
    }

    /// Pages that are here or asked for.
    pub(super) fn ahead(&self) -> usize {
        self.pages.len() + usize::from(self.request.is_some())
    }
}

fn count(page: &ListPage) -> usize {
    page.objects.len() + page.common_prefixes.len()
}

/// The least text of a page whose lists are in order.
fn first(page: &ListPage) -> Option<&str> {
    let object = page.objects.first().map(|object| object.key.as_str());
    let group = page.common_prefixes.first().map(String::as_str);
    object.into_iter().chain(group).min()
}

/// The greatest text of a page whose lists are in order.
fn last(page: &ListPage) -> Option<&str> {
    let object = page.objects.last().map(|object| object.key.as_str());
    let group = page.common_prefixes.last().map(String::as_str);
    object.max(group)
}

/// Every text of a page, in order.
fn texts(page: &ListPage) -> Vec<&str> {
    let objects = page.objects.iter().map(|object| object.key.as_str());
    let groups = page.common_prefixes.iter().map(String::as_str);
    let mut texts: Vec<_> = objects.chain(groups).collect();
    texts.sort_unstable();
    texts
}

/// Takes from `page` what comes after `upto`.
fn cut(page: &mut ListPage, upto: &str) -> ListPage {
    let objects = page.objects.partition_point(|object| *object.key <= *upto);
    let groups = page
        .common_prefixes
        .partition_point(|group| **group <= *upto);
    ListPage {
        objects: page.objects.split_off(objects),
        common_prefixes: page.common_prefixes.split_off(groups),
        next: None,
    }
}

/// In which order `after` comes after `before`.
fn order_of(before: &str, after: &str) -> Order {
    let name = |text: &str| -> Vec<u8> { text.strip_suffix('/').unwrap_or(text).into() };
    if before < after {
        Order::Bytes
    } else if name(before) < name(after) {
        Order::Names
    } else {
        Order::Broken
    }
}

/// Pages from which on a range is split.
const SPLIT_FROM: usize = 3;
