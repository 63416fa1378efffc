//! What Ceph RGW lacks, and what that does: docs/stores.md lists it. Whoever runs a newer RGW finds
//! here what has changed.

use bytes::Bytes;
use futures::executor::block_on;
use mount_s3::s3::{
    CopyRequest, ETag, Encryption, ErrorKind, PutCondition, PutRequest, RenameRequest, Store,
    UploadChecksums,
};

use super::real::Real;
use super::store_suite::{Bucket, get, key};
use super::stores::rgw::Rgw;
use super::support::MIB;
use super::write::{put, request, when};

fn start() -> Real {
    Real::start(Rgw::shared(), UploadChecksums::Crc32c)
}

#[test]
fn renames_are_refused_and_lose_nothing() {
    let real = start();
    real.put("from", "bytes");
    real.put("d/to", "there");
    for (to, replace) in [("d/to", true), ("d/to", false), ("d/new", true)] {
        let request = RenameRequest {
            from: key("from"),
            version: None,
            to: key(to),
            replace,
        };
        let error = block_on(real.store.rename(request)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    }
    assert_eq!(get(&real.store, "from", 0..5).unwrap(), b"bytes");
    assert_eq!(get(&real.store, "d/to", 0..5).unwrap(), b"there");
    let all = super::store_suite::list(&real.store, "", false, None).0;
    assert_eq!(all, ["d/to", "from"]);
}

#[test]
fn appends_are_refused_and_lose_nothing() {
    let real = start();
    real.put("log", "one");
    let append = PutRequest {
        append_at: Some(3),
        ..request("log")
    };
    let error = put(&real.store, append, " two").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    let all = super::store_suite::list(&real.store, "", false, None).0;
    assert_eq!(all, ["log"]);
    assert_eq!(get(&real.store, "log", 0..3).unwrap(), b"one");
}

#[test]
fn encryption_that_is_not_set_up_is_an_error() {
    let encrypting = Real::with(Rgw::shared(), |config| {
        config.encryption = Some(Encryption::S3);
    });
    let error = put(&encrypting.store, request("k"), "x").unwrap_err();
    assert_eq!(error.context().status, Some(400), "{error}");
    let error = block_on(encrypting.store.head(&key("k"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn conditions_of_uploads_and_copies_are_ignored() {
    let real = start();
    real.put("k", "one");
    let mut upload = real
        .store
        .upload(when("k", PutCondition::Absent), MIB)
        .unwrap();
    block_on(upload.write(Bytes::from_static(b"two"))).unwrap();
    block_on(upload.complete()).unwrap();
    assert_eq!(get(&real.store, "k", 0..3).unwrap(), b"two");
    let copy = CopyRequest {
        from: key("k"),
        version: ETag::new("\"another\""),
        size: 3,
        to: key("to"),
        condition: PutCondition::Absent,
        metadata: None,
    };
    real.put("to", "there");
    block_on(real.store.copy(copy)).unwrap();
    assert_eq!(get(&real.store, "to", 0..3).unwrap(), b"two");
}

#[test]
fn no_version_fulfils_the_condition_of_a_put() {
    let real = start();
    let first = put(&real.store, request("k"), "one").unwrap();
    let version = PutCondition::Version(first.etag);
    let error = put(&real.store, when("k", version), "two").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
}
