//! Tests of [`mount_s3::s3::S3Store`] over a local server, with every fault that it can make.

mod collector;
mod connect;
mod copy;
mod faults;
mod read;
mod real;
mod rgw;
mod rogue;
mod seaweed;
mod store_suite;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "most of it is for tests of mounts")]
mod stores;
mod strange;
mod support;
mod upload;
mod write;

/// What the suite that is shared with unit tests names by another path there.
mod api {
    pub(crate) use mount_s3::s3::{
        BodySink, ETag, Error, ErrorKind, GetRequest, InFlight, Key, ListFrom, ListRequest,
        ListedObject, Restore, StorageClass, Store,
    };
}

#[test]
fn store_does_what_every_store_has_to_do() {
    store_suite::run(&support::Fixture::start());
}
