//! How far the kernel reads ahead in files of a mount.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use log::debug;

/// Lets the kernel read further ahead than its default of 128 KiB, where this process may.
///
/// Each read-ahead is one or more FUSE requests of up to 1 MiB, so that the cost of a request is
/// spread over more bytes. The protocol cannot raise the value (the kernel takes the smaller of
/// its default and our answer), only its owner, root, can.
pub(super) fn raise(mount_point: &Path) {
    if let Err(error) = try_raise(mount_point) {
        debug!("the kernel's read-ahead stays at its default: {error}");
    }
}

fn try_raise(mount_point: &Path) -> io::Result<()> {
    let setting = setting_of(fs::metadata(mount_point)?.dev());
    let now = fs::read_to_string(&setting)?;
    if now
        .trim()
        .parse()
        .is_ok_and(|kib: u32| kib >= READ_AHEAD_KIB)
    {
        return Ok(());
    }
    fs::write(&setting, READ_AHEAD_KIB.to_string())
}

/// Where the kernel keeps the setting of the file system that is the device `dev`.
fn setting_of(dev: u64) -> PathBuf {
    let (major, minor) = (libc::major(dev), libc::minor(dev));
    PathBuf::from(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"))
}

/// KiB to read ahead. Of 128 to 1024, sequential reads through the page cache were the faster the
/// more it was: 78 % of the speed of 1024 at 128, 94 % at 512, 98 % at 768; 16384 was slower again.
/// But the kernel reads around each page fault: a mapped file of which whole blocks of 1 MiB are
/// read here and there was fetched 1.7 times at 1024, and 1.3 times at 768.
const READ_AHEAD_KIB: u32 = 768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_of_a_device_is_named_by_its_numbers() {
        assert_eq!(
            setting_of(libc::makedev(0, 57)),
            Path::new("/sys/class/bdi/0:57/read_ahead_kb")
        );
    }

    #[test]
    fn raise_of_a_missing_directory_is_skipped() {
        assert!(try_raise(Path::new("/nonexistent/mount/point")).is_err());
        raise(Path::new("/nonexistent/mount/point"));
    }
}
