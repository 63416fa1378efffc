//! Unmounting beside other tests.

use std::path::Path;
use std::process::Command;

use super::wait::{LONG, wait_for};

/// Unmounts from outside. A process that another test starts has files of this one open until it runs its
/// program.
pub(crate) fn umount(path: &Path) {
    wait_for("umount", LONG, || {
        let status = Command::new("umount").arg(path).status();
        status.expect("umount runs").success().then_some(())
    });
}
