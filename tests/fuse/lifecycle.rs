//! How a mount begins and ends, whatever happens to its daemon.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;

use crate::namespace::assert_errno;
use crate::reading::{MIB, bytes};
use crate::support::local::Local;
use crate::support::store::TestStore;
use crate::support::wait::wait_for;

#[test]
fn umount_from_outside_ends_the_daemon_cleanly() {
    let store = Local::shared();
    let bucket = store.bucket_with(&[("f", b"1")]);
    let mount = store.mounting(&bucket).mount();
    assert_eq!(fs::read(mount.join("f")).unwrap(), b"1");
    assert_eq!(mount.unmount().code(), Some(0));
}

#[test]
fn signals_unmount_and_end_the_daemon_cleanly() {
    let store = Local::shared();
    let bucket = store.bucket_with(&[("f", b"1")]);
    for signal in ["INT", "TERM", "HUP"] {
        let mut mount = store.mounting(&bucket).mount();
        kill(signal, mount.pid());
        assert_eq!(mount.wait().code(), Some(0), "SIG{signal}");
        assert!(!is_mounted(mount.path()), "SIG{signal} left the mount");
    }
}

#[test]
fn signal_ends_a_mount_that_is_in_use() {
    let store = Local::shared();
    let bucket = store.bucket_with(&[("f", b"1")]);
    let mut mount = store.mounting(&bucket).mount();
    let _held = File::open(mount.join("f")).unwrap();
    kill("TERM", mount.pid());
    assert_eq!(mount.wait().code(), Some(0));
    assert!(!is_mounted(mount.path()));
}

#[test]
fn killed_daemon_leaves_a_mount_that_umount_clears() {
    let store = Local::shared();
    let bucket = store.fresh_bucket();
    store.plant(&bucket, "f", 64 * MIB, 1);
    let mut mount = store.mounting(&bucket).mount();
    assert!(fs::read(mount.join("f")).unwrap() == bytes(1, 0, 64 * MIB));
    mount.kill();
    assert_errno(fs::metadata(mount.join("other")), Errno::NOTCONN);
    let status = Command::new("umount").arg(mount.path()).status().unwrap();
    assert!(status.success());
    assert!(!is_mounted(mount.path()));
    assert_eq!(
        fs::read_dir(mount.path()).unwrap().count(),
        0,
        "the bare directory is back"
    );
}

#[test]
fn umount_during_a_read_leaves_the_reader_an_error_or_its_bytes() {
    let store = Local::shared();
    let bucket = store.fresh_bucket();
    store.plant(&bucket, "f", 2 << 30, 1);
    let mut mount = store.mounting(&bucket).mount();
    let mut reader = Command::new("dd")
        .arg(format!("if={}", mount.join("f").display()))
        .args(["of=/dev/null", "bs=1M"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let lazily = Command::new("umount")
        .arg("--lazy")
        .arg(mount.path())
        .status()
        .unwrap();
    assert!(lazily.success());
    reader.wait().unwrap();
    assert_eq!(mount.wait().code(), Some(0));
}

#[test]
fn daemon_keeps_no_memory_of_what_was_read() {
    let store = Local::shared();
    let bucket = store.fresh_bucket();
    store.plant(&bucket, "f", 1 << 30, 1);
    let mount = store.mounting(&bucket).mount();
    let read_whole = || {
        let status = Command::new("dd")
            .arg(format!("if={}", mount.join("f").display()))
            .args(["of=/dev/null", "bs=1M", "iflag=nocache"])
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    };
    read_whole();
    let once = status_bytes(mount.pid(), "VmRSS");
    for _ in 0..4 {
        read_whole();
    }
    let often = status_bytes(mount.pid(), "VmRSS");
    assert!(
        often < once + 128 * MIB,
        "{} MiB, then {} MiB",
        once / MIB,
        often / MIB
    );
}

fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

fn is_mounted(path: &std::path::Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = path.to_str().unwrap();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(path))
}

/// A line of proc_pid_status(5): `VmRSS` is what is resident, `VmHWM` the most that ever was.
pub(crate) fn status_bytes(pid: u32, field: &str) -> u64 {
    let status = wait_for("the daemon's status", Duration::from_secs(1), || {
        fs::read_to_string(format!("/proc/{pid}/status")).ok()
    });
    let line = status
        .lines()
        .find(|line| line.split(':').next() == Some(field))
        .expect("the field");
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number");
    kib * 1024
}
