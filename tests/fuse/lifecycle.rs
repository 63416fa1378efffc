//! How a mount begins and ends, whatever happens to its daemon.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tempfile::TempDir;

use crate::namespace::assert_errno;
use crate::reading::{MIB, bytes};
use crate::support::local::Local;
use crate::support::store::TestStore;
use crate::support::umount::umount;
use crate::support::wait::{LONG, once_in_five, wait_for, within};

#[test]
fn umount_from_outside_ends_the_daemon_cleanly() {
    let store = Local::shared();
    let bucket = store.bucket_with(&[("f", b"1")]);
    once_in_five(|_| {
        let log = Log::new();
        let mount = store.mounting(&bucket).with(&log.arguments()).mount();
        assert_eq!(fs::read(mount.join("f")).unwrap(), b"1");
        assert_eq!(mount.unmount().code(), Some(0));
        log.tells_of(&[])
    });
}

#[test]
fn daemon_of_a_detached_mount_spares_what_took_its_place() {
    let store = Local::shared();
    let bucket = store.bucket_with(&[("f", b"1")]);
    for signal in [false, true] {
        let mut mount = store.mounting(&bucket).mount();
        let held = File::open(mount.join("f")).unwrap();
        run("umount", &["--lazy".as_ref(), mount.path()]);
        run(
            "mount",
            &[
                "-t".as_ref(),
                "tmpfs".as_ref(),
                "none".as_ref(),
                mount.path(),
            ],
        );
        if signal {
            kill("TERM", mount.pid());
        } else {
            drop(held);
        }
        assert_eq!(mount.wait().code(), Some(0));
        assert!(is_mounted(mount.path()), "by signal: {signal}");
        run("umount", &[mount.path()]);
    }
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
    once_in_five(|_| {
        let log = Log::new();
        let mut mount = store.mounting(&bucket).with(&log.arguments()).mount();
        let held = File::open(mount.join("f")).unwrap();
        let asked = Instant::now();
        kill("TERM", mount.pid());
        assert_eq!(mount.wait().code(), Some(0));
        let taken = asked.elapsed();
        assert!(!is_mounted(mount.path()));
        assert_errno(held.metadata(), Errno::NOTCONN);
        within(taken, Duration::from_secs(20))?;
        log.tells_of(&[OPEN_FILES])
    });
}

#[test]
fn signal_during_reads_ends_the_daemon_and_its_readers() {
    let store = Local::shared();
    let bucket = store.fresh_bucket();
    store.plant(&bucket, "f", 1 << 40, 1);
    once_in_five(|_| {
        let log = Log::new();
        let mut mount = store.mounting(&bucket).with(&log.arguments()).mount();
        let mut readers: Vec<_> = (0..4)
            .map(|reader| {
                Command::new("dd")
                    .arg(format!("if={}", mount.join("f").display()))
                    .args(["of=/dev/null", "bs=1M", "iflag=direct"])
                    .arg(format!("skip={}", reader << 16))
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for reader in &readers {
            wait_for("a reader reads", LONG, || {
                (io_count(reader.id(), "rchar") > 8 * MIB).then_some(())
            });
        }
        let asked = Instant::now();
        kill("TERM", mount.pid());
        assert_eq!(mount.wait().code(), Some(0));
        let taken = asked.elapsed();
        for reader in &mut readers {
            let status = wait_for("a reader ends", LONG, || reader.try_wait().unwrap());
            assert!(!status.success());
        }
        within(taken, Duration::from_secs(20))?;
        log.tells_of(&[OPEN_FILES])
    });
}

#[test]
fn auto_unmount_clears_the_mount_of_a_killed_daemon() {
    let store = Local::shared();
    let bucket = store.bucket_with(&[("f", b"1")]);
    for _ in 0..5 {
        let mut mount = store.mounting(&bucket).with(&["--auto-unmount"]).mount();
        let _held = File::open(mount.join("f")).unwrap();
        mount.kill();
        wait_for("the mount is gone", LONG, || {
            (!is_mounted(mount.path())).then_some(())
        });
    }
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
    umount(mount.path());
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
    run("umount", &["--lazy".as_ref(), mount.path()]);
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

/// What a daemon logs that ends while files are open.
const OPEN_FILES: &str = "while files were open";

/// What a daemon logs.
struct Log(TempDir);

impl Log {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn arguments(&self) -> [&str; 2] {
        ["--log-directory", self.0.path().to_str().unwrap()]
    }

    /// The records that an operator would worry about.
    fn alarms(&self) -> Vec<String> {
        let files = fs::read_dir(self.0.path()).unwrap();
        let texts: Vec<_> = files
            .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
            .collect();
        assert_eq!(texts.len(), 1, "log files");
        texts[0]
            .lines()
            .filter(|line| line.contains("WARN") || line.contains("ERROR"))
            .map(str::to_owned)
            .collect()
    }

    /// Whether all there is to worry about is this. It must be that, but a daemon that stands still at its
    /// end tells of what did not end in time, too.
    fn tells_of(&self, expected: &[&str]) -> Result<(), String> {
        let alarms = self.alarms();
        let (late, others): (Vec<_>, Vec<_>) = alarms.iter().partition(|alarm| is_late(alarm));
        assert_eq!(others.len(), expected.len(), "{alarms:?}");
        for (alarm, text) in others.iter().zip(expected) {
            assert!(alarm.contains(text), "{alarms:?}");
        }
        match late.as_slice() {
            [] => Ok(()),
            late => Err(format!("{late:?}")),
        }
    }
}

/// Whether a record is of what the Common Runtime had not ended in time.
fn is_late(record: &str) -> bool {
    const OTHERS: [&str; 2] = ["never given back", "called from a callback"];
    let is_of_a_stage = record.contains("CRT shutdown: ");
    let is_of_time = is_of_a_stage && !OTHERS.iter().any(|text| record.contains(text));
    is_of_time || record.contains("was dropped before its shutdown had ended")
}

fn kill(signal: &str, pid: u32) {
    run(
        "kill",
        &["-s".as_ref(), signal.as_ref(), pid.to_string().as_ref()],
    );
}

fn run(program: &str, arguments: &[&Path]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = path.to_str().unwrap();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(path))
}

/// A line of proc_pid_io(5): `rchar` is the bytes that a process has read, from anything, and `syscr`
/// how often it has.
pub(crate) fn io_count(pid: u32, field: &str) -> u64 {
    let counts = fs::read_to_string(format!("/proc/{pid}/io")).expect("it runs");
    let line = counts.lines().find_map(|line| line.strip_prefix(field));
    let count = line.and_then(|line| line.strip_prefix(": "));
    count.expect("a count").parse().expect("a number")
}

/// A line of proc_pid_status(5): `VmRSS` is what is resident, `VmHWM` the most that ever was.
pub(crate) fn status_bytes(pid: u32, field: &str) -> u64 {
    let status = wait_for("the daemon's status", LONG, || {
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
