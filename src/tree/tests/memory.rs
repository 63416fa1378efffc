//! What was known of names before there was the tree, and what others get to know.

use std::collections::HashMap;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A memory that knows what it is told, and keeps what it gets to know.
#[derive(Debug, Default)]
struct Told {
    known: Mutex<HashMap<String, (Found, Duration)>>,
    noted: Mutex<Vec<(String, Option<Found>, Instant)>>,
}

impl Memory for Told {
    fn recall(&self, key: &Key) -> Option<(Found, Duration)> {
        self.known.lock().unwrap().get(key.as_str()).cloned()
    }

    fn note(&self, key: &Key, found: Option<Found>, asked: Instant) {
        let mut noted = self.noted.lock().unwrap();
        noted.push((key.to_string(), found, asked));
    }
}

impl Told {
    fn knows(&self, key: &str, found: Found, age: Duration) {
        let mut known = self.known.lock().unwrap();
        known.insert(key.to_owned(), (found, age));
    }

    /// What was noted since the last call.
    fn noted(&self) -> Vec<(String, Option<Found>, Instant)> {
        std::mem::take(&mut *self.noted.lock().unwrap())
    }
}

/// A tree, its memory, and what the store says of `d/a`.
fn fixture(keys: &[&str]) -> (Fixture, Arc<Told>, ObjectInfo) {
    with_ttls(keys, MINUTE)
}

fn with_ttls(keys: &[&str], ttls: (Ttl, Ttl)) -> (Fixture, Arc<Told>, ObjectInfo) {
    let told = Arc::<Told>::default();
    let f = Fixture::remembering(keys, ttls, Arc::clone(&told) as Arc<dyn Memory>);
    let info = block_on(f.store.head(&Key::new("d/a").unwrap())).unwrap();
    f.requests();
    (f, told, info)
}

#[test]
fn what_was_known_is_believed_as_long_as_if_the_tree_had_asked() {
    let (f, told, info) = fixture(&["d/a", "d/b/c"]);
    told.knows("d/a", Found::File(info.clone()), 20 * SECOND);
    told.knows("d/b", Found::Directory, 50 * SECOND);
    told.knows("d/b/c", Found::File(info.clone()), 60 * SECOND);
    let a = f.lookup(ROOT, "a").unwrap();
    assert_eq!((super::info(&a), a.valid_for), (&info, 40 * SECOND));
    let b = f.lookup(ROOT, "b").unwrap();
    assert!(is_directory(&b));
    assert_eq!(b.valid_for, 10 * SECOND);
    f.open(a.ino, Freshness::Cached).unwrap();
    assert_eq!(f.getattr(a.ino).unwrap().valid_for, 40 * SECOND);
    assert_eq!(f.requests(), (0, 0));
    assert_eq!(told.noted(), [], "it is not newer than it was");
    assert_eq!(f.tree.lookups().known, 2);
    f.lookup(b.ino, "c").unwrap();
    assert_eq!(f.requests(), (1, 1), "its time was over");
    f.advance(40 * SECOND);
    assert_eq!(f.lookup(ROOT, "a").unwrap().valid_for, 60 * SECOND);
    assert_eq!(
        f.requests(),
        (1, 1),
        "what the tree knows itself counts alone"
    );
}

#[test]
fn what_was_known_is_not_believed_of_names_that_are_known_or_changed_here() {
    let ttls = (MINUTE.0, Ttl::Minimal);
    let (f, told, info) = with_ttls(&["d/a", "d/b"], ttls);
    let a = f.lookup(ROOT, "a").unwrap();
    told.knows("d/a", Found::Directory, Duration::ZERO);
    f.advance(60 * SECOND);
    f.requests();
    assert!(!is_directory(&f.lookup(ROOT, "a").unwrap()));
    assert_eq!(f.requests(), (1, 1));
    let named = block_on(f.tree.find(ROOT, OsStr::new("b"))).unwrap();
    block_on(f.tree.unlink(&named)).unwrap();
    drop(named);
    told.knows("d/b", Found::File(info.clone()), 30 * SECOND);
    f.advance(SECOND);
    assert!(matches!(f.lookup(ROOT, "b"), Err(Error::NotFound)));
    f.tree.note_replaced(a.ino);
    told.knows("d/a", Found::File(info), SECOND);
    f.requests();
    f.lookup(ROOT, "a").unwrap();
    assert_eq!(f.requests(), (1, 1));
}

#[test]
fn others_get_to_know_what_the_store_says_and_when_it_was_asked() {
    let (f, told, info) = fixture(&["d/a", "d/b/c"]);
    let asked = *f.now.lock().unwrap();
    let a = f.lookup(ROOT, "a").unwrap();
    let b = f.lookup(ROOT, "b").unwrap();
    assert!(matches!(f.lookup(ROOT, "none"), Err(Error::NotFound)));
    let file = Some(Found::File(info));
    let directory = Some(Found::Directory);
    let expected = [
        ("d/a".to_owned(), file.clone(), asked),
        ("d/b".to_owned(), directory.clone(), asked),
        ("d/none".to_owned(), None, asked),
    ];
    assert_eq!(told.noted(), expected);
    // They are known here by now.
    f.advance(SECOND);
    f.lookup(ROOT, "a").unwrap();
    assert!(matches!(f.lookup(ROOT, "none"), Err(Error::NotFound)));
    assert_eq!(told.noted(), []);
    // A listing says something new of those that are known, and of all if it is read with attributes.
    let asked = *f.now.lock().unwrap();
    f.entries(ROOT);
    let noted = told.noted();
    assert_eq!(noted.len(), 2, "{noted:?}");
    assert_eq!(noted[1], ("d/b".to_owned(), directory, asked));
    assert!(matches!(&noted[0], (key, Some(Found::File(_)), at) if key == "d/a" && *at == asked));
    f.entries(b.ino);
    assert_eq!(told.noted(), []);
    read_all(&f.open_dir(b.ino), true, usize::MAX).unwrap();
    assert_eq!(told.noted()[0].0, "d/b/c");
    // What is another version by now, or gone, counts no more.
    f.store.put("d/a", "another");
    assert!(matches!(
        f.open(a.ino, Freshness::Newest),
        Err(Error::Stale)
    ));
    let noted = told.noted();
    assert_eq!((&*noted[0].0, &noted[0].1), ("d/a", &None));
    f.tree.note_replaced(b.ino);
    assert_eq!(told.noted()[0].0, "d/b");
}
