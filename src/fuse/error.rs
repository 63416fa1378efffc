//! Why a mount fails, from what the system and the helper that mounts say.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

/// Why a mount failed, as advice to the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// There is no `/dev/fuse`.
    #[error(
        "{FUSE_DEVICE} is not there: load the kernel module (`modprobe fuse`), or hand the device to the container (`--device {FUSE_DEVICE}`)"
    )]
    NoDevice,
    /// `/dev/fuse` is there and cannot be opened.
    #[error("cannot open {FUSE_DEVICE}: {0}")]
    Device(#[source] io::Error),
    /// The helper that mounts for users other than root is missing.
    #[error(
        "fusermount3 is not installed, which users other than root and --auto-unmount need: `apt-get install fuse3` or `dnf install fuse3`"
    )]
    NoFusermount,
    /// A user other than root wants to share the mount.
    #[error(
        "--allow-other, --allow-root and --auto-unmount need a line `user_allow_other` in /etc/fuse.conf when the user is not root"
    )]
    UserAllowOther,
    /// The system does not let this process mount.
    #[error(
        "no permission to mount at {directory}: {reason} (in a container, mounting needs the capability SYS_ADMIN)"
    )]
    NotPermitted {
        /// The mount point.
        directory: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Anything else that the system refuses.
    #[error("cannot mount at {directory}: {reason}")]
    Refused {
        /// The mount point.
        directory: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A descriptor that was handed over has no mount.
    #[error(
        "{descriptor} does not serve a mount: {reason}; who hands it over has to call mount(2) with `fd=N` before, and must not serve it"
    )]
    NotMounted {
        /// The descriptor's name.
        descriptor: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Threads could not be started.
    #[error("cannot start threads: {0}")]
    Threads(#[source] io::Error),
    /// The mount is there, and `statfs` of it fails or gets no answer.
    #[error("the mount at {directory} does not answer: {reason}")]
    NotAnswering {
        /// The mount point.
        directory: PathBuf,
        /// What was seen.
        reason: String,
    },
}

/// Looks for `/dev/fuse` before anything is mounted.
pub(super) fn check_device() -> Result<(), MountError> {
    match OpenOptions::new().read(true).write(true).open(FUSE_DEVICE) {
        Ok(_) => Ok(()),
        // The device node may exist without its driver.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) =>
        {
            Err(MountError::NoDevice)
        }
        Err(error) => Err(MountError::Device(error)),
    }
}

/// Makes advice of what mounting failed with. The helper's errors arrive as its text alone.
pub(super) fn diagnose(directory: &Path, error: &io::Error) -> MountError {
    let reason = error.to_string().trim().to_owned();
    let directory = directory.to_owned();
    if error.kind() == io::ErrorKind::NotFound && directory.is_dir() {
        MountError::NoFusermount
    } else if reason.contains("user_allow_other") {
        MountError::UserAllowOther
    } else if error.raw_os_error() == Some(libc::EPERM)
        || reason.contains("Operation not permitted")
        || reason.contains("EPERM")
    {
        MountError::NotPermitted { directory, reason }
    } else {
        MountError::Refused { directory, reason }
    }
}

/// The device that the kernel's FUSE requests are read from.
const FUSE_DEVICE: &str = "/dev/fuse";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnose_names_the_remedy() {
        let dir = tempfile::tempdir().expect("a directory");
        let of = |kind, text: &str| diagnose(dir.path(), &io::Error::new(kind, text)).to_string();
        assert!(of(io::ErrorKind::NotFound, "No such file").contains("apt-get install fuse3"));
        assert!(
            of(
                io::ErrorKind::PermissionDenied,
                "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf",
            )
            .contains("a line `user_allow_other`")
        );
        assert!(
            of(
                io::ErrorKind::Other,
                "fusermount3: mount failed: Operation not permitted\n",
            )
            .contains("SYS_ADMIN")
        );
        assert!(of(io::ErrorKind::Other, "strange\n").ends_with("strange"));
    }

    #[test]
    fn diagnose_of_a_missing_directory_does_not_blame_fusermount() {
        let error = io::Error::from(io::ErrorKind::NotFound);
        assert!(matches!(
            diagnose(Path::new("/nonexistent/mount/point"), &error),
            MountError::Refused { .. }
        ));
    }
}
