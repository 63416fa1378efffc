//! What the process that serves a mount does beside serving it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::store::{BUCKET, MountPoint, store};
use crate::support::{FAILURE_LIMIT, end_of, kill, mount_s3, run, start};
use crate::umount::umount;
use crate::wait::{once_in_five, wait_for};

const LIMIT: Duration = Duration::from_secs(120);

/// Starts a mount in the foreground and waits until it answers.
fn serve(mount_point: &MountPoint, flags: &[&str], prepare: impl FnOnce(&mut Command)) -> Child {
    let args = [&[BUCKET, mount_point.text(), "--foreground"], flags].concat();
    let mut command = mount_s3(&args);
    store().credentials(&mut command);
    prepare(&mut command);
    start(&mut command)
}

/// The log in a directory that one process has written to.
fn log_in(directory: &Path) -> String {
    let mut files = fs::read_dir(directory).expect("the log directory");
    let file = files.next().expect("a file").expect("a file").path();
    assert!(files.next().is_none(), "one file a process");
    fs::read_to_string(file).expect("text")
}

fn log_directory() -> (TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let text = directory.path().to_str().expect("UTF-8").to_owned();
    (directory, text)
}

fn end(mut child: Child) {
    kill("TERM", child.id());
    assert_eq!(end_of(&mut child).code(), Some(0));
}

#[test]
fn service_manager_hears_how_the_mount_is() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(LIMIT)).expect("set");
    let messages = |until: &str| {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = manager.recv(&mut buffer).expect("a message");
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            all.push(message);
            if all.last().is_some_and(|last| last.contains(until)) {
                return all;
            }
        }
    };
    let mount_point = MountPoint::new();
    let child = serve(&mount_point, &["--no-log"], |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let start = messages("READY=1");
    let before: Vec<_> = start[..start.len() - 1].iter().collect();
    assert!(
        before
            .iter()
            .any(|message| *message == "STATUS=connecting to S3"),
        "{start:?}"
    );
    let ready = format!(
        "READY=1\nMAINPID={}\nSTATUS=bucket {BUCKET} is mounted at {}",
        child.id(),
        mount_point.text()
    );
    assert_eq!(start.last(), Some(&ready));
    end(child);
    assert_eq!(messages("STOPPING=1").len(), 1);
}

#[test]
fn sigusr2_changes_what_is_logged() {
    let (_kept, directory) = log_directory();
    let mount_point = MountPoint::new();
    let child = serve(&mount_point, &["-l", &directory], |_| ());
    let log = || log_in(Path::new(&directory));
    assert!(!log().contains("DEBUG"), "{}", log());
    for (step, own, crt) in [
        ("debug,crt=off", "DEBUG mount_s3", None),
        ("debug", "DEBUG mount_s3", Some("DEBUG crt::")),
        ("trace,crt=off", "DEBUG mount_s3", None),
        ("trace", "TRACE ", Some("TRACE crt::")),
    ] {
        kill("USR2", child.id());
        let mark = format!("SIGUSR2: logging {step}\n");
        wait_for("the next step", LIMIT, || {
            log().contains(&mark).then_some(())
        });
        // A record that was under way may still come.
        once_in_five(|round| {
            thread::sleep(Duration::from_millis(100));
            let before = log().len();
            fs::read(mount_point.path().join("hello.txt")).expect("read");
            let missing = mount_point.path().join(format!("{step} {round}"));
            fs::metadata(missing).expect_err("no such file");
            let text = wait_for(step, LIMIT, || {
                let text = log().split_off(before);
                let is_there = text.contains(own) && crt.is_none_or(|crt| text.contains(crt));
                is_there.then_some(text)
            });
            if crt.is_none() && text.contains(" crt::") {
                return Err(text);
            }
            Ok(())
        });
    }
    kill("USR2", child.id());
    wait_for("the first step", LIMIT, || {
        log()
            .contains("SIGUSR2: logging as configured")
            .then_some(())
    });
    once_in_five(|_| {
        thread::sleep(Duration::from_millis(100));
        let before = log().len();
        fs::read(mount_point.path().join("hello.txt")).expect("read");
        let text = log().split_off(before);
        if text.contains("DEBUG") {
            return Err(text);
        }
        Ok(())
    });
    end(child);
}

#[test]
fn sigusr2_without_a_log_changes_nothing() {
    let mount_point = MountPoint::new();
    let child = serve(&mount_point, &["--no-log"], |_| ());
    kill("USR2", child.id());
    fs::read(mount_point.path().join("hello.txt")).expect("it still answers");
    end(child);
}

#[test]
fn variables_of_mountpoint_count_or_are_told_of() {
    let (kept, directory) = log_directory();
    let pid_file = tempfile::NamedTempFile::new().expect("a file");
    let mount_point = MountPoint::new();
    let child = serve(&mount_point, &["-l", &directory], |command| {
        command
            .env("MOUNTPOINT_LOG", "warn,mountpoint_s3=info,awscrt=off")
            .env("UNSTABLE_MOUNTPOINT_PID_FILE", pid_file.path())
            .env("UNSTABLE_MOUNTPOINT_MAX_BACKGROUND", "77")
            .env("UNSTABLE_MOUNTPOINT_CONGESTION_THRESHOLD", "55")
            .env("UNSTABLE_CRT_EVENTLOOP_THREADS", "3")
            .env("UNSTABLE_MOUNTPOINT_CACHE_KEY", "key")
            .env(
                "EXPERIMENTAL_MOUNTPOINT_NO_DOWNLOAD_INTEGRITY_VALIDATION",
                "1",
            );
    });
    let pid = fs::read_to_string(pid_file.path()).expect("written");
    assert_eq!(pid, format!("{}\n", child.id()));
    let control = FuseControl::mount();
    let setting = |name: &str| {
        let device = fs::metadata(mount_point.path()).expect("it answers").dev();
        let path = control.0.path().join(minor(device).to_string()).join(name);
        fs::read_to_string(path)
            .expect("a setting")
            .trim()
            .to_owned()
    };
    assert_eq!(setting("max_background"), "77");
    assert_eq!(setting("congestion_threshold"), "55");
    end(child);
    let log = log_in(kept.path());
    assert!(log.contains("3 event loops"), "{log}");
    for name in [
        "UNSTABLE_MOUNTPOINT_CACHE_KEY",
        "EXPERIMENTAL_MOUNTPOINT_NO_DOWNLOAD_INTEGRITY_VALIDATION",
    ] {
        let line = format!("the environment variable {name} has no effect");
        assert_eq!(log.matches(&line).count(), 1, "{log}");
    }
}

/// The kernel's settings of FUSE mounts: Linux, Documentation/filesystems/fuse/fuse.rst.
struct FuseControl(MountPoint);

impl FuseControl {
    fn mount() -> Self {
        let place = MountPoint::new();
        let mut mount = Command::new("mount");
        let status = mount.args(["-t", "fusectl", "none", place.text()]).status();
        assert!(status.expect("mount").success());
        Self(place)
    }
}

/// The minor number of a device of an unnamed file system, whose major number is 0: makedev(3).
fn minor(device: u64) -> u64 {
    (device & 0xff) | ((device >> 12) & 0xfff_ff00)
}

#[test]
fn variable_that_cannot_be_meant_is_named() {
    for (name, value, reason) in [
        ("MOUNTPOINT_LOG", "[span]=debug", "on spans"),
        ("MOUNTPOINT_LOG", "mountpoint_s3=loud", "'loud'"),
        ("UNSTABLE_MOUNTPOINT_MAX_BACKGROUND", "0", "at least 1"),
        ("UNSTABLE_CRT_EVENTLOOP_THREADS", "two", "at least 1"),
    ] {
        let mount_point = MountPoint::new();
        let mut command = mount_s3(&[BUCKET, mount_point.text(), "--no-log"]);
        let outcome = run(command.env(name, value), FAILURE_LIMIT);
        assert_eq!(outcome.status, Some(1), "{outcome:?}");
        for text in [name, reason] {
            assert!(outcome.stderr.contains(text), "{outcome:?}");
        }
    }
}

#[test]
fn memory_is_not_dumped_unless_that_is_asked_for() {
    for (allowed, is_dumped) in [(None, false), (Some("0"), false), (Some("1"), true)] {
        let place = tempfile::tempdir().expect("a directory");
        let mount_point = MountPoint::new();
        let mut child = serve(&mount_point, &["--no-log"], |command| {
            command.current_dir(place.path());
            if let Some(value) = allowed {
                command.env("MOUNT_S3_CORE_DUMPS", value);
            }
        });
        let limit = Command::new("prlimit")
            .args(["--core=unlimited", "--pid", &child.id().to_string()])
            .status();
        assert!(limit.expect("prlimit").success());
        kill("ABRT", child.id());
        let status = end_of(&mut child);
        assert_eq!(status.signal(), Some(6), "{status:?}");
        assert_eq!(status.core_dumped(), is_dumped, "{allowed:?}: {status:?}");
    }
}

#[test]
fn log_can_be_rotated_by_copying_and_truncating() {
    let (kept, directory) = log_directory();
    let mount_point = MountPoint::new();
    let child = serve(&mount_point, &["-l", &directory, "--debug"], |_| ());
    let file = fs::read_dir(kept.path()).expect("a directory").next();
    let file = file.expect("a file").expect("a file").path();
    let rotated = kept.path().join("rotated");
    fs::copy(&file, &rotated).expect("copied");
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&file)
        .expect("truncated");
    fs::read(mount_point.path().join("hello.txt")).expect("read");
    wait_for("new records", LIMIT, || {
        (!fs::read(&file).expect("a file").is_empty()).then_some(())
    });
    end(child);
    let text = fs::read(&file).expect("a file");
    assert!(!text.contains(&0), "a hole is in the log");
    assert!(
        fs::read_to_string(rotated)
            .expect("text")
            .contains("connecting to S3")
    );
}

#[test]
fn full_disk_loses_records_and_stops_nothing() {
    let place = tempfile::tempdir().expect("a directory");
    let directory = place.path().to_str().expect("UTF-8");
    let status = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "none", directory])
        .status();
    assert!(status.expect("mount").success());
    let fill = place.path().join("fill");
    fs::write(&fill, vec![0; 1 << 20]).expect_err("the disk is full now");

    let mount_point = MountPoint::new();
    let errors = tempfile::NamedTempFile::new().expect("a file");
    let child = serve(&mount_point, &["-l", directory, "--debug"], |command| {
        command.stderr(errors.reopen().expect("a file"));
    });
    let text = fs::read_to_string(mount_point.path().join("hello.txt"));
    assert_eq!(text.expect("it is served"), "hello");
    fs::remove_file(&fill).expect("removed");
    fs::metadata(mount_point.path().join("other")).expect_err("no such file");
    fs::metadata(mount_point.path().join("folder")).expect("a directory");
    end(child);
    let told = fs::read_to_string(errors.path()).expect("text");
    assert_eq!(told.matches("cannot be written to").count(), 1, "{told}");
    let log = log_in(place.path());
    umount(place.path());
    assert!(log.contains("records were lost"), "{log}");
    assert!(
        log.contains("SIGTERM asks for it") || log.contains("DEBUG"),
        "{log}"
    );
}
