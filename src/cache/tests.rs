//! What is read by way of files, whatever happened to them.

mod damage;
mod hedged;
mod limits;
mod whole;

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
pub(super) use crate::s3::fake::read;
use crate::s3::fake::{FakeStore, Op, read_and_keep, synthetic};
use crate::s3::{ETag, Error, ErrorKind, Store};
use crate::wait::LONG;

/// The disk is synchronized, with all that other tests have written, and not again before four times as
/// long; and a look for what to remove is followed by a pause of ten times as long, up to a minute.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) const MIB: u64 = 1 << 20;
const SEED: u64 = 7;

/// A store, a cache before it, and the directory of that.
pub(super) struct Fixture {
    pub(super) fake: FakeStore,
    pub(super) cache: Cache,
    pub(super) store: Arc<CachedStore>,
    pub(super) directory: TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::limited(None)
    }

    pub(super) fn limited(most: Option<u64>) -> Self {
        Self::within(tempfile::tempdir().expect("a directory"), most)
    }

    pub(super) fn within(directory: TempDir, most: Option<u64>) -> Self {
        let fake = FakeStore::deterministic();
        let (cache, store) = open(&fake, directory.path(), most);
        Self {
            fake,
            cache,
            store,
            directory,
        }
    }

    /// What is on the disk.
    pub(super) fn holdings(&self) -> Holdings {
        Holdings::open(self.directory.path(), Surroundings::Machine).expect("there")
    }

    /// Begins again with what is on the disk.
    pub(super) fn restart(&mut self) {
        (self.cache, self.store) = open(&self.fake, self.directory.path(), None);
    }

    /// Reads, and waits until what came is written.
    pub(super) fn read(&self, etag: &ETag, size: u64, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let read = read(self.store.as_ref(), "k", etag, size, range, u64::MAX);
        self.settle();
        read
    }

    pub(super) fn settle(&self) {
        while self.cache.0.queued.load(Ordering::Relaxed) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Requests for bytes so far.
    pub(super) fn gets(&self) -> usize {
        self.fake.count(Op::Get)
    }

    /// The files of this kind.
    pub(super) fn files(&self, ending: &str) -> Vec<PathBuf> {
        let root = self.cache.0.entries.root();
        let places = fs::read_dir(root).expect("there").flatten();
        let files = places.flat_map(|place| fs::read_dir(place.path()).expect("there").flatten());
        let paths = files.map(|file| file.path());
        paths
            .filter(|path| path.extension().is_some_and(|found| found == ending))
            .collect()
    }
}

fn open(fake: &FakeStore, directory: &Path, most: Option<u64>) -> (Cache, Arc<CachedStore>) {
    let limits = CacheLimits {
        most,
        free_percent: 0,
    };
    let cache = Cache::open(directory, Surroundings::Machine, limits).expect("opened");
    while most.is_some() && !cache.0.usage.is_counted() {
        thread::sleep(Duration::from_millis(1));
    }
    let behind: Arc<dyn Store> = Arc::new(fake.clone());
    let store = CachedStore::new(
        behind,
        &cache,
        Source::new("origin".to_owned(), "bucket".to_owned()),
    );
    (cache, Arc::new(store))
}

/// Changes a byte in each block of a file that is longer than that.
pub(super) fn damage(path: &Path, first: u64, step: u64) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("there");
    let end = file.metadata().expect("there").len();
    let mut place = first;
    while place < end {
        let mut byte = [0];
        file.read_exact_at(&mut byte, place).expect("read");
        file.write_all_at(&[byte[0] ^ 0x10], place)
            .expect("written");
        place += step;
    }
}

#[test]
fn what_was_read_once_is_read_from_files_also_after_a_restart() {
    let mut fixture = Fixture::new();
    let size = 3 * MIB + 77;
    let etag = fixture.fake.put_synthetic("k", size, SEED);
    let expected = synthetic(SEED, 0..size);
    assert!(fixture.read(&etag, size, 0..size).expect("read") == expected);
    let gets = fixture.gets();
    for _ in 0..2 {
        for range in [0..size, 5..6, MIB - 1..MIB + 1, size - 1..size, 0..1] {
            let body = fixture.read(&etag, size, range.clone()).expect("read");
            assert!(body == synthetic(SEED, range.clone()), "{range:?}");
        }
        assert_eq!(fixture.gets(), gets);
        fixture.restart();
    }
    assert_eq!(fixture.cache.0.metrics.bad_blocks.get(), 0);
}

#[test]
fn small_object_has_one_file_that_is_the_object() {
    let mut fixture = Fixture::new();
    for (seed, size) in [(1, 1), (2, 100_000), (3, BLOCK)] {
        let etag = fixture.fake.put_synthetic("k", size, seed);
        for _ in 0..2 {
            let body = fixture.read(&etag, size, 0..size).expect("read");
            assert!(body == synthetic(seed, 0..size));
            fixture.restart();
        }
        let mut files = fixture.files("block");
        files.retain(|file| file.metadata().expect("there").len() == size);
        assert_eq!(files.len(), 1, "{size}");
        assert!(fs::read(&files[0]).expect("read") == synthetic(seed, 0..size));
    }
    assert_eq!(fixture.gets(), 3);
    assert_eq!(fixture.files("data").len() + fixture.files("map").len(), 0);
}

#[test]
fn small_object_whose_bytes_a_crash_has_lost_is_fetched_again() {
    let mut fixture = Fixture::new();
    let etag = fixture.fake.put_synthetic("k", 100_000, SEED);
    for gets in 1..4 {
        let body = fixture.read(&etag, 100_000, 0..100_000).expect("read");
        assert!(body == synthetic(SEED, 0..100_000));
        assert_eq!(fixture.gets(), gets);
        fixture.read(&etag, 100_000, 0..100_000).expect("read");
        assert_eq!(fixture.gets(), gets, "it is there again");
        let file = File::options().write(true).open(&fixture.files("block")[0]);
        // Notes reach the disk before bytes do.
        file.expect("there")
            .set_len(if gets == 2 { 4096 } else { 0 })
            .expect("cut");
        fixture.restart();
    }
    assert_eq!(fixture.cache.0.metrics.errors.get(), 0, "the disk is well");
}

#[test]
fn another_version_is_another_object() {
    let fixture = Fixture::new();
    let first = fixture.fake.put_synthetic("k", MIB, 1);
    fixture.read(&first, MIB, 0..MIB).expect("read");
    let second = fixture.fake.put_synthetic("k", MIB, 2);
    assert!(fixture.read(&second, MIB, 0..MIB).expect("read") == synthetic(2, 0..MIB));
    // The files have the first one still, and the store does not.
    assert!(fixture.read(&first, MIB, 0..MIB).expect("read") == synthetic(1, 0..MIB));
    let unknown = ETag::new("\"other\"");
    let error = fixture.read(&unknown, MIB, 0..MIB).expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::Precondition);
    assert_eq!(fixture.files("map").len(), 3);
}

#[test]
fn damaged_files_are_fetched_again_and_never_believed() {
    for (ending, first, step) in [
        ("data", 0, BLOCK),
        ("data", 9999, 3 * BLOCK),
        ("map", 0, MIB),
        ("map", 60, MIB),
        ("map", record::HEAD as u64, record::RECORD as u64),
        ("map", record::HEAD as u64 + 4, record::RECORD as u64),
    ] {
        let mut fixture = Fixture::new();
        let size = 2 * MIB + 5;
        let etag = fixture.fake.put_synthetic("k", size, SEED);
        fixture.read(&etag, size, 0..size).expect("read");
        for file in fixture.files(ending) {
            damage(&file, first, step);
        }
        fixture.restart();
        for expected_gets in [2, 2] {
            let body = fixture.read(&etag, size, 0..size).expect("read");
            assert!(body == synthetic(SEED, 0..size), "{ending} {first}");
            assert_eq!(fixture.gets(), expected_gets, "{ending} {first}");
        }
    }
}

#[test]
fn files_that_are_cut_off_or_gone_are_made_again() {
    type Harm = fn(&Fixture);
    let harms: [Harm; 5] = [
        |fixture| fs::remove_file(&fixture.files("data")[0]).expect("removed"),
        |fixture| fs::remove_file(&fixture.files("map")[0]).expect("removed"),
        |fixture| {
            let map = File::options().write(true).open(&fixture.files("map")[0]);
            map.expect("there").set_len(50).expect("cut");
        },
        |fixture| {
            let data = File::options().write(true).open(&fixture.files("data")[0]);
            data.expect("there").set_len(50).expect("cut");
        },
        |fixture| {
            fs::remove_dir_all(fixture.directory.path().join("mount-s3-cache")).expect("gone")
        },
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let fixture = Fixture::new();
        let etag = fixture.fake.put_synthetic("k", MIB, SEED);
        fixture.read(&etag, MIB, 0..MIB).expect("read");
        harm(&fixture);
        for _ in 0..2 {
            let body = fixture.read(&etag, MIB, 0..MIB).expect("read");
            assert!(body == synthetic(SEED, 0..MIB), "{number}");
        }
        let before = fixture.gets();
        fixture.read(&etag, MIB, 0..MIB).expect("read");
        assert_eq!(fixture.gets(), before, "{number}");
    }
}

#[test]
fn files_of_another_object_under_the_same_name_are_not_taken() {
    let fixture = Fixture::new();
    let etag = fixture.fake.put_synthetic("k", MIB, SEED);
    let other = fixture.fake.put_synthetic("other", MIB, 8);
    fixture.read(&etag, MIB, 0..MIB).expect("read");
    let own = fixture.files("map").remove(0).with_extension("");
    fixture.cache.0.entries.forget_all();
    read(
        fixture.store.as_ref(),
        "other",
        &other,
        MIB,
        0..MIB,
        u64::MAX,
    )
    .expect("read");
    fixture.settle();
    let all = fixture
        .files("map")
        .into_iter()
        .map(|map| map.with_extension(""));
    let strange = all.into_iter().find(|place| *place != own).expect("two");
    for ending in ["map", "data"] {
        let (from, to) = (strange.with_extension(ending), own.with_extension(ending));
        fs::rename(from, to).expect("renamed");
    }
    assert!(fixture.read(&etag, MIB, 0..MIB).expect("read") == synthetic(SEED, 0..MIB));
}

#[test]
fn failures_of_the_store_are_those_of_the_get() {
    let fixture = Fixture::new();
    let etag = fixture.fake.put_synthetic("k", 2 * MIB, SEED);
    fixture.fake.set_part_size(BLOCK);
    fixture.fake.fail_get_after("k", MIB, ErrorKind::Timeout);
    let error = fixture
        .read(&etag, 2 * MIB, 0..2 * MIB)
        .expect_err("it fails");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // What came before is kept.
    fixture.fake.clear_log();
    fixture.read(&etag, 2 * MIB, 0..2 * MIB).expect("read");
    let ranges: Vec<_> = fixture
        .fake
        .log()
        .into_iter()
        .map(|get| get.range)
        .collect();
    assert_eq!(ranges, [Some(MIB..2 * MIB)]);
}

#[test]
fn what_the_budget_does_not_pay_for_is_left_out_and_nothing_stays_paid() {
    let fixture = Fixture::new();
    let budget = Budget::new(MIB, MIB);
    fixture.cache.pay_from(&budget);
    fixture.fake.set_part_size(4 * MIB);
    let etag = fixture.fake.put_synthetic("k", 3 * MIB, SEED);
    for round in 1..3 {
        fixture.read(&etag, 3 * MIB, 0..3 * MIB).expect("read");
        assert_eq!(fixture.gets(), round, "three MiB are too many");
    }
    for _ in 0..2 {
        fixture.read(&etag, 3 * MIB, 0..MIB / 2).expect("read");
        assert_eq!(fixture.gets(), 3, "half a MiB is not");
    }
    // What does not wait any more is paid back a moment later.
    let begun = Instant::now();
    while budget.used() > 0 {
        assert!(begun.elapsed() < LONG, "{} stay paid", budget.used());
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn requests_that_are_kept_keep_no_files_open() {
    const OBJECTS: u64 = 400;
    let fixture = Fixture::new();
    let etag = fixture.fake.put_synthetic("k", 1000, SEED);
    let mut kept = Vec::new();
    for number in 0..OBJECTS {
        let key = format!("k{number}");
        let etag = fixture.fake.put_synthetic(&key, 1000, SEED);
        let store = fixture.store.as_ref();
        let read = read_and_keep(store, &key, &etag, 1000, 0..1000, u64::MAX);
        kept.push(read.expect("read").1);
    }
    fixture.settle();
    let files = fs::read_dir("/proc/self/fd").expect("there").flatten();
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    let open = links.filter(|link| link.starts_with(fixture.directory.path()));
    // The latest ones.
    assert!(open.count() <= 256 + 16);
    assert_eq!(fixture.files("block").len() as u64, OBJECTS);
    drop(kept);
    fixture.read(&etag, 1000, 0..1000).expect("read");
}

#[test]
fn two_caches_share_a_directory() {
    let first = Fixture::new();
    let (_cache, second) = open(&first.fake, first.directory.path(), None);
    let size = 4 * MIB;
    let etag = first.fake.put_synthetic("k", size, SEED);
    thread::scope(|scope| {
        for store in [first.store.as_ref(), second.as_ref()] {
            let etag = &etag;
            scope.spawn(move || {
                for start in 0..8 {
                    let range = start * MIB / 2..size;
                    let expected = synthetic(SEED, range.clone());
                    assert!(read(store, "k", etag, size, range, MIB).expect("read") == expected);
                }
            });
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn prop_every_range_is_that_of_the_object(
        size in prop_oneof![1..=BLOCK, 1..3 * MIB],
        reads in prop::collection::vec((any::<u64>(), any::<u64>(), 1u64..2 * MIB, any::<bool>()), 1..12),
        part in 1000u64..MIB,
    ) {
        let fixture = Fixture::new();
        fixture.fake.set_part_size(part);
        let etag = fixture.fake.put_synthetic("k", size, SEED);
        for (start, len, window, harm) in reads {
            let start = start % size;
            let end = start + 1 + len % (size - start);
            let store = fixture.store.as_ref();
            let body = read(store, "k", &etag, size, start..end, window).expect("read");
            prop_assert!(body == synthetic(SEED, start..end), "{}..{}", start, end);
            if harm {
                fixture.settle();
                for ending in ["data", "block"] {
                    for file in fixture.files(ending) {
                        damage(&file, start, 2 * BLOCK);
                    }
                }
            }
        }
    }
}
