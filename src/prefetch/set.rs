//! Files that are expected to be read, in the order in which that is expected. No I/O here.

use super::File;
use super::listing::{Listing, Scope};
use super::order::{Order, State};
use super::pace::Pace;
use crate::s3::{Key, ListPage, ListRequest};

/// Files in an order, and how far programs are with them.
#[derive(Debug)]
pub(super) struct Set {
    order: Order,
    /// Where the order comes from, unless it was learned.
    listing: Option<Listing>,
    way: Way,
    pace: Pace,
    /// Reads in the listing's scope, one after the other, of files that are not in the order.
    strays: u32,
    /// Reads of files that are in the order.
    reads: u64,
}

/// How the files are read.
#[derive(Debug)]
enum Way {
    Run(Run),
    Whole(Whole),
}

/// In this order, as far as can be seen.
#[derive(Debug, Default)]
struct Run {
    /// The place after the furthest file that was read.
    front: u64,
    /// Everything from `front` to here was considered.
    cursor: u64,
    /// What was fetched before this place and not read was given up.
    given_up: u64,
    /// Grows with reads in order, and shrinks faster with others.
    trust: u32,
}

/// In no order, and all of them.
#[derive(Debug, Default)]
struct Whole {
    /// Everything before this place was considered.
    cursor: u64,
    /// Reads of files that had been read before, less those of others.
    again: u32,
}

impl Set {
    /// Files that are read in the order of a listing.
    pub(super) fn run(listing: Listing) -> Self {
        Self::new(Some(listing), Order::default(), Way::Run(Run::default()))
    }

    /// Files that are read in no order.
    pub(super) fn whole(listing: Listing) -> Self {
        Self::new(
            Some(listing),
            Order::default(),
            Way::Whole(Whole::default()),
        )
    }

    /// Files that are read as they were read before.
    pub(super) fn learned(order: Order) -> Self {
        Self::new(None, order, Way::Run(Run::default()))
    }

    fn new(listing: Option<Listing>, order: Order, way: Way) -> Self {
        Self {
            order,
            listing,
            way,
            pace: Pace::new(),
            strays: 0,
            reads: 0,
        }
    }

    /// What is listed.
    pub(super) fn scope(&self) -> Option<&Scope> {
        self.listing.as_ref().map(Listing::scope)
    }

    /// Whether all of it is expected to be read.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.way, Way::Whole(_))
    }

    /// Files known.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether it says what to fetch.
    pub(super) fn leads(&self) -> bool {
        match &self.way {
            Way::Run(run) => run.trust >= TRUSTED,
            Way::Whole(_) => !self.pace.is_off(),
        }
    }

    /// Whether reads have left the part of the directory that is known.
    pub(super) fn is_lost(&self) -> bool {
        self.strays >= MOST_STRAYS && !self.is_whole()
    }

    /// Notes that a file was read. Returns whether it is one of these. What is not expected to be
    /// read any more is added to `gone`.
    pub(super) fn note_read(&mut self, key: &Key, gone: &mut Vec<Key>) -> bool {
        let Some(place) = self.order.place(key) else {
            self.note_stray(key);
            return false;
        };
        self.strays = 0;
        self.reads += 1;
        let size = self.order.get(place).map_or(0, |(file, _)| file.size);
        let (fetched, unread) = (self.order.fetched(), self.order.unread());
        let before = self.order.mark(place, State::Read);
        self.pace.note_read(size, before == Some(State::Fetched));
        match &mut self.way {
            Way::Run(run) => {
                run.follow(place, &mut self.order, &mut self.pace);
                run.give_up(&mut self.order, &mut self.pace, gone);
                if self.order.len() > MOST_IN_RUN && self.listing.is_some() {
                    self.order.drop_before(run.given_up);
                }
            }
            Way::Whole(whole) => match before {
                Some(State::Unread | State::Fetched) => {
                    let chance = part(fetched, fetched + unread);
                    self.pace
                        .note_chance(chance, before == Some(State::Fetched));
                    whole.again = whole.again.saturating_sub(1);
                }
                _ => {
                    whole.again += 1;
                    let read = self.order.len() - self.order.unread() - self.order.fetched();
                    if whole.again > MOST_AGAIN && read >= self.order.len() / 2 {
                        *whole = Whole::default();
                        self.order.begin_again(self.order.first());
                    }
                }
            },
        }
        true
    }

    fn note_stray(&mut self, key: &Key) {
        if let Some(listing) = &self.listing
            && !listing.is_under_way()
            && listing.scope().covers(key)
        {
            self.strays += 1;
        }
    }

    /// The request for the next page, if one is needed.
    pub(super) fn list(&mut self) -> Option<ListRequest> {
        let listing = self.listing.as_mut()?;
        let is_needed = match &self.way {
            _ if listing.pages() == 0 => true,
            Way::Run(run) => {
                run.trust >= TRUSTED && self.order.end() < run.front + 2 * self.pace.ahead()
            }
            Way::Whole(_) => {
                let earned = FREE_PAGES + self.reads / READS_FOR_A_PAGE;
                self.order.len() < MOST_IN_WHOLE && listing.pages() < earned
            }
        };
        if is_needed { listing.request() } else { None }
    }

    /// Takes in a page, whose files begin in this `state`. Returns whether it was the first one.
    pub(super) fn absorb(&mut self, page: ListPage, state: impl Fn(&Key, u64) -> State) -> bool {
        let Some(listing) = &mut self.listing else {
            return false;
        };
        listing.absorb(page, &mut self.order, state);
        listing.pages() == 1
    }

    /// Lists no more.
    pub(super) fn end_listing(&mut self) {
        if let Some(listing) = &mut self.listing {
            listing.end();
        }
    }

    /// The next file to fetch, which counts as fetched from now on, and its place.
    pub(super) fn next(&mut self) -> Option<(u64, File)> {
        if !self.leads() {
            return None;
        }
        let (from, end) = match &self.way {
            Way::Run(run) => (run.cursor.max(run.front), run.front + self.pace.ahead()),
            Way::Whole(whole) => (whole.cursor, u64::MAX),
        };
        let place = self
            .order
            .next_unread(from)
            .unwrap_or_else(|| self.order.end());
        match &mut self.way {
            Way::Run(run) => run.cursor = place,
            Way::Whole(whole) => whole.cursor = place,
        }
        let (file, _) = self.order.get(place).filter(|_| place < end)?;
        let is_earned = match &self.way {
            Way::Run(_) => self.pace.may_run(file.size),
            Way::Whole(_) => self.pace.may_fill(file.size),
        };
        if !is_earned {
            return None;
        }
        let file = file.clone();
        self.order.mark(place, State::Fetched);
        self.pace.note_fetched(file.size);
        Some((place, file))
    }

    /// Takes back that the file at `place` was fetched.
    pub(super) fn put_back(&mut self, place: u64) {
        if let Some((file, State::Fetched)) = self.order.get(place) {
            self.pace.note_gone(file.size);
            self.order.mark(place, State::Unread);
            match &mut self.way {
                Way::Run(run) => run.cursor = run.cursor.min(place),
                Way::Whole(whole) => whole.cursor = whole.cursor.min(place),
            }
        }
    }

    /// Fetches a file no more: it is not what it was.
    pub(super) fn skip(&mut self, key: &Key) {
        if let Some(place) = self.order.place(key) {
            if let Some((file, State::Fetched)) = self.order.get(place) {
                self.pace.note_gone(file.size);
            }
            self.order.mark(place, State::Skipped);
        }
    }

    /// The files that were fetched and not read since.
    pub(super) fn fetched(&self) -> impl Iterator<Item = &Key> {
        let fetched = |(file, state)| (state == State::Fetched).then_some(file);
        self.order
            .files()
            .filter_map(fetched)
            .map(|file: &File| &file.key)
    }

    /// The files whose keys `is_meant` says.
    pub(super) fn keys(&self, is_meant: impl Fn(&Key) -> bool) -> Vec<Key> {
        let keys = self.order.files().map(|(file, _)| &file.key);
        keys.filter(|key| is_meant(key)).cloned().collect()
    }
}

impl Run {
    /// Notes a read at `place`.
    fn follow(&mut self, place: u64, order: &mut Order, pace: &mut Pace) {
        let near = self.front.saturating_sub(BEHIND)..self.front + pace.ahead() + LEEWAY;
        if near.contains(&place) {
            self.front = self.front.max(place + 1);
            self.trust = (self.trust + 1).min(MOST_TRUST);
            pace.note_in_order();
            return;
        }
        pace.note_jump();
        self.trust = self.trust.saturating_sub(LOSS);
        if self.trust == 0 {
            if place < self.front {
                order.begin_again(place + 1);
                self.given_up = self.given_up.min(place);
            }
            self.front = place + 1;
            self.cursor = self.front;
        }
    }

    /// Gives up what was fetched and lies well behind.
    fn give_up(&mut self, order: &mut Order, pace: &mut Pace, gone: &mut Vec<Key>) {
        let until = self.front.saturating_sub(BEHIND);
        self.given_up = self.given_up.max(order.first());
        while self.given_up < until {
            if let Some((file, State::Fetched)) = order.get(self.given_up) {
                gone.push(file.key.clone());
                pace.note_gone(file.size);
                order.mark(self.given_up, State::Skipped);
            }
            self.given_up += 1;
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of files are far below the 52 bits that a float holds"
)]
fn part(of: usize, all: usize) -> f64 {
    of as f64 / all.max(1) as f64
}

/// Reads in order before anything is fetched.
const TRUSTED: u32 = 3;
const MOST_TRUST: u32 = 8;
/// What a read out of order costs.
const LOSS: u32 = 2;

/// Several processes that read in turns overtake each other by as many files: files this far behind
/// the furthest one may still come.
const BEHIND: u64 = 128;
/// And this far beyond what is to be fetched.
const LEEWAY: u64 = 16;

const MOST_STRAYS: u32 = 8;

/// Reads of files that were read before, after which they are being read once more.
const MOST_AGAIN: u32 = 16;

/// Files of a listing that are remembered, of those that are read in order. Others are listed when
/// they come.
const MOST_IN_RUN: usize = 20_000;

/// Files of a set that is read in no order; beyond that it does not fit into the memory of most
/// machines, and what is fetched is rarely what is read.
const MOST_IN_WHOLE: usize = 100_000;

/// Pages of a listing that cost more than they give, at worst.
const FREE_PAGES: u64 = 2;
/// Reads that pay for another page.
const READS_FOR_A_PAGE: u64 = 16;

#[cfg(test)]
mod tests;
