//! Ceph RGW: a real S3 store, one for the whole test binary, on loopback.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use rusty_s3::actions::{CreateBucket, PutObject, S3Action};
use rusty_s3::{Bucket, Credentials, UrlStyle};

use super::anonymous;
use super::ports::free_ports;
use super::store::TestStore;

/// A running RGW. As in SeaweedFS, requests without a signature are allowed everything in the
/// buckets of tests.
#[derive(Debug)]
pub(crate) struct Rgw {
    s3_port: u16,
    credentials: Credentials,
    _process: Child,
}

static SHARED: LazyLock<Rgw> = LazyLock::new(Rgw::start);

impl Rgw {
    /// The one store of this test binary, started when first asked for. It ends with the test
    /// process, although a static is never dropped: its script waits for a pipe whose other end
    /// only this process holds.
    pub(crate) fn shared() -> &'static Self {
        &SHARED
    }

    fn start() -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/rgw.sh");
        let directory = tempfile::tempdir().expect("a directory for RGW").keep();
        let [monitor_port, s3_port] = free_ports();
        let mut process = Command::new(script)
            .arg(&directory)
            .args([monitor_port.to_string(), s3_port.to_string()])
            .args([ACCESS_KEY, SECRET_KEY])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start scripts/rgw.sh");
        let stdout = process.stdout.take().expect("its standard output");
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        assert!(
            read.is_ok() && line == "ready\n",
            "RGW did not start (scripts/setup.sh installs it): see {}",
            directory.display()
        );
        Self {
            s3_port,
            credentials: Credentials::new(ACCESS_KEY, SECRET_KEY),
            _process: process,
        }
    }
}

impl TestStore for Rgw {
    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3_port)
    }

    fn credentials(&self) -> (&str, &str) {
        (ACCESS_KEY, SECRET_KEY)
    }

    fn create_bucket(&self, bucket: &str) {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:*",
                "Resource":["arn:aws:s3:::{bucket}","arn:aws:s3:::{bucket}/*"]}}]}}"#
        );
        let endpoint = self.endpoint().parse().expect("a URL");
        let (name, region) = (bucket.to_owned(), "us-east-1");
        let bucket = Bucket::new(endpoint, UrlStyle::Path, name, region).expect("a bucket's name");
        let create = CreateBucket::new(&bucket, &self.credentials).sign(VALID);
        ureq::put(create.as_str())
            .send_empty()
            .expect("CreateBucket");
        let mut put_policy = PutObject::new(&bucket, Some(&self.credentials), "");
        put_policy.query_mut().insert("policy", "");
        ureq::put(put_policy.sign(VALID).as_str())
            .send(policy.as_bytes())
            .expect("PutBucketPolicy");
    }

    fn put(&self, bucket: &str, key: &str, body: &[u8]) {
        anonymous::put(&self.endpoint(), bucket, key, body);
    }

    fn delete(&self, bucket: &str, key: &str) {
        anonymous::delete(&self.endpoint(), bucket, key);
    }
}

const ACCESS_KEY: &str = "RGWACCESSKEY";
const SECRET_KEY: &str = "rgw-secret-key";

/// How long a signed URL may be used.
const VALID: Duration = Duration::from_secs(60);
