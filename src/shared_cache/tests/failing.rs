//! What is read while the bucket of the cache is of little use, or none.

use super::*;
use crate::wait::once_in_five;

#[test]
fn bucket_that_fails_is_left_alone_for_a_while() {
    let rest = Duration::from_secs(1);
    let (fixture, etag) = Fixture::filled_with(MIB, Timing { rest, ..PATIENT });
    let read = || {
        let body = fixture.read(&etag, MIB, 0..MIB).expect("read");
        assert!(body == synthetic(SEED, 0..MIB));
    };
    let mut errors = 0;
    for kind in [ErrorKind::Denied, ErrorKind::Other, ErrorKind::Throttled] {
        // The rest of a machine that stands still is over before anybody reads.
        once_in_five(|_| {
            fixture.bucket.clear_log();
            fixture.bucket.fail_next(Op::Fetch, None, kind, 3);
            (0..6).for_each(|_| read());
            errors += 3;
            let asked = fixture.bucket.count(Op::Fetch);
            thread::sleep(rest);
            fixture.origin.clear_log();
            (0..2).for_each(|_| read());
            assert_eq!(fixture.asked(), [], "{kind:?}");
            match asked {
                3 => Ok(()),
                asked => Err(format!("{kind:?}: {asked} requests")),
            }
        });
    }
    assert_eq!(fixture.mount.metrics().errors.get(), errors);
}

#[test]
fn bucket_that_does_not_answer_costs_the_patience() {
    let patience = Duration::from_millis(200);
    let timing = Timing {
        patience,
        ..PATIENT
    };
    let (fixture, etag) = Fixture::filled_with(MIB, timing);
    fixture.bucket.clear_log();
    fixture.bucket.hold_next(Op::Fetch, None, 3);
    for number in 0..6 {
        let began = Instant::now();
        let body = fixture.read(&etag, MIB, 0..MIB).expect("read");
        assert!(body == synthetic(SEED, 0..MIB));
        assert!(began.elapsed() >= patience || number >= 3, "{number}");
    }
    assert_eq!(fixture.asked().len(), 6);
    assert_eq!(fixture.bucket.count(Op::Fetch), 3, "no more wait");
}

#[test]
fn bucket_that_is_busy_with_other_requests_is_waited_for() {
    once_in_five(|_| busy_bucket_is_waited_for());
}

/// Fails when the machine stands still for so long that the bucket answers nobody.
fn busy_bucket_is_waited_for() -> Result<(), String> {
    let patience = Duration::from_secs(1);
    let timing = Timing {
        patience,
        ..PATIENT
    };
    let (fixture, etag) = Fixture::filled_with(MIB, timing);
    let own = fixture.blocks().remove(0);
    let other = fixture.origin.put_synthetic("other", MIB, 8);
    let read_other = || {
        let body = read(&fixture.mount.store, "other", &other, MIB, 0..MIB, u64::MAX);
        assert!(body.expect("read") == synthetic(8, 0..MIB));
    };
    read_other();
    fixture.mount.settle();
    fixture.origin.clear_log();
    fixture.bucket.hold_next(Op::Fetch, Some(&own), 1);
    let is_early = thread::scope(|scope| {
        let reading = scope.spawn(|| fixture.read(&etag, MIB, 0..MIB));
        let began = Instant::now();
        while began.elapsed() < patience * 3 {
            read_other();
            thread::sleep(Duration::from_millis(10));
        }
        let is_early = reading.is_finished();
        fixture.bucket.release();
        let body = reading.join().expect("no panic").expect("read");
        assert!(body == synthetic(SEED, 0..MIB));
        is_early
    });
    let errors = fixture.mount.metrics().errors.get();
    match (is_early, &fixture.asked()[..], errors) {
        (false, [], 0) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn bucket_that_takes_nothing_is_read_from_and_no_failure() {
    let (fixture, etag) = Fixture::filled(MIB);
    let size = 4 * MIB;
    let other = fixture.origin.put_synthetic("other", size, 8);
    fixture
        .bucket
        .fail_next(Op::Put, None, ErrorKind::Denied, 1000);
    for _ in 0..3 {
        let body = read(
            &fixture.mount.store,
            "other",
            &other,
            size,
            0..size,
            u64::MAX,
        );
        assert!(body.expect("read") == synthetic(8, 0..size));
        fixture.mount.settle();
    }
    fixture.origin.clear_log();
    fixture.read(&etag, MIB, 0..MIB).expect("read");
    assert_eq!(fixture.asked(), []);
    let metrics = fixture.mount.metrics();
    assert_eq!(metrics.filled.get(), MIB);
    assert_eq!(metrics.left_out.get(), 3 * size);
    assert!(fixture.bucket.count(Op::Put) < 12, "it is left alone");
}

#[test]
fn bucket_that_takes_blocks_again_gets_those_of_which_little_is_read() {
    once_in_five(|_| bucket_is_left_alone_until_it_takes_blocks());
}

/// Fails when the machine stands still for so long that the bucket is tried again before anybody reads.
fn bucket_is_left_alone_until_it_takes_blocks() -> Result<(), String> {
    let rest = Duration::from_secs(1);
    let (fixture, etag) = Fixture::filled_with(MIB, Timing { rest, ..PATIENT });
    let size = 100 * MIB;
    let other = fixture.origin.put_synthetic("other", size, 8);
    let read = |range: Range<u64>| {
        let store = &fixture.mount.store;
        let body = read(store, "other", &other, size, range.clone(), u64::MAX);
        assert!(body.expect("read") == synthetic(8, range));
        fixture.mount.settle();
    };
    let kind = ErrorKind::Throttled;
    fixture.bucket.fail_next(Op::Put, None, kind, 3);
    (0..3).for_each(|number| read(number * MIB..(number + 1) * MIB));
    let metrics = fixture.mount.metrics();
    assert_eq!(metrics.errors.get(), 3);
    fixture.origin.clear_log();
    let little = |block: u64| block * MIB + 5..block * MIB + 50;
    (0..2).for_each(|_| read(little(10)));
    if fixture.asked() != [little(10), little(10)] {
        return Err(format!("it is not left alone: {:?}", fixture.asked()));
    }
    thread::sleep(rest);
    (0..2).for_each(|_| read(little(11)));
    until("it is stored", || fixture.mount.cache.0.writes.is_well());
    assert_eq!(metrics.filled.get(), 2 * MIB);
    (0..2).for_each(|_| read(little(12)));
    assert_eq!(metrics.filled.get(), 3 * MIB);
    fixture.read(&etag, MIB, 0..MIB).expect("read");
    Ok(())
}

#[test]
fn bucket_of_no_use_is_refused() {
    for (op, kind) in [(Op::Put, ErrorKind::Denied), (Op::Fetch, ErrorKind::Denied)] {
        let bucket = FakeStore::new();
        bucket.fail_next(op, None, kind, 1);
        let opened = block_on(SharedCache::open(Arc::new(bucket), &Budget::unlimited()));
        match (op, opened.expect_err("refused")) {
            (Op::Put, OpenError::Put(error)) | (Op::Fetch, OpenError::Get(error)) => {
                assert_eq!(error.kind(), kind);
            }
            (_, other) => panic!("{other}"),
        }
    }
}
