//! What one mount has known, and the next one believes of it.

mod changes;
mod damage;

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::UNIX_EPOCH;

use tempfile::TempDir;

use super::change::Change;
use super::clocks::{Boot, Now};
use super::*;
use crate::cache::directory::Surroundings;
use crate::s3::{ETag, Key, Restore, StorageClass};

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

    fn opened(&self) -> Directory {
        Directory::open(self.directory.path(), Surroundings::Machine).expect("opened")
    }

    fn believing(&self, believed: Option<Duration>) -> Arc<Names> {
        self.of_bucket(1, believed)
    }

    fn of_bucket(&self, bucket: u64, believed: Option<Duration>) -> Arc<Names> {
        let directory = self.opened();
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
        age >= Duration::from_secs(25) && age < Duration::from_secs(85),
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
fn files_are_this_users_alone_and_bounded() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let journal = Journal::new(Arc::new(place.opened()), 10_000);
    for batch in 0..100u8 {
        journal.push(vec![batch; 1000]);
        journal.write();
        assert!(journal.len() <= 2 * 11_000);
    }
    let read = File::ALL.map(|file| journal.read(file).expect("read"));
    let read = read.concat();
    assert!(read.len() >= 10_000 && read.is_sorted() && read.ends_with(&[99; 1000]));
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
        if number % 10_000 == 0 {
            // Of what waits for a thread that stands still, the oldest is given up.
            names.journal.write();
        }
    }
    names.save();
    assert!(names.journal.len() > 20 << 20, "{}", names.journal.len());
    let mut opened = (0..5).map(|_| place.names());
    let next = opened.find(|names| recall(names, "directory/0").is_none());
    let next = next.expect("none waits until all is read");
    let begun = Instant::now();
    note(&next, "directory/1", object(5));
    while recall(&next, "directory/0").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(1));
    }
    eprintln!("known after {:?}", begun.elapsed());
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
