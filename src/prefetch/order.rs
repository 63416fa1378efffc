//! Files in an order in which they may be read.

use std::collections::{HashMap, VecDeque};

use super::File;
use crate::s3::Key;

/// Files, each at a place that does not change as others are added at the end or dropped at the
/// beginning.
#[derive(Debug, Default)]
pub(super) struct Order {
    files: VecDeque<(File, State)>,
    /// The place of the first file that is still here.
    first: u64,
    places: HashMap<Key, u64>,
    unread: usize,
    fetched: usize,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It was neither read nor fetched.
    Unread,
    /// It was fetched, and not read since.
    Fetched,
    /// It was read.
    Read,
    /// It is not to be fetched.
    Skipped,
}

impl Order {
    /// Adds a file at the end, unless it is here.
    pub(super) fn push(&mut self, file: File, state: State) {
        let place = self.end();
        if self.places.contains_key(&file.key) {
            return;
        }
        self.places.insert(file.key.clone(), place);
        self.files.push_back((file, state));
        self.count(state, 1);
    }

    /// Files that are here.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The place of the first file.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The place after the last file.
    pub(super) fn end(&self) -> u64 {
        self.first + self.files.len() as u64
    }

    /// Files that were neither read nor fetched.
    pub(super) fn unread(&self) -> usize {
        self.unread
    }

    /// Files that were fetched and not read since.
    pub(super) fn fetched(&self) -> usize {
        self.fetched
    }

    /// Where a file is.
    pub(super) fn place(&self, key: &Key) -> Option<u64> {
        self.places.get(key).copied()
    }

    /// What is at a place.
    pub(super) fn get(&self, place: u64) -> Option<(&File, State)> {
        let (file, state) = self.files.get(self.index(place)?)?;
        Some((file, *state))
    }

    /// Changes what became of the file at `place`, and returns what it was.
    pub(super) fn mark(&mut self, place: u64, state: State) -> Option<State> {
        let index = self.index(place)?;
        let (_, current) = self.files.get_mut(index)?;
        let before = std::mem::replace(current, state);
        self.count(before, -1);
        self.count(state, 1);
        Some(before)
    }

    /// The first file from `from` on that was neither read nor fetched.
    pub(super) fn next_unread(&self, from: u64) -> Option<u64> {
        let from = from.max(self.first);
        let index = self.index(from)?;
        let rest = self.files.range(index.min(self.files.len())..);
        let skipped = rest
            .take_while(|(_, state)| *state != State::Unread)
            .count();
        let place = from + skipped as u64;
        (place < self.end()).then_some(place)
    }

    /// Lets every file from `from` on that was read count as unread.
    pub(super) fn begin_again(&mut self, from: u64) {
        for place in from.max(self.first)..self.end() {
            if let Some((_, State::Read)) = self.get(place) {
                self.mark(place, State::Unread);
            }
        }
    }

    /// Drops the files before `place`.
    pub(super) fn drop_before(&mut self, place: u64) {
        while self.first < place
            && let Some((file, state)) = self.files.pop_front()
        {
            self.places.remove(&file.key);
            self.count(state, -1);
            self.first += 1;
        }
    }

    /// The files.
    pub(super) fn files(&self) -> impl Iterator<Item = (&File, State)> {
        self.files.iter().map(|(file, state)| (file, *state))
    }

    fn index(&self, place: u64) -> Option<usize> {
        usize::try_from(place.checked_sub(self.first)?).ok()
    }

    fn count(&mut self, state: State, by: isize) {
        let count = match state {
            State::Unread => &mut self.unread,
            State::Fetched => &mut self.fetched,
            State::Read | State::Skipped => return,
        };
        *count = count.saturating_add_signed(by);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    fn order(names: &[&str]) -> Order {
        let mut order = Order::default();
        for name in names {
            order.push(file(name, 1), State::Unread);
        }
        order
    }

    #[test]
    fn places_stay_when_files_before_are_dropped() {
        let mut order = order(&["a", "b", "c", "b"]);
        assert_eq!((order.len(), order.end()), (3, 3));
        order.drop_before(2);
        assert_eq!((order.first(), order.end()), (2, 3));
        assert_eq!(order.place(&file("c", 1).key), Some(2));
        assert_eq!(order.place(&file("a", 1).key), None);
        assert_eq!(order.get(1), None);
        assert_eq!(order.next_unread(0), Some(2));
        order.drop_before(9);
        assert_eq!((order.len(), order.unread(), order.end()), (0, 0, 3));
        assert_eq!(order.next_unread(0), None);
        order.push(file("d", 1), State::Unread);
        assert_eq!(order.place(&file("d", 1).key), Some(3));
    }

    #[test]
    fn next_unread_passes_what_was_read_fetched_or_skipped() {
        let mut order = order(&["a", "b", "c", "d"]);
        assert_eq!(order.mark(0, State::Read), Some(State::Unread));
        assert_eq!(order.mark(1, State::Fetched), Some(State::Unread));
        assert_eq!(order.mark(2, State::Skipped), Some(State::Unread));
        assert_eq!(order.mark(4, State::Read), None);
        assert_eq!(order.next_unread(0), Some(3));
        assert_eq!(order.next_unread(4), None);
        assert_eq!(order.next_unread(u64::MAX), None);
        assert_eq!((order.unread(), order.fetched()), (1, 1));
        order.begin_again(0);
        assert_eq!(order.next_unread(0), Some(0));
        assert_eq!((order.unread(), order.fetched()), (2, 1));
    }
}
