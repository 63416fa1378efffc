//! The tree against a model that knows nothing of inodes, pages or time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::s3::fake::Order;

/// Path to size; `None` is a directory.
type Paths = BTreeMap<String, Option<u64>>;

/// What a bucket with these keys looks like.
fn model(keys: &BTreeMap<String, u64>, prefix: &str) -> Paths {
    let mut directories = BTreeSet::new();
    let mut files = BTreeMap::new();
    for (key, size) in keys {
        let Some(rest) = key.strip_prefix(prefix) else {
            continue;
        };
        let components: Vec<&str> = rest.split('/').collect();
        let (last, above) = components.split_last().unwrap();
        let shown = |c: &&&str| {
            !c.is_empty() && **c != "." && **c != ".." && !c.contains('\0') && c.len() <= 255
        };
        let depth = above.iter().take_while(shown).count();
        for end in 1..=depth {
            directories.insert(above[..end].join("/"));
        }
        if depth == above.len() && shown(&last) {
            files.insert(components.join("/"), *size);
        }
    }
    let mut paths: Paths = files.into_iter().map(|(k, v)| (k, Some(v))).collect();
    paths.extend(directories.into_iter().map(|path| (path, None)));
    paths
}

/// References that the "kernel" holds, to be given back in the end.
#[derive(Default)]
struct Held(Vec<(String, Node)>);

/// What recursive reading of directories finds.
fn crawl(f: &Fixture, plus: bool, room: usize, ordered: bool, held: &mut Held) -> Paths {
    let mut paths = Paths::new();
    let mut todo = vec![(String::new(), ROOT)];
    while let Some((path, ino)) = todo.pop() {
        let entries = read_all(&f.open_dir(ino), plus, room).unwrap();
        let mut seen = BTreeSet::new();
        for entry in entries {
            assert!(seen.insert(display(&entry)), "{entry:?} comes twice");
            let path = format!("{path}{}", entry.name);
            if plus {
                held.0.push((path.clone(), entry.node.clone()));
            }
            match entry.node.kind {
                NodeKind::File(ref info) => {
                    let known = paths.get(&path);
                    assert!(known.is_none() || !ordered, "{path:?} comes twice");
                    paths.entry(path).or_insert(Some(info.size));
                }
                NodeKind::Directory { .. } => {
                    let known = paths.insert(path.clone(), None);
                    assert!(known.is_none() || !ordered, "{path:?} comes twice");
                    let ino = if plus {
                        entry.node.ino
                    } else {
                        let node = f.walk(&path).unwrap();
                        held.walked(f, &path);
                        held.0.push((path.clone(), node.clone()));
                        node.ino
                    };
                    todo.push((format!("{path}/"), ino));
                }
                NodeKind::Local(_) => panic!("{path:?} is local"),
            }
        }
    }
    paths
}

impl Held {
    /// Takes note of the references that a walk counted on the way to `path`.
    fn walked(&mut self, f: &Fixture, path: &str) {
        let mut at = ROOT;
        let (above, _) = path.rsplit_once('/').unwrap_or_default();
        for name in above.split('/').filter(|name| !name.is_empty()) {
            let node = f.lookup(at, name).unwrap();
            at = node.ino;
            f.tree.forget(node.ino, 1);
            self.0.push((String::new(), node));
        }
    }

    fn forget(self, f: &Fixture) {
        for (_, node) in self.0 {
            f.tree.forget(node.ino, 1);
        }
        assert_eq!(f.known_inodes(), 1, "all references were given back");
    }
}

/// Every path of the model is found, and nothing else is.
fn check_lookups(f: &Fixture, expected: &Paths, keys: &BTreeMap<String, u64>, prefix: &str) {
    let mut held = Held::default();
    for (path, size) in expected {
        let node = f.walk(path).unwrap();
        held.walked(f, path);
        match (&node.kind, size) {
            (NodeKind::File(info), Some(size)) => assert_eq!(info.size, *size),
            (NodeKind::Directory { .. }, None) => {}
            other => panic!("{path:?}: {other:?}"),
        }
        held.0.push((path.clone(), node));
    }
    let mut unknown = BTreeSet::new();
    for key in keys.keys().filter_map(|key| key.strip_prefix(prefix)) {
        for name in key.split('/') {
            unknown.extend([name.to_owned(), format!("{name}-"), format!("{name}a")]);
        }
    }
    for name in unknown.iter().filter(|name| !expected.contains_key(*name)) {
        match f.lookup(ROOT, name) {
            Err(Error::NotFound | Error::InvalidName | Error::NameTooLong) => {}
            other => panic!("{name:?}: {other:?}"),
        }
    }
    held.forget(f);
}

fn component() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => "[a\\-./\u{1}é]{0,4}",
        4 => "[ab]",
        1 => (253usize..258).prop_map(|n| "n".repeat(n)),
        1 => Just("\0".to_owned()),
        1 => (1usize..30).prop_map(|n| "d/".repeat(n)),
    ]
}

fn key() -> impl Strategy<Value = String> {
    let components = prop::collection::vec(component(), 1..4);
    (components, any::<bool>())
        .prop_map(|(components, marker)| {
            let slash = if marker { "/" } else { "" };
            format!("{}{slash}", components.join("/"))
        })
        .prop_filter("a key has 1 to 1024 bytes", |key| {
            (1..=1024).contains(&key.len())
        })
}

/// A bucket, with some keys that differ from others in their end only.
fn bucket() -> impl Strategy<Value = BTreeMap<String, u64>> {
    let ends = prop::sample::select(vec!["", "/", "/x", "-", "-y", "0", "//z", "/.", "/../w"]);
    let entry = (key(), prop::collection::vec(ends, 0..4), 0u64..100);
    prop::collection::vec(entry, 0..12).prop_map(|entries| {
        let mut keys = BTreeMap::new();
        for (key, ends, size) in entries {
            for end in ends {
                keys.insert(format!("{key}{end}"), size + 1);
            }
            keys.insert(key, size);
        }
        keys.retain(|key, _| key.len() <= 1024);
        keys
    })
}

#[derive(Debug, Clone)]
enum Change {
    Put(String, u64),
    Replace(Index, u64),
    Remove(Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (key(), 0u64..100).prop_map(|(key, size)| Change::Put(key, size)),
        (any::<Index>(), 0u64..100).prop_map(|(at, size)| Change::Replace(at, size)),
        any::<Index>().prop_map(Change::Remove),
    ]
}

/// Makes the change, and says whose object is another one now.
fn apply(change: Change, keys: &mut BTreeMap<String, u64>, store: &FakeStore) {
    let (key, size) = match change {
        Change::Put(key, size) => (key, Some(size)),
        _ if keys.is_empty() => return,
        Change::Replace(at, size) => (nth(keys, at), Some(size)),
        Change::Remove(at) => (nth(keys, at), None),
    };
    if let Some(size) = size {
        store.put_synthetic(&key, size, 0);
        keys.insert(key, size);
    } else {
        store.remove(&key);
        keys.remove(&key);
    }
}

fn nth(keys: &BTreeMap<String, u64>, at: Index) -> String {
    keys.keys().nth(at.index(keys.len())).unwrap().clone()
}

/// A tree over these keys; its lookups fetch pages from a store that is in order.
fn fixture(keys: &BTreeMap<String, u64>, page_size: usize, ordered: bool, pages: bool) -> Fixture {
    believing(keys, page_size, ordered, pages, MINIMAL)
}

fn believing(
    keys: &BTreeMap<String, u64>,
    page_size: usize,
    ordered: bool,
    pages: bool,
    ttls: (Ttl, Ttl),
) -> Fixture {
    let f = Fixture::looking_up(&[], "", ttls, pages && ordered);
    for (key, size) in keys {
        f.store.put_synthetic(key, *size, 0);
    }
    f.store.set_page_size(page_size);
    if !ordered {
        f.store.set_order(Order::Scrambled);
    }
    f
}

/// What a listing says of a node: a HEAD says more.
fn listed(kind: NodeKind) -> NodeKind {
    match kind {
        NodeKind::File(info) => NodeKind::File(ObjectInfo {
            details: None,
            ..info
        }),
        other => other,
    }
}

/// An inode that was found earlier either still is what it was, or says that it is not.
fn check_held(f: &Fixture, held: &Held, keys: &BTreeMap<String, u64>) {
    for (path, node) in held.0.iter().filter(|(path, _)| !path.is_empty()) {
        let is_there = match node.kind {
            NodeKind::File(_) => keys.contains_key(path),
            NodeKind::Directory { .. } => {
                let prefix = format!("{path}/");
                keys.keys().any(|key| key.starts_with(&prefix))
            }
            NodeKind::Local(_) => panic!("{path:?} is local"),
        };
        match f.getattr(node.ino) {
            Ok(now) => {
                assert!(is_there, "{path:?} is gone, and still {now:?}");
                assert_eq!(listed(now.kind), listed(node.kind.clone()));
            }
            Err(Error::NotFound) => assert!(!is_there, "{path:?} is there"),
            Err(Error::Stale) => {}
            other => panic!("{path:?}: {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn prop_tree_is_what_the_model_says(
        keys in bucket(),
        page_size in 1usize..6,
        room in 3usize..8,
        plus: bool,
        ordered: bool,
        pages: bool,
    ) {
        let f = fixture(&keys, page_size, ordered, pages);
        let expected = model(&keys, "");
        let mut held = Held::default();
        let found = crawl(&f, plus, room, ordered, &mut held);
        prop_assert_eq!(&found, &expected);
        held.forget(&f);
        check_lookups(&f, &expected, &keys, "");
    }

    #[test]
    fn prop_mounted_prefix_is_what_the_model_says(
        keys in bucket(),
        page_size in 1usize..6,
        pages: bool,
    ) {
        let keys: BTreeMap<_, _> = keys
            .into_iter()
            .map(|(key, size)| (format!("a/{key}"), size))
            .filter(|(key, _)| key.len() <= 1024)
            .chain([("a".to_owned(), 1), ("a-".to_owned(), 2), ("b/c".to_owned(), 3)])
            .collect();
        let f = Fixture::looking_up(&[], "a/", MINIMAL, pages);
        for (key, size) in &keys {
            f.store.put_synthetic(key, *size, 0);
        }
        f.store.set_page_size(page_size);
        let expected = model(&keys, "a/");
        let mut held = Held::default();
        let found = crawl(&f, true, 4, true, &mut held);
        prop_assert_eq!(&found, &expected);
        held.forget(&f);
        check_lookups(&f, &expected, &keys, "a/");
    }

    #[test]
    fn prop_changes_are_seen_once_answers_have_expired(
        keys in bucket(),
        changes in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..5),
        page_size in 1usize..6,
        plus: bool,
        ordered: bool,
        pages: bool,
        lookups_first: bool,
    ) {
        let mut keys = keys;
        let f = fixture(&keys, page_size, ordered, pages);
        let mut held = Held::default();
        crawl(&f, true, 5, ordered, &mut held);
        for step in changes {
            for change in step {
                apply(change, &mut keys, &f.store);
            }
            f.advance(Duration::from_secs(1));
            let expected = model(&keys, "");
            // Held references make sure that what was known is still there to be wrong about.
            let mut again = Held::default();
            if lookups_first {
                for (path, size) in &expected {
                    let node = f.walk(path).unwrap();
                    prop_assert_eq!(is_directory(&node), size.is_none());
                    again.walked(&f, path);
                    again.0.push((path.clone(), node));
                }
            }
            let found = crawl(&f, plus, 5, ordered, &mut again);
            prop_assert_eq!(&found, &expected);
            check_held(&f, &held, &keys);
            held.0.append(&mut again.0);
        }
        held.forget(&f);
    }

    /// Whatever is cached: until the bound of what is promised, an answer is what was there at some
    /// time since then, and after it what is there now.
    #[test]
    fn prop_answers_are_no_older_than_promised(
        keys in bucket(),
        changes in prop::collection::vec(change(), 1..8),
        page_size in 1usize..6,
        ordered: bool,
        pages: bool,
        long: bool,
        lists: bool,
    ) {
        let (ttls, bound) = if long {
            (MINUTE, Duration::from_secs(60))
        } else {
            (MINIMAL, Duration::from_secs(1))
        };
        let step = bound / 4;
        let mut keys = keys;
        let f = believing(&keys, page_size, ordered, pages, ttls);
        let mut held = Held::default();
        // What was there, and until when: the last four steps are within the bound.
        let mut history = vec![model(&keys, "")];
        for change in changes {
            if lists {
                crawl(&f, true, 5, ordered, &mut held);
            }
            apply(change, &mut keys, &f.store);
            f.advance(Duration::from_millis(1));
            history.push(model(&keys, ""));
            let within: Vec<&Paths> = history.iter().rev().take(5).collect();
            let paths: BTreeSet<&String> = within.iter().flat_map(|paths| paths.keys()).collect();
            for path in paths.into_iter().filter(|path| !path.contains('/')) {
                let seen = match f.lookup(ROOT, path) {
                    Ok(node) => {
                        let seen = match &node.kind {
                            NodeKind::File(info) => Some(Some(info.size)),
                            NodeKind::Directory { .. } => Some(None),
                            NodeKind::Local(_) => panic!("{path:?} is local"),
                        };
                        held.0.push((String::new(), node));
                        seen
                    }
                    Err(Error::NotFound) => None,
                    Err(error) => panic!("{path:?}: {error}"),
                };
                let was = |paths: &&Paths| paths.get(path).copied() == seen;
                prop_assert!(within.iter().any(was), "{:?}: {:?} in {:?}", path, seen, within);
                // Without a TTL, what is new is seen at once.
                if !long && within.iter().skip(1).all(|paths| !paths.contains_key(path)) {
                    prop_assert_eq!(seen, keys_now(&within, path));
                }
            }
            f.advance(step);
        }
        f.advance(bound);
        let expected = model(&keys, "");
        for (path, size) in expected.iter().filter(|(path, _)| !path.contains('/')) {
            let node = f.lookup(ROOT, path).unwrap();
            match (&node.kind, size) {
                (NodeKind::File(info), Some(size)) => prop_assert_eq!(info.size, *size),
                (NodeKind::Directory { .. }, None) => {}
                other => panic!("{path:?}: {other:?}"),
            }
            held.0.push((String::new(), node));
        }
        held.forget(&f);
    }
}

/// What is at `path` now.
fn keys_now(within: &[&Paths], path: &str) -> Option<Option<u64>> {
    within.first().and_then(|paths| paths.get(path).copied())
}
