//! Mounts that share a cache in a bucket: the same bytes, fewer requests to the bucket that is mounted,
//! whatever becomes of the cache and its bucket.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use s3_test_server::{Fault, Model, Rule, synthetic};

use crate::lifecycle::status_bytes;
use crate::passthrough::drop_pages;
use crate::support::local::Local;
use crate::support::mount::Mounting;
use crate::support::store::TestStore;
use crate::support::wait::{LONG, once_in_five, wait_for, within};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 20 * MIB + 12_345;
const BLOCKS: usize = 21;
const SMALL: u64 = 1000;

/// What the keys of blocks begin with.
const UNDER: &str = "mount-s3-cache/v1/";

/// A store with a bucket that is mounted, which has `large` and `small`, and one for the cache.
struct Place {
    store: Local,
    bucket: String,
    cache: String,
}

impl Place {
    fn new() -> Self {
        let store = Local::start();
        let (bucket, cache) = (store.fresh_bucket(), store.fresh_bucket());
        store.plant(&bucket, "large", SIZE, 7);
        store.plant(&bucket, "small", SMALL, 8);
        Self {
            store,
            bucket,
            cache,
        }
    }

    /// A place whose cache has all blocks of both objects.
    fn filled() -> Self {
        let place = Self::new();
        let mount = place.mounting(&["--read-only"]).mount();
        // What the bucket does not take in two seconds is left out, until it is read again.
        wait_for("the blocks are stored", LONG, || {
            assert_right(&fs::read(mount.join("large")).expect("read"), 7, SIZE);
            assert_right(&fs::read(mount.join("small")).expect("read"), 8, SMALL);
            drop_pages();
            (place.blocks().len() == BLOCKS + 1).then_some(())
        });
        assert!(mount.unmount().success());
        place
    }

    fn mounting(&self, more: &[&str]) -> Mounting {
        let mounting = self.store.mounting(&self.bucket);
        mounting.with(&["--cache-xz", &self.cache]).with(more)
    }

    fn blocks(&self) -> Vec<String> {
        let mut keys = self.store.keys(&self.cache);
        keys.retain(|key| key.starts_with(UNDER));
        keys
    }

    /// GETs of the bucket that is mounted.
    fn gets(&self) -> usize {
        self.store.count_of("GetObject", &self.bucket)
    }

    /// Whether `read` costs no GET of the bucket that is mounted. It does when blocks do not come for two
    /// seconds.
    fn without_a_get(&self, read: impl FnOnce()) -> Result<(), String> {
        let before = self.gets();
        read();
        match self.gets() - before {
            0 => Ok(()),
            more => Err(format!("{more} GETs")),
        }
    }

    /// Lets all requests for blocks suffer.
    fn harm(&self, rules: Vec<Rule>) {
        let rules = rules.into_iter().map(|rule| rule.under(UNDER)).collect();
        self.store.set_model(Model {
            rules,
            ..Model::default()
        });
    }

    /// Reads both objects by a mount of its own.
    fn read(&self) {
        let mount = self.mounting(&["--read-only"]).mount();
        assert_right(&fs::read(mount.join("large")).expect("read"), 7, SIZE);
        assert_right(&fs::read(mount.join("small")).expect("read"), 8, SMALL);
    }

    fn refused(&self, mounting: &Mounting) -> (Option<i32>, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = mounting.command(directory.path());
        let Output { status, stderr, .. } = command.arg("--foreground").output().expect("it runs");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }
}

fn expected(seed: u64, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).expect("small")];
    synthetic::fill(seed, offset, &mut bytes);
    bytes
}

fn assert_right(bytes: &[u8], seed: u64, size: u64) {
    assert!(bytes == expected(seed, 0, size), "bytes of {seed}");
}

#[test]
fn what_one_mount_has_read_another_reads_without_a_get() {
    let place = Place::filled();
    once_in_five(|_| place.without_a_get(|| place.read()));
    // In any order, too.
    let read_here_and_there = || {
        let mount = place.mounting(&[]).mount();
        let file = File::open(mount.join("large")).expect("opened");
        for number in 0..40 {
            let offset = number * 7_654_321 % (SIZE - 5000);
            let mut buffer = vec![0; 5000];
            file.read_exact_at(&mut buffer, offset).expect("read");
            assert!(buffer == expected(7, offset, 5000), "{offset}");
        }
    };
    once_in_five(|_| place.without_a_get(read_here_and_there));
}

#[test]
fn replaced_object_is_not_read_from_its_old_blocks() {
    let place = Place::new();
    let mount = place.mounting(&["--metadata-ttl", "minimal"]).mount();
    for seed in 1..4 {
        place.store.plant(&place.bucket, "large", SIZE, seed);
        place.store.plant(&place.bucket, "small", SMALL, seed);
        for _ in 0..2 {
            assert_right(&fs::read(mount.join("large")).expect("read"), seed, SIZE);
            assert_right(&fs::read(mount.join("small")).expect("read"), seed, SMALL);
            drop_pages();
        }
    }
}

#[test]
fn damaged_blocks_never_give_wrong_bytes_and_are_replaced() {
    let place = Place::filled();
    for fault in [
        Fault::Corrupt { offset: 0 },
        Fault::Corrupt { offset: 999 },
        Fault::Truncate { after_bytes: 500 },
    ] {
        let before = place.gets();
        place.harm(vec![Rule::new(fault).on("GetObject")]);
        place.read();
        assert!(place.gets() > before);
    }
    place.harm(Vec::new());
    let right: Vec<_> = place
        .blocks()
        .into_iter()
        .map(|key| (place.store.body(&place.cache, &key), key))
        .collect();
    for (body, key) in &right {
        let mut wrong = body.clone().expect("there");
        wrong.truncate(wrong.len() / 2);
        place.store.put(&place.cache, key, &wrong);
    }
    // Exchanged for each other, in part.
    place.store.put(
        &place.cache,
        &right[0].1,
        right[1].0.as_ref().expect("there"),
    );
    place.store.put(&place.cache, &right[2].1, b"");
    let mount = place.mounting(&[]).mount();
    let read = || {
        assert_right(&fs::read(mount.join("large")).expect("read"), 7, SIZE);
        assert_right(&fs::read(mount.join("small")).expect("read"), 8, SMALL);
        drop_pages();
    };
    read();
    wait_for("blocks are replaced", LONG, || {
        // Those again that the bucket has not taken in time.
        read();
        let is_right =
            |(body, key): &(Option<Vec<u8>>, String)| place.store.body(&place.cache, key) == *body;
        right.iter().all(is_right).then_some(())
    });
}

#[test]
fn bucket_that_fails_never_fails_a_read() {
    let error = |status, code: &str| Fault::Error {
        status,
        code: code.to_owned(),
    };
    for fault in [
        error(500, "InternalError"),
        error(404, "NoSuchBucket"),
        Fault::SlowDown,
        Fault::Deny,
        Fault::Reset { after_bytes: None },
        Fault::Latency { ms: 60_000 },
        Fault::Stall {
            after_bytes: 300,
            seconds: 60.0,
        },
    ] {
        once_in_five(|_| {
            let place = Place::filled();
            let mount = place.mounting(&[]).mount();
            // It goes well at first.
            let file = File::open(mount.join("large")).expect("opened");
            place.without_a_get(|| {
                let mut buffer = vec![0; 5000];
                file.read_exact_at(&mut buffer, 5 * MIB).expect("read");
                assert!(buffer == expected(7, 5 * MIB, 5000));
            })?;
            place.harm(vec![Rule::new(fault.clone())]);
            let began = Instant::now();
            assert_right(&fs::read(mount.join("large")).expect("read"), 7, SIZE);
            assert_right(&fs::read(mount.join("small")).expect("read"), 8, SMALL);
            let took = began.elapsed();
            assert!(place.store.matched(0) > 0, "{fault:?}");
            let is_fast = within(took, Duration::from_secs(45));
            is_fast.map_err(|failure| format!("{fault:?}: {failure}"))
        });
    }
}

#[test]
fn what_was_read_before_the_unmount_is_stored() {
    once_in_five(|_| {
        let place = Place::new();
        place.harm(vec![Rule::new(Fault::Latency { ms: 1000 }).on("PutObject")]);
        let mount = place.mounting(&["--read-only"]).mount();
        assert_right(&fs::read(mount.join("large")).expect("read"), 7, SIZE);
        assert_right(&fs::read(mount.join("small")).expect("read"), 8, SMALL);
        let before = place.blocks().len();
        assert!(mount.unmount().success());
        let after = place.blocks().len();
        // It takes a second; what takes more than two is not waited for.
        if (before, after) != (0, BLOCKS + 1) {
            return Err(format!("{before} blocks before the end, {after} after it"));
        }
        place.without_a_get(|| place.read())
    });
}

#[test]
fn unmount_does_not_wait_for_a_bucket_that_takes_nothing() {
    for fault in [Fault::Latency { ms: 60_000 }, Fault::Deny] {
        once_in_five(|_| {
            let place = Place::new();
            place.harm(vec![Rule::new(fault.clone()).on("PutObject")]);
            let mount = place.mounting(&["--read-only"]).mount();
            assert_right(&fs::read(mount.join("large")).expect("read"), 7, SIZE);
            let began = Instant::now();
            assert!(mount.unmount().success());
            let took = began.elapsed();
            assert_eq!(place.blocks().len(), 0);
            let is_fast = within(took, Duration::from_secs(30));
            is_fast.map_err(|failure| format!("{fault:?}: {failure}"))
        });
    }
}

#[test]
fn blocks_may_vanish_under_the_mount() {
    let place = Place::filled();
    let mount = place.mounting(&[]).mount();
    thread::scope(|scope| {
        scope.spawn(|| {
            for key in place.blocks() {
                place.store.delete(&place.cache, &key);
                thread::sleep(Duration::from_millis(3));
            }
        });
        for _ in 0..5 {
            assert_right(&fs::read(mount.join("large")).expect("read"), 7, SIZE);
            drop_pages();
        }
    });
}

#[test]
fn cache_that_may_not_be_written_is_still_read() {
    once_in_five(|_| {
        let place = Place::filled();
        place.store.plant(&place.bucket, "new", SIZE, 9);
        let mount = place.mounting(&[]).mount();
        place.harm(vec![Rule::new(Fault::Deny).on("PutObject")]);
        assert_right(&fs::read(mount.join("new")).expect("read"), 9, SIZE);
        let read = || assert_right(&fs::read(mount.join("large")).expect("read"), 7, SIZE);
        place.without_a_get(read)?;
        assert_eq!(place.blocks().len(), BLOCKS + 1);
        Ok(())
    });
}

#[test]
fn large_object_is_read_by_way_of_both_caches_in_the_memory_there_is() {
    const LARGE: u64 = 160 * MIB + 5;
    let place = Place::new();
    place.store.plant(&place.bucket, "huge", LARGE, 5);
    // The cache takes its time.
    place.harm(vec![Rule::new(Fault::Latency { ms: 50 })]);
    for round in 0..2 {
        let disk = tempfile::tempdir().expect("a directory");
        let path = disk.path().to_str().expect("UTF-8");
        let arguments = ["--cache", path, "--memory-target", "512"];
        let mount = place.mounting(&arguments).mount();
        let file = File::open(mount.join("huge")).expect("opened");
        for number in 0..60 {
            let offset = number * 31_234_567 % (LARGE - 40_000);
            let mut buffer = vec![0; 40_000];
            file.read_exact_at(&mut buffer, offset).expect("read");
            assert!(buffer == expected(5, offset, 40_000), "{offset}");
        }
        assert_right(&fs::read(mount.join("huge")).expect("read"), 5, LARGE);
        drop(file);
        let peak = status_bytes(mount.pid(), "VmHWM");
        assert!(peak <= 600 * MIB, "{round}: {} MiB", peak / MIB);
        assert!(mount.unmount().success());
    }
    assert!(place.blocks().len() > 80, "{} blocks", place.blocks().len());
}

#[test]
fn bucket_that_cannot_be_used_is_refused_with_the_remedy() {
    let place = Place::new();
    let missing = place.store.mounting(&place.bucket);
    let missing = missing.with(&["--cache-xz", "no-such-bucket"]);
    let (status, text) = place.refused(&missing);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("for bucket no-such-bucket"), "{text}");

    for (operation, fault) in [
        ("PutObject", Fault::Deny),
        ("GetObject", Fault::Deny),
        ("GetObject", Fault::Corrupt { offset: 3 }),
    ] {
        let rule = Rule::new(fault).on(operation).under("mount-s3-cache/");
        place.store.set_model(Model {
            rules: vec![rule],
            ..Model::default()
        });
        let (status, text) = place.refused(&place.mounting(&[]));
        assert_eq!(status, Some(1), "{text}");
        let cause = format!(
            "initial {operation} failed for shared cache bucket {}",
            place.cache
        );
        assert!(text.contains(&cause), "{text}");
        assert!(text.contains("To fix it: "), "{text}");
    }
}
