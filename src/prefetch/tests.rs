//! A prefetcher over the in-memory store.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use futures::executor::block_on;

use super::order::Order;
use super::pace::START;
use super::*;
use crate::memory::Budget;
use crate::s3::fake::{FakeStore, Op, synthetic};
use crate::s3::{ErrorKind, ListPage, ListedObject, ObjectInfo, PageToken, Restore, StorageClass};
use crate::wait::{LONG, once_in_five};

/// A file of this name and size.
pub(super) fn file(key: &str, size: u64) -> File {
    File {
        key: Key::new(key).expect("a key"),
        etag: ETag::new("\"e\""),
        size,
    }
}

/// A page of objects of 100 KiB, and where the next one begins.
pub(super) fn page(keys: &[&str], next: Option<&str>) -> ListPage {
    let info = ObjectInfo {
        etag: ETag::new("\"e\""),
        size: 100 << 10,
        last_modified: SystemTime::UNIX_EPOCH,
        storage_class: StorageClass::Readable,
        restore: Restore::None,
        details: None,
    };
    let objects = keys.iter().map(|key| ListedObject {
        key: (*key).to_owned(),
        info: info.clone(),
    });
    ListPage {
        objects: objects.collect(),
        common_prefixes: Vec::new(),
        next: next.map(PageToken::new),
    }
}

/// The keys in an order.
pub(super) fn names(order: &Order) -> Vec<String> {
    order
        .files()
        .map(|(file, _)| file.key.to_string())
        .collect()
}

const SIZE: u64 = 100 << 10;

/// A prefetcher over a bucket.
struct Scene {
    store: FakeStore,
    prefetcher: Prefetcher,
    budget: Arc<Budget>,
}

impl Scene {
    fn new(store: FakeStore, budget: Arc<Budget>) -> Self {
        Self::with_patience(store, budget, PATIENCE)
    }

    fn with_patience(store: FakeStore, budget: Arc<Budget>, patience: Duration) -> Self {
        let read = ReadConfig {
            budget: Arc::clone(&budget),
            ..ReadConfig::default()
        };
        let shared = Arc::new(store.clone());
        let prefetcher =
            Prefetcher::start_with_patience(shared, read, &Prefix::default(), patience);
        Self {
            store,
            prefetcher: prefetcher.expect("a thread"),
            budget,
        }
    }

    /// A directory of `count` files of 100 KiB.
    fn directory(count: u64) -> (Self, Vec<File>) {
        let store = FakeStore::new();
        let files = (0..count).map(|i| put(&store, i)).collect();
        (Self::new(store, Budget::unlimited()), files)
    }

    /// Opens a file, reads it to its end and closes it.
    fn read(&self, file: &File) -> Result<Bytes, ErrorKind> {
        let (reader, visit) = self.prefetcher.open(file.clone());
        visit.note_reading();
        let bytes = block_on(reader.read_at(0, 1 << 20)).map_err(|error| error.kind())?;
        visit.note_read(bytes.len());
        Ok(bytes)
    }

    /// Waits until something holds.
    fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + LONG;
        while !holds() {
            assert!(Instant::now() < end, "{what}: {:?}", self.prefetcher);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the thread has heard what was told so far, and has asked for all that follows
    /// from it.
    fn settle(&self) {
        let found = block_on(self.prefetcher.follow(Vec::new()));
        assert!(found.expect("an answer").is_empty());
    }

    /// Reads the first files in order, until those after them have been fetched, and returns how
    /// many were read.
    fn begin(&self, files: &[File]) -> usize {
        let count = 6;
        for file in &files[..count] {
            self.read(file).expect("it reads");
        }
        let next = &files[count];
        self.wait("the next file is fetched", || self.is_complete(next));
        self.settle();
        count
    }

    fn is_complete(&self, file: &File) -> bool {
        self.prefetcher.shelf.contains(&file.key) && self.prefetcher.shelf.under_way() == 0
    }

    fn gets(&self, file: &File) -> usize {
        let log = self.store.log().into_iter();
        log.filter(|one| one.op == Op::Get && one.key == file.key.as_str())
            .count()
    }
}

fn put(store: &FakeStore, i: u64) -> File {
    let key = format!("d/{i:04}");
    let etag = store.put_synthetic(&key, SIZE, i);
    File {
        key: Key::new(key).expect("a key"),
        etag,
        size: SIZE,
    }
}

#[test]
fn files_in_order_are_fetched_right_and_hardly_any_twice() {
    once_in_five(|_| {
        let (scene, files) = Scene::directory(300);
        for (i, file) in (0..).zip(&files) {
            assert_eq!(scene.read(file), Ok(synthetic(i, 0..SIZE)), "{i}");
        }
        scene.settle();
        scene.wait("all is given back", || scene.budget.used() == 0);
        let counters = scene.prefetcher.counters();
        assert_eq!(counters.held, 0);
        assert_eq!(counters.read, 300 * SIZE);
        assert_eq!(counters.fetched, counters.hits * SIZE + counters.wasted);
        // Whoever reads as fast as the worker fetches may ask for the same: for many files, while
        // the worker stands still.
        if counters.wasted <= 30 * SIZE && scene.store.count(Op::Get) <= 330 {
            Ok(())
        } else {
            Err(format!("{counters:?}"))
        }
    });
}

#[test]
fn open_of_what_is_under_way_waits_for_it() {
    let (scene, files) = Scene::directory(100);
    let next = scene.begin(&files);
    // Somewhere behind what was fetched by now.
    let late = &files[60];
    scene.store.stall_get_after(late.key.as_str(), 0);
    let is_here = || scene.prefetcher.shelf.contains(&late.key);
    // Not that one itself, if this is faster than what is fetched.
    for file in &files[next..60] {
        if is_here() {
            break;
        }
        scene.read(file).expect("it reads");
    }
    scene.wait("a GET stands", || scene.store.waiting() == 1 && is_here());
    let (reader, visit) = scene.prefetcher.open(late.clone());
    visit.note_reading();
    thread::scope(|threads| {
        let reading = threads.spawn(|| block_on(reader.read_at(0, 1 << 20)));
        scene.store.release();
        let bytes = reading.join().expect("no panic");
        assert_eq!(bytes.ok(), Some(synthetic(60, 0..SIZE)));
    });
    assert_eq!(scene.gets(late), 1);
}

#[test]
fn another_version_than_the_one_that_was_fetched_is_asked_for() {
    let (scene, files) = Scene::directory(100);
    let at = scene.begin(&files);
    let new = scene.store.put(files[at].key.as_str(), "new");
    // As long as the old version is believed in, its bytes are all there.
    assert_eq!(
        scene.prefetcher.shelf.take(&files[at].key, &new).map(drop),
        None,
        "bytes of the old version for the new one"
    );
    let newest = File {
        key: files[at].key.clone(),
        etag: new,
        size: 3,
    };
    assert_eq!(scene.read(&newest), Ok(Bytes::from("new")));
}

#[test]
fn old_version_that_was_fetched_can_be_read_though_it_was_replaced() {
    let (scene, files) = Scene::directory(100);
    let at = scene.begin(&files);
    scene
        .store
        .put(files[at].key.as_str(), vec![0xff; 100 << 10]);
    let bytes = scene.read(&files[at]);
    assert_eq!(bytes, Ok(synthetic(at as u64, 0..SIZE)));
}

#[test]
fn fetch_that_has_failed_is_tried_anew_by_whoever_opens_the_file() {
    let (scene, files) = Scene::directory(100);
    for kind in [ErrorKind::Throttled, ErrorKind::Denied] {
        scene
            .store
            .fail_next(Op::Get, Some(files[50].key.as_str()), kind, 1);
    }
    for (i, file) in (0..).zip(&files).take(50) {
        assert_eq!(scene.read(file), Ok(synthetic(i, 0..SIZE)));
    }
    scene.wait("the fetch has failed", || scene.gets(&files[50]) == 1);
    scene.wait("all is done", || scene.prefetcher.shelf.under_way() == 0);
    scene.store.forget_faults();
    assert_eq!(scene.read(&files[50]), Ok(synthetic(50, 0..SIZE)));
}

#[test]
fn changes_of_this_mount_drop_what_was_fetched() {
    let (scene, files) = Scene::directory(100);
    let at = scene.begin(&files);
    let holds = |at: usize| scene.prefetcher.shelf.contains(&files[at].key);
    scene.prefetcher.note_changed(&files[at].key);
    assert!(!holds(at) && holds(at + 1));
    let directory = Key::new("d").expect("a key");
    scene.prefetcher.note_changed(&directory);
    assert!(holds(at + 1));
    scene.prefetcher.note_changed_below(&directory);
    assert!(!holds(at + 1));
    scene.wait("all is dropped", || scene.prefetcher.counters().held == 0);
    assert!(scene.prefetcher.counters().wasted >= 2 * SIZE);
}

#[test]
fn memory_is_given_back_when_open_files_need_it() {
    let store = FakeStore::new();
    let files: Vec<File> = (0..200).map(|i| put(&store, i)).collect();
    let budget = Budget::new(8 << 20, 1 << 20);
    let scene = Scene::new(store, budget);
    let at = scene.begin(&files);
    let held = scene.prefetcher.counters().held;
    assert!(held > 0 && held <= scene.budget.used());
    let account = scene.budget.open_without_holder();
    let mut lease = account.empty_lease();
    while lease.grow(64 << 10) {}
    // What was fetched a moment ago goes at once, and the next read is none the worse for it.
    assert!(scene.budget.reclaim(held, Instant::now()));
    assert_eq!(scene.prefetcher.counters().held, 0);
    assert_eq!(
        scene.read(&files[at]),
        Ok(synthetic(at as u64, 0..SIZE)),
        "with all memory taken"
    );
}

#[test]
fn fetching_ahead_keeps_to_its_part_of_the_memory() {
    let store = FakeStore::new();
    let files: Vec<File> = (0..400).map(|i| put(&store, i)).collect();
    let limit = 4 << 20;
    // While the worker stands still, files are read that it has not fetched.
    once_in_five(|_| {
        let scene = Scene::new(store.clone(), Budget::new(limit, 1 << 20));
        for (i, file) in (0..).zip(&files) {
            assert_eq!(scene.read(file), Ok(synthetic(i, 0..SIZE)), "{i}");
            let held = scene.prefetcher.counters().held;
            assert!(held <= limit / 8 * 5, "{held}");
        }
        match scene.prefetcher.counters() {
            counters if counters.hits > 100 => Ok(()),
            counters => Err(format!("{counters:?}")),
        }
    });
}

#[test]
fn end_cancels_what_is_under_way_and_frees_all() {
    let (scene, files) = Scene::directory(100);
    scene.begin(&files);
    let late = &files[40];
    scene.store.stall_get_after(late.key.as_str(), 0);
    for file in &files[6..40] {
        scene.read(file).expect("it reads");
    }
    scene.wait("a GET stands", || scene.store.waiting() == 1);
    let Scene {
        store,
        prefetcher,
        budget,
    } = scene;
    drop(prefetcher);
    assert_eq!(budget.used(), 0);
    assert_eq!(store.bodies().in_flight, 0);
}

#[test]
fn files_of_which_little_is_read_are_soon_left_alone() {
    let store = FakeStore::new();
    let size = 2 << 20;
    let files: Vec<File> = (0..200)
        .map(|i| {
            let key = format!("d/{i:04}");
            let etag = store.put_synthetic(&key, size, i);
            File {
                key: Key::new(key).expect("a key"),
                etag,
                size,
            }
        })
        .collect();
    let scene = Scene::new(store, Budget::unlimited());
    for file in &files {
        let (reader, visit) = scene.prefetcher.open(file.clone());
        visit.note_reading();
        let bytes = block_on(reader.read_at(0, 4096)).expect("it reads");
        visit.note_read(bytes.len());
    }
    let counters = scene.prefetcher.counters();
    let most = 2 * START + 2 * size * 48;
    assert!(counters.fetched <= most, "{counters:?}");
}

#[test]
fn files_are_fetched_in_an_order_that_was_told() {
    let (scene, files) = Scene::directory(200);
    let told: Vec<&File> = (0..100).map(|i| &files[i * 77 % 200]).collect();
    let mut keys: Vec<Key> = told.iter().map(|file| file.key.clone()).collect();
    keys.insert(50, Key::new("d/none").expect("a key"));
    let found = block_on(scene.prefetcher.follow(keys)).expect("an answer");
    assert_eq!(found.iter().position(|is_found| !is_found), Some(50));
    assert_eq!(found.len(), 101);
    for file in &told {
        // Whoever reads faster than is fetched finds nothing.
        scene.wait("the next one is fetched", || {
            scene.prefetcher.shelf.contains(&file.key)
        });
        scene.read(file).expect("it reads");
    }
    scene.wait("all is read", || scene.prefetcher.counters().held == 0);
    let gets = told.iter().map(|file| scene.gets(file)).sum::<usize>();
    assert!(gets < 110, "{gets}");
    assert!(scene.prefetcher.counters().hits > 90);
}

#[test]
fn order_that_cannot_be_looked_up_is_an_error_and_changes_nothing() {
    let (scene, files) = Scene::directory(10);
    scene.store.fail_next(Op::List, None, ErrorKind::Denied, 1);
    let told = scene.prefetcher.follow(vec![files[0].key.clone()]);
    let error = block_on(told).expect_err("a failure");
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(scene.prefetcher.counters(), PrefetchCounters::default());
}

#[test]
fn what_nobody_opens_is_given_up_after_a_while_and_fetched_again_when_needed() {
    let store = FakeStore::new();
    let files: Vec<File> = (0..100).map(|i| put(&store, i)).collect();
    let scene = Scene::with_patience(store, Budget::unlimited(), Duration::from_millis(500));
    for part in [&files[..10], &files[50..60]] {
        let fetched = || scene.prefetcher.counters().fetched;
        let before = fetched();
        for file in part {
            scene.read(file).expect("it reads");
        }
        scene.wait("more is fetched", || fetched() > before);
        scene.wait("all is given up", || scene.budget.used() == 0);
    }
}
