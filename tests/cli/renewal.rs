//! Credentials that end and are renewed, and a clock that is wrong.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use s3_test_server::{Config, Fault, Model, ObjectSpec, Rule, Server, synthetic};
use tempfile::TempDir;

use crate::failures::fail_both_ways;
use crate::store::{BUCKET, MountPoint, store};
use crate::support::{FAILURE_LIMIT, end_of, kill, mount_s3, run};
use crate::wait::{LONG, once_in_five, within};

const OLD: &str = "OLDACCESSKEY";
const NEW: &str = "NEWACCESSKEY";

/// A process that gives credentials for some seconds, and then other ones.
struct Process {
    place: TempDir,
}

impl Process {
    /// The first credentials end `seconds` from now.
    fn new(seconds: u64) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let calls = place.path().join("calls");
        let script = place.path().join("process");
        let text = format!(
            r#"#!/bin/sh
echo call >> {calls}
if [ "$(wc -l < {calls})" -gt 1 ]; then key={NEW}; ends='+1 hour'; else key={OLD}; ends='+{seconds} seconds'; fi
ends=$(date -u -d "$ends" +%Y-%m-%dT%H:%M:%SZ)
echo "{{\"Version\":1,\"AccessKeyId\":\"$key\",\"SecretAccessKey\":\"secret-of-$key\",\"SessionToken\":\"token\",\"Expiration\":\"$ends\"}}"
"#,
            calls = calls.display()
        );
        fs::write(&script, text).expect("written");
        fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("set");
        let config = format!("[default]\ncredential_process = {}\n", script.display());
        fs::write(place.path().join("config"), config).expect("written");
        fs::write(calls, "").expect("written");
        Self { place }
    }

    fn config(&self) -> PathBuf {
        self.place.path().join("config")
    }

    /// How often credentials were asked for.
    fn calls(&self) -> usize {
        let calls = fs::read_to_string(self.place.path().join("calls"));
        calls.expect("a file").lines().count()
    }
}

fn server() -> Server {
    let secret = |key: &str| (key.to_owned(), format!("secret-of-{key}"));
    let server = Server::start(Config {
        keys: vec![secret(OLD), secret(NEW)],
        log_headers: true,
        ..Config::default()
    });
    server.expect("the server starts")
}

fn start(server: &Server, mount_point: &MountPoint, process: &Process) -> Child {
    let args = [BUCKET, mount_point.text(), "--foreground", "--no-log"];
    let mut child = mount_s3(&args)
        .env("AWS_ENDPOINT_URL", server.endpoint())
        .env("AWS_CONFIG_FILE", process.config())
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("a line");
    assert!(line.contains("is mounted at"), "{line:?}");
    child
}

/// Waits until new credentials are used, and lets the old ones end.
fn renew(server: &Server, process: &Process, mut work: impl FnMut()) {
    assert_eq!(process.calls(), 1, "the old credentials are in use");
    let start = Instant::now();
    while process.calls() < 2 {
        assert!(start.elapsed() < LONG, "they are not renewed");
        work();
    }
    // What was signed before arrives.
    thread::sleep(Duration::from_secs(2));
    server.expire_key(OLD);
}

fn signed_with(server: &Server, operation: &str, key: &str) -> bool {
    let stats = server.stats();
    let mut requests = stats.logged(operation);
    requests.any(|request| {
        let signed = request.headers.get("authorization");
        signed.is_some_and(|text| text.contains(&format!("Credential={key}/")))
    })
}

#[test]
fn reading_goes_on_when_credentials_are_renewed() {
    const SIZE: u64 = 1 << 40;
    let server = server();
    server.put_object(&ObjectSpec::synthetic(BUCKET, "large", 1, SIZE));
    let process = Process::new(14);
    let mount_point = MountPoint::new();
    let mut child = start(&server, &mount_point, &process);
    let mut file = File::open(mount_point.path().join("large")).expect("it opens");
    let mut offset = 0;
    let mut read = |length: usize| {
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes).expect("it is read");
        let mut expected = vec![0; length];
        synthetic::fill(1, offset, &mut expected);
        assert!(bytes == expected, "at {offset}");
        offset += length as u64;
    };
    renew(&server, &process, || {
        read(8 << 20);
        thread::sleep(Duration::from_millis(200));
    });
    for _ in 0..40 {
        read(8 << 20);
    }
    assert!(signed_with(&server, "GetObject", OLD) && signed_with(&server, "GetObject", NEW));
    kill("TERM", child.id());
    assert_eq!(end_of(&mut child).code(), Some(0));
}

#[test]
fn writing_goes_on_when_credentials_are_renewed() {
    let server = server();
    server.create_bucket(BUCKET);
    let process = Process::new(14);
    let mount_point = MountPoint::new();
    let mut child = start(&server, &mount_point, &process);
    let mut file = File::create(mount_point.path().join("new")).expect("it opens");
    let mut parts = 0;
    let part = vec![7; 8 << 20];
    let mut write = || {
        file.write_all(&part).expect("written");
        parts += 1;
    };
    renew(&server, &process, || {
        write();
        thread::sleep(Duration::from_secs(1));
    });
    for _ in 0..4 {
        write();
    }
    file.sync_all().expect("stored");
    let stored = server.read_object(BUCKET, "new").expect("it is there");
    assert_eq!(stored.len(), parts * part.len());
    assert!(signed_with(&server, "UploadPart", OLD));
    assert!(signed_with(&server, "CompleteMultipartUpload", NEW));
    kill("TERM", child.id());
    assert_eq!(end_of(&mut child).code(), Some(0));
}

#[test]
fn expired_credentials_are_named() {
    let server = server();
    server.create_bucket(BUCKET);
    server.expire_key(OLD);
    let mount_point = MountPoint::new();
    let error = fail_both_ways(&[BUCKET, mount_point.text()], |command| {
        command
            .env("AWS_ENDPOINT_URL", server.endpoint())
            .env("AWS_ACCESS_KEY_ID", OLD)
            .env("AWS_SECRET_ACCESS_KEY", format!("secret-of-{OLD}"));
    });
    for text in ["invalid AWS credentials", "ExpiredToken", "expiry"] {
        assert!(error.contains(text), "{text}: {error}");
    }
}

#[test]
fn wrong_clock_is_named() {
    let server = server();
    server.create_bucket(BUCKET);
    let skewed = Fault::Error {
        status: 403,
        code: "RequestTimeTooSkewed".to_owned(),
    };
    server.set_model(Model {
        rules: vec![Rule::new(skewed)],
        ..Model::default()
    });
    let mount_point = MountPoint::new();
    once_in_five(|_| {
        let start = Instant::now();
        let error = fail_both_ways(&[BUCKET, mount_point.text()], |command| {
            command
                .env("AWS_ENDPOINT_URL", server.endpoint())
                .env("AWS_ACCESS_KEY_ID", OLD)
                .env("AWS_SECRET_ACCESS_KEY", format!("secret-of-{OLD}"));
        });
        assert!(error.contains("the clock of this machine"), "{error}");
        within(start.elapsed(), Duration::from_secs(12))
    });
}

#[test]
fn start_without_metadata_service_is_quick() {
    once_in_five(|_| {
        let mount_point = MountPoint::new();
        let mut command = mount_s3(&[BUCKET, mount_point.text(), "--no-log"]);
        store()
            .credentials(&mut command)
            .env_remove("AWS_EC2_METADATA_DISABLED");
        let start = Instant::now();
        let outcome = run(&mut command, LONG);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        within(start.elapsed(), Duration::from_secs(3))
    });
}

/// Nobody answers at the address of the metadata service, as outside of EC2: it is asked all the same
/// when there are no other credentials.
#[test]
fn silent_metadata_service_is_given_up() {
    let mount_point = MountPoint::new();
    let network = "ip link set lo up && ip link add silent type veth peer name other && \
                   ip address add 169.254.9.9/16 dev silent && ip link set silent up && \
                   ip link set other up && \
                   ip neighbour replace 169.254.169.254 lladdr 02:00:00:00:00:01 dev silent nud permanent && \
                   exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-c", network])
        .arg(env!("CARGO_BIN_EXE_mount-s3"))
        .args([BUCKET, mount_point.text(), "--no-log", "--foreground"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("AWS_REGION", "us-east-1");
    let outcome = run(&mut command, FAILURE_LIMIT);
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("No signing credentials found"),
        "{outcome:?}"
    );
}
