//! Copies and renames.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use mount_s3::s3::{
    CopyRequest, ETag, Encryption, ErrorKind, ObjectDetails, PutCondition, PutRequest,
    RenameRequest, S3Config, Store,
};
use s3_test_server::{Config, Fault, ObjectSpec, Rule};

use super::store_suite::{etag, key};
use super::stores::wait::{LONG, once_in_five, wait_for, within};
use super::support::{BUCKET, Fixture, MIB};
use super::write::{map, put, request};

fn copy(from: &str, version: &ETag, to: &str) -> CopyRequest {
    CopyRequest {
        from: key(from),
        version: version.clone(),
        size: 5,
        to: key(to),
        condition: PutCondition::Any,
        metadata: None,
    }
}

fn rename(from: &str, to: &str) -> RenameRequest {
    RenameRequest {
        from: key(from),
        version: None,
        to: key(to),
        replace: true,
    }
}

fn details(fixture: &Fixture, name: &str) -> Arc<ObjectDetails> {
    let info = block_on(fixture.store.head(&key(name))).unwrap();
    info.details.unwrap()
}

/// An object `from` of five bytes with a content type and metadata.
fn with_source(fixture: &Fixture) -> ETag {
    let described = PutRequest {
        content_type: Some("text/plain".to_owned()),
        metadata: map(&[("mode", "0644"), ("owner", "Zoë")]),
        ..request("from ü")
    };
    put(&fixture.store, described, "bytes").unwrap().etag
}

#[test]
fn a_copy_has_the_bytes_and_what_describes_them() {
    let fixture = Fixture::start();
    let version = with_source(&fixture);
    let stored = block_on(fixture.store.copy(copy("from ü", &version, "to"))).unwrap();
    assert_eq!(stored.size, 5);
    assert_eq!(stored.etag, etag(&fixture.store, "to"));
    assert_eq!(fixture.server.read_object(BUCKET, "to").unwrap(), b"bytes");
    let details = details(&fixture, "to");
    assert_eq!(details.content_type.as_deref(), Some("text/plain"));
    assert_eq!(details.metadata, map(&[("mode", "0644"), ("owner", "Zoë")]));
    assert_eq!(fixture.server.stats().operations["CopyObject"].count, 1);
}

#[test]
fn a_copy_may_have_other_metadata() {
    let fixture = Fixture::start();
    let version = with_source(&fixture);
    let request = CopyRequest {
        metadata: Some(map(&[("mode", "0600")])),
        ..copy("from ü", &version, "from ü")
    };
    block_on(fixture.store.copy(request)).unwrap();
    let details = details(&fixture, "from ü");
    assert_eq!(details.content_type.as_deref(), Some("text/plain"));
    assert_eq!(details.metadata, map(&[("mode", "0600")]));
}

#[test]
fn an_object_copied_onto_itself_stays_as_it_is_stored() {
    let cheap = |config: &mut S3Config| config.storage_class = Some("STANDARD_IA".to_owned());
    let fixture = Fixture::with(cheap);
    for (name, class) in [("warm", Some("ONEZONE_IA")), ("usual", None)] {
        fixture.server.put_object(&ObjectSpec {
            content_type: Some("text/plain".to_owned()),
            storage_class: class.map(str::to_owned),
            ..ObjectSpec::synthetic(BUCKET, name, 1, 5)
        });
        let version = etag(&fixture.store, name);
        let request = CopyRequest {
            metadata: Some(map(&[("mode", "33188")])),
            condition: PutCondition::Version(version.clone()),
            ..copy(name, &version, name)
        };
        block_on(fixture.store.copy(request)).unwrap();
        let details = details(&fixture, name);
        assert_eq!(details.storage_class.as_deref(), class, "{name}");
        assert_eq!(details.content_type.as_deref(), Some("text/plain"));
        assert_eq!(details.metadata, map(&[("mode", "33188")]));
    }
}

#[test]
fn a_copy_is_of_the_version_asked_for() {
    let fixture = Fixture::start();
    let version = with_source(&fixture);
    put(&fixture.store, request("from ü"), "other").unwrap();
    for metadata in [None, Some(map(&[]))] {
        let request = CopyRequest {
            metadata,
            ..copy("from ü", &version, "to")
        };
        let error = block_on(fixture.store.copy(request)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    }
    let error = block_on(fixture.store.copy(copy("gone", &version, "to"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(fixture.server.keys(BUCKET), ["from ü"]);
}

#[test]
fn a_copy_keeps_to_the_condition_on_its_target() {
    let fixture = Fixture::start();
    let version = with_source(&fixture);
    let copy = |condition| {
        let request = CopyRequest {
            condition,
            ..copy("from ü", &version, "to")
        };
        block_on(fixture.store.copy(request))
    };
    let stored = copy(PutCondition::Absent).unwrap();
    let error = copy(PutCondition::Absent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    copy(PutCondition::Version(stored.etag)).unwrap();
    let error = copy(PutCondition::Version(ETag::new("\"none\""))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
}

#[test]
fn a_copy_is_encrypted_as_the_store_is_to() {
    let fixture = Fixture::with(|config| config.encryption = Some(Encryption::S3));
    let version = with_source(&fixture);
    block_on(fixture.store.copy(copy("from ü", &version, "to"))).unwrap();
    fixture.rules(&[Rule::new(Fault::Unaware).on("CopyObject")]);
    let error = block_on(fixture.store.copy(copy("from ü", &version, "to"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
}

/// More than is copied at once.
const LARGE: u64 = (1 << 30) + 5 * MIB;

fn with_large_source() -> (Fixture, CopyRequest) {
    let fast = Config {
        fast_etag: true,
        ..Config::default()
    };
    let fixture = Fixture::over(fast, |_| ());
    fixture.server.put_object(&ObjectSpec {
        content_type: Some("text/plain".to_owned()),
        metadata: [("mode".to_owned(), "0644".to_owned())].into(),
        ..ObjectSpec::synthetic(BUCKET, "large", 9, LARGE)
    });
    let request = CopyRequest {
        size: LARGE,
        ..copy("large", &etag(&fixture.store, "large"), "to")
    };
    (fixture, request)
}

#[test]
fn a_large_object_is_copied_in_parts() {
    let (fixture, request) = with_large_source();
    let stored = block_on(fixture.store.copy(request)).unwrap();
    let info = block_on(fixture.store.head(&key("to"))).unwrap();
    assert_eq!((info.size, &info.etag), (LARGE, &stored.etag));
    let details = info.details.unwrap();
    assert_eq!(details.content_type.as_deref(), Some("text/plain"));
    assert_eq!(details.metadata, map(&[("mode", "0644")]));
    assert_eq!(fixture.server.stats().operations["UploadPartCopy"].count, 9);
    for offset in [0, LARGE / 2, LARGE - MIB] {
        let body = super::store_suite::get(&fixture.store, "to", offset..offset + MIB).unwrap();
        assert_eq!(
            s3_test_server::synthetic::first_difference(9, offset, &body),
            None
        );
    }
}

#[test]
fn a_large_copy_that_fails_leaves_nothing() {
    let (fixture, request) = with_large_source();
    let mut third = Rule::new(Fault::Deny).on("UploadPartCopy");
    third.skip = 2;
    fixture.rules(&[third]);
    let error = block_on(fixture.store.copy(request.clone())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    fixture.plant("large", 10, LARGE);
    let error = block_on(fixture.store.copy(request)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    wait_for("no upload is left", LONG, || {
        fixture.server.uploads(BUCKET).is_empty().then_some(())
    });
    assert_eq!(fixture.server.keys(BUCKET), ["large"]);
}

#[test]
fn a_large_copy_is_never_of_two_versions() {
    // A version that comes later than that may come when all parts are there.
    let latency = Duration::from_secs(2);
    once_in_five(|_| {
        let (fixture, request) = with_large_source();
        fixture.rules(&[
            Rule::new(Fault::Unaware).on("UploadPartCopy"),
            Rule::new(Fault::Latency { ms: 2000 }).on("UploadPartCopy"),
        ]);
        let start = Instant::now();
        let (copied, took) = std::thread::scope(|scope| {
            let copying = scope.spawn(|| block_on(fixture.store.copy(request)));
            wait_for("a part is asked for", LONG, || {
                (fixture.server.model().rules[1].matched > 0).then_some(())
            });
            fixture.plant("large", 10, LARGE);
            let took = start.elapsed();
            (copying.join().expect("it ends"), took)
        });
        within(took, latency)?;
        let error = copied.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
        assert_eq!(fixture.server.keys(BUCKET), ["large"]);
        Ok(())
    });
}

#[test]
fn a_rename_moves_the_object() {
    let fixture = Fixture::directory();
    let version = with_source(&fixture);
    block_on(fixture.store.rename(rename("from ü", "to & fro"))).unwrap();
    assert_eq!(fixture.server.keys(BUCKET), ["to & fro"]);
    assert_eq!(etag(&fixture.store, "to & fro"), version);
    let error = block_on(fixture.store.rename(rename("from ü", "x"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(error.context().operation, "RenameObject");
}

#[test]
fn a_rename_keeps_to_its_conditions() {
    let fixture = Fixture::directory();
    let version = with_source(&fixture);
    put(&fixture.store, request("to"), "there").unwrap();
    let refused = [
        RenameRequest {
            replace: false,
            ..rename("from ü", "to")
        },
        RenameRequest {
            version: Some(ETag::new("\"none\"")),
            ..rename("from ü", "to")
        },
    ];
    for request in refused {
        let error = block_on(fixture.store.rename(request)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    }
    let request = RenameRequest {
        version: Some(version.clone()),
        ..rename("from ü", "to")
    };
    block_on(fixture.store.rename(request)).unwrap();
    assert_eq!(etag(&fixture.store, "to"), version);
    assert_eq!(fixture.server.keys(BUCKET), ["to"]);
}

#[test]
fn a_rename_whose_answer_is_lost_is_done_once() {
    let fixture = Fixture::directory();
    with_source(&fixture);
    fixture.rules(&[Rule::new(Fault::LoseAnswer).on("RenameObject").times(1)]);
    block_on(fixture.store.rename(rename("from ü", "to"))).unwrap();
    assert_eq!(fixture.server.model().rules[0].fired, 1);
    assert_eq!(fixture.server.keys(BUCKET), ["to"]);
}

#[test]
fn a_rename_in_a_bucket_without_is_an_error() {
    let fixture = Fixture::start();
    with_source(&fixture);
    let error = block_on(fixture.store.rename(rename("from ü", "to"))).unwrap_err();
    assert_eq!(error.context().code.as_deref(), Some("NotImplemented"));
    fixture.rules(&[Rule::new(Fault::Deny).on("RenameObject")]);
    let error = block_on(fixture.store.rename(rename("from ü", "to"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert_eq!(fixture.server.keys(BUCKET), ["from ü"]);
}

#[test]
fn a_rename_by_a_store_that_is_unaware_loses_nothing() {
    let fixture = Fixture::directory();
    with_source(&fixture);
    put(&fixture.store, request("to"), "there").unwrap();
    fixture.rules(&[Rule::new(Fault::Unaware)]);
    for replace in [true, false] {
        for to in ["to", "d/new"] {
            let request = RenameRequest {
                replace,
                ..rename("from ü", to)
            };
            let error = block_on(fixture.store.rename(request)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
            assert_eq!(error.context().operation, "RenameObject");
        }
    }
    assert_eq!(fixture.server.keys(BUCKET), ["from ü", "to"]);
    assert_eq!(fixture.server.read_object(BUCKET, "to").unwrap(), b"there");
    let source = fixture.server.read_object(BUCKET, "from ü");
    assert_eq!(source.unwrap(), b"bytes");
}

#[test]
fn a_rename_that_is_answered_and_not_done_is_an_error() {
    let fixture = Fixture::directory();
    with_source(&fixture);
    put(&fixture.store, request("known"), "x").unwrap();
    block_on(fixture.store.rename(rename("known", "renamed"))).unwrap();
    fixture.rules(&[Rule::new(Fault::Unaware)]);
    let error = block_on(fixture.store.rename(rename("from ü", "new"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    let source = fixture.server.read_object(BUCKET, "from ü");
    assert_eq!(source.unwrap(), b"bytes");
}

#[test]
fn a_store_proves_once_that_it_renames() {
    let fixture = Fixture::directory();
    for name in ["a", "b", "c"] {
        put(&fixture.store, request(name), "x").unwrap();
        block_on(fixture.store.rename(rename(name, "to"))).unwrap();
    }
    let operations = fixture.server.stats().operations;
    assert_eq!(operations["RenameObject"].count, 4);
    assert_eq!(operations["HeadObject"].count, 3);
    assert_eq!(fixture.server.keys(BUCKET), ["to"]);
}
