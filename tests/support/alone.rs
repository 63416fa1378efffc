//! Tests that do not bear what other tests of their process do.

use std::fs;
use std::process::Command;

/// Runs `run`, which is what the test of this name does, in a process of its own. In this one, a process
/// that another test starts closes what is open, too: a file of which a descriptor was closed keeps nobody
/// out.
pub(crate) fn alone(test: &str, run: impl FnOnce()) {
    const ALONE: &str = "MOUNT_S3_TESTS_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return run();
    }
    // What it leaves behind when it fails may hold a file open, but no pipe, of which the end is waited for.
    let log = tempfile::NamedTempFile::new().expect("a file");
    let to_log = || log.as_file().try_clone().expect("a descriptor");
    let status = Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", test])
        .env(ALONE, "1")
        .stdout(to_log())
        .stderr(to_log())
        .status();
    let text = fs::read_to_string(log.path()).expect("text");
    let is_good = status.expect("it runs").success() && text.contains("1 passed");
    assert!(is_good, "{text}");
}
