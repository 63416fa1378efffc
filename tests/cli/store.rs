//! A store to mount, and places to mount it at.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use s3_test_server::{CA_FILE, Config, ObjectSpec, Server, TlsConfig};
use tempfile::TempDir;

/// The bucket of [`store`]. It holds `hello.txt` and `folder/inner.txt`.
pub(crate) const BUCKET: &str = "some-bucket";

/// One store for all tests, which only read from it.
pub(crate) struct Store {
    server: Server,
    certificates: TempDir,
}

/// The store, started when first asked for.
pub(crate) fn store() -> &'static Store {
    &STORE
}

static STORE: LazyLock<Store> = LazyLock::new(|| {
    let certificates = tempfile::tempdir().expect("a directory");
    let server = Server::start(Config {
        tls: Some(TlsConfig {
            addr: (Ipv4Addr::LOCALHOST, 0).into(),
            dir: certificates.path().to_owned(),
        }),
        keys: vec![(ACCESS_KEY.to_owned(), SECRET_KEY.to_owned())],
        ..Config::default()
    });
    let server = server.expect("the server starts");
    for (key, text) in [("hello.txt", "hello"), ("folder/inner.txt", "inner")] {
        server.put_object(&ObjectSpec {
            bucket: BUCKET.to_owned(),
            key: key.to_owned(),
            text: Some(text.to_owned()),
            ..ObjectSpec::default()
        });
    }
    Store {
        server,
        certificates,
    }
});

impl Store {
    pub(crate) fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    pub(crate) fn https_endpoint(&self) -> String {
        format!("https://{}", self.server.tls_addr().expect("it serves TLS"))
    }

    /// The certificate that makes [`Self::https_endpoint`] trusted.
    pub(crate) fn ca_bundle(&self) -> PathBuf {
        self.certificates.path().join(CA_FILE)
    }

    /// Access key and secret key.
    pub(crate) fn key(&self) -> (&'static str, &'static str) {
        (ACCESS_KEY, SECRET_KEY)
    }

    /// Makes the command mount from this store, with good credentials.
    pub(crate) fn credentials<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("AWS_ENDPOINT_URL", self.endpoint())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    }
}

/// A directory that is unmounted when dropped.
pub(crate) struct MountPoint(Option<TempDir>);

impl MountPoint {
    pub(crate) fn new() -> Self {
        Self(Some(tempfile::tempdir().expect("a directory")))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_ref().expect("until dropped").path()
    }

    pub(crate) fn text(&self) -> &str {
        self.path().to_str().expect("UTF-8")
    }

    pub(crate) fn is_mounted(&self) -> bool {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
        table
            .lines()
            .any(|line| line.split(' ').nth(4) == Some(self.text()))
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        _ = umount
            .arg("--lazy")
            .arg(self.path())
            .stderr(Stdio::null())
            .status();
        // Never a recursive removal: the mount may still be there.
        if let Some(directory) = self.0.take() {
            _ = fs::remove_dir(directory.keep());
        }
    }
}

const ACCESS_KEY: &str = "AKIDEXAMPLEACCESSKEY";
const SECRET_KEY: &str = "SECRET-KEY-THAT-NO-LOG-MAY-HOLD";
