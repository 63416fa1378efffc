//! What one mount has known, and the next one believes of it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::executor::block_on;
use proptest::prelude::*;
use tempfile::TempDir;

use super::change::Change;
use super::clocks::{Boot, Now};
use super::*;
use crate::s3::fake::FakeStore;
use crate::s3::{
    CopyRequest, ETag, Key, PutCondition, PutRequest, RenameRequest, Restore, StorageClass, Store,
};

const SECOND: u64 = 1_000_000;
const MINUTE: Duration = Duration::from_secs(60);
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The directory of a cache, and the clocks of the machine.
struct Place {
    directory: TempDir,
    now: Arc<Mutex<Now>>,
}

impl Place {
    fn new() -> Self {
        let now = Now {
            boot: Boot([1; 16]),
            wall: 1_700_000_000 * SECOND,
            running: 1000 * SECOND,
        };
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            now: Arc::new(Mutex::new(now)),
        }
    }

    /// What a mount knows that begins now.
    fn names(&self) -> Arc<Names> {
        self.believing(Some(MINUTE))
    }

    fn believing(&self, believed: Option<Duration>) -> Arc<Names> {
        self.of_bucket(1, believed)
    }

    fn of_bucket(&self, bucket: u64, believed: Option<Duration>) -> Arc<Names> {
        let directory = Directory::open(self.directory.path()).expect("opened");
        let now = Arc::clone(&self.now);
        let clocks = Clocks::new(move || *now.lock().expect("not poisoned"));
        let writers = ThreadPool::builder().pool_size(1).create();
        let writers = writers.expect("threads");
        Names::open(Arc::new(directory), clocks, bucket, believed, writers)
    }

    fn change_clocks(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now.lock().expect("not poisoned"));
    }

    fn advance(&self, seconds: u64) {
        self.change_clocks(|now| {
            now.wall += seconds * SECOND;
            now.running += seconds * SECOND;
        });
    }

    fn restart_machine(&self) {
        self.change_clocks(|now| {
            now.boot = Boot([now.boot.0[0] + 1; 16]);
            now.running = SECOND;
        });
    }

    fn file(&self, name: &str) -> PathBuf {
        let root = self.directory.path().join("mount-s3-cache/v1/names");
        root.join(name)
    }
}

fn info(version: u64) -> ObjectInfo {
    ObjectInfo {
        etag: ETag::new(format!("\"{version:032x}\"")),
        size: version,
        last_modified: UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789),
        storage_class: StorageClass::Readable,
        restore: Restore::None,
        details: None,
    }
}

fn object(version: u64) -> Option<Known> {
    Some(Known::Object(info(version)))
}

fn note(names: &Names, path: &str, known: Option<Known>) {
    names.note(path, known, Instant::now());
}

fn recall(names: &Names, path: &str) -> Option<Known> {
    names.recall(path).map(|(known, _)| known)
}

fn key(text: &str) -> Key {
    Key::new(text).expect("valid")
}

#[test]
fn what_a_mount_has_known_the_next_one_knows_with_its_age() {
    let place = Place::new();
    let names = place.names();
    note(&names, "a", Some(Known::Directory));
    note(&names, "a/file", object(7));
    assert_eq!(names.recall("a/file"), None, "the tree knows that itself");
    place.advance(5);
    note(&names, "late", object(8));
    names.save();
    place.advance(20);
    let names = place.names();
    let (known, age) = names.recall("a/file").expect("known");
    assert_eq!(Some(known), object(7));
    assert!(
        age >= Duration::from_secs(25) && age < Duration::from_secs(26),
        "{age:?}"
    );
    assert_eq!(recall(&names, "a"), Some(Known::Directory));
    assert_eq!(recall(&names, "late"), object(8));
    assert_eq!(recall(&names, "none"), None);
    assert_eq!(recall(&names, "a/"), None);
    place.advance(36);
    assert_eq!(
        recall(&place.names(), "a/file"),
        None,
        "older than a minute"
    );
    assert_eq!(recall(&place.names(), "late"), object(8));
    let indefinitely = place.believing(Some(FOREVER));
    assert_eq!(recall(&indefinitely, "a/file"), object(7));
    assert_eq!(recall(&place.believing(None), "late"), None);
    assert_eq!(recall(&place.of_bucket(2, Some(MINUTE)), "late"), None);
    place.advance(100);
    assert_eq!(recall(&names, "late"), None, "its time is over, too");
    place.advance(50 * 365 * 24 * 60 * 60);
    assert_eq!(recall(&place.believing(Some(FOREVER)), "late"), object(8));
}

#[test]
fn everything_that_is_shown_of_an_object_comes_back() {
    let place = Place::new();
    let names = place.names();
    let strange = ObjectInfo {
        etag: ETag::new("no MD5 sum \u{e9}"),
        size: u64::MAX,
        last_modified: UNIX_EPOCH - Duration::from_millis(1500),
        storage_class: StorageClass::Archived,
        restore: Restore::InProgress,
        details: None,
    };
    let all = [
        strange.clone(),
        ObjectInfo {
            restore: Restore::Done,
            etag: ETag::new(format!("\"{:032x}-17\"", 5)),
            last_modified: UNIX_EPOCH,
            ..strange.clone()
        },
        ObjectInfo {
            restore: Restore::None,
            etag: ETag::new(""),
            ..strange
        },
    ];
    for (index, info) in all.iter().enumerate() {
        note(
            &names,
            &index.to_string(),
            Some(Known::Object(info.clone())),
        );
    }
    let unusual = ObjectInfo {
        etag: ETag::new("x".repeat(256)),
        ..info(1)
    };
    note(&names, "unusual", Some(Known::Object(unusual)));
    names.save();
    let names = place.names();
    for (index, info) in all.iter().enumerate() {
        assert_eq!(
            recall(&names, &index.to_string()),
            Some(Known::Object(info.clone()))
        );
    }
    assert_eq!(recall(&names, "unusual"), None);
}

#[test]
fn what_counts_no_more_is_forgotten_for_good() {
    let place = Place::new();
    let names = place.names();
    for name in ["gone", "kept", "again"] {
        note(&names, name, object(1));
    }
    names.save();
    let names = place.names();
    note(&names, "gone", None);
    note(&names, "again", None);
    note(&names, "again", object(2));
    for name in ["gone", "again"] {
        assert_eq!(recall(&names, name), None, "{name} was asked for since");
    }
    assert_eq!(recall(&names, "kept"), object(1));
    names.save();
    let names = place.names();
    assert_eq!(recall(&names, "gone"), None);
    assert_eq!(recall(&names, "again"), object(2));
    assert_eq!(recall(&names, "kept"), object(1));
}

#[test]
fn directory_is_known_as_long_as_a_file_in_it() {
    let place = Place::new();
    let names = place.names();
    note(&names, "a", Some(Known::Directory));
    note(&names, "a/b", Some(Known::Directory));
    place.advance(100);
    note(&names, "a/b/file", object(1));
    names.save();
    place.advance(30);
    let names = place.names();
    for path in ["a", "a/b"] {
        let (known, age) = names.recall(path).expect("known");
        assert_eq!(known, Known::Directory);
        assert!(age >= Duration::from_secs(30), "{age:?}");
    }
}

#[test]
fn clock_that_was_set_back_makes_everything_void() {
    for (back, is_believed) in [(0, true), (10, true), (31, false)] {
        let place = Place::new();
        let names = place.names();
        note(&names, "a", object(1));
        names.save();
        place.advance(30);
        place.change_clocks(|now| now.wall -= back * SECOND);
        assert_eq!(recall(&place.names(), "a").is_some(), is_believed, "{back}");
        // Nor does it count when the clock is right again.
        place.change_clocks(|now| now.wall += back * SECOND);
        assert_eq!(recall(&place.names(), "a").is_some(), is_believed, "{back}");
        // Set back by less than its age, it is no younger for that.
        place.change_clocks(|now| {
            now.wall -= 20 * SECOND;
            now.running += 31 * SECOND;
        });
        assert_eq!(recall(&place.names(), "a"), None, "{back}");
    }
}

#[test]
fn restart_of_the_machine_loses_nothing_that_no_change_may_have_touched() {
    let place = Place::new();
    let names = place.names();
    note(&names, "a", object(1));
    names.save();
    place.restart_machine();
    place.advance(10);
    assert_eq!(recall(&place.names(), "a"), object(1), "nobody changes");

    // A mount that ends orderly has its changes on the disk.
    let names = place.names();
    Change::put(&names, &key("other")).end();
    note(&names, "b", object(2));
    names.save();
    place.restart_machine();
    let names = place.names();
    assert_eq!(recall(&names, "a"), object(1));
    assert_eq!(recall(&names, "b"), object(2));

    // Of one that does not, the last changes may be lost.
    Change::put(&names, &key("other")).end();
    drop(names);
    assert_eq!(recall(&place.names(), "a"), object(1), "the machine runs");
    place.restart_machine();
    assert_eq!(recall(&place.names(), "a"), None);
    assert_eq!(recall(&place.names(), "b"), None);
}

#[test]
fn changes_of_any_mount_make_void_what_was_known_before() {
    let place = Place::new();
    let one = place.names();
    for name in [
        "changed",
        "begun",
        "kept",
        "d/removed",
        "d/other",
        "d/new/hidden",
    ] {
        note(&one, name, object(1));
    }
    note(&one, "d", Some(Known::Directory));
    note(&one, "d/new", object(1));
    one.save();
    let (two, three) = (place.names(), place.believing(None));
    assert_eq!(recall(&two, "changed"), object(1));
    // One knows it still, and ends later than the change.
    note(&one, "changed", object(1));
    let change = Change::put(&three, &key("changed"));
    assert_eq!(recall(&two, "changed"), None, "it may have changed by now");
    // What was asked for before the end of the change counts no more, whenever that was noted.
    note(&one, "changed", object(1));
    let asked = Instant::now();
    change.end();
    one.note("changed", object(1), asked);
    // That of a process that is killed never ends.
    drop(Change::put(&three, &key("begun")));
    note(&one, "begun", object(1));
    Change::removal(&three, &key("d/removed")).end();
    Change::put(&three, &key("d/new/file")).end();
    one.save();
    for names in [two, place.names()] {
        for path in ["changed", "begun", "d/removed", "d", "d/new"] {
            assert_eq!(recall(&names, path), None, "{path}");
        }
        for path in ["kept", "d/other", "d/new/hidden"] {
            assert_eq!(recall(&names, path), object(1), "{path}");
        }
    }
    // What is asked for after the change counts.
    note(&one, "changed", object(2));
    note(&one, "begun", object(2));
    note(&one, "d", Some(Known::Directory));
    one.save();
    let names = place.names();
    assert_eq!(recall(&names, "changed"), object(2));
    assert_eq!(recall(&names, "begun"), None);
    assert_eq!(recall(&names, "d"), Some(Known::Directory));
}

/// Changes the object that is named as what is done to it.
fn change(name: &str, store: &dyn Store, etag: ETag) {
    let request = PutRequest::new(key(name));
    match name {
        "put" => _ = block_on(store.put(request, Bytes::from_static(b"x"))).expect("stored"),
        "upload" => {
            let mut upload = store.upload(request, 1 << 20).expect("begun");
            block_on(upload.write(Bytes::from_static(b"x"))).expect("taken");
            block_on(upload.complete()).expect("stored");
        }
        "delete" => block_on(store.delete(&key(name))).expect("deleted"),
        "copy" => {
            let request = CopyRequest {
                from: key("from"),
                version: etag,
                size: 4,
                to: key(name),
                condition: PutCondition::Any,
                metadata: Some(BTreeMap::new()),
            };
            block_on(store.copy(request)).expect("copied");
        }
        "rename" => {
            let request = RenameRequest {
                from: key(name),
                version: None,
                to: key("renamed"),
                replace: true,
            };
            block_on(store.rename(request)).expect("renamed");
        }
        _ => panic!("{name}"),
    }
}

#[test]
fn every_operation_of_the_store_that_changes_anything_is_noted() {
    let place = Place::new();
    let fake = FakeStore::deterministic();
    fake.put("from", "body");
    let etag = block_on(fake.head(&key("from"))).expect("there").etag;
    fake.put("rename", "body");
    for name in ["put", "upload", "delete", "copy", "rename"] {
        let names = place.names();
        for path in [name, "renamed", "kept"] {
            note(&names, path, object(1));
        }
        names.save();
        let next = place.names();
        assert_eq!(recall(&next, name), object(1));
        let store = NotingStore::new(Arc::new(fake.clone()), place.believing(None));
        change(name, &store, etag.clone());
        for names in [next, place.names()] {
            assert_eq!(recall(&names, name), None, "{name}");
            assert_eq!(recall(&names, "renamed").is_none(), name == "rename");
            assert_eq!(recall(&names, "kept"), object(1));
        }
    }
    // What failed may have happened: nothing is believed any more.
    let names = place.names();
    let store = NotingStore::new(Arc::new(fake.clone()), Arc::clone(&names));
    let request = PutRequest {
        condition: PutCondition::Absent,
        ..PutRequest::new(key("from"))
    };
    block_on(store.put(request, Bytes::new())).expect_err("it is there");
    note(&names, "from", object(1));
    names.save();
    assert_eq!(recall(&place.names(), "from"), None);
}

#[test]
fn whoever_removes_files_makes_void_and_harms_nobody() {
    for remove in [
        |place: &Place| fs::remove_file(place.file("changes")),
        |place: &Place| fs::remove_dir_all(place.file("")),
        |place: &Place| fs::remove_dir_all(place.directory.path().join("mount-s3-cache")),
        |place: &Place| remove(&Directory::open(place.directory.path()).expect("there")),
    ] {
        let place = Place::new();
        let names = place.names();
        note(&names, "a", object(1));
        names.save();
        let (one, two) = (place.names(), place.names());
        note(&one, "b", object(1));
        remove(&place).expect("removed");
        assert_eq!(recall(&two, "a"), None, "changes since are not known");
        Change::put(&two, &key("a")).end();
        note(&one, "c", object(1));
        one.save();
        let names = place.names();
        assert_eq!(recall(&names, "a"), None);
        assert_eq!(recall(&names, "b"), None);
        assert_eq!(recall(&names, "c"), object(1));
    }
}

#[test]
fn log_of_changes_that_is_long_is_begun_anew() {
    let place = Place::new();
    let names = place.names();
    note(&names, "a", object(1));
    names.save();
    let next = place.names();
    let log = place.file("changes");
    let file = OpenOptions::new().write(true).open(&log).expect("there");
    file.set_len(u64::from(MOST_ENTRIES) * 24).expect("grown");
    let begun = SystemTime::now();
    Change::put(&names, &key("b")).end();
    assert!(fs::metadata(&log).expect("there").len() < 1000);
    assert!(begun.elapsed().expect("later") < Duration::from_secs(1));
    assert_eq!(recall(&next, "a"), None);
    note(&next, "a", object(2));
    next.save();
    assert_eq!(recall(&place.names(), "a"), object(2));
}

#[test]
fn files_are_this_users_alone_and_bounded() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let directory = Arc::new(Directory::open(place.directory.path()).expect("opened"));
    let journal = Journal::new(directory, 10_000);
    for batch in 0..100u8 {
        journal.push(vec![batch; 1000]);
        journal.write();
        assert!(journal.len() <= 2 * 11_000);
    }
    let read = journal.read().expect("read");
    assert!(read.iter().map(Vec::len).sum::<usize>() >= 10_000);
    assert!(read.concat().is_sorted() && read.concat().ends_with(&[99; 1000]));
    Log::open(&place.file("")).expect("made");
    for name in ["", "changes", "known", "known-before"] {
        let mode = fs::metadata(place.file(name)).expect("there").permissions();
        let expected = if name.is_empty() { 0o700 } else { 0o600 };
        assert_eq!(mode.mode() & 0o777, expected, "{name}");
    }
}

#[test]
fn much_is_read_in_the_background() {
    const COUNT: u64 = 300_000;
    let place = Place::new();
    let names = place.names();
    for number in 0..COUNT {
        note(&names, &format!("directory/{number}"), object(number));
    }
    names.save();
    assert!(names.journal.len() > 20 << 20, "{}", names.journal.len());
    let begun = Instant::now();
    let next = place.names();
    let opened = begun.elapsed();
    assert!(opened < Duration::from_millis(500), "{opened:?}");
    note(&next, "directory/1", object(5));
    while recall(&next, "directory/0").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(1));
    }
    eprintln!("opened in {opened:?}, known after {:?}", begun.elapsed());
    assert_eq!(
        recall(&next, "directory/1"),
        None,
        "it was asked for meanwhile"
    );
    for number in (2..COUNT).step_by(1000) {
        assert_eq!(
            recall(&next, &format!("directory/{number}")),
            object(number)
        );
    }
}

/// What is done to a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Zeros(prop::sample::Index),
    Replace(Vec<u8>),
    Remove,
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        4 => (any::<prop::sample::Index>(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        2 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        1 => (any::<prop::sample::Index>(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => any::<prop::sample::Index>().prop_map(Damage::Zeros),
        1 => bytes().prop_map(Damage::Replace),
        1 => Just(Damage::Remove),
    ]
}

impl Damage {
    fn apply(&self, path: &PathBuf) {
        let Ok(mut bytes) = fs::read(path) else {
            return;
        };
        let len = bytes.len();
        match self {
            Self::Flip(at, bit) if len > 0 => bytes[at.index(len)] ^= 1 << bit,
            Self::Cut(at) if len > 0 => bytes.truncate(at.index(len)),
            Self::Insert(at, more) => {
                let at = at.index(len + 1);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Zeros(at) if len > 0 => bytes[at.index(len)..].fill(0),
            Self::Replace(other) => bytes.clone_from(other),
            Self::Remove => return fs::remove_file(path).expect("removed"),
            Self::Flip(..) | Self::Cut(_) | Self::Zeros(_) => {}
        }
        fs::write(path, bytes).expect("written");
    }
}

proptest! {
    /// Names that were not changed are known as they were, or not; those that were are not known.
    #[test]
    fn prop_damage_is_never_believed(
        is_log: bool,
        damages in prop::collection::vec(damage(), 1..4),
        is_before: bool,
    ) {
        let place = Place::new();
        let names = place.names();
        for number in 0..20 {
            note(&names, &number.to_string(), object(number));
            if number == 10 {
                names.save();
            }
        }
        for number in 0..5 {
            Change::put(&names, &key(&number.to_string())).end();
        }
        names.save();
        let running = is_before.then(|| place.names());
        for damage in &damages {
            damage.apply(&place.file(if is_log { "changes" } else { "known" }));
        }
        for names in running.into_iter().chain([place.names(), place.names()]) {
            for number in 0..20 {
                let known = recall(&names, &number.to_string());
                if let Some(known) = known {
                    prop_assert!(number >= 5, "{} was changed", number);
                    prop_assert_eq!(Some(known), object(number));
                }
            }
        }
        // And it goes on.
        let names = place.names();
        note(&names, "new", object(99));
        names.save();
        prop_assert_eq!(recall(&place.names(), "new"), object(99));
    }
}
