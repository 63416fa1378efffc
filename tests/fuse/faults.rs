//! Faults on a live mount: bytes stay right, errors say what they are, and the mount lives on.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use s3_test_server::{Fault, Model, Rule};

use crate::namespace::{assert_errno, assert_stale, names};
use crate::reading::{MIB, Random, bytes};
use crate::support::local::Local;
use crate::support::store::TestStore;
use crate::support::wait::{LONG, once_in_five, wait_for, within};

const SEED: u64 = 77;
const LENGTH: u64 = 40 * MIB + 999;

#[test]
fn slow_down_answers_are_retried() {
    let took = read_under(Model {
        slow_down_rate: 0.2,
        ..Model::default()
    });
    assert!(took < LONG, "took {took:?}");
}

#[test]
fn resets_before_and_within_bodies_are_retried() {
    let rules = vec![
        Rule::new(Fault::Reset { after_bytes: None })
            .on("GetObject")
            .rate(0.2),
        Rule::new(Fault::Reset {
            after_bytes: Some(300_000),
        })
        .on("GetObject")
        .rate(0.2),
    ];
    let took = read_under(Model {
        rules,
        ..Model::default()
    });
    assert!(took < LONG, "took {took:?}");
}

#[test]
fn truncated_bodies_are_retried_at_once() {
    let rule = Rule::new(Fault::Truncate {
        after_bytes: 100_000,
    })
    .on("GetObject")
    .times(3);
    once_in_five(|_| {
        let took = read_under(Model {
            rules: vec![rule.clone()],
            ..Model::default()
        });
        within(took, Duration::from_secs(25))
    });
}

#[test]
fn stalled_bodies_are_retried() {
    let stall = Fault::Stall {
        after_bytes: 100_000,
        seconds: 600.0,
    };
    let rule = Rule::new(stall).on("GetObject").times(2);
    let took = read_under(Model {
        rules: vec![rule],
        ..Model::default()
    });
    assert!(took < LONG, "took {took:?}");
}

#[test]
fn all_faults_at_once_never_give_wrong_bytes() {
    let rules = vec![
        Rule::new(Fault::Reset {
            after_bytes: Some(50_000),
        })
        .rate(0.1),
        Rule::new(Fault::Truncate {
            after_bytes: 70_000,
        })
        .on("GetObject")
        .rate(0.1),
        Rule::new(Fault::SlowDown).rate(0.1),
        Rule::new(Fault::Latency { ms: 30 }).rate(0.3),
    ];
    let store = Local::start();
    let bucket = store.fresh_bucket();
    for i in 0..8 {
        store.plant(&bucket, &format!("d/{i}"), 12 * MIB + i, SEED + i);
    }
    let mount = store.mounting(&bucket).mount();
    store.set_model(Model {
        seed: 4,
        rules,
        ..Model::default()
    });
    thread::scope(|scope| {
        for i in 0..8 {
            let path = mount.join(&format!("d/{i}"));
            scope.spawn(move || {
                let file = File::open(path).unwrap();
                let mut random = Random(i);
                for _ in 0..6 {
                    let offset = random.below(12 * MIB - 300_000);
                    let mut buffer = vec![0; 300_000];
                    file.read_exact_at(&mut buffer, offset).unwrap();
                    assert!(
                        buffer == bytes(SEED + i, offset, 300_000),
                        "file {i} at {offset}"
                    );
                }
                let mut whole = Vec::new();
                (&file).read_to_end(&mut whole).unwrap();
                assert!(whole == bytes(SEED + i, 0, 12 * MIB + i), "file {i}");
            });
        }
    });
}

#[test]
fn denied_read_is_eacces_and_the_mount_lives_on() {
    let (store, bucket) = planted();
    let mount = store.mounting(&bucket).mount();
    let deny = Rule::new(Fault::Deny).on("GetObject");
    store.set_model(Model {
        rules: vec![deny],
        ..Model::default()
    });
    let direct = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(mount.join("f"));
    assert_errno(direct.unwrap().read(&mut [0; 4_096]), Errno::ACCESS);
    // A buffered read goes through the page cache, which knows one error only on newer kernels.
    let buffered = fs::read(mount.join("f")).map_err(|error| Errno::from_io_error(&error));
    assert!(
        matches!(buffered, Err(Some(Errno::ACCESS | Errno::IO))),
        "{buffered:?}"
    );
    store.set_model(Model::default());
    assert!(fs::read(mount.join("f")).unwrap() == bytes(SEED, 0, LENGTH));
}

#[test]
fn denied_lookup_is_eacces() {
    let (store, bucket) = planted();
    let mount = store.mounting(&bucket).mount();
    store.set_model(Model {
        rules: vec![Rule::new(Fault::Deny)],
        ..Model::default()
    });
    assert_errno(fs::metadata(mount.join("f")), Errno::ACCESS);
    assert_errno(
        fs::read_dir(mount.path()).and_then(|mut all| all.next().unwrap()),
        Errno::ACCESS,
    );
    store.set_model(Model::default());
    assert_eq!(names(mount.path()), ["f"]);
}

#[test]
fn permanent_server_error_is_eio_and_the_mount_lives_on() {
    let (store, bucket) = planted();
    let mut mounting = store.mounting(&bucket);
    // Two attempts, so that the end of the retries comes soon.
    mounting
        .environment
        .push(("AWS_MAX_ATTEMPTS".into(), "2".into()));
    let mount = mounting.mount();
    let error = Fault::Error {
        status: 500,
        code: "InternalError".into(),
    };
    let rule = Rule::new(error).on("GetObject");
    store.set_model(Model {
        rules: vec![rule],
        ..Model::default()
    });
    assert_errno(fs::read(mount.join("f")), Errno::IO);
    store.set_model(Model::default());
    assert!(fs::read(mount.join("f")).unwrap() == bytes(SEED, 0, LENGTH));
}

#[test]
fn object_replaced_while_being_read_is_old_bytes_or_estale() {
    let (store, bucket) = planted();
    let mount = store.mounting(&bucket).mount();
    // Slow enough that most of the object is not yet fetched when it is replaced.
    store.set_model(Model {
        bandwidth: 20 << 20,
        ..Model::default()
    });
    let mut file = File::open(mount.join("f")).unwrap();
    let mut head = vec![0; 1 << 20];
    file.read_exact(&mut head).unwrap();
    assert!(head == bytes(SEED, 0, MIB));
    store.plant(&bucket, "f", LENGTH, SEED + 1);
    let mut rest = Vec::new();
    let outcome = file.read_to_end(&mut rest);
    let old = bytes(SEED, MIB, LENGTH - MIB);
    assert!(rest == old[..rest.len()], "bytes of another version");
    match outcome {
        Ok(_) => assert_eq!(rest.len(), old.len()),
        Err(error) => assert_stale(&error),
    }
    store.set_model(Model::default());
    assert!(
        fs::read(mount.join("f")).unwrap() == bytes(SEED + 1, 0, LENGTH),
        "new bytes on reopen"
    );
}

#[test]
fn object_deleted_while_being_read_is_old_bytes_or_an_error() {
    let (store, bucket) = planted();
    let mount = store.mounting(&bucket).mount();
    let mut file = File::open(mount.join("f")).unwrap();
    let mut head = vec![0; 1 << 20];
    file.read_exact(&mut head).unwrap();
    store.delete(&bucket, "f");
    let mut rest = Vec::new();
    let outcome = file.read_to_end(&mut rest);
    let old = bytes(SEED, MIB, LENGTH - MIB);
    assert!(rest == old[..rest.len()]);
    assert!(
        outcome.is_err() || rest.len() == old.len(),
        "a short file instead of an error"
    );
    assert_errno(File::open(mount.join("f")), Errno::NOENT);
}

#[test]
fn slow_request_of_one_file_does_not_hold_up_another() {
    once_in_five(|_| {
        let (store, bucket) = planted();
        store.plant(&bucket, "slow", LENGTH, SEED);
        let mount = store.mounting(&bucket).mount();
        let late = Rule::new(Fault::Latency { ms: 8_000 })
            .on("GetObject")
            .under("slow");
        store.set_model(Model {
            rules: vec![late],
            ..Model::default()
        });
        let slow = thread::spawn({
            let path = mount.join("slow");
            move || fs::read(path).unwrap()
        });
        wait_for("the slow request", LONG, || {
            (store.matched(0) > 0).then_some(())
        });
        let start = Instant::now();
        assert!(fs::read(mount.join("f")).unwrap() == bytes(SEED, 0, LENGTH));
        let took = start.elapsed();
        assert!(slow.join().unwrap() == bytes(SEED, 0, LENGTH));
        within(took, Duration::from_secs(7))
    });
}

#[test]
fn stalled_part_is_asked_for_again_and_nothing_else_is() {
    const SIZE: u64 = 64 * MIB;
    for after_bytes in [0, 3 * MIB] {
        once_in_five(|_| {
            let (store, bucket) = planted();
            store.plant(&bucket, "large", SIZE, SEED);
            let mount = store.mounting(&bucket).mount();
            let stall = Fault::Stall {
                after_bytes,
                seconds: 8.0,
            };
            // The first request is for the object's head, and those after it for the parts.
            let sixth = Rule {
                skip: 6,
                ..Rule::new(stall).on("GetObject").times(1)
            };
            store.set_model(Model {
                rules: vec![sixth],
                ..Model::default()
            });
            let start = Instant::now();
            assert!(fs::read(mount.join("large")).unwrap() == bytes(SEED, 0, SIZE));
            within(start.elapsed(), Duration::from_secs(3))?;
            assert_eq!(store.faults_fired(), 1);
            let fetched = store.body_bytes_sent();
            match fetched <= SIZE + SIZE / 100 + 8 * MIB {
                true => Ok(()),
                false => Err(format!("{fetched} bytes were sent")),
            }
        });
    }
}

#[test]
fn store_without_stalls_sends_every_byte_once() {
    const SIZE: u64 = 64 * MIB;
    // A machine that stands still for a second is a store that stalls.
    once_in_five(|_| {
        let (store, bucket) = planted();
        store.plant(&bucket, "large", SIZE, SEED);
        let mount = store.mounting(&bucket).mount();
        assert!(fs::read(mount.join("large")).unwrap() == bytes(SEED, 0, SIZE));
        match store.body_bytes_sent() {
            SIZE => Ok(()),
            sent => Err(format!("{sent} bytes were sent")),
        }
    });
}

#[test]
fn jitter_costs_no_more_than_a_per_cent_and_a_part() {
    const READS: u64 = 1_000;
    const LENGTH: u64 = 64 << 10;
    let late = |ms, rate| Rule::new(Fault::Latency { ms }).on("GetObject").rate(rate);
    once_in_five(|_| {
        let store = Local::start();
        let bucket = store.fresh_bucket();
        store.plant(&bucket, "large", 4 << 30, SEED);
        let mount = store.mounting(&bucket).mount();
        store.set_model(Model {
            first_byte_ms: 2,
            rules: vec![late(15, 0.2), late(300, 0.005)],
            ..Model::default()
        });
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open(mount.join("large"))
            .unwrap();
        let before = store.body_bytes_sent();
        thread::scope(|scope| {
            for reader in 0..4 {
                let file = &file;
                scope.spawn(move || {
                    let mut random = Random(reader);
                    for _ in 0..READS / 4 {
                        let offset = (1 + random.below((4 << 30) / LENGTH - 1)) * LENGTH;
                        let mut buffer = vec![0; usize::try_from(LENGTH).unwrap()];
                        file.read_exact_at(&mut buffer, offset).unwrap();
                        assert!(buffer == bytes(SEED, offset, LENGTH), "bytes at {offset}");
                    }
                });
            }
        });
        let fetched = store.body_bytes_sent() - before;
        let asked = READS * LENGTH;
        if fetched > asked + asked / 100 + 8 * MIB {
            return Err(format!("{fetched} bytes were sent for {asked}"));
        }
        match store.matched(0) - READS {
            1..100 => Ok(()),
            again => Err(format!("{again} requests were hedged")),
        }
    });
}

/// Mounts an object of a server of its own, reads it whole and in random places under `model`, and
/// tells how long that took.
fn read_under(model: Model) -> Duration {
    let (store, bucket) = planted();
    let mount = store.mounting(&bucket).mount();
    store.set_model(model);
    let start = Instant::now();
    assert!(
        fs::read(mount.join("f")).unwrap() == bytes(SEED, 0, LENGTH),
        "the whole file"
    );
    let file = File::open(mount.join("f")).unwrap();
    let mut random = Random(5);
    for _ in 0..10 {
        let offset = random.below(LENGTH - 200_000);
        let mut buffer = vec![0; 200_000];
        file.read_exact_at(&mut buffer, offset).unwrap();
        assert!(buffer == bytes(SEED, offset, 200_000), "bytes at {offset}");
    }
    let took = start.elapsed();
    assert!(store.faults_fired() > 0, "the model struck no request");
    took
}

/// A server of its own with one object, `f`.
fn planted() -> (Local, String) {
    let store = Local::start();
    let bucket = store.fresh_bucket();
    store.plant(&bucket, "f", LENGTH, SEED);
    (store, bucket)
}
