//! Lookups by the page of a listing around the name: what the siblings are comes with the answer.
//!
//! One LIST that begins just before the name tells whether it is a file, a directory or nothing,
//! as a HEAD and a LIST would, and the same of up to 999 names after it. A store that lists in
//! another order than that of the bytes is found out by its pages, and never asked so again.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use super::error::Error;
use super::expiry::{Moment, Ttl};
use super::inode::{Content, FileVersion, Found, InodeNo, Node};
use super::listing::{Entry, Listing};
use super::pages::{Page, Pages};
use super::{Core, Tree, name};
use crate::s3::{self, Key, ListFrom, ListRequest};

/// A file as a listing had it, which nobody has asked for since.
#[derive(Debug)]
pub struct Listed {
    /// The version that was listed.
    pub version: FileVersion,
    parent: InodeNo,
    name: Arc<str>,
    since: Moment,
}

impl Tree {
    /// The file `name` in `parent`, if a listing had it a while ago, it is time to ask again, and
    /// it is likely to be opened next: a GET of just that version then answers both. Under a
    /// [`Ttl`] of its own an answer is believed instead. Makes no request.
    pub fn listed(&self, parent: InodeNo, name: &OsStr) -> Option<Listed> {
        let core = self.core().ok()?;
        if core.config.ttl != Ttl::Minimal {
            return None;
        }
        let name = Arc::<str>::from(name::parse(name).ok()?);
        let since = core.clock.now();
        let table = core.table();
        if let Some(ino) = table.child(parent, &name).ok()? {
            let inode = table.get(ino).ok()?;
            let is_cold = matches!(inode.content, Content::File(_)) && !inode.opened;
            let ttl = core.ttl_of(&inode.content);
            if !is_cold
                || inode
                    .named
                    .is_some_and(|at| at.remaining(ttl, since).is_some())
            {
                return None;
            }
        }
        let mut pages = core.pages();
        let counts = |asked: Moment, _: Option<&Found>| {
            asked.remaining(LISTED_BELIEVED, since).is_some()
                && !table.is_outdated(parent, &name, asked)
        };
        let (Some(Found::File(info)), asked) = pages.answer(parent, &name, counts)? else {
            return None;
        };
        let is_new = asked
            .remaining(core.config.ttl.of_listed(), since)
            .is_some();
        if is_new || !pages.expect_open(parent) {
            return None;
        }
        let prefix = table.directory_prefix(parent, &core.config.prefix).ok()?;
        let key = Key::new(prefix + &name).ok()?;
        Some(Listed {
            version: FileVersion { key, info },
            parent,
            name,
            since,
        })
    }

    /// Takes note that the file `ino` is opened to be read, as others of its directory may be next.
    pub fn note_read(&self, ino: InodeNo) {
        let Ok(core) = self.core() else { return };
        let table = core.table();
        if let Ok(inode) = table.get(ino) {
            core.pages().note_open(inode.parent);
        }
    }

    /// Takes note that the version `listed` is the newest, as a request said that was made after
    /// [`Self::listed`], and counts a reference of the kernel to its inode.
    ///
    /// # Errors
    /// [`Error::Stale`] or [`Error::NotDirectory`] when the directory is gone.
    pub fn learn_listed(&self, listed: &Listed) -> Result<Node, Error> {
        let core = self.core()?;
        core.lookups.get.add(1);
        let mut table = core.table();
        let found = Found::File(listed.version.info.clone());
        let ino = table.learn(listed.parent, &listed.name, found, listed.since)?;
        let inode = table.get(ino)?;
        Ok(core.node(ino, inode, core.ttl_of(&inode.content)))
    }

    /// Takes note that the name leads elsewhere by now: S3 is asked the next time.
    pub fn doubt_listed(&self, listed: &Listed) {
        let Ok(core) = self.core() else { return };
        let mut table = core.table();
        table.doubt(listed.parent, &listed.name, listed.since);
    }
}

impl Core {
    /// Locks the pages. Taken after the table where both are needed.
    pub(super) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a page says of `name` in `parent`, and when it was asked for, if that still counts at
    /// `now`: it was asked for then or later, or its [`Ttl`] is not over.
    pub(super) fn recall_page(
        &self,
        parent: InodeNo,
        name: &Arc<str>,
        now: Moment,
    ) -> Option<(Option<Found>, Moment)> {
        let table = self.table();
        let counts = |asked: Moment, found: Option<&Found>| {
            let is_fresh = match found {
                _ if asked >= now => true,
                Some(_) => asked.remaining(self.config.ttl.of_listed(), now).is_some(),
                None => self.is_absent(asked, now),
            };
            is_fresh && !table.is_outdated(parent, name, asked)
        };
        self.pages().answer(parent, name, counts)
    }

    /// How long the kernel may believe what a page said of a file or a directory.
    pub(super) fn listed_valid_for(&self, asked: Moment, now: Moment, ttl: Duration) -> Duration {
        let left = asked.remaining(self.config.ttl.of_listed(), now);
        left.unwrap_or_default().min(ttl)
    }

    /// What the page around `name`, in `parent` whose keys start with `prefix`, says of it, and
    /// when that was asked for; `None` when it is better, or necessary, to ask for the name itself.
    pub(super) async fn ask_around(
        self: &Arc<Self>,
        parent: InodeNo,
        name: &Arc<str>,
        prefix: &str,
        now: Moment,
    ) -> Result<Option<(Option<Found>, Moment)>, s3::Error> {
        if !self.config.pages
            || self.lists_otherwise.load(Ordering::Relaxed)
            || !self.pages().pay(parent)
        {
            return Ok(None);
        }
        if let Some(page) = self.nearby.flight_towards(parent, name) {
            page.await?;
            if let Some(said) = self.recall_page(parent, name, now) {
                return Ok(Some(said));
            }
        }
        let now = self.clock.now();
        self.pages().note_fetch(parent);
        let after = text_before(name);
        let page = Arc::clone(self).fetch_page(parent, prefix.to_owned(), after.clone(), now);
        let page = page.boxed().shared();
        self.nearby.insert(parent, after, &page);
        page.await?;
        Ok(self.recall_page(parent, name, now))
    }

    /// Fetches the page of `parent` that begins after the name `after`, and keeps it.
    async fn fetch_page(
        self: Arc<Self>,
        parent: InodeNo,
        prefix: String,
        after: String,
        asked: Moment,
    ) -> Result<(), s3::Error> {
        let request = ListRequest {
            from: if after.is_empty() {
                ListFrom::Start
            } else {
                ListFrom::After(format!("{prefix}{after}"))
            },
            prefix,
            delimited: true,
            max_keys: None,
        };
        let page = self.list(&request).await?;
        let is_last = page.next.is_none();
        let mut listing = Listing::new(request.prefix);
        let mut entries = VecDeque::new();
        listing.absorb(page, &self.notices, &mut entries);
        if is_last {
            listing.finish(&mut entries);
        }
        let is_after = entries.iter().all(|entry| *entry.name > *after);
        if listing.is_ordered() && is_after {
            self.keep_page(parent, asked, after, &listing, is_last, &entries);
        } else {
            self.lists_otherwise.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Keeps the `entries` of a page of `directory` that was asked for at `asked`: what `listing`,
    /// which has taken it in, says of the names after `after`, to the end if it `is_last`.
    pub(super) fn keep_page(
        &self,
        directory: InodeNo,
        asked: Moment,
        after: String,
        listing: &Listing,
        is_last: bool,
        entries: &VecDeque<Entry>,
    ) {
        let last = listing.last().filter(|_| !is_last).map(str::to_owned);
        if self.config.pages && listing.is_ordered() && (is_last || last.is_some()) {
            let mut entries: Vec<Entry> = entries.iter().cloned().collect();
            entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            self.pages().insert(Page {
                directory,
                asked,
                after,
                last,
                entries,
            });
        }
    }
}

/// The pages that are being fetched for lookups.
#[derive(Default)]
pub(super) struct Nearby(Mutex<Vec<Flight>>);

/// One page on its way. It lives as long as someone waits: the last one to leave cancels it.
struct Flight {
    directory: InodeNo,
    after: String,
    page: WeakShared<Fetching>,
}

type Fetching = BoxFuture<'static, Result<(), s3::Error>>;

impl Nearby {
    /// The page on its way that begins nearest before `name`: it may have the name.
    fn flight_towards(&self, directory: InodeNo, name: &str) -> Option<Shared<Fetching>> {
        let flights = self.flights();
        let before = flights
            .iter()
            .filter(|flight| flight.directory == directory && flight.after.as_str() < name);
        let nearest = before.max_by(|a, b| a.after.cmp(&b.after))?;
        nearest.page.upgrade()
    }

    fn insert(&self, directory: InodeNo, after: String, page: &Shared<Fetching>) {
        let mut flights = self.flights();
        flights.retain(|flight| {
            let page = flight.page.upgrade();
            page.is_some_and(|page| page.peek().is_none())
        });
        if let Some(page) = page.downgrade() {
            flights.push(Flight {
                directory,
                after,
                page,
            });
        }
    }

    fn flights(&self) -> MutexGuard<'_, Vec<Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Nearby {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flights = self.flights();
        let begins = flights
            .iter()
            .map(|flight| (flight.directory, &flight.after));
        f.debug_list().entries(begins).finish()
    }
}

/// A text that is less than `name`, with few names between the two; never with a `/` in it.
fn text_before(name: &str) -> String {
    let Some(last) = name.chars().next_back() else {
        return String::new();
    };
    let start = name.get(..name.len() - last.len_utf8()).unwrap_or_default();
    let previous = match last {
        '0' => Some('.'),
        // What is left of the name: no text with a NUL is sent.
        '\0'..='\u{1}' => None,
        '\u{E000}' => Some('\u{D7FF}'),
        _ => char::from_u32(u32::from(last) - 1),
    };
    match previous {
        Some(previous) => format!("{start}{previous}{GREATEST}"),
        None => start.to_owned(),
    }
}

/// The greatest character that is meant for use.
const GREATEST: char = '\u{10FFFD}';

/// How long a listed file is worth a GET of just its listed version. The GET finds out whether
/// another version is there; that a directory has taken the name is not seen until this is over.
const LISTED_BELIEVED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_before_is_near() {
        assert_eq!(text_before("img2"), "img1\u{10FFFD}");
        assert_eq!(text_before("img10"), "img1.\u{10FFFD}");
        assert_eq!(text_before("a"), "`\u{10FFFD}");
        assert_eq!(text_before("\u{1}"), "");
        assert_eq!(text_before("x\u{E000}"), "x\u{D7FF}\u{10FFFD}");
    }

    proptest! {
        #[test]
        fn prop_text_before_is_less_and_a_name(name in "[^/\\x00]{1,8}") {
            let before = text_before(&name);
            prop_assert!(before < name);
            prop_assert!(!before.contains('/') && !before.contains('\0'));
        }
    }
}
