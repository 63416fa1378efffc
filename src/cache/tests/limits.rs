//! How much of the disk the files take.

use super::*;
use crate::wait::{once_in_five, wait_for};

#[test]
fn limit_is_kept_by_eight_readers_and_room_is_made() {
    // What is written just while it is counted is found by the next count.
    once_in_five(|_| eight_readers_keep_the_limit());
}

fn eight_readers_keep_the_limit() -> Result<(), String> {
    let limit = 8 * MIB;
    let fixture = Fixture::limited(Some(limit));
    let etags: Vec<_> = (0u64..64)
        .map(|n| fixture.fake.put_synthetic(&format!("k{n}"), MIB, n))
        .collect();
    let filled = &fixture.cache.0.metrics.filled;
    let until = Instant::now() + PATIENCE;
    thread::scope(|scope| {
        for worker in 0..8 {
            let (etags, fixture) = (&etags, &fixture);
            scope.spawn(move || {
                // Who makes room has its own time: as often as it takes.
                while filled.get() <= 2 * limit && Instant::now() < until {
                    for (n, etag) in (0u64..).zip(etags).skip(worker).step_by(8) {
                        let key = format!("k{n}");
                        let body = read(fixture.store.as_ref(), &key, etag, MIB, 0..MIB, u64::MAX);
                        assert!(body.expect("read") == synthetic(n, 0..MIB));
                        thread::sleep(Duration::from_millis(20));
                    }
                }
            });
        }
    });
    fixture.settle();
    let taken: u64 = ["data", "map"]
        .into_iter()
        .flat_map(|ending| fixture.files(ending))
        .filter_map(|file| fs::metadata(file).ok())
        .map(|found| std::os::unix::fs::MetadataExt::blocks(&found) * 512)
        .sum();
    // Notes are counted only when the files are looked through: 4 KiB each.
    assert!(filled.get() > limit, "room was made");
    if taken > limit + 64 * 8192 {
        return Err(format!("{taken} of {limit}"));
    }
    Ok(())
}

#[test]
fn disk_that_takes_no_more_gets_room_whatever_it_says_of_it() {
    let fixture = Fixture::new();
    for n in 0..40 {
        let etag = fixture.fake.put_synthetic("k", 1000, n);
        fixture.read(&etag, 1000, 0..1000).expect("read");
    }
    assert_eq!(fixture.files("block").len(), 40);
    // A count that was begun before the files came would take the refusal for one of an empty disk.
    wait_for("the first count", LONG, || {
        fixture.cache.0.usage.is_counted().then_some(())
    });
    for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT] {
        let before = fixture.files("block").len();
        fixture.cache.0.failed("written", &errno.into());
        wait_for("something is removed", PATIENCE, || {
            (fixture.files("block").len() != before).then_some(())
        });
    }
    assert!(fixture.files("block").len() >= 30);
}

/// Bytes that files of objects take of the disk.
fn on_disk(fixture: &Fixture) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = ["data", "map", "block"].map(|ending| fixture.files(ending));
    // Some go meanwhile.
    let known = files.into_iter().flatten().flat_map(fs::metadata);
    known.map(|found| found.blocks() * 512).sum()
}

#[test]
fn limit_is_for_what_small_objects_take_of_the_disk() {
    let most = 4 * MIB;
    let fixture = Fixture::limited(Some(most));
    for n in 0..3000 {
        let key = format!("k{n}");
        let etag = fixture.fake.put_synthetic(&key, 100, n);
        read(fixture.store.as_ref(), &key, &etag, 100, 0..100, u64::MAX).expect("read");
        fixture.settle();
        if n % 100 == 0 {
            let taken = on_disk(&fixture);
            // Of what is written just while it is counted, each writer may have a page.
            let uncounted = WRITERS as u64 * amount::PAGE;
            assert!(taken <= most + uncounted, "{n}: {taken} of {most}");
        }
    }
    assert!(on_disk(&fixture) >= most / 2, "it is used");
}

#[test]
fn limit_is_for_all_who_write_to_the_directory() {
    once_in_five(|_| two_writers_keep_the_limit());
}

/// Fails also when both stand still while they count: a count is followed by ten times as long without one.
fn two_writers_keep_the_limit() -> Result<(), String> {
    let most = 40 * MIB;
    let one = Fixture::limited(Some(most));
    let (cache, store) = open(&one.fake, one.directory.path(), Some(most));
    let other = Fixture {
        fake: one.fake.clone(),
        cache,
        store,
        directory: tempfile::tempdir().expect("a directory"),
    };
    for n in 0..100 {
        for (fixture, name) in [(&one, "one"), (&other, "other")] {
            let key = format!("{name}{n}");
            let etag = fixture.fake.put_synthetic(&key, MIB, n);
            read(fixture.store.as_ref(), &key, &etag, MIB, 0..MIB, u64::MAX).expect("read");
            fixture.settle();
        }
        // It is counted meanwhile.
        thread::sleep(Duration::from_millis(50));
        let taken = on_disk(&one);
        if taken > most + most / 4 {
            return Err(format!("{n}: {taken} of {most}"));
        }
    }
    assert!(on_disk(&one) >= most / 2, "it is used");
    Ok(())
}
