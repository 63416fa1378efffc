//! Uploads in parts: exact bytes, bounded memory, and nothing left of those that fail.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::executor::block_on;
use mount_s3::s3::{
    Encryption, Error, ErrorKind, PutCondition, Store, Stored, Upload, UploadChecksums,
};
use s3_test_server::{Fault, Rule, Server, synthetic};

use super::store_suite::{etag, key};
use super::stores::wait::{LONG, once_in_five, wait_for, within};
use super::support::{BUCKET, Fixture, MIB, impatient};
use super::write::{put, request, when};

const PLENTY: u64 = 64 * MIB;

/// `size` bytes that differ from place to place.
fn bytes(size: u64) -> Bytes {
    let mut all = Vec::new();
    while (all.len() as u64) < size {
        let left = usize::try_from(size).unwrap() - all.len();
        all.extend_from_slice(&synthetic::chunk(5, all.len() as u64, left));
    }
    all.into()
}

fn upload(fixture: &Fixture, size: u64, piece: usize) -> Result<Stored, Error> {
    let mut upload = fixture.store.upload(request("k"), PLENTY)?;
    let body = bytes(size);
    for start in (0..body.len()).step_by(piece) {
        let end = body.len().min(start + piece);
        write(&mut *upload, body.slice(start..end))?;
    }
    block_on(upload.complete())
}

/// Writes at once, if that is possible.
fn write(upload: &mut dyn Upload, bytes: Bytes) -> Result<(), Error> {
    match upload.write_now(&bytes) {
        Some(written) => written,
        None => block_on(upload.write(bytes)),
    }
}

/// Waits until no upload is left on the server.
fn wait_until_aborted(server: &Server) {
    wait_for("no upload is left", LONG, || {
        server.uploads(BUCKET).is_empty().then_some(())
    });
}

/// Waits until the server has begun an upload.
fn wait_until_begun(server: &Server) {
    wait_for("an upload has begun", LONG, || {
        (!server.uploads(BUCKET).is_empty()).then_some(())
    });
}

/// Waits until the server has answered so many aborts.
fn wait_for_aborts(server: &Server, count: u64) {
    wait_for("aborts", LONG, || {
        asked_for(server, "AbortMultipartUpload", count).then_some(())
    });
}

fn error(status: u16, code: &str) -> Fault {
    Fault::Error {
        status,
        code: code.to_owned(),
    }
}

#[test]
fn uploads_of_every_size_are_exact() {
    for checksums in [
        UploadChecksums::Crc32c,
        UploadChecksums::Crc64Nvme,
        UploadChecksums::Off,
    ] {
        let fixture = Fixture::with(|config| config.upload_checksums = checksums);
        let sizes = [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 7 * MIB + 12_345];
        for (size, piece) in sizes
            .into_iter()
            .zip([1 << 20, 131_072, 300_001, 2_500_000].into_iter().cycle())
        {
            let stored = upload(&fixture, size, piece).unwrap();
            assert_eq!(stored.size, size);
            assert_eq!(stored.etag, etag(&fixture.store, "k"));
            let content = fixture.server.read_object(BUCKET, "k").unwrap();
            assert!(bytes(size) == content, "{checksums:?}, {size} bytes");
        }
        assert!(fixture.server.uploads(BUCKET).is_empty());
    }
}

#[test]
fn a_write_larger_than_all_that_may_be_held_is_taken() {
    let fixture = Fixture::start();
    let mut upload = fixture.store.upload(request("k"), 1).unwrap();
    block_on(upload.write(bytes(5 * MIB + 1))).unwrap();
    block_on(upload.complete()).unwrap();
    let content = fixture.server.read_object(BUCKET, "k").unwrap();
    assert!(bytes(5 * MIB + 1) == content);
}

#[test]
fn write_now_beyond_the_buffer_is_refused_and_takes_nothing() {
    let fixture = Fixture::with(impatient);
    let slow = |ms| [Rule::new(Fault::Latency { ms }).on("UploadPart")];
    fixture.rules(&slow(120_000));
    let mut upload = fixture.store.upload(request("k"), 2 * MIB).unwrap();
    let body = bytes(5 * MIB);
    let piece = |from: u64, to: u64| {
        let bounds = [from, to].map(|at| usize::try_from(at).unwrap());
        body.slice(bounds[0]..bounds[1])
    };
    // Two parts are held then, of which none can have been confirmed.
    upload.write_now(&piece(0, MIB)).unwrap().unwrap();
    upload.write_now(&piece(MIB, MIB + 10)).unwrap().unwrap();
    assert!(upload.write_now(&piece(MIB + 10, 2 * MIB + 1)).is_none());
    assert!(upload.write_now(&piece(MIB + 10, 5 * MIB)).is_none());
    upload
        .write_now(&piece(MIB + 10, 2 * MIB))
        .unwrap()
        .unwrap();
    assert!(upload.write_now(&piece(2 * MIB, 2 * MIB + 1)).is_none());
    // The parts are sent again soon.
    fixture.rules(&slow(1_000));
    block_on(upload.write(piece(2 * MIB, 3 * MIB))).unwrap();
    let delay = upload.delay().expect("a part was confirmed");
    assert!(delay >= Duration::from_secs(1), "{delay:?}");
    block_on(upload.write(piece(3 * MIB, 5 * MIB))).unwrap();
    block_on(upload.complete()).unwrap();
    let content = fixture.server.read_object(BUCKET, "k").unwrap();
    assert!(body == content);
}

#[test]
fn parts_are_sent_in_parallel_as_far_as_the_buffer_allows() {
    for at_once in [true, false] {
        parts_are_sent_in_parallel(at_once);
    }
}

fn parts_are_sent_in_parallel(at_once: bool) {
    let peak = |buffer| {
        let fixture = Fixture::start();
        fixture.rules(&[Rule::new(Fault::Latency { ms: 50 }).on("UploadPart")]);
        let mut upload = fixture.store.upload(request("k"), buffer).unwrap();
        let body = bytes(16 * MIB);
        for start in (0..body.len()).step_by(100_000) {
            let piece = body.slice(start..body.len().min(start + 100_000));
            if at_once {
                write(&mut *upload, piece).unwrap();
            } else {
                block_on(upload.write(piece)).unwrap();
            }
        }
        block_on(upload.complete()).unwrap();
        fixture.server.stats().requests_open_peak
    };
    assert_eq!(peak(MIB), 1);
    let peak = peak(4 * MIB);
    assert!((2..=4).contains(&peak), "{peak}");
}

#[test]
fn a_smaller_buffer_takes_effect_during_the_upload() {
    let fixture = Fixture::start();
    fixture.rules(&[Rule::new(Fault::Latency { ms: 50 }).on("UploadPart")]);
    let mut upload = fixture.store.upload(request("k"), 4 * MIB).unwrap();
    block_on(upload.write(bytes(4 * MIB))).unwrap();
    upload.set_buffer(MIB);
    block_on(upload.write(bytes(MIB))).unwrap();
    fixture.server.reset_stats();
    block_on(upload.write(bytes(4 * MIB))).unwrap();
    block_on(upload.complete()).unwrap();
    assert_eq!(fixture.server.stats().requests_open_peak, 1);
}

#[test]
fn nothing_is_visible_before_the_end() {
    let fixture = Fixture::start();
    let mut upload = fixture.store.upload(request("k"), MIB).unwrap();
    block_on(upload.write(bytes(3 * MIB))).unwrap();
    assert_eq!(fixture.server.uploads(BUCKET), ["k"]);
    assert!(fixture.server.keys(BUCKET).is_empty());
    block_on(upload.complete()).unwrap();
    assert_eq!(fixture.server.keys(BUCKET), ["k"]);
    assert!(fixture.server.uploads(BUCKET).is_empty());
}

#[test]
fn complete_keeps_to_the_condition() {
    let fixture = Fixture::start();
    let complete = |condition| {
        let mut upload = fixture.store.upload(when("k", condition), PLENTY)?;
        block_on(upload.write(bytes(2 * MIB)))?;
        block_on(upload.complete())
    };
    let stored = complete(PutCondition::Absent).unwrap();
    let error = complete(PutCondition::Absent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    assert_eq!(error.context().operation, "CompleteMultipartUpload");
    wait_until_aborted(&fixture.server);
    let version = PutCondition::Version(stored.etag);
    complete(version.clone()).unwrap();
    put(&fixture.store, request("k"), "other").unwrap();
    let error = complete(version).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    wait_until_aborted(&fixture.server);
    assert_eq!(fixture.server.read_object(BUCKET, "k").unwrap(), b"other");
}

#[test]
fn a_dropped_upload_leaves_nothing() {
    let fixture = Fixture::start();
    let dropped_after = |fault: Option<Rule>, size| {
        fixture.rules(fault.as_slice());
        let mut upload = fixture.store.upload(request("k"), PLENTY).unwrap();
        block_on(upload.write(bytes(size))).unwrap();
        drop(upload);
        wait_until_aborted(&fixture.server);
    };
    dropped_after(None, 0);
    dropped_after(None, 100);
    dropped_after(None, 5 * MIB);
    let slow = |operation| Some(Rule::new(Fault::Latency { ms: 1000 }).on(operation));
    dropped_after(slow("UploadPart"), 5 * MIB);
    // Only when it is answered, there is an upload to abort.
    dropped_after(slow("CreateMultipartUpload"), 5 * MIB);
    wait_for_aborts(&fixture.server, 5);
    wait_until_aborted(&fixture.server);
    let aborts = &fixture.server.stats().operations["AbortMultipartUpload"];
    assert_eq!(aborts.count, 5);
    assert!(fixture.server.keys(BUCKET).is_empty());
}

#[test]
fn an_upload_whose_completion_is_dropped_leaves_nothing() {
    let fixture = Fixture::start();
    let slow = Rule::new(Fault::Latency { ms: 120_000 }).on("CompleteMultipartUpload");
    fixture.rules(&[slow]);
    let mut upload = fixture.store.upload(request("k"), PLENTY).unwrap();
    block_on(upload.write(bytes(2 * MIB))).unwrap();
    let mut complete = upload.complete();
    while !asked_for(&fixture.server, "UploadPart", 2) {
        assert!(block_on(async { futures::poll!(&mut complete) }).is_pending());
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(block_on(async { futures::poll!(&mut complete) }).is_pending());
    drop(complete);
    wait_until_aborted(&fixture.server);
    assert!(fixture.server.keys(BUCKET).is_empty());
}

fn asked_for(server: &Server, operation: &str, count: u64) -> bool {
    let operations = server.stats().operations;
    operations
        .get(operation)
        .is_some_and(|stats| stats.count >= count)
}

#[test]
fn a_shutdown_waits_for_the_abort() {
    let fixture = Fixture::start();
    fixture.rules(&[
        Rule::new(Fault::Latency { ms: 300 }).on("UploadPart"),
        Rule::new(Fault::Latency { ms: 300 }).on("AbortMultipartUpload"),
    ]);
    let mut upload = fixture.store.upload(request("k"), PLENTY).unwrap();
    block_on(upload.write(bytes(MIB))).unwrap();
    wait_until_begun(&fixture.server);
    block_on(upload.write(bytes(MIB))).unwrap();
    drop(upload);
    let server = fixture.shut_down();
    assert!(server.uploads(BUCKET).is_empty());
}

/// Uploads while `rules` are in force and checks that the upload fails, for good, and leaves
/// nothing.
fn fails_under(rules: &[Rule], kind: ErrorKind, operation: &str) {
    let fixture = Fixture::with(|config| {
        config.max_attempts = 2.try_into().unwrap();
        if kind == ErrorKind::Timeout {
            impatient(config);
        }
    });
    fixture.rules(rules);
    let mut upload = fixture.store.upload(request("k"), 2 * MIB).unwrap();
    let mut written = Ok(());
    for _ in 0..8 {
        written = block_on(upload.write(bytes(MIB)));
        if written.is_err() {
            break;
        }
    }
    if let Err(first) = &written {
        let again = block_on(upload.write(bytes(1))).unwrap_err();
        assert_eq!(again.to_string(), first.to_string());
        let at_once = upload.write_now(b"x").expect("no wait").unwrap_err();
        assert_eq!(at_once.to_string(), first.to_string());
    }
    let error = block_on(upload.complete()).unwrap_err();
    assert_eq!(error.kind(), kind, "{rules:?}: {error}");
    assert_eq!(error.context().operation, operation);
    assert_eq!(error.context().key, "k");
    wait_until_aborted(&fixture.server);
    assert!(fixture.server.keys(BUCKET).is_empty(), "{rules:?}");
}

#[test]
fn failures_of_each_step_leave_nothing() {
    for operation in [
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
    ] {
        let on = |fault| [Rule::new(fault).on(operation)];
        fails_under(&on(Fault::Deny), ErrorKind::Denied, operation);
        let gone = on(error(404, "NoSuchBucket"));
        fails_under(&gone, ErrorKind::NoSuchBucket, operation);
        let broken = on(error(500, "InternalError"));
        fails_under(&broken, ErrorKind::Other, operation);
        fails_under(&on(Fault::SlowDown), ErrorKind::Throttled, operation);
        let reset = on(Fault::Reset { after_bytes: None });
        fails_under(&reset, ErrorKind::Connection, operation);
        let stall = on(Fault::Latency { ms: 120_000 });
        fails_under(&stall, ErrorKind::Timeout, operation);
    }
}

#[test]
fn parts_that_arrive_otherwise_are_never_made_an_object() {
    let corrupt = [Rule::new(Fault::CorruptUpload { offset: 77 })
        .on("UploadPart")
        .times(1)];
    fails_under(&corrupt, ErrorKind::Integrity, "UploadPart");
    let wrong = [Rule::new(Fault::WrongChecksum).on("UploadPart").times(1)];
    fails_under(&wrong, ErrorKind::Integrity, "UploadPart");
    let too_large = [Rule::new(error(400, "EntityTooLarge")).on("UploadPart")];
    fails_under(&too_large, ErrorKind::TooLarge, "UploadPart");
    let aborted = [Rule::new(error(404, "NoSuchUpload")).on("UploadPart")];
    fails_under(&aborted, ErrorKind::Other, "UploadPart");
}

#[test]
fn faults_that_pass_are_overcome() {
    for operation in [
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
    ] {
        let fixture = Fixture::with(impatient);
        let twice = |fault| Rule::new(fault).on(operation).times(2);
        let rules = [
            twice(error(500, "InternalError")),
            twice(Fault::SlowDown),
            twice(Fault::Reset { after_bytes: None }),
            Rule::new(Fault::Latency { ms: 120_000 })
                .on(operation)
                .times(1),
        ];
        once_in_five(|_| {
            fixture.rules(&rules);
            let start = Instant::now();
            upload(&fixture, 3 * MIB + 1, 500_000).unwrap();
            let took = start.elapsed();
            let content = fixture.server.read_object(BUCKET, "k").unwrap();
            assert!(bytes(3 * MIB + 1) == content);
            within(took, Duration::from_secs(30)).map_err(|late| format!("{operation}: {late}"))
        });
    }
}

#[test]
fn parts_whose_answers_are_lost_are_sent_again() {
    let fixture = Fixture::start();
    fixture.rules(&[Rule::new(Fault::LoseAnswer).on("UploadPart").times(3)]);
    upload(&fixture, 3 * MIB + 1, 500_000).unwrap();
    assert_eq!(fixture.server.model().rules[0].fired, 3);
    let content = fixture.server.read_object(BUCKET, "k").unwrap();
    assert!(bytes(3 * MIB + 1) == content);
}

#[test]
fn a_completion_whose_answer_is_lost_is_a_success_if_the_object_proves_it() {
    for checksums in [
        UploadChecksums::Crc32c,
        UploadChecksums::Crc64Nvme,
        UploadChecksums::Off,
    ] {
        let fixture = Fixture::with(|config| config.upload_checksums = checksums);
        let once = Rule::new(Fault::LoseAnswer)
            .on("CompleteMultipartUpload")
            .times(1);
        fixture.rules(&[once]);
        let stored = upload(&fixture, 3 * MIB + 1, 500_000).unwrap();
        assert_eq!(fixture.fired(), 1);
        assert_eq!(stored.size, 3 * MIB + 1);
        assert_eq!(stored.etag, etag(&fixture.store, "k"));
        let content = fixture.server.read_object(BUCKET, "k").unwrap();
        assert!(bytes(3 * MIB + 1) == content);
        assert!(fixture.server.uploads(BUCKET).is_empty());
        let operations = fixture.server.stats().operations;
        assert!(!operations.contains_key("AbortMultipartUpload"));
    }
}

#[test]
fn a_completion_whose_answer_is_lost_is_no_success_without_proof() {
    let gone = Rule::new(error(404, "NoSuchUpload")).on("CompleteMultipartUpload");
    for there in [Some("somebody else's"), None] {
        let fixture = Fixture::start();
        if let Some(text) = there {
            put(&fixture.store, request("k"), text).unwrap();
        }
        fixture.rules(std::slice::from_ref(&gone));
        let error = upload(&fixture, MIB, 500_000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other, "{error}");
        assert_eq!(error.context().operation, "CompleteMultipartUpload");
        assert_eq!(error.context().code.as_deref(), Some("NoSuchUpload"));
        wait_until_aborted(&fixture.server);
        let content = fixture.server.read_object(BUCKET, "k");
        assert_eq!(content.as_deref(), there.map(str::as_bytes));
    }
    // Nobody can tell where the object may not be looked at.
    let fixture = Fixture::start();
    fixture.rules(&[
        Rule::new(Fault::LoseAnswer)
            .on("CompleteMultipartUpload")
            .times(1),
        Rule::new(Fault::Deny).on("HeadObject"),
    ]);
    let error = upload(&fixture, MIB, 500_000).unwrap_err();
    assert_eq!(error.context().code.as_deref(), Some("NoSuchUpload"));
}

#[test]
fn an_abort_is_tried_again() {
    let fixture = Fixture::start();
    fixture.rules(&[Rule::new(Fault::SlowDown)
        .on("AbortMultipartUpload")
        .times(3)]);
    let mut upload = fixture.store.upload(request("k"), PLENTY).unwrap();
    block_on(upload.write(bytes(2 * MIB))).unwrap();
    wait_until_begun(&fixture.server);
    drop(upload);
    wait_until_aborted(&fixture.server);
    assert_eq!(fixture.server.model().rules[0].fired, 3);
}

#[test]
fn an_upload_that_the_store_does_not_encrypt_is_an_error() {
    let fixture = Fixture::with(|config| config.encryption = Some(Encryption::S3));
    upload(&fixture, 2 * MIB, 1 << 20).unwrap();
    let stored = etag(&fixture.store, "k");
    fixture.rules(&[Rule::new(Fault::Unaware)]);
    let error = upload(&fixture, 3 * MIB, 1 << 20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    wait_until_aborted(&fixture.server);
    assert_eq!(etag(&fixture.store, "k"), stored);
}

#[test]
fn an_upload_of_more_parts_than_s3_takes_is_refused() {
    let fixture = Fixture::with(|config| config.write_part_bytes = 1);
    // Held back until then, parts cost nothing.
    fixture.rules(&[Rule::new(Fault::Latency { ms: 2000 }).on("CreateMultipartUpload")]);
    let mut upload = fixture.store.upload(request("k"), u64::MAX).unwrap();
    block_on(upload.write(bytes(10_000))).unwrap();
    let error = block_on(upload.write(bytes(1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    drop(upload);
    wait_for_aborts(&fixture.server, 1);
    wait_until_aborted(&fixture.server);
}

#[test]
fn uploads_run_side_by_side() {
    let fixture = Fixture::start();
    let mut uploads: Vec<Box<dyn Upload>> = (0..8)
        .map(|number| {
            let request = request(&format!("k{number}"));
            fixture.store.upload(request, 2 * MIB).unwrap()
        })
        .collect();
    for round in 0..5_u64 {
        for (number, upload) in (0..).zip(&mut uploads) {
            let start = usize::try_from(round * MIB + number).unwrap();
            let piece = bytes(6 * MIB).slice(start..start + 1_000_000);
            block_on(upload.write(piece)).unwrap();
        }
    }
    for upload in uploads {
        block_on(upload.complete()).unwrap();
    }
    for number in 0..8 {
        let content = fixture.server.read_object(BUCKET, &format!("k{number}"));
        let expected: Vec<u8> = (0..5)
            .flat_map(|round| {
                let start = usize::try_from(round * MIB).unwrap() + number;
                bytes(6 * MIB).slice(start..start + 1_000_000)
            })
            .collect();
        assert!(content == Some(expected), "upload {number}");
    }
    assert_eq!(fixture.server.keys(BUCKET).len(), 8);
    block_on(fixture.store.delete(&key("k0"))).unwrap();
}
