//! SeaweedFS: a real S3 store, one process for the whole test binary, on loopback.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use tempfile::TempDir;

use super::anonymous;
use super::ports::free_ports;
use super::store::TestStore;
use super::wait::{LONG, wait_for};

/// A running SeaweedFS. Requests without a signature are allowed everything, which is how tests
/// plant objects; mounts sign theirs.
#[derive(Debug)]
pub(crate) struct SeaweedFs {
    s3_port: u16,
    process: Mutex<Child>,
    _data: TempDir,
}

static SHARED: LazyLock<SeaweedFs> = LazyLock::new(SeaweedFs::start);

impl SeaweedFs {
    /// The one store of this test binary, started when first asked for. It ends with the test
    /// process, although a static is never dropped (see [`Self::start`]).
    pub(crate) fn shared() -> &'static Self {
        &SHARED
    }

    fn start() -> Self {
        let weed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/weed");
        assert!(
            weed.exists(),
            "{} is missing: run scripts/tools.sh",
            weed.display()
        );
        let data = tempfile::tempdir().expect("a directory for SeaweedFS");
        let config = data.path().join("s3.json");
        let identities = format!(
            r#"{{"identities":[
                {{"name":"tests","credentials":[{{"accessKey":"{ACCESS_KEY}","secretKey":"{SECRET_KEY}"}}],"actions":["Admin"]}},
                {{"name":"anonymous","actions":["Admin"]}}]}}"#
        );
        std::fs::write(&config, identities).expect("write the SeaweedFS identities");
        let log = File::create(data.path().join("log")).expect("a log file for SeaweedFS");

        // SeaweedFS takes the port 10,000 above each for its own protocol.
        let [s3, master, volume, filer, admin] = free_ports();
        // The shell ends the store when the test process does, however it ends: its standard
        // input is a pipe whose other end only this process holds.
        let script =
            r#""$0" "$@" <&- & store=$!; cat >/dev/null; kill -9 $store; rm -rf "$WEED_DATA""#;
        let process = Command::new("sh")
            .args(["-c", script])
            .arg(weed)
            .arg("mini")
            .arg(format!("-dir={}", data.path().display()))
            .args([
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-master.telemetry=false",
                // Each bucket takes several volumes; by itself it has as many as fill the disk.
                "-volume.max=10000",
                "-master.volumeSizeLimitMB=64",
            ])
            .args([
                "-admin.ui=false",
                "-webdav=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
            ])
            .arg(format!("-s3.port={s3}"))
            .arg(format!("-master.port={master}"))
            .arg(format!("-volume.port={volume}"))
            .arg(format!("-filer.port={filer}"))
            .arg(format!("-admin.port={admin}"))
            .arg(format!("-s3.config={}", config.display()))
            .env("WEED_DATA", data.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("share the log file"))
            .stderr(log)
            .spawn()
            .expect("start SeaweedFS");
        let store = Self {
            s3_port: s3,
            process: Mutex::new(process),
            _data: data,
        };
        wait_for("SeaweedFS answers", LONG, || {
            let ended = store
                .process
                .lock()
                .unwrap()
                .try_wait()
                .expect("ask for SeaweedFS");
            assert!(ended.is_none(), "SeaweedFS ended at start: {ended:?}");
            ureq::get(store.endpoint()).call().ok()
        });
        store
    }
}

impl TestStore for SeaweedFs {
    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3_port)
    }

    fn credentials(&self) -> (&str, &str) {
        (ACCESS_KEY, SECRET_KEY)
    }

    fn create_bucket(&self, bucket: &str) {
        anonymous::create_bucket(&self.endpoint(), bucket);
    }

    fn put(&self, bucket: &str, key: &str, body: &[u8]) {
        anonymous::put(&self.endpoint(), bucket, key, body);
    }

    fn delete(&self, bucket: &str, key: &str) {
        anonymous::delete(&self.endpoint(), bucket, key);
    }
}

const ACCESS_KEY: &str = "SEAWEEDACCESSKEY";
const SECRET_KEY: &str = "seaweed-secret-key";
