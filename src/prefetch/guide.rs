//! What to list and what to fetch, after what was read. Pure policy: no I/O, no clock.

use super::File;
use super::history::History;
use super::order::State;
use super::pace::may_waste;
use super::recent::Recent;
use super::set::Set;
use crate::s3::{Error, Key, ListPage, ListRequest};

/// Watches which files are read, and says which ones to fetch.
#[derive(Debug)]
pub(super) struct Guide {
    /// The most recently read last.
    sets: Vec<(SetNo, Set)>,
    sets_made: u64,
    recent: Recent,
    history: History,
    /// What the keys of all files start with: empty, or ending in `/`.
    root: String,
    /// The most bytes that a file may have to be fetched whole.
    most: u64,
}

/// Names a set in the life of a [`Guide`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SetNo(u64);

/// A file to fetch, and what has asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) file: File,
    set: SetNo,
    place: u64,
}

impl Guide {
    /// Of the files whose keys start with `root`, fetches those of at most `most` bytes.
    pub(super) fn new(root: String, most: u64) -> Self {
        Self {
            sets: Vec::new(),
            sets_made: 0,
            recent: Recent::default(),
            history: History::default(),
            root,
            most,
        }
    }

    /// Notes that a file is being read. Returns the files that will not be read any more, though
    /// they were fetched.
    pub(super) fn note_read(&mut self, file: &File) -> Vec<Key> {
        let mut gone = Vec::new();
        if !is_fetched_whole(file.size, self.most) {
            return gone;
        }
        let is_read = |(_, set): &mut (SetNo, Set)| set.note_read(&file.key, &mut gone);
        let read: Vec<_> = self.sets.extract_if(.., is_read).collect();
        let led = read.iter().any(|(_, set)| set.leads());
        self.sets.extend(read);
        self.remove(|set| set.is_lost(), &mut gone);
        if let Some(order) = self.history.note(file) {
            self.remove(|set| set.scope().is_none(), &mut gone);
            self.add(Set::learned(order), &mut gone);
        }
        self.recent.push(&file.key);
        if !led {
            self.look_around(&mut gone);
        }
        gone
    }

    /// Adds a set that the last reads may be part of.
    fn look_around(&mut self, gone: &mut Vec<Key>) {
        let Some(suggestion) = self.recent.suggest(&self.root) else {
            return;
        };
        let is_same = |set: &Set| set.scope() == Some(&suggestion.scope);
        let same = self.sets.iter().find(|(_, set)| is_same(set));
        match same {
            Some((_, set)) if set.is_whole() || !suggestion.whole => return,
            _ => {}
        }
        self.remove(|set| is_same(set), gone);
        self.add(suggestion.into_set(), gone);
    }

    fn add(&mut self, set: Set, gone: &mut Vec<Key>) {
        self.sets_made += 1;
        self.sets.push((SetNo(self.sets_made), set));
        self.make_room(gone);
    }

    /// Drops the sets that were read least recently, if there are too many, or too many files.
    fn make_room(&mut self, gone: &mut Vec<Key>) {
        let files = |sets: &[(SetNo, Set)]| sets.iter().map(|(_, set)| set.len()).sum::<usize>();
        while self.sets.len() > MOST_SETS || (self.sets.len() > 1 && files(&self.sets) > MOST_FILES)
        {
            let (_, set) = self.sets.remove(0);
            gone.extend(set.fetched().cloned());
        }
    }

    fn remove(&mut self, is_meant: impl Fn(&Set) -> bool, gone: &mut Vec<Key>) {
        self.sets.retain(|(_, set)| {
            let goes = is_meant(set);
            if goes {
                gone.extend(set.fetched().cloned());
            }
            !goes
        });
    }

    /// The pages that are to be listed. Each is answered with [`Self::absorb`].
    pub(super) fn list(&mut self) -> Vec<(SetNo, ListRequest)> {
        let sets = self.sets.iter_mut();
        sets.filter_map(|(number, set)| Some((*number, set.list()?)))
            .collect()
    }

    /// Takes in a page. Returns what [`Self::note_read`] does.
    pub(super) fn absorb(&mut self, number: SetNo, page: Result<ListPage, Error>) -> Vec<Key> {
        let mut gone = Vec::new();
        let (most, history) = (self.most, &self.history);
        let found = self.sets.iter_mut().find(|(one, _)| *one == number);
        let Some((_, set)) = found else { return gone };
        match page {
            Err(error) => {
                log::debug!("names of files to fetch ahead: {error}");
                set.end_listing();
            }
            Ok(page) => {
                let is_whole = set.is_whole();
                let is_first = set.absorb(page, |key, size| {
                    if !is_fetched_whole(size, most) {
                        State::Skipped
                    } else if is_whole && history.contains(key) {
                        State::Read
                    } else {
                        State::Unread
                    }
                });
                if is_first && !is_whole {
                    // What was read before it was known where.
                    for key in self.recent.keys() {
                        set.note_read(key, &mut gone);
                    }
                }
                self.make_room(&mut gone);
            }
        }
        gone
    }

    /// The next file to fetch, unless `is_here` says that it was, after `wasted` bytes were fetched
    /// for nothing, and `read` bytes were read.
    pub(super) fn next(
        &mut self,
        wasted: u64,
        read: u64,
        is_here: impl Fn(&Key) -> bool,
    ) -> Option<Wanted> {
        if !may_waste(wasted, read) {
            return None;
        }
        for (number, set) in self.sets.iter_mut().rev() {
            while let Some((place, file)) = set.next() {
                if !is_here(&file.key) {
                    return Some(Wanted {
                        file,
                        set: *number,
                        place,
                    });
                }
            }
        }
        None
    }

    /// Takes back that a file is fetched: there was no memory for it.
    pub(super) fn put_back(&mut self, wanted: &Wanted) {
        let found = self.sets.iter_mut().find(|(one, _)| *one == wanted.set);
        if let Some((_, set)) = found {
            set.put_back(wanted.place);
        }
    }

    /// Fetches those files no more that are not what they were: `key`, or those below it.
    pub(super) fn forget(&mut self, key: &Key) {
        for (_, set) in &mut self.sets {
            for key in set.keys(|one| is_at_or_below(one, key)) {
                set.skip(&key);
            }
        }
    }
}

/// Whether `key` is `path`, or in the directory `path`.
pub(super) fn is_at_or_below(key: &Key, path: &Key) -> bool {
    let rest = key.as_str().strip_prefix(path.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a file of `size` bytes is fetched whole, or not at all.
fn is_fetched_whole(size: u64, most: u64) -> bool {
    (1..=most).contains(&size)
}

/// Sets that are followed at the same time: so many programs may read beside each other.
const MOST_SETS: usize = 8;

/// Files that are remembered, in all sets: about 200 bytes each.
const MOST_FILES: usize = 200_000;

#[cfg(test)]
mod tests;
