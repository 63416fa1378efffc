//! Operations that are refused whatever they are about, and why.

use super::config::FsConfig;
use super::errno::Error;

/// An operation that the file system does not have, or does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names are those of the system calls")]
pub enum Refused {
    Access,
    Bmap,
    CopyFileRange,
    Fallocate,
    Fsyncdir,
    Getlk,
    Ioctl,
    Link,
    Lseek,
    Poll,
    Readlink,
    Removexattr,
    Setlk,
    Setxattr,
    Symlink,
}

impl Refused {
    /// The name of the operation, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Bmap => "bmap",
            Self::CopyFileRange => "copy_file_range",
            Self::Fallocate => "fallocate",
            Self::Fsyncdir => "fsync of a directory",
            Self::Getlk => "getlk",
            Self::Ioctl => "ioctl",
            Self::Link => "link",
            Self::Lseek => "lseek",
            Self::Poll => "poll",
            Self::Readlink => "readlink",
            Self::Removexattr => "removexattr",
            Self::Setlk => "setlk",
            Self::Setxattr => "setxattr",
            Self::Symlink => "symlink",
        }
    }

    pub(super) fn error(self, config: &FsConfig) -> Error {
        match self {
            // `ENOSYS` is remembered by the kernel: it does what it can by itself from then on
            // (locks, seeks, access checks), or tells programs that there is no such thing.
            Self::Access
            | Self::Bmap
            | Self::CopyFileRange
            | Self::Fallocate
            | Self::Fsyncdir
            | Self::Getlk
            | Self::Ioctl
            | Self::Lseek
            | Self::Poll
            | Self::Readlink
            | Self::Removexattr
            | Self::Setlk
            | Self::Setxattr => Error::Unsupported(self.name()),
            Self::Link | Self::Symlink if config.read_only => Error::ReadOnly,
            Self::Link | Self::Symlink => Error::NotPermitted("S3 has no links"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::errno::Errno;
    use super::*;

    fn errno(operation: Refused, read_only: bool) -> Errno {
        let config = FsConfig {
            read_only,
            ..FsConfig::new(1, 1)
        };
        operation.error(&config).errno()
    }

    #[test]
    fn s31_links_are_not_permitted_and_the_rest_is_unknown() {
        for operation in [Refused::Link, Refused::Symlink] {
            assert_eq!(errno(operation, false), Errno::EPERM, "{operation:?}");
        }
        for operation in [
            Refused::Readlink,
            Refused::Setxattr,
            Refused::Removexattr,
            Refused::Access,
            Refused::Getlk,
            Refused::Setlk,
        ] {
            assert_eq!(errno(operation, false), Errno::ENOSYS, "{operation:?}");
            assert_eq!(errno(operation, true), Errno::ENOSYS, "{operation:?}");
        }
    }

    #[test]
    fn s06_fsync_of_a_directory_is_unknown() {
        assert_eq!(errno(Refused::Fsyncdir, false), Errno::ENOSYS);
    }

    #[test]
    fn s26_file_space_operations_are_unknown() {
        for operation in [
            Refused::Fallocate,
            Refused::CopyFileRange,
            Refused::Ioctl,
            Refused::Bmap,
        ] {
            assert_eq!(errno(operation, false), Errno::ENOSYS, "{operation:?}");
        }
    }

    #[test]
    fn changes_on_a_read_only_mount_are_refused_as_such() {
        for operation in [Refused::Link, Refused::Symlink] {
            assert_eq!(errno(operation, true), Errno::EROFS, "{operation:?}");
        }
    }
}
