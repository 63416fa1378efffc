//! Handles over the in-memory store: how bytes become objects, and every way in which they do not.

use futures::FutureExt;
use futures::executor::block_on;
use proptest::prelude::*;

use super::*;
use crate::memory::Budget;
use crate::s3::fake::{FakeStore, Op};
use crate::s3::{ErrorKind, Key};

mod pages;

const PART: u64 = 4 << 20;

fn config(budget: Arc<Budget>) -> WriteConfig {
    WriteConfig {
        part_size: PART,
        window: SendWindow::new(PART, 8 * PART, u64::MAX),
        budget,
        places: Places::new(2),
    }
}

fn store() -> FakeStore {
    let store = FakeStore::deterministic();
    store.set_upload_part_size(usize::try_from(PART).expect("small"));
    store
}

fn open(store: &FakeStore, target: Target, config: &WriteConfig) -> WriteHandle {
    let key = Key::new("f").expect("a valid key");
    let place = config.places.take().expect("a place");
    WriteHandle::new(
        Arc::new(store.clone()),
        PutRequest::new(key),
        target,
        config.clone(),
        place,
    )
}

fn handle(store: &FakeStore) -> WriteHandle {
    open(store, Target::Whole, &config(Budget::unlimited()))
}

/// Writes as the adapter does: at once if that is possible.
fn write(handle: &WriteHandle, offset: u64, data: &[u8]) -> Result<(), Error> {
    match handle.write_now(offset, data) {
        Some(result) => result,
        None => block_on(handle.write(offset, Bytes::copy_from_slice(data))),
    }
}

fn bytes(length: u64, seed: u64) -> Bytes {
    crate::s3::fake::synthetic(seed, 0..length)
}

/// Writes `body` in pieces of `piece` bytes.
fn write_all(handle: &WriteHandle, from: u64, body: &[u8], piece: usize) -> Result<(), Error> {
    let mut offset = from;
    for data in body.chunks(piece) {
        write(handle, offset, data)?;
        offset += data.len() as u64;
    }
    Ok(())
}

#[test]
fn s23_file_of_at_most_a_part_is_one_put_and_a_larger_one_an_upload() {
    for (size, puts, uploads) in [(0, 1, 0), (1, 1, 0), (PART, 1, 0), (PART + 1, 0, 1)] {
        let store = store();
        let handle = handle(&store);
        let body = bytes(size, 1);
        write_all(&handle, 0, &body, 100_000).expect("it is written");
        block_on(handle.complete()).expect("it is stored");
        assert!(store.body("f").expect("stored") == body);
        assert_eq!(
            (store.count(Op::Put), store.count(Op::Complete)),
            (puts, uploads)
        );
    }
}

#[test]
fn s22_write_that_is_not_at_the_end_fails_for_good() {
    for offset in [0, 4, 6, u64::MAX] {
        let store = store();
        let handle = handle(&store);
        write(&handle, 0, b"12345").expect("it is written");
        for offset in [offset, 5] {
            let error = write(&handle, offset, b"x").expect_err("refused");
            assert!(matches!(error, Error::NotAtEnd { end: 5, .. }), "{error}");
        }
        let error = block_on(handle.complete()).expect_err("refused");
        assert!(matches!(error, Error::NotAtEnd { .. }), "{error}");
        assert_eq!(store.log(), []);
    }
}

#[test]
fn s22_write_that_is_not_at_the_end_aborts_the_upload() {
    let store = store();
    let handle = handle(&store);
    write_all(&handle, 0, &bytes(2 * PART, 1), 1 << 20).expect("it is written");
    assert_eq!(store.uploads().in_flight, 1);
    write(&handle, 0, b"x").expect_err("refused");
    assert_eq!((store.uploads().in_flight, store.uploads().aborted), (0, 1));
    assert_eq!(store.body("f"), None);
}

#[test]
fn s23_file_of_more_than_ten_thousand_parts_is_too_large() {
    let mut config = config(Budget::unlimited());
    config.part_size = 10;
    let store = FakeStore::deterministic();
    store.set_upload_part_size(10);
    let handle = open(&store, Target::Whole, &config);
    write_all(&handle, 0, &bytes(100_000, 1), 50_000).expect("it is written");
    for offset in [100_000, 100_000] {
        let error = write(&handle, offset, b"x").expect_err("refused");
        assert!(
            matches!(error, Error::TooLarge { largest: 100_000 }),
            "{error}"
        );
    }
    assert_eq!((store.uploads().in_flight, store.uploads().aborted), (0, 1));
    block_on(handle.complete()).expect_err("it has failed");
    assert_eq!(store.body("f"), None);
}

#[test]
fn s24_write_after_completion_is_refused_and_does_not_harm() {
    let store = store();
    let handle = handle(&store);
    write(&handle, 0, b"kept").expect("it is written");
    block_on(handle.sync()).expect("it is stored");
    assert!(matches!(write(&handle, 4, b"x"), Err(Error::Stored)));
    assert!(matches!(block_on(handle.progress()), Progress::Stored));
    block_on(handle.complete()).expect("it is stored");
    assert_eq!(store.count(Op::Put), 1);
    assert_eq!(store.body("f").as_deref(), Some(&b"kept"[..]));
}

#[test]
fn s27_appending_is_bound_to_the_version_and_puts_full_buffers() {
    let store = store();
    let etag = store.put("f", "base ");
    let target = Target::AppendTo { etag, size: 5 };
    let handle = open(&store, target, &config(Budget::unlimited()));
    assert!(matches!(block_on(handle.progress()), Progress::Untouched));
    let body = bytes(2 * PART + 10, 1);
    write_all(&handle, 5, &body, 1 << 20).expect("it is written");
    assert_eq!(store.count(Op::Put), 2);
    block_on(handle.sync()).expect("it is stored");
    block_on(handle.sync()).expect("nothing is left to store");
    assert_eq!(store.count(Op::Put), 3);
    write(&handle, 5 + body.len() as u64, b"!").expect("it goes on");
    block_on(handle.complete()).expect("it is stored");
    let whole = [b"base ", &body[..], b"!"].concat();
    assert!(store.body("f").expect("stored") == whole);
}

#[test]
fn s27_appending_to_what_somebody_else_has_changed_fails() {
    let store = store();
    let etag = store.put("f", "base ");
    let target = Target::AppendTo { etag, size: 5 };
    let handle = open(&store, target, &config(Budget::unlimited()));
    write(&handle, 5, b"mine").expect("it is buffered");
    store.put("f", "theirs");
    let error = block_on(handle.complete()).expect_err("another version");
    assert!(matches!(error, Error::S3(error) if error.kind() == ErrorKind::Precondition));
    assert_eq!(store.body("f").as_deref(), Some(&b"theirs"[..]));
}

#[test]
fn s27_appending_to_a_new_file_makes_it_and_an_empty_one_is_put_once() {
    let store = store();
    let handle = open(&store, Target::AppendToNew, &config(Budget::unlimited()));
    block_on(handle.sync()).expect("it is stored");
    assert_eq!(store.body("f").as_deref(), Some(&b""[..]));
    write(&handle, 0, b"x").expect("it goes on");
    block_on(handle.complete()).expect("it is stored");
    assert_eq!(store.body("f").as_deref(), Some(&b"x"[..]));
    assert_eq!(store.count(Op::Put), 2);
}

#[test]
fn writer_that_waits_is_given_more_buffer_as_long_as_there_is_memory() {
    let budget = Budget::with_grace(10 * PART, 1, std::time::Duration::ZERO);
    let store = store();
    let handle = open(&store, Target::Whole, &config(Arc::clone(&budget)));
    store.hold_next(Op::Part, None, usize::MAX);
    let mut offset = 0;
    let mut buffers = Vec::new();
    for _ in 0..200 {
        let data = bytes(1 << 20, offset);
        let mut writing = handle.write(offset, data.clone()).boxed();
        if (&mut writing).now_or_never().is_none() {
            buffers.push(store.uploads().buffer);
            store.release();
            block_on(writing).expect("it is written");
        }
        offset += data.len() as u64;
    }
    assert!(buffers.first() >= Some(&(2 * PART)), "{buffers:?}");
    assert!(buffers.is_sorted(), "{buffers:?}");
    let most = *buffers.last().expect("it has waited");
    assert!((3 * PART..=9 * PART).contains(&most), "{most}");
    assert!(store.uploads().most_held <= most);
    assert!(budget.used() >= most && budget.used() <= 10 * PART);
    store.fail_next(Op::Part, None, ErrorKind::Timeout, 1);
    drop(handle);
    assert_eq!(budget.used(), 0);
    assert_eq!(store.uploads().aborted, 1);
}

/// Writes `mib` MiB from `offset` on to an upload whose parts are confirmed only when it waits.
fn write_slowly(store: &FakeStore, handle: &WriteHandle, offset: &mut u64, mib: u64) {
    for _ in 0..mib {
        let mut writing = handle.write(*offset, bytes(1 << 20, *offset)).boxed();
        if (&mut writing).now_or_never().is_none() {
            store.release();
            block_on(writing).expect("it is written");
        }
        *offset += 1 << 20;
    }
}

#[test]
fn writers_together_hold_the_window_and_each_of_them_two_parts() {
    let budget = Budget::with_grace(100 * PART, 1, std::time::Duration::ZERO);
    let store = store();
    let mut config = config(Arc::clone(&budget));
    config.places = Places::new(9);
    let mut offsets = [0; 9];
    let handles: Vec<_> = (0..9)
        .map(|_| open(&store, Target::Whole, &config))
        .collect();
    store.hold_next(Op::Part, None, usize::MAX);
    write_slowly(&store, &handles[0], &mut offsets[0], 400);
    assert_eq!(budget.used(), 8 * PART, "one has all of the window");
    for _ in 0..3 {
        for index in 0..4 {
            write_slowly(&store, &handles[index], &mut offsets[index], 40);
        }
    }
    assert_eq!(budget.used(), 8 * PART, "four share it");
    for _ in 0..3 {
        for (handle, offset) in handles.iter().zip(&mut offsets) {
            write_slowly(&store, handle, offset, 40);
        }
    }
    assert_eq!(budget.used(), 18 * PART, "each has two parts");
    drop(handles);
    assert_eq!(budget.used(), 0);
}

#[test]
fn memory_is_paid_for_as_it_grows_and_given_back_at_the_end() {
    let budget = Budget::with_grace(PART, 1, std::time::Duration::ZERO);
    let store = store();
    let config = config(Arc::clone(&budget));
    let handle = open(&store, Target::Whole, &config);
    assert_eq!(budget.used(), 0);
    write(&handle, 0, b"x").expect("it is written");
    assert!(budget.used() > 0 && budget.used() < 10_000);
    // A part is never refused, though there is no memory for it.
    let other = open(&store, Target::Whole, &config);
    assert!(config.places.take().is_none());
    write_all(&other, 0, &bytes(PART, 1), 1 << 20).expect("it is written");
    write_all(&handle, 1, &bytes(3 * PART, 1), 1 << 20).expect("it is written");
    assert!(budget.used() <= 3 * PART, "{}", budget.used());
    block_on(handle.complete()).expect("it is stored");
    block_on(other.complete()).expect("it is stored");
    assert_eq!(budget.used(), 0);
    assert!(config.places.take().is_some());
}

#[test]
fn handle_is_redirected_only_before_anything_was_sent() {
    let redirect = |handle: &WriteHandle, agrees: bool| {
        let key = Key::new("g").expect("a valid key");
        let mut asked = false;
        let agree = || {
            asked = true;
            agrees
        };
        let content_type = Some("text/plain".to_owned());
        (block_on(handle.redirect(key, content_type, agree)), asked)
    };
    for size in [0, PART] {
        let store = store();
        let handle = handle(&store);
        write_all(&handle, 0, &bytes(size, 1), 1 << 20).expect("it is written");
        assert_eq!(redirect(&handle, true), (true, true));
        block_on(handle.complete()).expect("it is stored");
        assert_eq!(store.keys(), ["g"]);
        assert_eq!(store.content_type("g").as_deref(), Some("text/plain"));
        assert_eq!(redirect(&handle, true), (false, false), "it is stored");
    }
    let store = store();
    let refused = handle(&store);
    assert_eq!(redirect(&refused, false), (false, true));
    block_on(refused.complete()).expect("it is stored");
    let large = handle(&store);
    write_all(&large, 0, &bytes(PART + 1, 1), 1 << 20).expect("it is written");
    assert_eq!(redirect(&large, true), (false, false));
    let appending = open(&store, Target::AppendToNew, &config(Budget::unlimited()));
    assert_eq!(redirect(&appending, true), (false, false));
    assert_eq!(store.keys(), ["f"]);
}

#[test]
fn dropped_write_gives_the_file_up() {
    let store = store();
    let handle = handle(&store);
    write_all(&handle, 0, &bytes(PART, 1), 1 << 20).expect("it is written");
    store.hold_next(Op::Upload, None, 1);
    let data = bytes(1 << 20, 1);
    assert!(handle.write(PART, data).now_or_never().is_none());
    let again = write(&handle, PART, b"x");
    assert!(matches!(again, Err(Error::GivenUp)), "{again:?}");
    assert_eq!(store.uploads().in_flight, 0);
}

/// Every failure of every step reaches whoever writes or completes, for good, and nothing is
/// stored or left behind.
#[test]
fn failure_of_each_step_is_told_and_leaves_nothing() {
    let small = [Op::Put];
    let large = [Op::Upload, Op::Part, Op::Complete];
    let steps = [(small.as_slice(), PART / 2), (&large, 3 * PART + 5)];
    for (step, size) in steps
        .iter()
        .flat_map(|(steps, size)| steps.iter().map(move |s| (*s, *size)))
    {
        for kind in KINDS {
            for held in [false, true] {
                let budget = Budget::new(100 * PART, 1);
                let store = store();
                let handle = open(&store, Target::Whole, &config(Arc::clone(&budget)));
                if held && step == Op::Part {
                    // The failure comes while more is written.
                    store.hold_next(Op::Part, None, 1);
                }
                store.fail_next(step, Some("f"), *kind, 1);
                let body = bytes(size, 1);
                let written = write_all(&handle, 0, &body, 1 << 20);
                store.release();
                let completed = block_on(handle.complete());
                let told = written.and(completed).expect_err("a failure");
                assert!(
                    matches!(&told, Error::S3(error) if error.kind() == *kind),
                    "{step:?} {kind:?}: {told}"
                );
                let again = block_on(handle.complete()).expect_err("the same failure");
                assert_eq!(again.to_string(), told.to_string());
                write(&handle, size, b"x").expect_err("the same failure");
                assert_eq!(store.body("f"), None, "{step:?} {kind:?}");
                assert_eq!(store.uploads().in_flight, 0, "{step:?} {kind:?}");
                assert_eq!(budget.used(), 0);
            }
        }
    }
}

const KINDS: &[ErrorKind] = &[
    ErrorKind::NotFound,
    ErrorKind::NoSuchBucket,
    ErrorKind::Denied,
    ErrorKind::NoCredentials,
    ErrorKind::BadCredentials,
    ErrorKind::Precondition,
    ErrorKind::Throttled,
    ErrorKind::Dns,
    ErrorKind::Connection,
    ErrorKind::Tls,
    ErrorKind::Timeout,
    ErrorKind::Integrity,
    ErrorKind::Protocol,
    ErrorKind::Invalid,
    ErrorKind::TooLarge,
    ErrorKind::Canceled,
    ErrorKind::Other,
];

fn target(store: &FakeStore, kind: u8) -> (Target, Vec<u8>) {
    match kind {
        0 => (Target::Whole, Vec::new()),
        1 => (Target::AppendToNew, Vec::new()),
        _ => {
            let etag = store.put("f", "base");
            (Target::AppendTo { etag, size: 4 }, b"base".to_vec())
        }
    }
}

proptest! {
    /// Whatever the sizes of writes and parts, and wherever it is synced, the object has the bytes
    /// that were written, in order.
    #[test]
    fn prop_object_is_what_was_written(
        sizes in prop::collection::vec(prop_oneof![0usize..40, 0usize..3000], 0..40),
        part_size in 1usize..2000,
        kind in 0u8..3,
        sync in 0usize..40,
    ) {
        let store = FakeStore::deterministic();
        store.set_upload_part_size(part_size);
        let mut config = config(Budget::new(1 << 20, 1));
        config.part_size = part_size as u64;
        let (target, mut expected) = target(&store, kind);
        let can_sync = target != Target::Whole;
        let handle = open(&store, target, &config);
        for (index, size) in sizes.iter().enumerate() {
            let data = bytes(*size as u64, index as u64);
            write(&handle, expected.len() as u64, &data).expect("it is written");
            expected.extend_from_slice(&data);
            if index == sync && can_sync {
                block_on(handle.sync()).expect("it is stored");
                prop_assert_eq!(&store.body("f").expect("stored")[..], &expected[..]);
            }
        }
        block_on(handle.complete()).expect("it is stored");
        prop_assert_eq!(&store.body("f").expect("stored")[..], &expected[..]);
        prop_assert_eq!(config.budget.used(), 0);
        prop_assert_eq!(store.uploads().in_flight, 0);
    }
}
