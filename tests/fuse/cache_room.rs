//! Mounts whose cache is on a disk that has little room: it keeps what was read last.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::passthrough::drop_pages;
use crate::support::local::Local;
use crate::support::mount::Mount;
use crate::support::store::TestStore;
use crate::support::wait::{LONG, wait_for};

/// A disk in memory, with so many inodes; unmounted when dropped.
struct Disk(Option<TempDir>);

impl Disk {
    fn with_inodes(inodes: u64) -> Self {
        let disk = Self(Some(tempfile::tempdir().expect("a directory")));
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o"]);
        mount.arg(format!("size=128m,mode=700,nr_inodes={inodes}"));
        let status = mount.arg("none").arg(disk.path()).status();
        assert!(status.expect("mount runs").success());
        disk
    }

    fn path(&self) -> &str {
        let place = self.0.as_ref().expect("mounted");
        place.path().to_str().expect("UTF-8")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let Some(path) = self.0.take().map(TempDir::keep) else {
            return;
        };
        let mut umount = Command::new("umount");
        let umount = umount.arg("--lazy").arg(&path).stderr(Stdio::null());
        let _ = umount.status();
        let _ = fs::remove_dir(path);
    }
}

/// Reads these files, as the disk has them if it has.
fn read(mount: &Mount, numbers: impl Iterator<Item = u64>) {
    drop_pages();
    for number in numbers {
        let bytes = fs::read(mount.join(&format!("f{number:07}"))).expect("read");
        assert_eq!(bytes.len(), 5000);
    }
}

#[test]
fn cache_that_has_taken_all_inodes_makes_room() {
    const FILES: u64 = 2500;
    let store = Local::start();
    let bucket = store.fresh_bucket();
    store.plant_many(&bucket, "f", FILES, 5000);
    // 256 of them are directories, and as many may be open.
    let disk = Disk::with_inodes(2000);
    let mount = store
        .mounting(&bucket)
        .with(&["--cache", disk.path(), "--metadata-ttl", "indefinite"])
        .mount();
    read(&mount, 0..FILES);
    // What is read now is kept, sooner or later.
    wait_for("they are read from the disk", LONG, || {
        read(&mount, FILES - 20..FILES);
        thread::sleep(Duration::from_millis(100));
        let gets = store.count("GetObject");
        read(&mount, FILES - 20..FILES);
        (store.count("GetObject") == gets).then_some(())
    });
    assert!(mount.unmount().success());
}
