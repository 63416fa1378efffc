//! Writes of one request: put, append, delete.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::executor::block_on;
use mount_s3::s3::{
    ETag, Encryption, Error, ErrorKind, PutCondition, PutRequest, Store, Stored, UploadChecksums,
};
use s3_test_server::{Fault, Rule};

use super::store_suite::{etag, key};
use super::support::{BUCKET, Fixture, impatient};

pub(crate) fn put(store: &dyn Store, request: PutRequest, text: &str) -> Result<Stored, Error> {
    block_on(store.put(request, Bytes::copy_from_slice(text.as_bytes())))
}

pub(crate) fn request(text: &str) -> PutRequest {
    PutRequest::new(key(text))
}

pub(crate) fn when(text: &str, condition: PutCondition) -> PutRequest {
    PutRequest {
        condition,
        ..request(text)
    }
}

fn append(text: &str, offset: u64) -> PutRequest {
    PutRequest {
        append_at: Some(offset),
        ..request(text)
    }
}

fn content(fixture: &Fixture, key: &str) -> Option<String> {
    let content = fixture.server.read_object(BUCKET, key)?;
    Some(String::from_utf8(content).expect("text"))
}

pub(crate) fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn put_stores_the_bytes_and_answers_their_version() {
    let fixture = Fixture::start();
    for text in ["", "x", "some more text"] {
        let stored = put(&fixture.store, request("k"), text).unwrap();
        assert_eq!(stored.size, text.len() as u64);
        assert_eq!(stored.etag, etag(&fixture.store, "k"));
        assert_eq!(content(&fixture, "k").as_deref(), Some(text));
    }
}

#[test]
fn put_has_the_checksum_of_the_store() {
    let sums = [
        (UploadChecksums::Crc32c, "crc32c"),
        (UploadChecksums::Crc64Nvme, "crc64nvme"),
        (UploadChecksums::Off, ""),
    ];
    for (checksums, name) in sums {
        let fixture = Fixture::with(|config| config.upload_checksums = checksums);
        put(&fixture.store, request("k"), "bytes").unwrap();
        fixture.rules(&[Rule::new(Fault::CorruptUpload { offset: 1 }).on("PutObject")]);
        let corrupted = put(&fixture.store, request("broken"), "bytes");
        if name.is_empty() {
            assert_eq!(content(&fixture, "broken").as_deref(), Some("bxtes"));
            assert!(corrupted.is_ok());
        } else {
            let error = corrupted.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
            assert_eq!(error.context().operation, "PutObject");
            assert_eq!(content(&fixture, "broken"), None);
            fixture.rules(&[Rule::new(Fault::WrongChecksum).on("PutObject")]);
            let error = put(&fixture.store, request("k"), "bytes").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
        }
    }
}

#[test]
fn put_keeps_to_its_condition() {
    let fixture = Fixture::start();
    let first = put(&fixture.store, when("k", PutCondition::Absent), "one").unwrap();
    let error = put(&fixture.store, when("k", PutCondition::Absent), "two").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    assert_eq!(error.context().status, Some(412));
    let version = PutCondition::Version(first.etag.clone());
    put(&fixture.store, when("k", version.clone()), "two").unwrap();
    let error = put(&fixture.store, when("k", version), "three").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    assert_eq!(content(&fixture, "k").as_deref(), Some("two"));
    let gone = PutCondition::Version(first.etag);
    let error = put(&fixture.store, when("gone", gone), "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn put_loses_against_another_writer() {
    let fixture = Fixture::start();
    let conflict = Fault::Error {
        status: 409,
        code: "ConditionalRequestConflict".to_owned(),
    };
    fixture.rules(&[Rule::new(conflict)]);
    let error = put(&fixture.store, when("k", PutCondition::Absent), "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
}

#[test]
fn details_are_what_was_put() {
    let fixture = Fixture::with(|config| config.storage_class = Some("STANDARD_IA".to_owned()));
    let metadata = map(&[("mode", "0644"), ("name", "Zoë  "), ("a-b.c_d", "=?x?=")]);
    let request = PutRequest {
        content_type: Some("text/plain; charset=utf-8".to_owned()),
        metadata: metadata.clone(),
        ..request("k")
    };
    let stored = put(&fixture.store, request, "text").unwrap();
    let info = block_on(fixture.store.head(&key("k"))).unwrap();
    assert_eq!(info.etag, stored.etag);
    assert_eq!(info.size, 4);
    let details = info.details.unwrap();
    assert_eq!(
        details.content_type.as_deref(),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(details.storage_class.as_deref(), Some("STANDARD_IA"));
    assert_eq!(details.version_id, None);
    assert_eq!(details.metadata, metadata);
    let error = block_on(fixture.store.head(&key("gone"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn what_http_cannot_carry_is_not_sent() {
    let fixture = Fixture::start();
    let strange = [
        PutRequest {
            metadata: map(&[("n", "a\nb")]),
            ..request("k")
        },
        PutRequest {
            metadata: map(&[("a b", "v")]),
            ..request("k")
        },
        PutRequest {
            content_type: Some("text\r\nx-evil: 1".to_owned()),
            ..request("k")
        },
    ];
    for request in strange {
        let error = put(&fixture.store, request.clone(), "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let error = fixture.store.upload(request, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert_eq!(fixture.server.stats().requests(), 0);
}

#[test]
fn encryption_that_the_store_does_not_do_is_an_error() {
    let key = "arn:aws:kms:us-east-1:1:key/0a".to_owned();
    let encryptions = [
        Encryption::S3,
        Encryption::Kms { key: None },
        Encryption::KmsDualLayer { key: Some(key) },
    ];
    for encryption in encryptions {
        let fixture = Fixture::with(|config| config.encryption = Some(encryption));
        put(&fixture.store, request("k"), "x").unwrap();
        fixture.rules(&[Rule::new(Fault::Unaware)]);
        let error = put(&fixture.store, request("k"), "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    }
}

#[test]
fn appends_continue_an_object() {
    let fixture = Fixture::directory();
    put(&fixture.store, request("k"), "one").unwrap();
    let stored = put(&fixture.store, append("k", 3), " two").unwrap();
    assert_eq!(stored.size, 7);
    assert_eq!(stored.etag, etag(&fixture.store, "k"));
    assert_eq!(content(&fixture, "k").as_deref(), Some("one two"));
    for offset in [0, 6, 8] {
        let error = put(&fixture.store, append("k", offset), "!").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    }
    assert_eq!(content(&fixture, "k").as_deref(), Some("one two"));
    let error = fixture.store.upload(append("k", 7), 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[test]
fn appends_to_a_store_that_cannot_are_errors() {
    let fixture = Fixture::start();
    put(&fixture.store, request("k"), "one").unwrap();
    let error = put(&fixture.store, append("k", 3), " two").unwrap_err();
    assert_eq!(error.context().code.as_deref(), Some("NotImplemented"));
    fixture.rules(&[Rule::new(Fault::Unaware)]);
    let error = put(&fixture.store, append("k", 3), " two").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    assert_eq!(error.context().key, "k");
    assert_eq!(content(&fixture, "k").as_deref(), Some("one"));
    assert_eq!(fixture.server.keys(BUCKET), ["k"]);
}

#[test]
fn an_append_that_the_store_does_not_confirm_is_an_error() {
    let fixture = Fixture::directory();
    put(&fixture.store, request("k"), "one").unwrap();
    put(&fixture.store, append("k", 3), " two").unwrap();
    fixture.rules(&[Rule::new(Fault::Unaware)]);
    let error = put(&fixture.store, append("k", 7), " three").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
}

#[test]
fn delete_of_nothing_is_no_error() {
    let fixture = Fixture::start();
    put(&fixture.store, request("k"), "x").unwrap();
    for _ in 0..2 {
        block_on(fixture.store.delete(&key("k"))).unwrap();
        assert_eq!(content(&fixture, "k"), None);
    }
    fixture.rules(&[Rule::new(Fault::Deny).on("DeleteObject")]);
    let error = block_on(fixture.store.delete(&key("k"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert_eq!(error.context().operation, "DeleteObject");
}

#[test]
fn writes_are_tried_again() {
    let fixture = Fixture::with(impatient);
    let once = |fault| Rule::new(fault).times(1);
    fixture.rules(&[
        once(Fault::Reset { after_bytes: None }),
        once(Fault::SlowDown),
        once(Fault::Latency { ms: 120_000 }),
    ]);
    put(&fixture.store, request("k"), "text").unwrap();
    assert_eq!(content(&fixture, "k").as_deref(), Some("text"));
    assert_eq!(fixture.fired(), 3);
}

#[test]
fn a_put_whose_future_is_dropped_leaves_the_next_one_alone() {
    // The first may never arrive; the next one is the slow one then.
    let fixture = Fixture::with(impatient);
    fixture.rules(&[Rule::new(Fault::Latency { ms: 120_000 }).times(1)]);
    let body = Bytes::from_static(b"first");
    let mut first = fixture.store.put(request("k"), body);
    let polled = block_on(async { futures::poll!(&mut first) });
    assert!(polled.is_pending());
    drop(first);
    put(&fixture.store, request("k"), "second").unwrap();
    assert_eq!(content(&fixture, "k").as_deref(), Some("second"));
    let old = PutCondition::Version(ETag::new("\"none\""));
    let error = put(&fixture.store, when("k", old), "third").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
}
