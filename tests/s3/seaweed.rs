//! What SeaweedFS does beside what [`super::real`] tests.

use bytes::Bytes;
use futures::executor::block_on;
use mount_s3::s3::{ErrorKind, PutCondition, RenameRequest, Store, UploadChecksums};

use super::real::Real;
use super::store_suite::{get, key};
use super::stores::seaweed::SeaweedFs;
use super::support::MIB;
use super::write::{put, request, when};

#[test]
fn puts_and_uploads_keep_to_their_conditions() {
    let Real { store, .. } = &Real::start(SeaweedFs::shared(), UploadChecksums::Crc32c);
    let first = put(store, request("k"), "one").unwrap();
    put(store, when("k", PutCondition::Version(first.etag)), "two").unwrap();
    let mut upload = store.upload(when("k", PutCondition::Absent), MIB).unwrap();
    block_on(upload.write(Bytes::from_static(b"three"))).unwrap();
    let error = block_on(upload.complete()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    assert_eq!(get(store, "k", 0..3).unwrap(), b"two");
}

#[test]
fn renames_work() {
    let Real { store, .. } = &Real::start(SeaweedFs::shared(), UploadChecksums::Crc32c);
    let version = put(store, request("from a"), "bytes").unwrap().etag;
    let rename = RenameRequest {
        from: key("from a"),
        version: Some(version),
        to: key("moved"),
        replace: false,
    };
    block_on(store.rename(rename)).unwrap();
    assert_eq!(get(store, "moved", 0..5).unwrap(), b"bytes");
    let error = block_on(store.head(&key("from a"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
