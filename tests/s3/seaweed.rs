//! Writing to SeaweedFS: a store that was not made for these tests.

use bytes::Bytes;
use futures::executor::block_on;
use mount_s3::s3::{
    Addressing, Auth, BucketName, CopyRequest, ErrorKind, PutCondition, PutRequest, RenameRequest,
    S3Config, S3Store, Store, UploadChecksums,
};

use super::store_suite::{get, key};
use super::stores::seaweed::SeaweedFs;
use super::stores::store::TestStore;
use super::support::{Crt, MIB};
use super::write::{map, put, request, when};

/// A store over a bucket of its own. Fields are dropped in this order.
struct Weed {
    store: S3Store,
    _crt: Crt,
}

impl Weed {
    fn start(checksums: UploadChecksums) -> Self {
        let weed = SeaweedFs::shared();
        let bucket = weed.fresh_bucket();
        let (access_key_id, secret_access_key) = weed.credentials();
        let config = S3Config {
            endpoint_url: Some(weed.endpoint()),
            region: Some("us-east-1".to_owned()),
            addressing: Addressing {
                path_style: true,
                ..Addressing::default()
            },
            auth: Auth::Static {
                access_key_id: access_key_id.to_owned(),
                secret_access_key: secret_access_key.to_owned(),
                session_token: None,
            },
            write_part_bytes: 5 * MIB,
            upload_checksums: checksums,
            ..S3Config::new(BucketName::new(bucket).expect("a name"))
        };
        let crt = Crt::start();
        let store = crt.connect(config).expect("it connects");
        Self { store, _crt: crt }
    }
}

#[test]
fn puts_and_uploads_arrive_with_every_checksum() {
    for checksums in [
        UploadChecksums::Crc32c,
        UploadChecksums::Crc64Nvme,
        UploadChecksums::Off,
    ] {
        let Weed { store, _crt } = &Weed::start(checksums);
        put(store, request("put"), "some text").unwrap();
        assert_eq!(get(store, "put", 0..9).unwrap(), b"some text");
        let body: Bytes = (0..12 * MIB + 3).map(|at| (at % 251) as u8).collect();
        let mut upload = store.upload(request("upload"), 20 * MIB).unwrap();
        for start in (0..body.len()).step_by(1 << 20) {
            let end = body.len().min(start + (1 << 20));
            block_on(upload.write(body.slice(start..end))).unwrap();
        }
        let stored = block_on(upload.complete()).unwrap();
        let info = block_on(store.head(&key("upload"))).unwrap();
        assert_eq!((info.size, info.etag), (stored.size, stored.etag));
        assert!(get(store, "upload", 0..12 * MIB + 3).unwrap() == body);
    }
}

#[test]
fn conditions_hold() {
    let Weed { store, _crt } = &Weed::start(UploadChecksums::Crc32c);
    let first = put(store, when("k", PutCondition::Absent), "one").unwrap();
    let error = put(store, when("k", PutCondition::Absent), "two").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    let version = PutCondition::Version(first.etag);
    put(store, when("k", version.clone()), "two").unwrap();
    let error = put(store, when("k", version), "three").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    let mut upload = store.upload(when("k", PutCondition::Absent), MIB).unwrap();
    block_on(upload.write(Bytes::from_static(b"three"))).unwrap();
    let error = block_on(upload.complete()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    assert_eq!(get(store, "k", 0..3).unwrap(), b"two");
}

#[test]
fn copies_renames_and_deletes_work() {
    let Weed { store, _crt } = &Weed::start(UploadChecksums::Crc32c);
    let described = PutRequest {
        content_type: Some("text/plain".to_owned()),
        metadata: map(&[("mode", "0644")]),
        ..request("from a")
    };
    let version = put(store, described, "bytes").unwrap().etag;
    let copy = CopyRequest {
        from: key("from a"),
        version: version.clone(),
        size: 5,
        to: key("to"),
        condition: PutCondition::Any,
        metadata: None,
    };
    block_on(store.copy(copy.clone())).unwrap();
    let details = block_on(store.head(&key("to"))).unwrap().details.unwrap();
    assert_eq!(details.content_type.as_deref(), Some("text/plain"));
    assert_eq!(details.metadata, map(&[("mode", "0644")]));
    let changed = CopyRequest {
        metadata: Some(map(&[("mode", "0600")])),
        ..copy
    };
    block_on(store.copy(changed)).unwrap();
    let details = block_on(store.head(&key("to"))).unwrap().details.unwrap();
    assert_eq!(details.metadata, map(&[("mode", "0600")]));
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
    for _ in 0..2 {
        block_on(store.delete(&key("moved"))).unwrap();
    }
    let error = block_on(store.head(&key("moved"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
