//! The namespace out of an index, against that of the bucket.

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::index::{IndexWriter, Scope};
use crate::s3::ListRequest;

/// A bucket as it is, and as an index has it.
struct Pair {
    bucket: Fixture,
    indexed: Tree,
    path: std::path::PathBuf,
    _directory: TempDir,
}

impl Pair {
    fn new(keys: &[&str], prefix: &str) -> Self {
        let bucket = Fixture::with(keys, prefix, MINIMAL);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("data.idx");
        let scope = Scope {
            bucket: "bucket".to_owned(),
            prefix: Prefix::default(),
        };
        let mut writer = IndexWriter::create(&path, &scope).expect("a file");
        let mut request = ListRequest::default();
        loop {
            let page = block_on(bucket.store.list(&request)).expect("a page");
            for object in page.objects {
                writer.push(&object).expect("in order");
            }
            let Some(next) = page.next else { break };
            request.from = s3::ListFrom::Page(next);
        }
        writer.finish().expect("written");
        let index = Index::open(&path).expect("an index");
        let indexed = Tree::of_index(Arc::new(index), bucket.prefix());
        Self {
            bucket,
            indexed,
            path,
            _directory: directory,
        }
    }

    fn lookup(&self, parent: InodeNo, name: &str) -> Result<Node, Error> {
        block_on(self.indexed.lookup(parent, OsStr::new(name)))
    }

    fn open_dir(&self, ino: InodeNo) -> DirHandle {
        block_on(self.indexed.open_dir(ino)).expect("a directory")
    }

    /// Compares two directories and all below them.
    fn compare(&self, there: InodeNo, here: InodeNo, names: &[String]) {
        let sorted = |directory: &DirHandle, room| {
            let mut entries = read_all(directory, true, room).expect("entries");
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            entries
        };
        let expected = sorted(&self.bucket.open_dir(there), usize::MAX);
        let found = sorted(&self.open_dir(here), 3);
        let shown = |entries: &[DirEntry]| entries.iter().map(display).collect::<Vec<_>>();
        assert_eq!(shown(&found), shown(&expected));
        for name in names {
            let (found, expected) = (self.lookup(here, name), self.bucket.lookup(there, name));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_alike(&found, &expected),
                (Err(found), Err(expected)) => {
                    assert_eq!(found.to_string(), expected.to_string(), "{name:?}");
                }
                different => panic!("{name:?}: {different:?}"),
            }
        }
        for (found, expected) in found.iter().zip(&expected) {
            assert_alike(&found.node, &expected.node);
            assert_eq!(self.lookup(here, &found.name).expect("there"), found.node);
            self.compare_node(&found.node, &expected.node, here, names);
        }
    }

    fn compare_node(&self, found: &Node, expected: &Node, above: InodeNo, names: &[String]) {
        let again = block_on(self.indexed.getattr(found.ino)).expect("there");
        assert_eq!(&again, found);
        let believe = |tree: &Tree, ino| tree.believe(ino, Freshness::Newest);
        if is_directory(found) {
            let dots = read(&self.open_dir(found.ino), 0, false, 2).expect("entries");
            assert_eq!([dots[0].node.ino, dots[1].node.ino], [found.ino, above]);
            let refused = believe(&self.indexed, found.ino);
            assert!(matches!(refused, Err(Error::IsDirectory)), "{refused:?}");
            self.compare(expected.ino, found.ino, names);
        } else {
            let believed = believe(&self.indexed, found.ino).expect("a file");
            assert_eq!(
                (believed.doubt, &believed.version.info),
                (None, info(found))
            );
            let expected = believe(&self.bucket.tree, expected.ino).expect("a file");
            assert_eq!(believed.version.key, expected.version.key);
        }
    }
}

fn assert_alike(found: &Node, expected: &Node) {
    assert_eq!(is_directory(found), is_directory(expected));
    if !is_directory(found) {
        let expected = ObjectInfo {
            details: None,
            ..info(expected).clone()
        };
        assert_eq!(info(found), &expected);
    }
}

/// Names, of which some start with others, in any order about `/`, and what can be no name.
fn name() -> impl Strategy<Value = String> {
    let parts = vec![
        "a",
        "a",
        "b",
        "-",
        "0",
        ".",
        "é",
        "\u{1}",
        "\0",
        "\u{10000}",
    ];
    prop_oneof![
        8 => prop::collection::vec(prop::sample::select(parts), 1..3)
            .prop_map(|parts| parts.concat()),
        1 => Just(String::new()),
        1 => Just("..".to_owned()),
        1 => (254_usize..258).prop_map(|length| "x".repeat(length)),
    ]
}

proptest! {
    #[test]
    fn prop_indexed_tree_is_that_of_the_bucket(
        keys in prop::collection::btree_set(prop::collection::vec(name(), 1..4), 0..40),
        names in prop::collection::vec(name(), 3),
        prefix in prop::sample::select(&["", "a/", "a/b/", "-/"][..]),
    ) {
        let keys: Vec<String> = keys.iter().map(|names| names.join("/")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).filter(|key| !key.is_empty()).collect();
        Pair::new(&keys, prefix).compare(ROOT, ROOT, &names);
    }

    #[test]
    fn prop_reading_goes_on_where_an_entry_began_and_nowhere_else(
        keys in prop::collection::btree_set(prop::collection::vec(name(), 1..3), 0..30),
    ) {
        let keys: Vec<String> = keys.iter().map(|names| names.join("/")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).filter(|key| !key.is_empty()).collect();
        let pair = Pair::new(&keys, "");
        let root = pair.open_dir(ROOT);
        let all = read(&root, 0, false, usize::MAX).expect("entries");
        for (at, entry) in all.iter().enumerate() {
            let rest = read(&root, entry.offset, false, usize::MAX).expect("entries");
            prop_assert_eq!(&rest[..], &all[at + 1..]);
        }
        for offset in 0..100 {
            // A hidden key may lie between two entries.
            if let Ok(rest) = read(&root, offset, false, usize::MAX) {
                prop_assert!(all.ends_with(&rest));
            }
        }
        prop_assert!(matches!(read(&root, 100, false, 1), Err(Error::BadOffset)));
        prop_assert!(matches!(read(&root, u64::MAX, false, 1), Err(Error::BadOffset)));
    }

    #[test]
    fn prop_any_number_is_answered_without_panic(number: u64, low in 0_u64..1 << 24) {
        let pair = Pair::new(&["a/b/c", "d"], "a/");
        for ino in [InodeNo(number), InodeNo(low)] {
            _ = block_on(pair.indexed.getattr(ino));
            _ = pair.indexed.believe(ino, Freshness::Cached);
            _ = block_on(pair.indexed.open_dir(ino));
            _ = pair.lookup(ino, "c");
            pair.indexed.renew(ino);
        }
    }
}

#[test]
fn numbers_are_the_same_in_every_mount() {
    let (one, other) = (Pair::new(&["a/b", "c"], ""), Pair::new(&["a/b", "c"], ""));
    for name in ["a", "c"] {
        let number = |pair: &Pair| pair.lookup(ROOT, name).expect("there").ino;
        assert_eq!(number(&one), number(&other));
    }
}

#[test]
fn renewed_file_has_another_number_and_the_old_one_stays_good() {
    let pair = Pair::new(&["a", "b"], "");
    let before = pair.lookup(ROOT, "a").expect("there");
    pair.indexed.renew(before.ino);
    let after = pair.lookup(ROOT, "a").expect("there");
    assert_ne!(before.ino, after.ino);
    assert_eq!(info(&before), info(&after));
    let old = block_on(pair.indexed.getattr(before.ino)).expect("still there");
    assert_eq!(old, before);
    let listed = read_all(&pair.open_dir(ROOT), true, 9).expect("entries");
    assert_eq!(listed[0].node.ino, after.ino);
    assert_eq!(
        pair.lookup(ROOT, "b").expect("there").ino,
        listed[1].node.ino
    );
}

#[test]
fn nothing_is_asked_or_remembered_or_changed() {
    let pair = Pair::new(&["a", "b/c"], "");
    pair.bucket.requests();
    let node = pair.lookup(ROOT, "b").expect("there");
    pair.lookup(node.ino, "c").expect("there");
    assert!(matches!(pair.lookup(ROOT, "none"), Err(Error::NotFound)));
    let is_missing = pair.indexed.missing_for(ROOT, OsStr::new("none"));
    assert!(is_missing.is_some_and(|time| time > Duration::from_secs(3600)));
    assert_eq!(pair.open_dir(ROOT).caching(), Caching::Keep);
    assert_eq!(pair.indexed.inodes(), 0);
    assert_eq!(pair.indexed.lookups().known, 3);
    let made = block_on(pair.indexed.create(ROOT, OsStr::new("new")));
    assert!(matches!(made, Err(Error::ReadOnly)), "{made:?}");
    let found = block_on(pair.indexed.find(ROOT, OsStr::new("a")));
    assert!(matches!(found, Err(Error::ReadOnly)), "{found:?}");
    assert_eq!(pair.bucket.requests(), (0, 0));
}

#[test]
fn index_that_is_cut_off_is_an_error_of_the_call() {
    let pair = Pair::new(&["a", "b/c"], "");
    let file = std::fs::File::options().write(true).open(&pair.path);
    file.and_then(|file| file.set_len(70)).expect("cut");
    let error = pair.lookup(ROOT, "a").expect_err("unreadable");
    assert!(matches!(error, Error::Index(_)), "{error:?}");
    assert!(error.to_string().contains("data.idx is damaged"), "{error}");
    assert!(block_on(pair.indexed.getattr(ROOT)).is_ok());
}
