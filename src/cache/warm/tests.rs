//! What is fetched into the cache, and what is not.

use std::fs;
use std::num::NonZeroU64;
use std::os::unix::fs::PermissionsExt;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::*;
use crate::cache::Watch;
use crate::cache::tests::{Fixture, MIB, damage, read};
use crate::s3::ErrorKind;
use crate::s3::fake::{Op, synthetic};

const LIMITS: FetchLimits = FetchLimits {
    part: MIB,
    memory: 16 * MIB,
    rate: None,
};

/// Counts, and stops after so many bytes.
struct Counting {
    bytes: AtomicU64,
    most: u64,
}

impl Counting {
    fn up_to(most: u64) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            most,
        }
    }
}

impl Watch for Counting {
    fn advanced(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= self.most
    }
}

fn plant(fixture: &Fixture, key: &str, size: u64, seed: u64) -> Version {
    Version {
        key: Key::new(key).expect("valid"),
        etag: fixture.fake.put_synthetic(key, size, seed),
        size,
    }
}

fn fetch(fixture: &Fixture, versions: &[Version]) -> Fetched {
    let lacking = fixture.store.lacking(versions.to_vec());
    fixture
        .store
        .fetch(lacking.wanted, &LIMITS, &Counting::up_to(u64::MAX))
}

#[test]
fn everything_is_fetched_once_and_then_read_from_files() {
    let mut fixture = Fixture::new();
    let sizes = [40 * MIB, 7 * MIB + 5, MIB, 1, 0];
    let mut versions: Vec<_> = (0u64..)
        .zip(sizes)
        .map(|(seed, size)| plant(&fixture, &format!("large/{seed}"), size, seed))
        .collect();
    versions
        .extend((5..300).map(|seed| plant(&fixture, &format!("small/{seed}"), 1000 + seed, seed)));
    let sum: u64 = versions.iter().map(|version| version.size).sum();
    let watch = Counting::up_to(u64::MAX);
    let lacking = fixture.store.lacking(versions.clone());
    assert_eq!(
        (lacking.complete, lacking.complete_bytes),
        (1, 0),
        "the empty one"
    );
    let fetched = fixture.store.fetch(lacking.wanted, &LIMITS, &watch);
    assert!(matches!(fetched.end, End::Done), "{fetched:?}");
    assert!(fetched.troubles.is_empty(), "{fetched:?}");
    assert_eq!((fetched.complete, fetched.incomplete), (299, 0));
    assert_eq!((fetched.bytes, watch.bytes.into_inner()), (sum, sum));
    assert_eq!(fixture.cache.0.metrics.left_out.get(), 0);
    assert_eq!(fixture.gets(), 299);

    fixture.restart();
    let again = fixture.store.lacking(versions.clone());
    assert_eq!((again.complete, again.complete_bytes), (300, sum));
    assert_eq!(again.wanted, []);
    for (seed, version) in (0u64..)
        .zip(&versions)
        .filter(|(_, version)| version.size > 0)
    {
        let (key, size) = (version.key.as_str(), version.size);
        let store = fixture.store.as_ref();
        let body = read(store, key, &version.etag, size, 0..size, u64::MAX).expect("read");
        assert!(body == synthetic(seed, 0..size), "{key}");
    }
    assert_eq!(fixture.gets(), 299, "nothing was asked for again");
}

#[test]
fn only_what_is_missing_is_fetched() {
    let fixture = Fixture::new();
    let version = plant(&fixture, "k", 20 * MIB, 7);
    for range in [0..MIB, 7 * MIB..9 * MIB, 10 * MIB..11 * MIB] {
        fixture
            .read(&version.etag, version.size, range)
            .expect("read");
    }
    fixture.fake.clear_log();
    let lacking = fixture.store.lacking(vec![version.clone()]);
    assert_eq!(lacking.wanted[0].missing, 16 * MIB);
    let fetched = fetch(&fixture, slice::from_ref(&version));
    assert_eq!(fetched.complete, 1, "{fetched:?}");
    let mut ranges: Vec<_> = fixture
        .fake
        .log()
        .into_iter()
        .filter_map(|get| get.range)
        .collect();
    ranges.sort_by_key(|range| range.start);
    // The second gap and the third one have no more than a MiB between them.
    assert_eq!(ranges, [MIB..7 * MIB, 9 * MIB..20 * MIB]);

    // Blocks that are not noted are missing; notes that are damaged are none.
    for (first, missing) in [(96 + 8 * 3, 4), (0, 160)] {
        damage(&fixture.files("map")[0], first, 8 * 40);
        fixture.cache.0.entries.forget_all();
        let lacking = fixture.store.lacking(vec![version.clone()]);
        assert_eq!(lacking.wanted[0].missing, missing * BLOCK);
        assert_eq!(fetch(&fixture, slice::from_ref(&version)).complete, 1);
    }
    assert!(
        fixture
            .read(&version.etag, version.size, 0..version.size)
            .expect("read")
            == synthetic(7, 0..version.size)
    );
}

#[test]
fn objects_that_cannot_be_had_are_named_and_the_others_fetched() {
    let fixture = Fixture::new();
    let versions: Vec<_> = (0..20)
        .map(|n| plant(&fixture, &format!("k{n:02}"), MIB, n))
        .collect();
    fixture.fake.remove("k03");
    fixture.fake.put("k05", "another version");
    fixture
        .fake
        .fail_next(Op::Get, Some("k07"), ErrorKind::Denied, 1);
    fixture
        .fake
        .fail_next(Op::Get, Some("k09"), ErrorKind::Timeout, 2);
    fixture
        .fake
        .fail_get_after("k11", MIB / 2, ErrorKind::Other);
    let fetched = fetch(&fixture, &versions);
    assert!(matches!(fetched.end, End::Done), "{fetched:?}");
    assert_eq!((fetched.complete, fetched.incomplete), (17, 3));
    let mut troubles: Vec<_> = fetched
        .troubles
        .iter()
        .map(|(key, trouble)| match trouble {
            Trouble::Store(error) => (key.as_str(), error.kind()),
            Trouble::NotKept => panic!("{key} was fetched"),
        })
        .collect();
    troubles.sort_unstable_by_key(|(key, _)| *key);
    let expected = [
        ("k03", ErrorKind::NotFound),
        ("k05", ErrorKind::Precondition),
        ("k07", ErrorKind::Denied),
    ];
    assert_eq!(troubles, expected);
}

#[test]
fn failure_that_concerns_all_ends_it() {
    let fixture = Fixture::new();
    let versions: Vec<_> = (0..200)
        .map(|n| plant(&fixture, &format!("k{n:03}"), MIB, n))
        .collect();
    fixture
        .fake
        .fail_next(Op::Get, None, ErrorKind::BadCredentials, usize::MAX);
    let fetched = fetch(&fixture, &versions);
    let End::Store(error) = fetched.end else {
        panic!("{fetched:?}");
    };
    assert_eq!(error.kind(), ErrorKind::BadCredentials);
    assert_eq!((fetched.complete, fetched.incomplete), (0, 200));
    assert!(fixture.gets() <= 48, "{}", fixture.gets());
}

#[test]
fn what_was_stopped_is_taken_up_again() {
    let fixture = Fixture::new();
    let versions: Vec<_> = (0..30)
        .map(|n| plant(&fixture, &format!("k{n:02}"), 2 * MIB, n))
        .collect();
    let lacking = fixture.store.lacking(versions.clone());
    let begun = Instant::now();
    let fetched = fixture
        .store
        .fetch(lacking.wanted, &LIMITS, &Counting::up_to(21 * MIB));
    // The disk is waited for that long, which may stand still.
    let is_in_time = begun.elapsed() < Duration::from_secs(5);
    assert!(matches!(fetched.end, End::Stopped), "{fetched:?}");
    assert!((21 * MIB..50 * MIB).contains(&fetched.bytes), "{fetched:?}");
    assert_eq!(fetched.complete + fetched.incomplete, 30);
    assert!(fetched.complete >= 5 || !is_in_time, "{fetched:?}");
    while fixture.fake.bodies().in_flight > 0 {
        // Those under way are cancelled.
        thread::sleep(COUNTING);
    }
    fixture.settle();
    let again = fetch(&fixture, &versions);
    assert_eq!(again.incomplete, 0, "{again:?}");
    // What came when nobody counted any more is kept, too.
    assert!(again.bytes <= 60 * MIB - fetched.bytes, "{again:?}");
}

#[test]
fn room_is_made_by_what_is_not_wanted_and_too_much_is_left_out() {
    let fixture = Fixture::limited(Some(40 * MIB));
    let old: Vec<_> = (0..20)
        .map(|n| plant(&fixture, &format!("old{n:02}"), MIB, n))
        .collect();
    let wanted: Vec<_> = (0..30)
        .map(|n| plant(&fixture, &format!("new{n:02}"), MIB, n))
        .collect();
    assert_eq!(fetch(&fixture, &old).complete, 20);
    assert_eq!(fetch(&fixture, &wanted[..2]).complete, 2);
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    for map in fixture.files("map") {
        let map = fs::File::options().write(true).open(map).expect("there");
        map.set_modified(long_ago).expect("set");
    }
    let since = SystemTime::now() - Duration::from_secs(60);
    let mut lacking = fixture.store.lacking(wanted.clone());
    assert_eq!(lacking.complete, 2);
    let left_out = fixture
        .store
        .make_room(&mut lacking.wanted, since, || false)
        .expect("made");
    assert_eq!(left_out, []);
    let fetched = fixture
        .store
        .fetch(lacking.wanted, &LIMITS, &Counting::up_to(u64::MAX));
    assert_eq!(
        (fetched.complete, fetched.incomplete),
        (28, 0),
        "{fetched:?}"
    );
    let still: u64 = fixture.store.lacking(old).complete;
    assert!((5..=9).contains(&still), "{still} of the old ones");
    assert_eq!(fixture.store.lacking(wanted).complete, 30);

    let many: Vec<_> = (0..60)
        .map(|n| plant(&fixture, &format!("many{n:02}"), MIB, n))
        .collect();
    let mut lacking = fixture.store.lacking(many.clone());
    let now = SystemTime::now() + Duration::from_secs(1);
    let left_out = fixture
        .store
        .make_room(&mut lacking.wanted, now, || false)
        .expect("made");
    assert_eq!(
        lacking.wanted.len(),
        37,
        "as many as fit below the limit, with a margin"
    );
    assert_eq!(lacking.wanted.len() + left_out.len(), 60);
    assert_eq!(left_out[0].version, many[37]);
    let fetched = fixture
        .store
        .fetch(lacking.wanted, &LIMITS, &Counting::up_to(u64::MAX));
    assert_eq!(fetched.complete, 37, "{fetched:?}");
    assert_eq!(fixture.cache.0.metrics.left_out.get(), 0);
}

#[test]
fn disk_that_fails_ends_it() {
    let fixture = Fixture::new();
    let versions: Vec<_> = (0..200)
        .map(|n| plant(&fixture, &format!("k{n:03}"), MIB, n))
        .collect();
    let root = fixture.cache.0.entries.root().to_owned();
    fs::remove_dir_all(&root).expect("removed");
    fs::write(&root, "no directory").expect("written");
    let fetched = fetch(&fixture, &versions);
    assert!(matches!(fetched.end, End::Disk), "{fetched:?}");
    assert!(fetched.bytes < 100 * MIB, "{fetched:?}");
    assert_eq!(fetched.complete, 0);
}

#[test]
fn directory_that_cannot_be_read_has_no_room() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("mount-s3-cache");
    fs::create_dir(&directory).expect("made");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).expect("set");
    fs::write(directory.join("v1"), "no directory").expect("written");
    let fixture = Fixture::within(parent, None);
    let mut wanted = Vec::new();
    let now = SystemTime::now();
    let stopped = fixture.store.make_room(&mut wanted, now, || true);
    assert_eq!(stopped.expect("not waited for"), []);
    let error = fixture.store.make_room(&mut wanted, now, || false);
    assert_eq!(
        error.expect_err("unreadable").kind(),
        io::ErrorKind::NotADirectory
    );
}

#[test]
fn rate_is_kept() {
    let fixture = Fixture::new();
    let versions: Vec<_> = (0..8)
        .map(|n| plant(&fixture, &format!("k{n}"), MIB, n))
        .collect();
    let lacking = fixture.store.lacking(versions);
    let limits = FetchLimits {
        rate: NonZeroU64::new(8 * MIB),
        ..LIMITS
    };
    let begun = Instant::now();
    let fetched = fixture
        .store
        .fetch(lacking.wanted, &limits, &Counting::up_to(u64::MAX));
    assert_eq!(fetched.complete, 8);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
}
