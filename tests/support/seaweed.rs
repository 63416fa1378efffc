//! SeaweedFS: a real S3 store, one process for the whole test binary, on loopback.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tempfile::TempDir;

use super::store::TestStore;
use super::wait::wait_for;

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
        wait_for("SeaweedFS answers", Duration::from_secs(60), || {
            let ended = store
                .process
                .lock()
                .unwrap()
                .try_wait()
                .expect("ask for SeaweedFS");
            assert!(ended.is_none(), "SeaweedFS ended at start: {ended:?}");
            agent()
                .get(store.endpoint())
                .call()
                .ok()
                .filter(|answer| answer.status() == 200)
        });
        store
    }

    fn url(&self, bucket: &str, key: &str) -> String {
        format!(
            "{}/{bucket}/{}",
            self.endpoint(),
            utf8_percent_encode(key, KEY)
        )
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
        let answer = agent()
            .put(format!("{}/{bucket}", self.endpoint()))
            .send_empty();
        assert_eq!(
            answer.expect("CreateBucket").status(),
            200,
            "CreateBucket {bucket}"
        );
    }

    fn put(&self, bucket: &str, key: &str, body: &[u8]) {
        let answer = agent().put(self.url(bucket, key)).send(body);
        assert_eq!(answer.expect("PutObject").status(), 200, "PutObject {key}");
    }

    fn delete(&self, bucket: &str, key: &str) {
        let answer = agent().delete(self.url(bucket, key)).call();
        assert_eq!(
            answer.expect("DeleteObject").status(),
            204,
            "DeleteObject {key}"
        );
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into()
}

/// Five free ports, each with the port 10,000 above it free as well: SeaweedFS takes that one for
/// its own protocol.
fn free_ports() -> [u16; 5] {
    let mut held = Vec::new();
    let mut ports = [0; 5];
    for slot in &mut ports {
        *slot = loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let port = listener.local_addr().expect("its number").port();
            held.push(listener);
            // Ports for the kernel's own choice start at 32768: fold them to below 55536.
            if port < 55_536
                && let Ok(above) = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 10_000))
            {
                held.push(above);
                break port;
            }
        };
    }
    ports
}

const ACCESS_KEY: &str = "SEAWEEDACCESSKEY";
const SECRET_KEY: &str = "seaweed-secret-key";

/// What a key's path may hold as it is.
const KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');
