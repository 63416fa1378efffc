//! What was known of names when a mount began, as far as it still counts. No I/O and no clock here.

use std::collections::HashMap;

use super::Known;
use super::change_log::{Entry, Scope};
use super::record::{Id, Row};

/// The newest row of each name. Their times are by one clock, whichever that is.
#[derive(Debug)]
pub(super) struct Table {
    /// In the order of their ids.
    rows: Vec<Row>,
    /// Changes that were begun and have not ended.
    open: HashMap<(Id, Scope), u32>,
    /// Entries of the log of changes that were taken in.
    taken: u32,
    /// When the newest row was asked for.
    newest: u64,
}

impl Table {
    /// Those of `rows` that were asked for at `oldest` or later, and those of directories with such
    /// rows in them: these were there then.
    pub(super) fn new(mut rows: Vec<Row>, oldest: u64) -> Self {
        // Of those that were asked for at the same time the last one counts.
        rows.sort_by_key(|row| (row.id, row.asked));
        rows.reverse();
        rows.dedup_by_key(|row| row.id);
        rows.reverse();
        raise_directories(&mut rows);
        rows.retain(|row| row.known.is_some() && row.asked >= oldest);
        rows.shrink_to_fit();
        Self {
            newest: rows.iter().map(|row| row.asked).max().unwrap_or_default(),
            rows,
            open: HashMap::new(),
            taken: 0,
        }
    }

    /// What is known of a name, and when it was asked for.
    pub(super) fn get(&self, id: Id) -> Option<(&Known, u64)> {
        let row = self.rows.get(self.find(id)?)?;
        let known = row.known.as_ref()?;
        let is_open = |scope| self.open.contains_key(&(id, scope));
        let is_file = matches!(known, Known::Object(_));
        let is_changed = is_open(Scope::All) || is_file && is_open(Scope::Files);
        (!is_changed).then_some((known, row.asked))
    }

    /// Forgets what is known of a name.
    pub(super) fn forget(&mut self, id: Id) {
        if let Some(row) = self.find(id).and_then(|at| self.rows.get_mut(at)) {
            row.known = None;
        }
    }

    /// When the newest row was asked for.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// How many entries of the log were taken in.
    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    /// Takes in the next entries of the log.
    pub(super) fn take(&mut self, entries: &[Entry]) {
        for entry in entries {
            match *entry {
                Entry::Begun(id, scope) => {
                    self.void(id, scope);
                    *self.open.entry((id, scope)).or_default() += 1;
                }
                Entry::Ended(id, scope) => {
                    self.void(id, scope);
                    if let Some(open) = self.open.get_mut(&(id, scope)) {
                        *open -= 1;
                        if *open == 0 {
                            self.open.remove(&(id, scope));
                        }
                    }
                }
                Entry::Opened(_) | Entry::Closed(_) => {}
            }
            self.taken += 1;
        }
    }

    /// Voids what was known of a name before the entry that is taken in.
    fn void(&mut self, id: Id, scope: Scope) {
        let taken = self.taken;
        if let Some(row) = self.find(id).and_then(|at| self.rows.get_mut(at))
            && row.since <= taken
            && (scope == Scope::All || matches!(row.known, Some(Known::Object(_))))
        {
            row.known = None;
        }
    }

    fn find(&self, id: Id) -> Option<usize> {
        self.rows.binary_search_by_key(&id, |row| row.id).ok()
    }
}

/// Lets directories count as asked for when something in them was: they were there then.
fn raise_directories(rows: &mut [Row]) {
    for at in 0..rows.len() {
        let Some(row) = rows.get(at).filter(|row| row.known.is_some()) else {
            continue;
        };
        let (asked, since, mut above) = (row.asked, row.since, row.above);
        // Ends, as each directory is raised once.
        while let Some(directory) = directory_mut(rows, above).filter(|row| row.asked < asked) {
            (directory.asked, directory.since) = (asked, since);
            above = directory.above;
        }
    }
}

/// The directory with this short id.
fn directory_mut(rows: &mut [Row], short: u64) -> Option<&mut Row> {
    let at = rows.partition_point(|row| row.id.short() < short);
    let found = rows.get_mut(at)?;
    let is_it = found.id.short() == short && found.known == Some(Known::Directory);
    is_it.then_some(found)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::s3::{ETag, ObjectInfo, Restore, StorageClass};

    fn object(etag: &str) -> Option<Known> {
        Some(Known::Object(ObjectInfo {
            etag: ETag::new(etag),
            size: 1,
            last_modified: UNIX_EPOCH,
            storage_class: StorageClass::Readable,
            restore: Restore::None,
            details: None,
        }))
    }

    fn row(path: &str, asked: u64, since: u32, known: Option<Known>) -> Row {
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        Row {
            id: Id::of(path),
            above: Id::of(above).short(),
            asked,
            since,
            known,
        }
    }

    fn get(table: &Table, path: &str) -> Option<(Option<Known>, u64)> {
        let found = table.get(Id::of(path));
        found.map(|(known, asked)| (Some(known.clone()), asked))
    }

    #[test]
    fn what_was_asked_for_last_counts_until_it_is_too_old() {
        let rows = vec![
            row("a", 10, 0, object("new")),
            row("a", 5, 0, object("old")),
            row("b", 10, 0, object("b")),
            row("b", 11, 0, None),
            row("c", 4, 0, object("c")),
            row("d", 7, 0, object("first")),
            row("d", 7, 0, object("second")),
            row("e", 5, 0, object("e")),
        ];
        let mut table = Table::new(rows, 5);
        assert_eq!(get(&table, "a"), Some((object("new"), 10)));
        assert_eq!(get(&table, "b"), None, "it is gone");
        assert_eq!(get(&table, "c"), None, "too old");
        assert_eq!(get(&table, "d"), Some((object("second"), 7)));
        assert_eq!(get(&table, "e"), Some((object("e"), 5)));
        assert_eq!(get(&table, "f"), None);
        assert_eq!(table.newest(), 10);
        table.forget(Id::of("a"));
        table.forget(Id::of("f"));
        assert_eq!(get(&table, "a"), None);
    }

    #[test]
    fn directory_was_there_when_something_in_it_was() {
        let directory = || Some(Known::Directory);
        let rows = vec![
            row("a", 1, 0, directory()),
            row("a/b", 2, 0, directory()),
            row("a/b/file", 9, 7, object("e")),
            row("a/gone", 8, 0, None),
            row("a/gone/file", 9, 0, object("e")),
            row("other", 3, 0, directory()),
        ];
        let mut table = Table::new(rows, 5);
        assert_eq!(get(&table, "a"), Some((directory(), 9)));
        assert_eq!(get(&table, "a/b"), Some((directory(), 9)));
        assert_eq!(get(&table, "a/gone"), None);
        assert_eq!(get(&table, "other"), None);
        // It was known as late in the log as the file.
        table.take(&[Entry::Ended(Id::of("a/b"), Scope::All); 7]);
        assert_eq!(get(&table, "a/b"), Some((directory(), 9)));
        table.take(&[Entry::Ended(Id::of("a/b"), Scope::All)]);
        assert_eq!(get(&table, "a/b"), None);
    }

    #[test]
    fn changes_void_what_was_known_before_they_ended() {
        let (all, files) = (Scope::All, Scope::Files);
        let id = Id::of("a");
        for (since, entries, is_believed) in [
            (0, vec![], true),
            (0, vec![Entry::Begun(id, all)], false),
            (0, vec![Entry::Ended(id, all)], false),
            (1, vec![Entry::Begun(id, all)], false),
            (1, vec![Entry::Begun(id, all), Entry::Ended(id, all)], false),
            (2, vec![Entry::Begun(id, all), Entry::Ended(id, all)], true),
            (
                3,
                vec![
                    Entry::Begun(id, all),
                    Entry::Begun(id, all),
                    Entry::Ended(id, all),
                ],
                false,
            ),
            (0, vec![Entry::Begun(Id::of("b"), all)], true),
            (0, vec![Entry::Begun(id, files)], false),
            (
                2,
                vec![Entry::Begun(id, files), Entry::Ended(id, files)],
                true,
            ),
        ] {
            let mut table = Table::new(vec![row("a", 1, since, object("e"))], 0);
            table.take(&entries);
            assert_eq!(table.get(id).is_some(), is_believed, "{since} {entries:?}");
        }
        let mut table = Table::new(vec![row("a", 1, 0, Some(Known::Directory))], 0);
        table.take(&[Entry::Begun(id, files)]);
        assert!(table.get(id).is_some(), "it is no file");
        table.take(&[Entry::Begun(id, all)]);
        assert!(table.get(id).is_none());
    }
}
