//! What the last reads have in common. Pure policy.

use std::collections::{BTreeSet, VecDeque};

use super::listing::{Listing, Scope};
use super::set::Set;
use crate::s3::{Key, ListFrom};

/// The last files that were read, each once.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The most recently read last.
    keys: VecDeque<Key>,
}

/// What may be going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suggestion {
    /// Where.
    pub(super) scope: Scope,
    /// Whether all files are being read in no order; otherwise in that of the listing.
    pub(super) whole: bool,
    /// Where the listing should begin.
    pub(super) from: ListFrom,
}

impl Suggestion {
    /// A set that follows it.
    pub(super) fn into_set(self) -> Set {
        let listing = Listing::new(self.scope, self.from);
        if self.whole {
            Set::whole(listing)
        } else {
            Set::run(listing)
        }
    }
}

impl Recent {
    /// Notes a read.
    pub(super) fn push(&mut self, key: &Key) {
        if self.keys.contains(key) {
            return;
        }
        if self.keys.len() == REMEMBERED {
            self.keys.pop_front();
        }
        self.keys.push_back(key.clone());
    }

    /// The files, the most recently read last.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// What the last read may be part of, in the directory `root` (a text that ends in `/`, or
    /// none).
    ///
    /// | reads | what it may be |
    /// |---|---|
    /// | [`MANY`] in [`SEVERAL`] directories of one directory, most of them after the one before | a run through all of them |
    /// | the same, in any order | all files below it, in no order |
    /// | [`MANY`] in one directory, not in order | all its files, in no order |
    /// | [`FEW`] of the last [`LATEST`] in one directory | a run through it |
    pub(super) fn suggest(&self, root: &str) -> Option<Suggestion> {
        let last = self.keys.back()?;
        let directory = directory(last.as_str());
        if let Some(above) = above(directory)
            && above.len() >= root.len()
        {
            let below: Vec<&str> = self
                .keys
                .iter()
                .map(Key::as_str)
                .filter(|key| self::above(self::directory(key)) == Some(above))
                .collect();
            let directories: BTreeSet<&str> =
                below.iter().map(|key| self::directory(key)).collect();
            if below.len() >= MANY && directories.len() >= SEVERAL {
                let scope = Scope::Below(above.to_owned());
                return Some(if ascends(&below) {
                    Suggestion {
                        scope,
                        whole: false,
                        from: ListFrom::After(last.to_string()),
                    }
                } else {
                    Suggestion {
                        scope,
                        whole: true,
                        from: ListFrom::Start,
                    }
                });
            }
        }
        let here = |key: &&str| self::directory(key) == directory;
        let all: Vec<&str> = self.keys.iter().map(Key::as_str).filter(here).collect();
        let scope = Scope::Directory(directory.to_owned());
        if all.len() >= MANY && !ascends(&all) {
            return Some(Suggestion {
                scope,
                whole: true,
                from: ListFrom::Start,
            });
        }
        let latest = self.keys.iter().rev().take(LATEST).map(Key::as_str);
        let latest: Vec<&str> = latest.filter(here).collect();
        let first = latest.iter().min().filter(|_| latest.len() >= FEW)?;
        Some(Suggestion {
            scope,
            whole: false,
            from: ListFrom::After((*first).to_owned()),
        })
    }
}

/// Whether most of the keys are greater than the one before.
fn ascends(keys: &[&str]) -> bool {
    let pairs = keys.windows(2);
    let count = pairs.len();
    pairs.filter(|pair| pair.is_sorted()).count() * 4 >= count * 3
}

/// The directory that a file is in: what its key starts with up to the last `/`.
fn directory(key: &str) -> &str {
    key.rfind('/')
        .and_then(|slash| key.get(..=slash))
        .unwrap_or_default()
}

/// The directory that a directory is in.
fn above(directory: &str) -> Option<&str> {
    directory.strip_suffix('/').map(self::directory)
}

const REMEMBERED: usize = 64;
const MANY: usize = REMEMBERED / 2;
const SEVERAL: usize = 4;
const LATEST: usize = 8;
const FEW: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn suggest(root: &str, keys: impl IntoIterator<Item = String>) -> Option<Suggestion> {
        let mut recent = Recent::default();
        for key in keys {
            recent.push(&Key::new(key).expect("a key"));
        }
        recent.suggest(root)
    }

    /// 0, 37, 74, ... modulo 101: every number once, in no order.
    fn mixed(count: u32) -> impl Iterator<Item = u32> {
        (0..count).map(|i| i * 37 % 101)
    }

    #[test]
    fn few_reads_in_a_directory_may_be_a_run() {
        let keys = |count: u32| (0..count).map(|i| format!("a/b/{i}"));
        assert_eq!(suggest("", keys(3)), None);
        let expected = Suggestion {
            scope: Scope::Directory("a/b/".to_owned()),
            whole: false,
            from: ListFrom::After("a/b/0".to_owned()),
        };
        assert_eq!(suggest("", keys(4)), Some(expected));
        let scattered = (0..20).map(|i| format!("{}/{i}", i % 3));
        assert_eq!(suggest("", scattered), None);
    }

    #[test]
    fn many_reads_in_no_order_are_of_the_whole_directory() {
        let keys = mixed(40).map(|i| format!("d/{i:03}"));
        let expected = Suggestion {
            scope: Scope::Directory("d/".to_owned()),
            whole: true,
            from: ListFrom::Start,
        };
        assert_eq!(suggest("", keys), Some(expected));
    }

    #[test]
    fn many_reads_in_several_directories_are_of_all_below_their_parent() {
        let keys = |order: Vec<u32>| order.into_iter().map(|i| format!("set/{:02}/{i}", i / 8));
        let mixed_up = suggest("set/", keys(mixed(40).collect())).expect("something");
        assert_eq!(mixed_up.scope, Scope::Below("set/".to_owned()));
        assert!(mixed_up.whole);
        let in_order = suggest("", keys((100..140).collect())).expect("something");
        assert_eq!(in_order.scope, Scope::Below("set/".to_owned()));
        assert!(!in_order.whole);
        assert_eq!(in_order.from, ListFrom::After("set/17/139".to_owned()));
    }

    #[test]
    fn nothing_above_the_root_is_suggested() {
        let keys = || mixed(40).map(|i| format!("set/{:02}/{i}", i % 9));
        assert_eq!(suggest("set/00/", keys()), None);
        let at_top = suggest("", mixed(40).map(|i| format!("{i}"))).expect("something");
        assert_eq!(at_top.scope, Scope::Directory(String::new()));
    }
}
