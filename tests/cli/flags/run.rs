//! One mount of the table of flags, and what it did.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use s3_test_server::{Config, LogEntry, ObjectSpec, Server};
use tempfile::TempDir;

use crate::store::{BUCKET, MountPoint};
use crate::support::{Outcome, mount_s3, run, start};
use crate::wait::{LONG, wait_for};

/// A mount in the foreground of a store of its own, with `hello.txt`, `folder/inner.txt`, and `large`
/// of 12 MiB.
pub(super) struct Run {
    server: Server,
    mount_point: MountPoint,
    directory: TempDir,
    child: Child,
}

impl Run {
    /// Mounts with these words; see [`Row::accepted`](super::Row::accepted).
    pub(super) fn mount(words: &str) -> Self {
        let server = store(words);
        let directory = place();
        let mount_point = MountPoint::new();
        let mut command = command(words, &server, &mount_point, &directory);
        let child = start(&mut command);
        Self {
            server,
            mount_point,
            directory,
            child,
        }
    }

    /// The mount with these words is refused.
    pub(super) fn fail(words: &str) -> Outcome {
        let server = store(words);
        let directory = place();
        let mut command = command(words, &server, &MountPoint::new(), &directory);
        run(&mut command, Duration::from_secs(60))
    }

    /// A path below the mount point.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.mount_point.path().join(name)
    }

    /// Whether the mount is there.
    pub(super) fn is_mounted(&self) -> bool {
        self.mount_point.is_mounted()
    }

    /// The options of the mount, as the kernel has them.
    pub(super) fn options(&self) -> String {
        let table = fs::read_to_string("/proc/self/mounts").expect("a table");
        let lines = table
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let mut ours = lines.filter(|fields| fields[1] == self.mount_point.text());
        ours.next().expect("it is mounted")[3].to_owned()
    }

    /// The content of a file.
    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("it is read")
    }

    /// Waits until something is in the log.
    pub(super) fn has_logged(&self, text: &str) {
        wait_for(text, LONG, || self.log()?.contains(text).then_some(()));
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory of the row.
    pub(super) fn directory(&self) -> PathBuf {
        self.directory.path().join("dir")
    }

    /// The log, if there is one.
    pub(super) fn log(&self) -> Option<String> {
        let mut files = fs::read_dir(self.directory.path().join("logs")).ok()?;
        let file = files.next()?.expect("a file").path();
        Some(fs::read_to_string(file).expect("text"))
    }

    /// The requests of an operation, in order.
    pub(super) fn requests(&self, operation: &str) -> Vec<LogEntry> {
        self.server.stats().logged(operation).cloned().collect()
    }

    /// All requests so far.
    pub(super) fn count(&self) -> u64 {
        self.server.stats().requests()
    }

    /// The headers of the last request of an operation.
    pub(super) fn headers(&self, operation: &str) -> BTreeMap<String, String> {
        let mut requests = self.requests(operation);
        requests.pop().expect(operation).headers
    }

    /// A header of the last request of an operation.
    pub(super) fn header(&self, operation: &str, name: &str) -> Option<String> {
        self.headers(operation).remove(name)
    }

    /// Writes a new file of 4 bytes, and gives a header of its upload.
    pub(super) fn header_of_new(&self, name: &str) -> Option<String> {
        fs::write(self.path("new.txt"), "text").expect("written");
        self.header("PutObject", name)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn store(words: &str) -> Server {
    let server = Server::start(Config {
        anonymous: true,
        directory: words.contains("--bucket-type directory"),
        log_headers: true,
        ..Config::default()
    });
    let server = server.expect("the server starts");
    for (key, text) in [("hello.txt", "hello"), ("folder/inner.txt", "inner")] {
        server.put_object(&ObjectSpec::text(BUCKET, key, text));
    }
    server.put_object(&ObjectSpec::synthetic(BUCKET, "large", 1, 12 << 20));
    server.create_bucket("cache-bucket");
    server
}

/// A directory with one to use (`{dir}`), and files of profiles.
fn place() -> TempDir {
    let place = tempfile::tempdir().expect("a directory");
    fs::create_dir(place.path().join("dir")).expect("made");
    let key = "aws_access_key_id = test\naws_secret_access_key = test\n";
    let profiles = format!(
        "[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n[other]\n{key}"
    );
    fs::write(place.path().join("credentials"), profiles).expect("written");
    fs::write(place.path().join("config"), "[default]\n[profile other]\n").expect("written");
    place
}

fn command(words: &str, server: &Server, mount_point: &MountPoint, place: &TempDir) -> Command {
    let port = server.addr().port().to_string();
    let directory = place.path().join("dir");
    let text = words
        .replace("{port}", &port)
        .replace("{dir}", directory.to_str().expect("UTF-8"));
    let mut words: Vec<_> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let logs = place.path().join("logs");
    if !words
        .iter()
        .any(|word| ["--no-log", "--log-directory"].contains(word))
    {
        words.extend(["--log-directory", logs.to_str().expect("UTF-8")]);
    }
    if !words.contains(&"--foreground") {
        words.push("--foreground");
    }
    let mut command = mount_s3(&[&[BUCKET, mount_point.text()], words.as_slice()].concat());
    if !words.contains(&"--endpoint-url") {
        command.env("AWS_ENDPOINT_URL", server.endpoint());
    }
    if words.contains(&"--profile") {
        command
            .env(
                "AWS_SHARED_CREDENTIALS_FILE",
                place.path().join("credentials"),
            )
            .env("AWS_CONFIG_FILE", place.path().join("config"));
    } else {
        command
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
    }
    command
}
