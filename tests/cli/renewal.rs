//! Credentials that end and are renewed, and a clock that is wrong.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use s3_test_server::{Config, Fault, Model, ObjectSpec, Rule, Server, synthetic};
use tempfile::TempDir;

use crate::failures::fail_both_ways;
use crate::store::{BUCKET, MountPoint, store};
use crate::support::{self, FAILURE_LIMIT, end_of, kill, mount_s3, run};
use crate::wait::{LONG, once_in_five, wait_for, within};

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
        // Read by the shell, as what a process that another test starts holds open cannot be run.
        let config = format!("[default]\ncredential_process = sh {}\n", script.display());
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

fn start(server: &Server, mount_point: &MountPoint, process: &Process) -> Daemon {
    let args = [BUCKET, mount_point.text(), "--foreground", "--no-log"];
    let mut command = mount_s3(&args);
    command
        .env("AWS_ENDPOINT_URL", server.endpoint())
        .env("AWS_CONFIG_FILE", process.config())
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
    Daemon(support::start(&mut command))
}

/// A mount that is killed when a try ends before it.
struct Daemon(Child);

impl Daemon {
    /// Lets it end as it does by itself.
    fn end(mut self) {
        kill("TERM", self.0.id());
        assert_eq!(end_of(&mut self.0).code(), Some(0));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Works until new credentials are used for `operation`. Fails when the old ones were not used before:
/// a machine that stands still lets their time run out.
fn renew(
    server: &Server,
    process: &Process,
    operation: &str,
    mut work: impl FnMut(),
) -> Result<(), String> {
    if process.calls() != 1 {
        return Err("the old credentials are not in use".to_owned());
    }
    let start = Instant::now();
    while !signed_with(server, operation, NEW) {
        assert!(start.elapsed() < LONG, "they are not renewed");
        work();
    }
    let was_used = signed_with(server, operation, OLD);
    was_used
        .then_some(())
        .ok_or_else(|| "the old credentials were not used".to_owned())
}

fn signed_with(server: &Server, operation: &str, key: &str) -> bool {
    let stats = server.stats();
    let mut requests = stats.logged(operation);
    requests.any(|request| {
        let signed = request.headers.get("authorization");
        signed.is_some_and(|text| text.contains(&format!("Credential={key}/")))
    })
}

/// The numbers of the parts that have come.
fn parts_of(server: &Server) -> BTreeSet<usize> {
    let stats = server.stats();
    let numbers = stats.logged("UploadPart").filter_map(|request| {
        let mut pairs = request.query.split('&');
        pairs.find_map(|pair| pair.strip_prefix("partNumber=")?.parse().ok())
    });
    numbers.collect()
}

#[test]
fn reading_goes_on_when_credentials_are_renewed() {
    const SIZE: u64 = 1 << 40;
    once_in_five(|_| {
        let server = server();
        server.put_object(&ObjectSpec::synthetic(BUCKET, "large", 1, SIZE));
        let process = Process::new(14);
        let mount_point = MountPoint::new();
        let daemon = start(&server, &mount_point, &process);
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
        renew(&server, &process, "GetObject", || {
            read(8 << 20);
            thread::sleep(Duration::from_millis(200));
        })?;
        // What was asked for ahead, and signed before, has come when this was read.
        for _ in 0..40 {
            read(8 << 20);
        }
        server.expire_key(OLD);
        for _ in 0..40 {
            read(8 << 20);
        }
        daemon.end();
        Ok(())
    });
}

#[test]
fn writing_goes_on_when_credentials_are_renewed() {
    once_in_five(|_| {
        let server = server();
        server.create_bucket(BUCKET);
        let process = Process::new(14);
        let mount_point = MountPoint::new();
        let daemon = start(&server, &mount_point, &process);
        let mut file = File::create(mount_point.path().join("new")).expect("it opens");
        let mut parts = 0;
        let part = vec![7; 8 << 20];
        let mut write = || {
            file.write_all(&part).expect("written");
            parts += 1;
        };
        renew(&server, &process, "UploadPart", || {
            write();
            thread::sleep(Duration::from_secs(1));
        })?;
        wait_for("the parts that were signed before", LONG, || {
            let numbers = parts_of(&server);
            (numbers.last() == Some(&numbers.len())).then_some(())
        });
        server.expire_key(OLD);
        for _ in 0..4 {
            write();
        }
        file.sync_all().expect("stored");
        let stored = server.read_object(BUCKET, "new").expect("it is there");
        assert_eq!(stored.len(), parts * part.len());
        assert!(signed_with(&server, "CompleteMultipartUpload", NEW));
        daemon.end();
        Ok(())
    });
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
        within(start.elapsed(), Duration::from_secs(12))?;
        assert!(error.contains("the clock of this machine"), "{error}");
        Ok(())
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
        within(start.elapsed(), Duration::from_secs(3))?;
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        Ok(())
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
