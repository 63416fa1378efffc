//! Mounts with a cache on the disk: the same bytes, fewer requests, whatever becomes of the files.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use s3_test_server::{Model, synthetic};
use serde_json::Value;
use tempfile::TempDir;

use crate::passthrough::drop_pages;
use crate::support::alone::alone;
use crate::support::local::Local;
use crate::support::mount::{Mount, Mounting};
use crate::support::store::TestStore;
use crate::support::wait::{LONG, once_in_five, wait_for};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 20 * MIB + 12_345;

fn with_cache(store: &Local, bucket: &str, directory: &TempDir, more: &[&str]) -> Mounting {
    let path = directory.path().to_str().expect("UTF-8");
    store.mounting(bucket).with(&["--cache", path]).with(more)
}

fn expected(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(SIZE).expect("small")];
    synthetic::fill(seed, 0, &mut bytes);
    bytes
}

/// Waits until the cache in `directory` has so many versions of objects in whole.
pub(crate) fn wait_until_complete(directory: &Path, versions: u64) {
    wait_for("the cache has all of them", LONG, || {
        let mut stat = Command::new(env!("CARGO_BIN_EXE_mount-s3"));
        stat.args(["cache", "stat", "--json", "--cache"])
            .arg(directory);
        let output = stat.output().expect("it runs");
        let document: Value = serde_json::from_slice(&output.stdout).ok()?;
        (document["complete"].as_u64()? >= versions).then_some(())
    });
}

/// Waits until the disk has what was read, which are so many versions of objects: nothing more is
/// written for a second.
pub(crate) fn settle(directory: &Path, versions: u64) {
    wait_until_complete(directory, versions);
    let taken = || {
        let output = Command::new("du").arg("-sk").arg(directory).output();
        output.expect("du runs").stdout
    };
    let (mut before, mut since) = (taken(), Instant::now());
    wait_for("nothing is written", LONG, || {
        thread::sleep(Duration::from_millis(200));
        let now = taken();
        if now != before {
            (before, since) = (now, Instant::now());
        }
        (since.elapsed() >= Duration::from_secs(1)).then_some(())
    });
}

#[test]
fn what_was_read_is_read_from_the_disk_after_a_restart() {
    let store = Local::start();
    let bucket = store.fresh_bucket();
    store.plant(&bucket, "large", SIZE, 7);
    store.plant(&bucket, "small", 1000, 8);
    let directory = tempfile::tempdir().expect("a directory");
    let mut small = vec![0; 1000];
    synthetic::fill(8, 0, &mut small);
    let mut gets = 0;
    for round in 0..3 {
        let mount = with_cache(&store, &bucket, &directory, &["--read-only"]).mount();
        assert!(fs::read(mount.join("large")).expect("read") == expected(7));
        assert!(fs::read(mount.join("small")).expect("read") == small);
        settle(directory.path(), 2);
        // Names and versions are believed for 60 seconds.
        let asked = || ["GetObject", "HeadObject", "ListObjectsV2"].map(|name| store.count(name));
        let before = asked();
        drop_pages();
        assert!(fs::read(mount.join("large")).expect("read") == expected(7));
        assert_eq!(asked(), before, "round {round}");
        assert!(mount.unmount().success());
        if round > 0 {
            assert_eq!(store.count("GetObject"), gets, "round {round}");
        }
        gets = store.count("GetObject");
    }
}

#[test]
fn replaced_object_is_not_read_from_the_disk() {
    let store = Local::start();
    let bucket = store.fresh_bucket();
    let directory = tempfile::tempdir().expect("a directory");
    let mount = with_cache(&store, &bucket, &directory, &["--metadata-ttl", "minimal"]).mount();
    for seed in 1..4 {
        store.plant(&bucket, "k", SIZE, seed);
        for _ in 0..2 {
            assert!(
                fs::read(mount.join("k")).expect("read") == expected(seed),
                "{seed}"
            );
        }
        store.plant(&bucket, "small", 1000, seed);
        let mut small = vec![0; 1000];
        synthetic::fill(seed, 0, &mut small);
        assert!(
            fs::read(mount.join("small")).expect("read") == small,
            "{seed}"
        );
    }
}

#[test]
fn directory_may_vanish_under_the_mount() {
    let store = Local::start();
    let bucket = store.fresh_bucket();
    store.plant(&bucket, "k", SIZE, 7);
    let directory = tempfile::tempdir().expect("a directory");
    let mount = with_cache(&store, &bucket, &directory, &[]).mount();
    for _ in 0..2 {
        assert!(fs::read(mount.join("k")).expect("read") == expected(7));
        wait_for("it is removed", LONG, || {
            // The mount may be writing still, and so put something into it meanwhile.
            fs::remove_dir_all(directory.path().join("mount-s3-cache")).ok()
        });
        Command::new("sync").status().expect("sync runs");
        drop_pages();
    }
}

#[test]
fn cache_of_no_size_is_none_and_a_full_disk_is_no_failure() {
    let store = Local::start();
    let bucket = store.fresh_bucket();
    store.plant(&bucket, "k", SIZE, 7);
    let directory = tempfile::tempdir().expect("a directory");
    let mount = with_cache(&store, &bucket, &directory, &["--max-cache-size", "0"]).mount();
    assert!(fs::read(mount.join("k")).expect("read") == expected(7));
    assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 0);
    drop(mount);

    let disk = tempfile::tempdir().expect("a directory");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "none"])
        .arg(disk.path())
        .status();
    assert!(mounted.expect("mount runs").success());
    let mount = with_cache(&store, &bucket, &disk, &["--max-cache-size", "1000"]).mount();
    for _ in 0..2 {
        assert!(fs::read(mount.join("k")).expect("read") == expected(7));
        drop_pages();
    }
    drop(mount);
    let status = Command::new("umount")
        .arg("--lazy")
        .arg(disk.path())
        .status();
    assert!(status.expect("umount runs").success());
}

#[test]
fn directory_that_others_can_change_is_refused_with_the_remedy() {
    let store = Local::start();
    let bucket = store.fresh_bucket();
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).expect("set");
    let place = tempfile::tempdir().expect("a directory");
    let output = with_cache(&store, &bucket, &directory, &["--foreground"])
        .command(place.path())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("can be written by others"), "{text}");
    assert!(text.contains("To fix it: "), "{text}");
}

#[test]
fn mount_does_not_wait_for_a_cache_of_a_million_blocks() {
    const OBJECTS: usize = 8000;
    const BLOCKS: u64 = 128;
    let store = Local::start();
    let bucket = store.fresh_bucket();
    store.plant(&bucket, "k", SIZE, 7);
    let directory = tempfile::tempdir().expect("a directory");
    let started = Instant::now();
    drop(with_cache(&store, &bucket, &directory, &[]).mount());
    let empty = started.elapsed();
    let place = directory.path().join("mount-s3-cache/v1");
    for object in 0..OBJECTS {
        let place = place.join(format!("{:02x}", object % 256));
        _ = fs::create_dir(&place);
        let stem = place.join(format!("{object:032x}-{object:032x}"));
        let data = fs::File::create(stem.with_extension("data")).expect("made");
        data.set_len(BLOCKS << 17).expect("grown");
        let notes = vec![0x5a; 96 + 8 * usize::try_from(BLOCKS).expect("small")];
        fs::write(stem.with_extension("map"), notes).expect("written");
    }
    once_in_five(|_| {
        let started = Instant::now();
        let mount = with_cache(&store, &bucket, &directory, &[]).mount();
        let full = started.elapsed();
        assert!(fs::read(mount.join("k")).expect("read") == expected(7));
        assert!(mount.unmount().success());
        if full < empty + Duration::from_millis(500) && full < Duration::from_secs(3) {
            Ok(())
        } else {
            Err(format!("{full:?}, and {empty:?} with an empty one"))
        }
    });
}

#[test]
fn two_who_read_at_the_same_time_fetch_once() {
    const LARGE: u64 = 96 * MIB;
    let store = Local::start();
    let bucket = store.fresh_bucket();
    store.set_model(Model {
        first_byte_ms: 10,
        bandwidth: 50_000_000,
        ..Model::default()
    });
    let directory = tempfile::tempdir().expect("a directory");
    let mount = with_cache(&store, &bucket, &directory, &["--read-only"]).mount();
    once_in_five(|attempt| {
        let name = format!("large{attempt}");
        store.plant(&bucket, &name, LARGE, 7);
        let before = store.body_bytes_sent();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| fs::read(mount.join(&name)).expect("read"));
            }
        });
        is_once(store.body_bytes_sent() - before, LARGE)
    });
}

#[test]
fn two_mounts_that_read_at_the_same_time_fetch_once() {
    const OBJECTS: u64 = 40;
    let store = Local::start();
    let bucket = store.fresh_bucket();
    store.set_model(Model {
        first_byte_ms: 30,
        ..Model::default()
    });
    let directory = tempfile::tempdir().expect("a directory");
    // Nothing is fetched ahead.
    let options = ["--read-only", "--metadata-ttl", "minimal"];
    let mounts = [0, 1].map(|_| with_cache(&store, &bucket, &directory, &options).mount());
    let fetched = |round: usize| {
        let place = format!("round-{round}");
        store.plant_many(&bucket, &format!("{place}/o"), OBJECTS, MIB);
        let mut names: Vec<_> = fs::read_dir(mounts[0].join(&place))
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names.len() as u64, OBJECTS);
        let before = store.body_bytes_sent();
        let both = Barrier::new(2);
        let read = |mount: &Mount| {
            let read = names.iter().map(|name| {
                both.wait();
                fs::read(mount.join(&place).join(name)).expect("read")
            });
            read.collect::<Vec<_>>()
        };
        let (first, second) = thread::scope(|scope| {
            let first = scope.spawn(|| read(&mounts[0]));
            (read(&mounts[1]), first.join().expect("no panic"))
        });
        assert!(first == second);
        store.body_bytes_sent() - before
    };
    once_in_five(|round| is_once(fetched(round), OBJECTS * MIB));
}

/// Whether what was sent for so many bytes is about as much. Who waits for others does so for a while
/// only, which a busy machine may take.
fn is_once(sent: u64, expected: u64) -> Result<(), String> {
    if sent < expected + expected / 4 {
        Ok(())
    } else {
        Err(format!("{sent} for {expected}"))
    }
}

/// Reads all of it past the page cache, 1 MiB at a time.
fn read_directly(path: &Path) -> Vec<u8> {
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_DIRECT).open(path);
    let mut file = file.expect("opened");
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).expect("read") {
            0 => return bytes,
            len => bytes.extend_from_slice(&buffer[..len]),
        }
    }
}

#[test]
fn direct_readers_of_one_object_fetch_once() {
    const LARGE: u64 = 64 * MIB;
    const READERS: u64 = 8;
    let store = Local::start();
    let bucket = store.fresh_bucket();
    let directory = tempfile::tempdir().expect("a directory");
    // Nothing is fetched ahead of opens.
    let options = ["--read-only", "--metadata-ttl", "minimal"];
    let mounts = [0, 1].map(|_| with_cache(&store, &bucket, &directory, &options).mount());
    let mut expected = vec![0; usize::try_from(LARGE).expect("small")];
    synthetic::fill(7, 0, &mut expected);
    // Mounts, bytes in a second that a connection brings, and milliseconds between readers.
    let rounds = [(1, 50, 0), (2, 50, 0), (1, 10, 0), (2, 10, 0), (2, 50, 20)];
    for (round, (count, megabytes, pause)) in rounds.into_iter().enumerate() {
        store.set_model(Model {
            first_byte_ms: 10,
            bandwidth: megabytes * 1_000_000,
            ..Model::default()
        });
        once_in_five(|attempt| {
            let name = format!("large{round}-{attempt}");
            store.plant(&bucket, &name, LARGE, 7);
            let before = store.body_bytes_sent();
            thread::scope(|scope| {
                for (reader, mount) in (0..READERS).zip(mounts[..count].iter().cycle()) {
                    let path = mount.join(&name);
                    let expected = &expected;
                    scope.spawn(move || {
                        thread::sleep(Duration::from_millis(reader * pause));
                        assert!(read_directly(&path) == *expected);
                    });
                }
            });
            let is_once = is_once(store.body_bytes_sent() - before, LARGE);
            is_once.map_err(|failure| format!("round {round}: {failure}"))
        });
    }
}

#[test]
fn mount_that_is_stopped_does_not_hold_up_another() {
    // Nor another test, whose processes close what is open here when they are started.
    alone(
        "caching::mount_that_is_stopped_does_not_hold_up_another",
        read_beside_a_stopped_mount,
    );
}

fn read_beside_a_stopped_mount() {
    const LARGE: u64 = 64 * MIB;
    let store = Local::start();
    let bucket = store.fresh_bucket();
    store.plant(&bucket, "large", LARGE, 7);
    store.set_model(Model {
        first_byte_ms: 10,
        bandwidth: 10_000_000,
        ..Model::default()
    });
    let directory = tempfile::tempdir().expect("a directory");
    let [stopped, other] = [0, 1].map(|_| {
        let options = ["--read-only", "--metadata-ttl", "minimal"];
        with_cache(&store, &bucket, &directory, &options).mount()
    });
    let path = stopped.join("large");
    let reading = thread::spawn(move || fs::read(path));
    thread::sleep(Duration::from_millis(300));
    let daemon = Pid::from_raw(i32::try_from(stopped.pid()).expect("a number"));
    kill(daemon, Signal::SIGSTOP).expect("stopped");
    let began = Instant::now();
    let bytes = fs::read(other.join("large")).expect("read");
    let took = began.elapsed();
    kill(daemon, Signal::SIGCONT).expect("continued");
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert!(reading.join().expect("no panic").expect("read") == bytes);
    let mut expected = vec![0; usize::try_from(LARGE).expect("small")];
    synthetic::fill(7, 0, &mut expected);
    assert!(bytes == expected);
}
