//! Pages of listings, kept for a while to answer lookups from. No I/O and no clock here.

use std::collections::{HashMap, VecDeque};

use super::expiry::Moment;
use super::inode::{Found, InodeNo};
use super::listing::Entry;

/// The pages of all directories that were fetched last.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// The oldest one first.
    pages: VecDeque<Page>,
    uses: HashMap<InodeNo, Uses>,
}

/// Consecutive names of a directory.
#[derive(Debug)]
pub(super) struct Page {
    /// The directory.
    pub(super) directory: InodeNo,
    /// When the store was asked for it.
    pub(super) asked: Moment,
    /// All names here are greater than this text in byte order.
    pub(super) after: String,
    /// The last entry of the page as the store has it: a name, with a `/` if it is a directory.
    /// `None` when nothing comes after this page.
    pub(super) last: Option<String>,
    /// The names whose nature is certain, in byte order. A file near the end may be missing here:
    /// a directory that hides it may come on the next page.
    pub(super) entries: Vec<Entry>,
}

/// What becomes of the pages of one directory.
#[derive(Debug, Default)]
struct Uses {
    fetched: u32,
    hits: u32,
    /// Whether files are opened here.
    reads: bool,
    /// Files that were fetched when they were looked up, since one was opened last.
    unopened: u32,
}

impl Pages {
    /// Keeps `page`, in place of what it covers.
    pub(super) fn insert(&mut self, page: Page) {
        self.pages.retain(|old| !page.covers(old));
        if self.pages.len() >= MOST_PAGES {
            self.pages.pop_front();
        }
        self.pages.push_back(page);
    }

    /// What the latest page that `counts` says of `name` in `directory`, and when it was asked for.
    /// The outer `None` when there is no such page.
    pub(super) fn answer(
        &self,
        directory: InodeNo,
        name: &str,
        counts: impl Fn(Moment, Option<&Found>) -> bool,
    ) -> Option<(Option<Found>, Moment)> {
        let pages = self.pages.iter().rev();
        let mut pages = pages.filter(|page| page.directory == directory);
        pages.find_map(|page| {
            let found = page.answer(name)?;
            counts(page.asked, found).then(|| (found.cloned(), page.asked))
        })
    }

    /// Whether it pays to fetch a whole page for a name in `directory`: as long as the ones before
    /// have answered more than what they were fetched for.
    pub(super) fn pay(&self, directory: InodeNo) -> bool {
        let uses = self.uses.get(&directory);
        uses.is_none_or(|uses| uses.fetched < FREE_PAGES + uses.hits / HITS_FOR_A_PAGE)
    }

    /// Notes that a page of `directory` is fetched for one name.
    pub(super) fn note_fetch(&mut self, directory: InodeNo) {
        self.uses(directory).fetched += 1;
    }

    /// Notes that a lookup in `directory` was answered by a page that was there.
    pub(super) fn note_hit(&mut self, directory: InodeNo) {
        self.uses(directory).hits += 1;
    }

    /// Notes that a file in `directory` is opened.
    pub(super) fn note_open(&mut self, directory: InodeNo) {
        let uses = self.uses(directory);
        uses.reads = true;
        uses.unopened = 0;
    }

    /// Whether a file that is looked up in `directory` is likely to be opened next. Counts as one
    /// that was fetched for that.
    pub(super) fn expect_open(&mut self, directory: InodeNo) -> bool {
        let uses = self.uses(directory);
        let expected = uses.reads && uses.unopened < MOST_UNOPENED;
        if expected {
            uses.unopened += 1;
        }
        expected
    }

    fn uses(&mut self, directory: InodeNo) -> &mut Uses {
        if self.uses.len() >= MOST_DIRECTORIES && !self.uses.contains_key(&directory) {
            self.uses.clear();
        }
        self.uses.entry(directory).or_default()
    }
}

impl Page {
    /// What the page says of `name`; the inner `None` that it is not there.
    fn answer(&self, name: &str) -> Option<Option<&Found>> {
        let place = self
            .entries
            .binary_search_by(|entry| (*entry.name).cmp(name));
        if let Ok(entry) = place {
            return self.entries.get(entry).map(|entry| Some(&entry.found));
        }
        let is_past = |last: &String| name.bytes().chain([b'/']).le(last.bytes());
        let is_absent = name > self.after.as_str() && self.last.as_ref().is_none_or(is_past);
        is_absent.then_some(None)
    }

    /// Whether this page says all that `other` does.
    fn covers(&self, other: &Self) -> bool {
        let to_the_end = match (&self.last, &other.last) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => mine >= theirs,
        };
        self.directory == other.directory && self.after <= other.after && to_the_end
    }
}

/// Pages that are kept, of up to 1000 names each.
const MOST_PAGES: usize = 64;

/// Directories whose use is counted.
const MOST_DIRECTORIES: usize = 1000;

/// Pages that a directory gets before any was of use.
const FREE_PAGES: u32 = 4;

/// Lookups that a page has to answer to be worth another one: a page of a thousand names takes the
/// store as long as several HEADs.
const HITS_FOR_A_PAGE: u32 = 8;

/// Files that are fetched in vain before it is seen that nobody opens them.
const MOST_UNOPENED: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::expiry::Clock;

    fn page(names: &[&str], after: &str, last: Option<&str>) -> Page {
        let entry = |name: &&str| Entry {
            name: (*name).into(),
            found: Found::Directory,
        };
        Page {
            directory: InodeNo(7),
            asked: Clock::system().now(),
            after: after.to_owned(),
            last: last.map(str::to_owned),
            entries: names.iter().map(entry).collect(),
        }
    }

    #[test]
    fn page_answers_for_the_names_between_its_ends_only() {
        let page = page(&["b", "d"], "a", Some("d/"));
        assert_eq!(page.answer("b"), Some(Some(&Found::Directory)));
        assert_eq!(page.answer("c"), Some(None));
        assert_eq!(page.answer("d"), Some(Some(&Found::Directory)));
        for beyond in ["a", "0", "d0", "e"] {
            assert_eq!(page.answer(beyond), None, "{beyond}");
        }
    }

    #[test]
    fn file_that_may_be_hidden_by_the_next_page_is_neither_there_nor_absent() {
        // The store had `c`, then `c-`; `c/` would come next.
        let page = page(&[], "a", Some("c-"));
        assert_eq!(page.answer("c"), None);
        assert_eq!(page.answer("b"), Some(None));
    }

    #[test]
    fn last_page_answers_to_the_end() {
        let page = page(&["x"], "a", None);
        assert_eq!(page.answer("zzz"), Some(None));
    }

    #[test]
    fn page_replaces_what_it_covers_and_the_oldest_goes_first() {
        let mut pages = Pages::default();
        pages.insert(page(&["b"], "a", Some("c")));
        pages.insert(page(&["m"], "k", Some("n")));
        pages.insert(page(&["b"], "a", Some("d")));
        assert_eq!(pages.pages.len(), 2);
        for number in 0..MOST_PAGES {
            pages.insert(page(
                &[],
                &format!("x{number:03}"),
                Some(&format!("x{number:03}b")),
            ));
        }
        assert_eq!(pages.pages.len(), MOST_PAGES);
        assert_eq!(pages.answer(InodeNo(7), "b", |_, _| true), None);
    }

    #[test]
    fn pages_that_answer_nothing_are_given_up_and_hits_earn_new_ones() {
        let mut pages = Pages::default();
        let directory = InodeNo(7);
        while pages.pay(directory) {
            pages.note_fetch(directory);
        }
        assert_eq!(pages.uses(directory).fetched, FREE_PAGES);
        for _ in 0..HITS_FOR_A_PAGE {
            assert!(!pages.pay(directory));
            pages.note_hit(directory);
        }
        assert!(pages.pay(directory));
    }

    #[test]
    fn opens_are_expected_until_nobody_opens() {
        let mut pages = Pages::default();
        let directory = InodeNo(7);
        assert!(!pages.expect_open(directory));
        pages.note_open(directory);
        for _ in 0..MOST_UNOPENED {
            assert!(pages.expect_open(directory));
        }
        assert!(!pages.expect_open(directory));
        pages.note_open(directory);
        assert!(pages.expect_open(directory));
    }
}
