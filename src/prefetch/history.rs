//! The order in which files were read before.

use std::collections::HashSet;

use super::File;
use super::order::{Order, State};
use crate::s3::Key;

/// The files of the epoch that runs, in the order in which they were first read in it.
///
/// An epoch ends when its files are read again, one after the other. A file that is read again now
/// and then, between others, ends nothing.
#[derive(Debug, Default)]
pub(super) struct History {
    files: Vec<File>,
    keys: HashSet<Key>,
    /// The last reads, if all of them were of files that had been read.
    again: Vec<File>,
}

impl History {
    /// Notes that a file is read. Returns the order of an epoch that has ended with this.
    pub(super) fn note(&mut self, file: &File) -> Option<Order> {
        if !self.keys.contains(&file.key) {
            self.again.clear();
            self.add(file.clone());
            return None;
        }
        if self.again.iter().any(|again| again.key == file.key) {
            return None;
        }
        self.again.push(file.clone());
        if self.again.len() < AGAIN || self.files.len() < LEAST {
            self.again.truncate(AGAIN);
            return None;
        }
        let mut order = Order::default();
        for file in self.files.drain(..) {
            order.push(file, State::Unread);
        }
        self.keys.clear();
        for file in std::mem::take(&mut self.again) {
            self.add(file);
        }
        Some(order)
    }

    /// Whether a file was read in this epoch.
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.keys.contains(key)
    }

    fn add(&mut self, file: File) {
        if self.files.len() < MOST {
            self.keys.insert(file.key.clone());
            self.files.push(file);
        }
    }
}

/// Files that are read again, one after the other, before that is an epoch.
const AGAIN: usize = 4;

/// Files of an epoch that is worth to be remembered.
const LEAST: usize = 32;

/// Files of an epoch that are remembered.
const MOST: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::super::tests::{file, names};
    use super::*;

    #[test]
    fn epoch_ends_when_its_files_are_read_again() {
        let mut history = History::default();
        let name = |i: u32| format!("{}", i * 7 % 50);
        for i in 0..50 {
            assert!(history.note(&file(&name(i), 1)).is_none());
            // One that is read all the time.
            assert!(history.note(&file(&name(0), 1)).is_none());
        }
        let mut ended = (1..=4).filter_map(|i| history.note(&file(&name(i), 1)));
        let expected: Vec<_> = (0..50).map(name).collect();
        assert_eq!(names(&ended.next().expect("an order")), expected);
        assert!(ended.next().is_none());
    }

    #[test]
    fn few_files_read_over_and_over_are_no_epoch() {
        let mut history = History::default();
        for i in 0..1000 {
            assert!(history.note(&file(&format!("{}", i % 10), 1)).is_none());
            assert!(history.again.len() <= AGAIN);
        }
    }
}
