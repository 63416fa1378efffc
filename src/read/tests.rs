//! Reads through a [`ReadHandle`] from a fake store: right bytes, few requests, no reader left.

mod hedge;
mod memory;
mod model;
mod small;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use futures::FutureExt;
use futures::executor::block_on;
use futures::future::BoxFuture;

use super::*;
use crate::s3::fake::{FakeStore, Op, nothing_is_written, synthetic};
use crate::wait::LONG;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SEED: u64 = 7;

/// Opens a new synthetic object of `size` bytes.
/// With the limits of the command, but for the rate: how much is fetched ahead then does not depend
/// on how long this machine takes to make the bytes.
fn open(store: &FakeStore, size: u64) -> ReadHandle {
    let limits = Limits {
        rate: 0,
        ..ReadConfig::default().limits()
    };
    open_with(store, size, limits)
}

fn open_with(store: &FakeStore, size: u64, limits: Limits) -> ReadHandle {
    store.set_part_size(limits.part_size);
    let etag = store.put_synthetic("object", size, SEED);
    let key = Key::new("object").expect("valid");
    let budget = Budget::unlimited();
    ReadHandle::with_limits(source(store, key, etag), size, limits, &budget)
}

/// What a GET is not cut into parts for.
fn source(store: &FakeStore, key: Key, etag: ETag) -> Source {
    Source {
        store: Arc::new(store.clone()),
        key,
        etag,
        // Only a cache looks at it.
        size: u64::MAX,
        parts: None,
    }
}

/// Limits that make every rule matter within a few KiB.
fn tiny() -> Limits {
    Limits {
        part_size: 1000,
        whole: 100,
        head: 1500,
        opening: 400,
        patience: 1200,
        reorder: 600,
        tail: 1000,
        window: 1,
        rate: 1 << 30,
        held: 20_000,
        piece: 700,
        pieces: 2,
        streams: 2,
        kept: 2,
    }
}

/// Reads and compares every byte.
fn check(handle: &ReadHandle, offset: u64, len: u64) -> Result<(), s3::Error> {
    let bytes = block_on(handle.read_at(offset, usize::try_from(len).expect("small")))?;
    let end = (offset + len).min(handle.size);
    assert_eq!(
        bytes.len() as u64,
        end.saturating_sub(offset),
        "length at {offset}"
    );
    assert!(
        bytes == synthetic(SEED, offset..end.max(offset)),
        "bytes at {offset}"
    );
    Ok(())
}

fn check_all(handle: &ReadHandle, reads: impl IntoIterator<Item = (u64, u64)>) -> u64 {
    let mut asked = 0;
    for (offset, len) in reads {
        check(handle, offset, len).expect("nothing fails");
        asked += len;
    }
    asked
}

/// Runs `test` on a thread of its own; a reader that is never served fails the test.
fn in_time<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || sender.send(test()));
    match receiver.recv_timeout(LONG) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a reader was never served"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => panic!("the test ended without a result"),
        },
    }
}

fn amplification(store: &FakeStore, asked: u64) -> f64 {
    store.bodies().delivered_bytes as f64 / asked as f64
}

#[test]
fn read_future_can_move_between_threads() {
    fn assert_send<T: Send>(_: T) {}
    let handle = open(&FakeStore::deterministic(), 10);
    assert_send(handle.read_at(0, 1));
}

#[test]
fn read_at_or_past_the_end_gives_what_there_is() {
    let store = FakeStore::deterministic();
    let handle = open(&store, 1000);
    check(&handle, 990, 100).expect("short");
    check(&handle, 1000, 100).expect("empty");
    check(&handle, u64::MAX - 5, 3).expect("empty");
    check(&handle, 5, 0).expect("empty");
    assert_eq!(store.count(Op::Get), 1);
}

#[test]
fn read_of_an_empty_object_asks_for_nothing() {
    let store = FakeStore::deterministic();
    check(&open(&store, 0), 0, 4096).expect("empty");
    assert_eq!(store.count(Op::Get), 0);
}

#[test]
fn scan_from_zero_takes_two_requests_and_no_byte_twice() {
    for block in [4 * KIB, 64 * KIB, 128 * KIB, 1_000_003] {
        let store = FakeStore::deterministic();
        let size = 40 * MIB + 17;
        let handle = open(&store, size);
        check_all(
            &handle,
            (0..size.div_ceil(block)).map(|index| (index * block, block)),
        );
        assert_eq!(store.count(Op::Get), 2, "blocks of {block}");
        assert_eq!(store.bodies().delivered_bytes, size);
    }
}

#[test]
fn scan_from_the_middle_takes_few_requests() {
    for block in [4 * KIB, 128 * KIB, MIB] {
        let store = FakeStore::deterministic();
        let handle = open(&store, 4 * GIB);
        let asked = check_all(
            &handle,
            (0..64 * MIB / block).map(|index| (GIB + index * block, block)),
        );
        assert!(
            store.count(Op::Get) <= 16,
            "{} for blocks of {block}",
            store.count(Op::Get)
        );
        assert!(amplification(&store, asked) < 1.6);
    }
}

#[test]
fn scan_in_swapped_order_still_streams() {
    let store = FakeStore::deterministic();
    let handle = open(&store, GIB);
    let order = (0..256u64).map(|index| ((index ^ 1) * 128 * KIB, 128 * KIB));
    let asked = check_all(&handle, order);
    assert!(store.count(Op::Get) <= 6, "{:?}", store.log());
    assert!(amplification(&store, asked) < 1.8);
}

#[test]
fn interleaved_scans_each_get_a_stream() {
    let store = FakeStore::deterministic();
    let handle = open(&store, 16 * GIB);
    let reads = (0..256u64)
        .flat_map(|index| (0..8).map(move |run| (run * GIB + index * 128 * KIB, 128 * KIB)));
    check_all(&handle, reads);
    assert!(store.count(Op::Get) <= 8 * 10, "{}", store.count(Op::Get));
}

#[test]
fn random_reads_fetch_what_they_ask_for() {
    for (len, cut) in [
        (4 * KIB, 4 * KIB),
        (128 * KIB, 128 * KIB),
        (256 * KIB, 128 * KIB),
    ] {
        let store = FakeStore::deterministic();
        let handle = open(&store, 100 * GIB);
        let starts =
            (1..200u64).map(|index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (99 * GIB));
        let reads =
            starts.flat_map(|start| (0..len / cut).map(move |index| (start + index * cut, cut)));
        let asked = check_all(&handle, reads);
        assert!(
            amplification(&store, asked) <= 1.01,
            "{}",
            amplification(&store, asked)
        );
    }
}

#[test]
fn strides_fetch_what_they_ask_for() {
    for (len, stride) in [
        (256 * KIB, 17 * MIB),
        (MIB, 17 * MIB),
        (256 * KIB, 4 * MIB),
        (128 * KIB, 512 * KIB),
    ] {
        let store = FakeStore::deterministic();
        let handle = open(&store, 100 * GIB);
        let reads = (0..500).flat_map(|index| {
            (0..len / (128 * KIB)).map(move |cut| (index * stride + cut * 128 * KIB, 128 * KIB))
        });
        let asked = check_all(&handle, reads);
        let factor = amplification(&store, asked);
        assert!(factor <= 1.5, "{factor} for {len} every {stride}");
    }
}

#[test]
fn stride_after_a_scan_stops_the_stream() {
    let store = FakeStore::deterministic();
    let handle = open(&store, 100 * GIB);
    check_all(
        &handle,
        (0..512).map(|index| (index * 128 * KIB, 128 * KIB)),
    );
    let before = store.bodies().delivered_bytes;
    let asked = check_all(
        &handle,
        (0..500).map(|index| (65 * MIB + index * 4 * MIB, 256 * KIB)),
    );
    let fetched = store.bodies().delivered_bytes - before;
    assert!(fetched < asked * 3 / 2, "{}", fetched as f64 / asked as f64);
}

#[test]
fn long_random_pieces_make_the_handle_patient() {
    let store = FakeStore::deterministic();
    let handle = open(&store, 100 * GIB);
    let piece = |index: u64| (0..4).map(move |cut| (index * 37 * MIB + MIB + cut * MIB, MIB));
    check_all(&handle, (0..40).flat_map(piece));
    let before = store.bodies().delivered_bytes;
    let asked = check_all(&handle, (40..80).flat_map(piece));
    let factor = (store.bodies().delivered_bytes - before) as f64 / asked as f64;
    assert!(factor <= 2.0, "{factor}");
}

#[test]
fn backward_reads_near_the_end_come_from_the_tail() {
    let store = FakeStore::deterministic();
    let handle = open(&store, GIB);
    check_all(
        &handle,
        (0..512).map(|index| (index * 128 * KIB, 128 * KIB)),
    );
    let requests = store.count(Op::Get);
    check_all(
        &handle,
        (496..512).rev().map(|index| (index * 128 * KIB, 128 * KIB)),
    );
    assert_eq!(store.count(Op::Get), requests);
}

#[test]
fn forward_skip_within_the_window_needs_no_request() {
    let store = FakeStore::deterministic();
    let handle = open(&store, GIB);
    check_all(&handle, (0..64).map(|index| (index * 128 * KIB, 128 * KIB)));
    let requests = store.count(Op::Get);
    check(&handle, 13 * MIB, 128 * KIB).expect("served");
    check(&handle, 13 * MIB + 128 * KIB, 128 * KIB).expect("served");
    assert_eq!(store.count(Op::Get), requests);
}

#[test]
fn reply_within_one_part_is_not_copied() {
    let store = FakeStore::deterministic();
    let handle = open(&store, MIB);
    let whole = block_on(handle.read_at(0, 1 << 20)).expect("read");
    let slice = block_on(handle.read_at(1000, 1000)).expect("read");
    assert_eq!(slice.as_ptr(), whole[1000..].as_ptr());
}

#[test]
fn stream_holds_back_at_its_window() {
    let store = FakeStore::deterministic();
    let handle = open(&store, 100 * GIB);
    check_all(&handle, (0..8).map(|index| (index * 128 * KIB, 128 * KIB)));
    assert!(store.bodies().delivered_bytes <= 25 * MIB);
}

#[test]
fn concurrent_reads_of_the_same_bytes_share_one_request() {
    in_time(|| {
        let store = FakeStore::new();
        let handle = open(&store, GIB);
        store.stall_get_after("object", 0);
        let mut reads: Vec<_> = (0..4)
            .map(|_| handle.read_at(300 * MIB, 4096).boxed())
            .collect();
        for read in &mut reads {
            assert!(read.now_or_never().is_none());
        }
        while store.waiting() == 0 {
            std::thread::yield_now();
        }
        store.release();
        for bytes in block_on(futures::future::join_all(reads)) {
            assert_eq!(
                bytes.expect("served"),
                synthetic(SEED, 300 * MIB..300 * MIB + 4096)
            );
        }
        assert_eq!(store.count(Op::Get), 1);
    });
}

#[test]
fn dropped_read_cancels_its_request_and_harms_no_other() {
    in_time(|| {
        let store = FakeStore::new();
        let handle = open(&store, GIB);
        store.stall_get_after("object", 0);
        let mut read = handle.read_at(300 * MIB, 4096).boxed();
        assert!((&mut read).now_or_never().is_none());
        assert_eq!(store.bodies().in_flight, 1);
        drop(read);
        assert_eq!(store.bodies().in_flight, 0);
        check(&handle, 300 * MIB, 4096).expect("a new request");
    });
}

#[test]
fn dropped_handle_cancels_everything() {
    let store = FakeStore::deterministic();
    let handle = open(&store, GIB);
    check_all(&handle, (0..8).map(|index| (index * 128 * KIB, 128 * KIB)));
    assert_eq!(store.bodies().in_flight, 1);
    drop(handle);
    assert_eq!(store.bodies().in_flight, 0);
}

#[test]
fn broken_transfers_are_taken_up_where_they_broke() {
    for kind in [
        ErrorKind::Connection,
        ErrorKind::Timeout,
        ErrorKind::Protocol,
        ErrorKind::Integrity,
    ] {
        let store = FakeStore::deterministic();
        let handle = open_with(&store, 50_000, tiny());
        for after in [700, 1, 4000] {
            store.fail_get_after("object", after, kind);
            if kind == ErrorKind::Integrity {
                break;
            }
        }
        check_all(&handle, (0..50).map(|index| (index * 1000, 1000)));
        assert_eq!(store.bodies().delivered_bytes, 50_000, "{kind:?}");
    }
}

#[test]
fn unanswered_read_fails_and_the_next_one_tries_anew() {
    for kind in [
        ErrorKind::Connection,
        ErrorKind::Denied,
        ErrorKind::Throttled,
    ] {
        let store = FakeStore::deterministic();
        let handle = open(&store, GIB);
        store.fail_next(Op::Get, None, kind, 1);
        let error = check(&handle, 0, 100).expect_err("the request failed");
        assert_eq!(error.kind(), kind);
        check(&handle, 0, 100).expect("a new request");
        assert_eq!(store.count(Op::Get), 2);
    }
}

#[test]
fn second_wrong_checksum_fails_the_read() {
    let store = FakeStore::deterministic();
    let handle = open(&store, GIB);
    store.fail_next(Op::Get, None, ErrorKind::Integrity, 2);
    let error = check(&handle, 0, 100).expect_err("it never matched");
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert_eq!(store.count(Op::Get), 2);
}

#[test]
fn failure_that_nobody_waited_for_is_tried_again() {
    let store = FakeStore::deterministic();
    let handle = open_with(
        &store,
        50_000,
        Limits {
            window: 5000,
            ..tiny()
        },
    );
    // The head, then the stream, which breaks in the bytes ahead of the reader.
    check(&handle, 0, 500).expect("head");
    store.fail_get_after("object", 3000, ErrorKind::Throttled);
    check_all(&handle, (1..100).map(|index| (index * 500, 500)));
    assert_eq!(store.bodies().delivered_bytes, 50_000);
}

/// A store that lets go of every request without a word.
#[derive(Debug)]
struct Silent;

impl Store for Silent {
    fn head<'a>(&'a self, _: &'a Key) -> BoxFuture<'a, Result<s3::ObjectInfo, s3::Error>> {
        unreachable!("nothing but GET is used")
    }

    fn list<'a>(
        &'a self,
        _: &'a s3::ListRequest,
    ) -> BoxFuture<'a, Result<s3::ListPage, s3::Error>> {
        unreachable!("nothing but GET is used")
    }

    fn get(
        &self,
        _: s3::GetRequest,
        _: Arc<dyn s3::BodySink>,
    ) -> Result<Box<dyn s3::InFlight>, s3::Error> {
        #[derive(Debug)]
        struct Nothing;
        impl s3::InFlight for Nothing {
            fn extend_window(&self, _: u64) {}
        }
        Ok(Box::new(Nothing))
    }

    nothing_is_written!();
}

#[test]
fn request_that_ends_without_a_word_fails_its_readers() {
    let error = in_time(|| {
        let key = Key::new("object").expect("valid");
        let config = ReadConfig::default();
        let handle = ReadHandle::new(Arc::new(Silent), key, ETag::new("e"), GIB, config);
        block_on(handle.read_at(0, 10)).expect_err("nothing arrives")
    });
    assert_eq!(error.kind(), ErrorKind::Canceled);
}

#[test]
fn throughput_target_decides_the_window() {
    let window = ReadConfig::window_for_throughput;
    assert_eq!(window(0.1), 64 * MIB);
    assert_eq!(window(10.0), 298 * MIB);
    assert_eq!(window(1000.0), 2 * GIB);
}

#[test]
fn replaced_object_gives_old_bytes_or_an_error() {
    let store = FakeStore::deterministic();
    let handle = open(&store, GIB);
    check_all(&handle, (0..16).map(|index| (index * 128 * KIB, 128 * KIB)));
    store.put_synthetic("object", GIB, SEED + 1);
    check(&handle, 3 * MIB, 128 * KIB).expect("arrived before");
    let error = check(&handle, 500 * MIB, 128 * KIB).expect_err("the version is gone");
    assert_eq!(error.kind(), ErrorKind::Precondition);
    let requests = store.count(Op::Get);
    check(&handle, 3 * MIB + 128 * KIB, 128 * KIB).expect("arrived before");
    check(&handle, 600 * MIB, 10).expect_err("the version is gone");
    assert_eq!(store.count(Op::Get), requests, "nothing more is asked for");
}

#[test]
fn sixteen_threads_on_one_handle_read_right_bytes() {
    in_time(|| {
        let store = FakeStore::new();
        let handle = Arc::new(open(&store, 96 * MIB + 5));
        let next = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let (handle, next) = (Arc::clone(&handle), Arc::clone(&next));
                std::thread::spawn(move || {
                    loop {
                        let offset = next.fetch_add(1, Ordering::Relaxed) as u64 * 128 * KIB;
                        if offset >= handle.size {
                            return;
                        }
                        check(&handle, offset, 128 * KIB).expect("nothing fails");
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("right bytes");
        }
        assert!(
            amplification(&store, 96 * MIB) < 1.5,
            "{:?}",
            store.bodies()
        );
    });
}
