//! A change of a name, from before it is asked for to its end.

use std::sync::Arc;

use super::Names;
use super::change_log::{Entry, Scope};
use super::record::Id;
use crate::s3::Key;

/// A change that was noted before it is asked for. Dropped, it has not ended: whether it was made, or
/// will be, is not known.
#[derive(Debug)]
pub(super) struct Change {
    names: Arc<Names>,
    touched: Vec<(Id, Scope)>,
}

impl Change {
    /// Notes that an object is about to be put there.
    pub(super) fn put(names: &Arc<Names>, key: &Key) -> Self {
        // Directories above may be new, and hide files.
        Self::begin(names, touched(key.as_str(), Scope::Files))
    }

    /// Notes that an object is about to be removed.
    pub(super) fn removal(names: &Arc<Names>, key: &Key) -> Self {
        // It may be the last one in the directories above.
        Self::begin(names, touched(key.as_str(), Scope::All))
    }

    fn begin(names: &Arc<Names>, touched: Vec<(Id, Scope)>) -> Self {
        let change = Self {
            names: Arc::clone(names),
            touched,
        };
        change.note(Entry::Begun);
        change
    }

    /// Notes that it was made.
    pub(super) fn end(self) {
        self.note(Entry::Ended);
    }

    fn note(&self, entry: impl Fn(Id, Scope) -> Entry) {
        let entries = self.touched.iter().map(|(id, scope)| entry(*id, *scope));
        self.names.append(&entries.collect::<Vec<_>>());
    }
}

/// The names that an object with this key has to do with: its own, and those of the directories above, of
/// which `above` is void.
fn touched(key: &str, above: Scope) -> Vec<(Id, Scope)> {
    let ends = key.match_indices('/').map(|(end, _)| end);
    let directories = ends.filter_map(|end| key.get(..end));
    let mut touched: Vec<_> = directories.map(|path| (Id::of(path), above)).collect();
    if !key.ends_with('/') {
        touched.push((Id::of(key), Scope::All));
    }
    touched
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_has_to_do_with_its_name_and_the_directories_above() {
        let id = |path| Id::of(path);
        for (key, expected) in [
            ("a", vec![(id("a"), Scope::All)]),
            (
                "a/b/c",
                vec![
                    (id("a"), Scope::Files),
                    (id("a/b"), Scope::Files),
                    (id("a/b/c"), Scope::All),
                ],
            ),
            (
                "a/b/",
                vec![(id("a"), Scope::Files), (id("a/b"), Scope::Files)],
            ),
        ] {
            assert_eq!(touched(key, Scope::Files), expected, "{key}");
        }
        assert!(
            touched("a/b", Scope::All)
                .iter()
                .all(|(_, scope)| *scope == Scope::All)
        );
    }
}
