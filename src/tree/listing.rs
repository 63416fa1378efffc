//! The entries of a directory, out of the pages of a listing. No I/O here.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::Notices;
use super::inode::Found;
use super::name::{Visibility, classify};
use crate::s3::ListPage;

/// Turns pages into entries: each name once, a directory in preference to a file.
///
/// A general-purpose bucket lists in byte order of the keys. `blue` then comes before `blue/`,
/// which hides it, but `blue-x` comes between the two, so that they may be pages apart. A file is
/// therefore held back until its name and a `/` has been passed. Whatever comes meanwhile starts
/// with the file's name, so the files that are held back are each the start of the next one, and
/// never more than a name has bytes.
///
/// Other stores list in no order. Then a file may come out long before the directory that hides
/// it, and both are entries; but no kind of one name twice.
#[derive(Debug)]
pub(super) struct Listing {
    /// What every key in the directory starts with.
    prefix: String,
    /// Whether everything so far came in byte order.
    ordered: bool,
    /// The last of what came, while that is in order.
    last: Option<String>,
    /// Files held back, the last one to be released first.
    held: Vec<Entry>,
    /// Every name that came, and whether as a directory; needed once the order is found to be
    /// broken. `None` when so much came in order that it is taken for granted.
    seen: Option<HashSet<(bool, Arc<str>)>>,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name.
    pub(super) name: Arc<str>,
    /// What it is.
    pub(super) found: Found,
}

impl Listing {
    /// The directory whose keys start with `prefix`.
    pub(super) fn new(prefix: String) -> Self {
        Self {
            prefix,
            ordered: true,
            last: None,
            held: Vec::new(),
            seen: Some(HashSet::new()),
        }
    }

    /// Takes in the next page and appends to `out` the entries that are certain now.
    pub(super) fn absorb(&mut self, page: ListPage, notices: &Notices, out: &mut VecDeque<Entry>) {
        let items = self.items(page, notices);
        if self.ordered && !self.follows(&items) {
            self.ordered = false;
            self.last = None;
        }
        if self.ordered {
            self.absorb_ordered(items, out);
        } else {
            self.absorb_unordered(items, out);
        }
    }

    /// Ends the listing: what was held back is certain now.
    pub(super) fn finish(&mut self, out: &mut VecDeque<Entry>) {
        out.extend(self.held.drain(..).rev());
    }

    /// Whether everything so far came in byte order.
    pub(super) fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// The last of what came: a name, with a `/` if it is a directory. `None` when nothing came, or
    /// not in byte order.
    pub(super) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// What the page shows, in byte order as far as each of its two lists is in byte order.
    fn items(&self, page: ListPage, notices: &Notices) -> Vec<Item> {
        let mut items = Vec::with_capacity(page.objects.len() + page.common_prefixes.len());
        let objects = page.objects.into_iter();
        let objects = objects.map(|object| (object.key, Found::File(object.info)));
        let prefixes = page.common_prefixes.into_iter();
        let prefixes = prefixes.map(|prefix| (prefix, Found::Directory));
        for (key, found) in objects.chain(prefixes) {
            let Some(rest) = key.strip_prefix(&self.prefix) else {
                continue;
            };
            // A `/` makes it a directory, whatever list it came in: a marker is never a file.
            let (name, rank, found) = match rest.split_once('/') {
                Some((name, _)) => (name, &rest[..=name.len()], Found::Directory),
                None if found == Found::Directory => continue,
                None => (rest, rest, found),
            };
            match classify(name) {
                Visibility::Shown => items.push(Item {
                    rank: rank.to_owned(),
                    entry: Entry {
                        name: Arc::from(name),
                        found,
                    },
                }),
                Visibility::Hidden => {}
                Visibility::TooLong => notices.name_too_long(&self.prefix, name),
            }
        }
        let files = items.iter().filter(|item| !item.is_directory());
        let directories = items.iter().filter(|item| item.is_directory());
        if files.is_sorted_by(|a, b| a.rank < b.rank)
            && directories.is_sorted_by(|a, b| a.rank <= b.rank)
        {
            items.sort_by(|a, b| a.rank.cmp(&b.rank));
            items.dedup_by(|a, b| a.rank == b.rank);
        }
        items
    }

    /// Whether a page is in order, and after the pages before it.
    fn follows(&self, items: &[Item]) -> bool {
        let after_last = match (&self.last, items.first()) {
            (Some(last), Some(first)) => *last < first.rank,
            _ => true,
        };
        after_last && items.is_sorted_by(|a, b| a.rank < b.rank)
    }

    fn absorb_ordered(&mut self, items: Vec<Item>, out: &mut VecDeque<Entry>) {
        if let Some(last) = items.last() {
            self.last = Some(last.rank.clone());
        }
        for item in items {
            while let Some(held) = self.held.last() {
                let hidden_by = held.name.bytes().chain([b'/']);
                match item.rank.bytes().cmp(hidden_by) {
                    Ordering::Less => break,
                    Ordering::Equal => drop(self.held.pop()),
                    Ordering::Greater => out.extend(self.held.pop()),
                }
            }
            self.note(&item);
            if item.is_directory() {
                out.push_back(item.entry);
            } else {
                self.held.push(item.entry);
            }
        }
    }

    fn absorb_unordered(&mut self, items: Vec<Item>, out: &mut VecDeque<Entry>) {
        let (directories, files): (Vec<_>, Vec<_>) =
            items.into_iter().partition(Item::is_directory);
        let seen = self.seen.get_or_insert_default();
        for Item { entry, .. } in directories {
            if seen.insert((true, Arc::clone(&entry.name))) {
                out.push_back(entry);
            }
        }
        for entry in self.held.drain(..).rev() {
            if !seen.contains(&(true, Arc::clone(&entry.name))) {
                out.push_back(entry);
            }
        }
        for Item { entry, .. } in files {
            if !seen.contains(&(true, Arc::clone(&entry.name)))
                && seen.insert((false, Arc::clone(&entry.name)))
            {
                out.push_back(entry);
            }
        }
    }

    /// Remembers that the name came, as long as the order is not taken for granted.
    fn note(&mut self, item: &Item) {
        if let Some(seen) = &mut self.seen {
            seen.insert((item.is_directory(), Arc::clone(&item.entry.name)));
            if seen.len() >= TRUSTED_AFTER {
                self.seen = None;
            }
        }
    }
}

/// One entry of a page.
#[derive(Debug)]
struct Item {
    /// Where byte order puts it: the name, with a `/` if it is a directory.
    rank: String,
    entry: Entry,
}

impl Item {
    fn is_directory(&self) -> bool {
        self.entry.found == Found::Directory
    }
}

/// A store that listed this many entries in byte order lists in byte order.
const TRUSTED_AFTER: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::s3::{ETag, ListedObject, ObjectInfo, Restore, StorageClass};

    fn page(keys: &[&str]) -> ListPage {
        let info = ObjectInfo {
            etag: ETag::new("\"e\""),
            size: 1,
            last_modified: SystemTime::UNIX_EPOCH,
            storage_class: StorageClass::Readable,
            restore: Restore::None,
            details: None,
        };
        let (prefixes, objects) = keys.iter().partition::<Vec<&str>, _>(|k| k.ends_with('/'));
        ListPage {
            objects: objects
                .into_iter()
                .map(|key| ListedObject {
                    key: key.to_owned(),
                    info: info.clone(),
                })
                .collect(),
            common_prefixes: prefixes.into_iter().map(str::to_owned).collect(),
            next: None,
        }
    }

    /// What comes out after each page, and at the end; directories with a `/`.
    fn run(pages: &[&[&str]]) -> Vec<String> {
        let mut listing = Listing::new(String::new());
        let mut steps = Vec::new();
        let mut out = VecDeque::new();
        let mut step = |out: &mut VecDeque<Entry>| {
            let names = out.drain(..).map(|entry| match entry.found {
                Found::Directory => format!("{}/", entry.name),
                Found::File(_) => entry.name.to_string(),
            });
            steps.push(names.collect::<Vec<_>>().join(" "));
        };
        for keys in pages {
            listing.absorb(page(keys), &Notices::default(), &mut out);
            step(&mut out);
        }
        listing.finish(&mut out);
        step(&mut out);
        steps
    }

    #[test]
    fn absorb_file_and_directory_in_one_page_shows_the_directory() {
        assert_eq!(
            run(&[&["blue", "blue-x", "blue/", "red"]]),
            ["blue-x blue/", "red"]
        );
    }

    #[test]
    fn absorb_directory_pages_after_its_file_shows_the_directory() {
        assert_eq!(
            run(&[&["blue"], &["blue-x"], &["blue-y", "blue.z"], &["blue/"]]),
            ["", "", "blue-x blue-y", "blue.z blue/", ""]
        );
    }

    #[test]
    fn absorb_file_without_directory_releases_it_once_its_place_is_passed() {
        assert_eq!(run(&[&["a"], &["a-b"], &["a0"]]), ["", "", "a-b a", "a0"]);
    }

    #[test]
    fn absorb_nested_names_holds_each_until_certain() {
        assert_eq!(
            run(&[&["a", "a-", "a--"], &["a--/", "a/"]]),
            ["", "a--/ a- a/", ""]
        );
    }

    #[test]
    fn absorb_unordered_pages_never_repeats_an_entry() {
        assert_eq!(
            run(&[&["b"], &["a"], &["b/"], &["b/", "c"], &["b", "a"], &["a/"]]),
            ["", "b a", "b/", "c", "", "a/", ""]
        );
    }

    #[test]
    fn absorb_order_broken_late_still_shows_every_name() {
        let names: Vec<String> = (0..TRUSTED_AFTER).map(|i| format!("k{i:06}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let steps = run(&[&names, &["a", "b/"], &["a", "b/"]]);
        assert_eq!(steps[0].split(' ').count(), TRUSTED_AFTER - 1);
        assert_eq!(steps[1..], ["b/ k009999 a", "", ""]);
    }

    #[test]
    fn absorb_undelimited_or_foreign_keys_shows_their_first_component() {
        assert_eq!(run(&[&["a/b/", "a/c", "d"]]), ["a/", "d"]);
        let mut listing = Listing::new("dir/".to_owned());
        let mut out = VecDeque::new();
        listing.absorb(
            page(&["dir/", "dir/x", "elsewhere"]),
            &Notices::default(),
            &mut out,
        );
        listing.finish(&mut out);
        let names: Vec<&str> = out.iter().map(|entry| &*entry.name).collect();
        assert_eq!(names, ["x"]);
    }
}
