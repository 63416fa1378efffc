//! Uploads that are under way when a signal ends the mount: stored or aborted, within a deadline.

use std::fs::{self, File};
use std::io::Write;
use std::process::Child;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use s3_test_server::{Config, Fault, Model, Rule, Server};

use crate::store::MountPoint;
use crate::support::{self, end_of, kill, mount_s3};
use crate::wait::{LONG, wait_for};

const BUCKET: &str = "ending";

/// How long an ending may take, whatever the store does.
const DEADLINE: Duration = Duration::from_secs(60);

fn start(rules: Vec<Rule>) -> (Server, MountPoint, Child) {
    let server = Server::start(Config::default()).expect("the server starts");
    server.create_bucket(BUCKET);
    let mount_point = MountPoint::new();
    let args = [
        BUCKET,
        mount_point.text(),
        "--foreground",
        "--no-log",
        "--part-size",
        "5242880",
    ];
    let mut command = mount_s3(&args);
    command
        .env("AWS_ENDPOINT_URL", server.endpoint())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test");
    let child = support::start(&mut command);
    server.set_model(Model {
        rules,
        ..Model::default()
    });
    (server, mount_point, child)
}

/// Asks the process to end, which must not take longer than the deadline.
fn end(child: &mut Child, signal: &str) -> Duration {
    let asked = Instant::now();
    kill(signal, child.id());
    assert_eq!(end_of(child).code(), Some(0));
    let taken = asked.elapsed();
    assert!(taken < DEADLINE, "SIG{signal}: {taken:?}");
    taken
}

#[test]
fn upload_of_an_open_file_is_aborted() {
    for signal in ["TERM", "INT", "HUP"] {
        let (server, mount_point, mut child) = start(Vec::new());
        let mut file = File::create(mount_point.path().join("new")).expect("it opens");
        file.write_all(&vec![1; 16 << 20]).expect("written");
        wait_for("a part to be stored", LONG, || {
            (server.stats().count("UploadPart") > 0).then_some(())
        });
        assert_eq!(server.uploads(BUCKET).len(), 1);
        end(&mut child, signal);
        assert_eq!(server.keys(BUCKET), [""; 0]);
        assert_eq!(server.uploads(BUCKET), [""; 0], "SIG{signal}");
        assert!(file.sync_all().is_err());
    }
}

#[test]
fn stalled_store_does_not_hold_the_end() {
    for step in [
        "CreateMultipartUpload",
        "UploadPart",
        "AbortMultipartUpload",
    ] {
        let stalled = Rule::new(Fault::Latency { ms: 120_000 }).on(step);
        let (server, mount_point, mut child) = start(vec![stalled]);
        let path = mount_point.path().join("new");
        let (ended, end_of_mount) = mpsc::channel::<()>();
        let writer = thread::spawn(move || {
            let mut file = File::create(path)?;
            file.write_all(&vec![1; 16 << 20])?;
            // The file stays open for longer than the mount: a sync before its end would store it.
            _ = end_of_mount.recv();
            file.sync_all()
        });
        // It is in the mount, and not in the directory below, when the mount goes.
        wait_for("the upload to begin", LONG, || {
            let is_stalled = server.model().rules[0].matched > 0;
            (is_stalled || server.stats().count("UploadPart") > 0).then_some(())
        });
        thread::sleep(Duration::from_millis(800));
        end(&mut child, "TERM");
        drop(ended);
        assert!(writer.join().expect("it ends").is_err(), "{step}");
        assert_eq!(server.keys(BUCKET), [""; 0], "{step}");
    }
}

#[test]
fn close_that_waits_for_the_store_is_answered_before_the_end() {
    let slow = Rule::new(Fault::Latency { ms: 1_000 }).on("PutObject");
    let (server, mount_point, mut child) = start(vec![slow]);
    let path = mount_point.path().join("new");
    let writer = thread::spawn(move || fs::write(path, "text"));
    wait_for("the upload to begin", LONG, || {
        (server.model().rules[0].matched > 0).then_some(())
    });
    end(&mut child, "TERM");
    let written = writer.join().expect("it ends").is_ok();
    let stored = server.read_object(BUCKET, "new");
    // Who was told of success finds the file; a file that is there is whole.
    assert!(stored.is_none_or(|body| body == b"text"));
    assert!(!written || server.read_object(BUCKET, "new").is_some());
}
