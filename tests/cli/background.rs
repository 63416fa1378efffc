//! The background process: when the command returns, and how the process lives and ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::store::{BUCKET, MountPoint, store};
use crate::support::{Outcome, mount_s3, run};
use crate::umount::umount;
use crate::wait::{LONG, wait_for};

const LIMIT: Duration = Duration::from_secs(120);

/// Mounts in the background; the command has returned.
fn start(mount_point: &MountPoint, flags: &[&str]) -> (Outcome, Daemon) {
    let args = [&[BUCKET, mount_point.text()], flags].concat();
    let outcome = run(store().credentials(&mut mount_s3(&args)), LIMIT);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let daemon = Daemon::serving(mount_point.path());
    (outcome, daemon)
}

/// A process that serves a mount.
struct Daemon {
    pid: String,
}

impl Daemon {
    /// Finds the process by its arguments.
    fn serving(mount_point: &Path) -> Self {
        let argument = mount_point.as_os_str().as_encoded_bytes();
        let pids: Vec<String> = fs::read_dir("/proc")
            .expect("/proc")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .filter(|pid| {
                fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == argument))
            })
            .collect();
        assert_eq!(
            pids.len(),
            1,
            "one process serves {}",
            mount_point.display()
        );
        Self {
            pid: pids[0].clone(),
        }
    }

    /// Field of `/proc/pid/stat` by its number in proc(5).
    fn stat(&self, field: usize) -> String {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("it runs");
        let (_, after_name) = stat.rsplit_once(") ").expect("a name");
        after_name
            .split(' ')
            .nth(field - 3)
            .expect("the field")
            .to_owned()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid]).status();
        assert!(status.expect("kill").success());
    }

    fn wait_for_end(&self) {
        wait_for("the process to end", LONG, || {
            // A process that nobody waited for is a zombie, and has ended all the same; but not before
            // its last thread, which has its files until then.
            let threads = fs::read_dir(format!("/proc/{}/task", self.pid));
            let is_last = threads.map_or(true, |threads| threads.count() <= 1);
            fs::read_to_string(format!("/proc/{}/stat", self.pid))
                .map_or(true, |stat| stat.contains(") Z ") && is_last)
                .then_some(())
        });
    }
}

fn log_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the log directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[test]
fn command_returns_when_the_mount_answers() {
    let mount_point = MountPoint::new();
    let (outcome, _daemon) = start(&mount_point, &["--no-log"]);
    let expected = format!("bucket {BUCKET} is mounted at {}\n", mount_point.text());
    assert_eq!(outcome.stdout, expected);
    assert_eq!(outcome.stderr, "");
    let text = fs::read_to_string(mount_point.path().join("hello.txt"));
    assert_eq!(text.expect("the mount answers"), "hello");
}

#[test]
fn prefix_is_named_and_mounted() {
    let mount_point = MountPoint::new();
    let (outcome, _daemon) = start(&mount_point, &["--no-log", "--prefix", "folder/"]);
    let expected = format!(
        "prefix folder/ of bucket {BUCKET} is mounted at {}\n",
        mount_point.text()
    );
    assert_eq!(outcome.stdout, expected);
    let text = fs::read_to_string(mount_point.path().join("inner.txt"));
    assert_eq!(text.expect("the mount answers"), "inner");
}

#[test]
fn process_leaves_the_terminal() {
    let mount_point = MountPoint::new();
    let (_, daemon) = start(&mount_point, &["--no-log"]);
    wait_for("the process to detach", LONG, || {
        let detached = (0..3).all(|file| {
            fs::read_link(format!("/proc/{}/fd/{file}", daemon.pid))
                .is_ok_and(|target| target == Path::new("/dev/null"))
        });
        detached.then_some(())
    });
    assert_eq!(daemon.stat(6), daemon.pid, "it leads a session of its own");
}

#[test]
fn sigterm_unmounts_and_ends_the_process() {
    let mount_point = MountPoint::new();
    let (_, daemon) = start(&mount_point, &["--no-log"]);
    daemon.signal("TERM");
    daemon.wait_for_end();
    assert!(!mount_point.is_mounted());
}

#[test]
fn umount_ends_the_process() {
    let mount_point = MountPoint::new();
    let (_, daemon) = start(&mount_point, &["--no-log"]);
    umount(mount_point.path());
    daemon.wait_for_end();
}

#[test]
fn mounted_directory_is_refused_a_second_time() {
    let mount_point = MountPoint::new();
    let (_, daemon) = start(&mount_point, &["--no-log"]);
    let args = [BUCKET, mount_point.text(), "--no-log"];
    let outcome = run(store().credentials(&mut mount_s3(&args)), LIMIT);
    assert_eq!(outcome.status, Some(1));
    let message = format!("mount point {} is already mounted", mount_point.text());
    assert!(outcome.stderr.contains(&message), "{}", outcome.stderr);

    daemon.signal("KILL");
    daemon.wait_for_end();
    let outcome = run(store().credentials(&mut mount_s3(&args)), LIMIT);
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stderr.contains(&message), "{}", outcome.stderr);
    let remedy = format!("run: umount {}", mount_point.text());
    assert!(outcome.stderr.contains(&remedy), "{}", outcome.stderr);
}

#[test]
fn log_directory_gets_a_private_file_without_credentials() {
    let logs = tempfile::tempdir().expect("a directory");
    let directory = logs.path().join("logs");
    let flag = directory.to_str().expect("UTF-8");
    for debug in [
        &["--debug", "--debug-crt"][..],
        &["--debug", "--profile", "dev"],
    ] {
        let mount_point = MountPoint::new();
        let args = [&[BUCKET, mount_point.text(), "-l", flag], debug].concat();
        let mut command = mount_s3(&args);
        store()
            .credentials(&mut command)
            .env("AWS_SESSION_TOKEN", TOKEN);
        if debug.contains(&"--profile") {
            let file = logs.path().join("credentials");
            let (key, secret) = store().key();
            let text = format!(
                "aws_access_key_id={key}\naws_secret_access_key={secret}\n\
                 aws_session_token={TOKEN}\n"
            );
            fs::write(&file, format!("[dev]\n{text}")).expect("written");
            let config = logs.path().join("config");
            fs::write(&config, format!("[profile dev]\n{text}")).expect("written");
            command
                .env_remove("AWS_ACCESS_KEY_ID")
                .env_remove("AWS_SECRET_ACCESS_KEY")
                .env("AWS_SHARED_CREDENTIALS_FILE", file)
                .env("AWS_CONFIG_FILE", config)
                .env("MOUNTPOINT_LOG", "trace");
        }
        let outcome = run(&mut command, LIMIT);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        fs::read(mount_point.path().join("hello.txt")).expect("the mount answers");
    }

    let mode = |path: &Path| fs::metadata(path).expect("exists").permissions().mode() & 0o7777;
    assert_eq!(mode(&directory), 0o750);
    let files = log_files(&directory);
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .expect("UTF-8");
        assert!(
            name.starts_with("mountpoint-s3-") && name.ends_with(".log"),
            "{name}"
        );
        assert_eq!(mode(&file), 0o640);
        let log = fs::read_to_string(&file).expect("text");
        assert!(log.contains("connecting to S3"), "{log}");
        let (_, secret) = store().key();
        assert!(!log.contains(secret), "the secret key is in the log");
        assert!(!log.contains(TOKEN), "the session token is in the log");
        // How the CRT and HTTP begin a signature.
        for text in ["AWS4-HMAC-SHA256", "Signature="] {
            assert!(!log.contains(text), "a signature is in the log");
        }
    }
}

/// Nothing else in a log looks like it.
const TOKEN: &str = "SESSION-TOKEN-THAT-NO-LOG-MAY-HOLD";
