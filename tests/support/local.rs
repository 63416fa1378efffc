//! The local S3 server, in this process.

use std::sync::{Arc, LazyLock};

use s3_test_server::{BulkSpec, Config, Model, ObjectSpec, Server};

use super::store::TestStore;
use super::wait::{LONG, wait_for};

/// A local S3 server; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Local(Arc<Server>);

static SHARED: LazyLock<Local> = LazyLock::new(Local::start);

impl Local {
    /// Starts a server of the test's own, for tests that change its model or count its requests.
    pub(crate) fn start() -> Self {
        Self(Arc::new(
            Server::start(Config::default()).expect("start the local S3 server"),
        ))
    }

    /// As [`Self::start`], with directory buckets.
    pub(crate) fn start_with_directory_buckets() -> Self {
        let config = Config {
            directory: true,
            ..Config::default()
        };
        Self(Arc::new(
            Server::start(config).expect("start the local S3 server"),
        ))
    }

    /// The server that tests share which only plant objects in buckets of their own.
    pub(crate) fn shared() -> &'static Self {
        &SHARED
    }

    /// Puts a synthetic object, of any size.
    pub(crate) fn plant(&self, bucket: &str, key: &str, size: u64, seed: u64) {
        self.0
            .put_object(&ObjectSpec::synthetic(bucket, key, seed, size));
    }

    /// Puts an object that is archived and not restored.
    pub(crate) fn plant_archived(&self, bucket: &str, key: &str, size: u64) {
        self.0.put_object(&ObjectSpec {
            storage_class: Some("GLACIER".to_owned()),
            ..ObjectSpec::synthetic(bucket, key, 1, size)
        });
    }

    /// Puts `count` objects of `size` bytes under `prefix`.
    pub(crate) fn plant_many(&self, bucket: &str, prefix: &str, count: u64, size: u64) {
        let spec = BulkSpec {
            bucket: bucket.to_owned(),
            key: format!("{prefix}{{i:07}}"),
            count,
            size,
            ..BulkSpec::default()
        };
        self.0.put_objects(&spec).expect("plant many objects");
    }

    /// The bytes of an object, if there is one.
    pub(crate) fn body(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        self.0.read_object(bucket, key)
    }

    /// The keys of a bucket, in order.
    pub(crate) fn keys(&self, bucket: &str) -> Vec<String> {
        self.0.keys(bucket)
    }

    /// The keys of multipart uploads that are neither completed nor aborted.
    pub(crate) fn uploads(&self, bucket: &str) -> Vec<String> {
        self.0.uploads(bucket)
    }

    /// How often an S3 operation was asked for so far.
    pub(crate) fn count(&self, operation: &str) -> u64 {
        self.0.stats().count(operation)
    }

    /// How often an S3 operation was asked for in a bucket, of the last 10,000 requests.
    pub(crate) fn count_of(&self, operation: &str, bucket: &str) -> usize {
        let stats = self.0.stats();
        let logged = stats.logged(operation);
        logged.filter(|entry| entry.bucket == bucket).count()
    }

    /// Sets how the server behaves from now on.
    pub(crate) fn set_model(&self, model: Model) {
        self.0.set_model(model);
    }

    /// How often the rules of the model and its rate of 503s have struck.
    pub(crate) fn faults_fired(&self) -> u64 {
        let slow_downs = self
            .0
            .stats()
            .statuses
            .get(&503)
            .copied()
            .unwrap_or_default();
        slow_downs
            + self
                .0
                .model()
                .rules
                .iter()
                .map(|rule| rule.fired)
                .sum::<u64>()
    }

    /// How many requests the model's rule with this index could have struck, answered or not.
    pub(crate) fn matched(&self, rule: usize) -> u64 {
        self.0.model().rules[rule].matched
    }

    /// Waits until all clients are gone, and everything that they have asked for is done.
    pub(crate) fn wait_for_no_connection(&self) {
        // Answered after the connections of others were accepted. What it says does not matter.
        let _answer = ureq::get(self.endpoint()).call();
        wait_for("no connection is open", LONG, || {
            (self.0.stats().connections_open == 0).then_some(())
        });
    }

    /// Requests answered so far.
    pub(crate) fn requests(&self) -> u64 {
        self.0.stats().requests()
    }

    /// Bytes of object bodies sent so far.
    pub(crate) fn body_bytes_sent(&self) -> u64 {
        let operations = self.0.stats().operations;
        operations
            .get("GetObject")
            .map_or(0, |get| get.body_bytes_sent)
    }
}

impl TestStore for Local {
    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    fn credentials(&self) -> (&str, &str) {
        ("test", "test")
    }

    fn create_bucket(&self, bucket: &str) {
        self.0.create_bucket(bucket);
    }

    fn put(&self, bucket: &str, key: &str, body: &[u8]) {
        self.0.put_bytes(bucket, key, body);
    }

    fn delete(&self, bucket: &str, key: &str) {
        self.0.delete_object(bucket, key);
    }
}
