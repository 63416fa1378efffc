//! A cache on file systems that lie on others.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::{Fixture, content, read_all, wait_until_backed};
use crate::support::wait::{LONG, wait_for};

/// A file system that lies on others; unmounted when dropped.
struct Overlay<'a>(&'a Path);

impl<'a> Overlay<'a> {
    /// Puts it on `directory`, with what is in `lower`; changes go to `parts`.
    fn on(directory: &'a Path, lower: &Path, parts: &Path) -> Self {
        for part in ["upper", "work"] {
            fs::create_dir(parts.join(part)).expect("made");
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            parts.join("upper").display(),
            parts.join("work").display()
        );
        let status = Command::new("mount")
            .args(["-t", "overlay", "-o", &options, "none"])
            .arg(directory)
            .status();
        assert!(status.expect("mount runs").success());
        fs::set_permissions(directory, Permissions::from_mode(0o700)).expect("set");
        Self(directory)
    }
}

impl Drop for Overlay<'_> {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(self.0).status();
        assert!(status.expect("umount runs").success());
    }
}

#[test]
fn cache_may_lie_on_a_file_system_that_lies_on_another() {
    let fixture = Fixture::new();
    let [lower, parts] = [0, 1].map(|_| tempfile::tempdir().expect("a directory"));
    let _overlay = Overlay::on(fixture.cache.path(), lower.path(), parts.path());
    let mount = fixture.mounting(&[]).mount();
    let file = wait_until_backed(&mount, &mount.join("k"));
    assert!(read_all(&file) == content(1));
    drop(file);
    assert!(mount.unmount().success());
}

#[test]
fn files_that_the_kernel_refuses_are_read_from_the_daemon() {
    let fixture = Fixture::new();
    // More file systems on top of each other than the kernel takes.
    let [lowest, middle, parts, more_parts] =
        [0; 4].map(|_| tempfile::tempdir().expect("a directory"));
    let _middle = Overlay::on(middle.path(), lowest.path(), parts.path());
    let _topmost = Overlay::on(fixture.cache.path(), middle.path(), more_parts.path());
    let logs = tempfile::tempdir().expect("a directory");
    let path = logs.path().to_str().expect("UTF-8");
    let mount = fixture
        .mounting(&["--debug", "--log-directory", path])
        .mount();
    let log = || {
        let log = fs::read_dir(logs.path()).expect("there").flatten().next();
        fs::read_to_string(log.expect("a log").path()).expect("text")
    };
    wait_for("the kernel has refused it", LONG, || {
        assert!(fs::read(mount.join("k")).expect("read") == content(1));
        thread::sleep(Duration::from_millis(500));
        log().contains("it will be asked again").then_some(())
    });
    let gets = fixture.store.count("GetObject");
    // It is asked for one more, and then not for a while.
    for _ in 0..4 {
        assert!(fs::read(mount.join("k")).expect("read") == content(1));
        assert_eq!(fixture.store.count("GetObject"), gets);
        thread::sleep(Duration::from_millis(500));
    }
    let log = log();
    assert_eq!(log.matches("it will be asked again").count(), 1, "{log}");
    assert!(mount.unmount().success());
}
