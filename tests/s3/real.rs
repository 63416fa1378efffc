//! What holds for stores that were not made for these tests: SeaweedFS and Ceph RGW.

use bytes::Bytes;
use futures::executor::block_on;
use mount_s3::s3::{
    Addressing, Auth, BucketName, CopyRequest, ETag, ErrorKind, PutCondition, PutRequest, S3Config,
    S3Store, Store, UploadChecksums,
};

use super::store_suite::{Bucket, get, key, run_without_archive};
use super::stores::rgw::Rgw;
use super::stores::seaweed::SeaweedFs;
use super::stores::store::TestStore;
use super::support::{Crt, MIB};
use super::write::{map, put, request, when};

/// Makes every function a test on SeaweedFS and a test on RGW.
macro_rules! on_real_stores {
    ($($name:ident),* $(,)?) => {
        mod seaweed {
            $(#[test] fn $name() { super::$name(super::SeaweedFs::shared()); })*
        }
        mod rgw {
            $(#[test] fn $name() { super::$name(super::Rgw::shared()); })*
        }
    };
}

on_real_stores!(
    puts_and_uploads_arrive_with_every_checksum,
    puts_keep_to_their_conditions,
    copies_and_deletes_work,
    a_large_directory_is_listed_in_pages,
);

/// A bucket of its own in a real store, and a client of it. Fields are dropped in this order.
pub(crate) struct Real {
    pub(crate) store: S3Store,
    _crt: Crt,
    from: &'static dyn TestStore,
    bucket: String,
}

impl Real {
    pub(crate) fn start(from: &'static dyn TestStore, checksums: UploadChecksums) -> Self {
        Self::with(from, |config| config.upload_checksums = checksums)
    }

    /// With a configuration that `change` has changed.
    pub(crate) fn with(from: &'static dyn TestStore, change: impl FnOnce(&mut S3Config)) -> Self {
        let bucket = from.fresh_bucket();
        let (access_key_id, secret_access_key) = from.credentials();
        let mut config = S3Config {
            endpoint_url: Some(from.endpoint()),
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
            ..S3Config::new(BucketName::new(bucket.as_str()).expect("a name"))
        };
        change(&mut config);
        let crt = Crt::start();
        let store = crt.connect(config).expect("it connects");
        Self {
            store,
            _crt: crt,
            from,
            bucket,
        }
    }
}

impl Bucket for Real {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn put(&self, key: &str, text: &str) {
        self.from.put(&self.bucket, key, text.as_bytes());
    }

    fn remove(&self, key: &str) {
        self.from.delete(&self.bucket, key);
    }
}

/// The listings of SeaweedFS differ: docs/stores.md.
#[test]
fn rgw_does_what_every_store_has_to_do() {
    run_without_archive(&Real::start(Rgw::shared(), UploadChecksums::Crc32c));
}

fn puts_and_uploads_arrive_with_every_checksum(from: &'static dyn TestStore) {
    for checksums in [
        UploadChecksums::Crc32c,
        UploadChecksums::Crc64Nvme,
        UploadChecksums::Off,
    ] {
        let Real { store, .. } = &Real::start(from, checksums);
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

fn puts_keep_to_their_conditions(from: &'static dyn TestStore) {
    let Real { store, .. } = &Real::start(from, UploadChecksums::Crc32c);
    put(store, when("k", PutCondition::Absent), "one").unwrap();
    let error = put(store, when("k", PutCondition::Absent), "two").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    let other = PutCondition::Version(ETag::new("\"other\""));
    let error = put(store, when("k", other), "two").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    assert_eq!(get(store, "k", 0..3).unwrap(), b"one");
}

fn copies_and_deletes_work(from: &'static dyn TestStore) {
    let Real { store, .. } = &Real::start(from, UploadChecksums::Crc32c);
    let described = PutRequest {
        content_type: Some("text/plain".to_owned()),
        metadata: map(&[("mode", "0644")]),
        ..request("from a")
    };
    let version = put(store, described, "bytes").unwrap().etag;
    let copy = CopyRequest {
        from: key("from a"),
        version,
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
    for _ in 0..2 {
        block_on(store.delete(&key("to"))).unwrap();
    }
    let error = block_on(store.head(&key("to"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

fn a_large_directory_is_listed_in_pages(from: &'static dyn TestStore) {
    let real = &Real::start(from, UploadChecksums::Crc32c);
    for number in 0..30 {
        real.put(&format!("d/{number:02}"), "x");
        real.put(&format!("d/{number:02}.d/x"), "x");
    }
    let (objects, prefixes) = super::store_suite::list(&real.store, "d/", true, Some(7));
    assert_eq!((objects.len(), prefixes.len()), (30, 30));
}
