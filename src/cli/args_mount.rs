//! The flags that say how the file system looks, and what it allows.

use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};

use super::args::MOUNT;
use super::values::Permissions;

/// How the file system looks, and what it allows.
#[derive(Debug, Clone, Args)]
pub(super) struct MountArgs {
    /// Mount the file system read-only
    #[arg(long, help_heading = MOUNT)]
    pub(super) read_only: bool,

    /// Allow to delete objects
    #[arg(long, help_heading = MOUNT)]
    pub(super) allow_delete: bool,

    /// Allow to replace objects: by opening with O_TRUNC, and by renaming
    #[arg(long, help_heading = MOUNT)]
    pub(super) allow_overwrite: bool,

    /// Rename files and directories by copying their objects and deleting the old ones after that.
    /// A renaming costs a copy, a HEAD and a DELETE; of a directory, a copy and a DELETE an object
    /// and three listings. Directory buckets rename files without it, by one request
    #[arg(long, help_heading = MOUNT, requires = "allow_delete")]
    pub(super) allow_rename: bool,

    /// Store directories, so that they stay when they are empty: mkdir costs a PUT, deleting a file
    /// at most a LIST, and a PUT when it was the last one in its directory
    #[arg(long, help_heading = MOUNT)]
    pub(super) keep_directories: bool,

    /// Write files by appending to their objects, which may exist before. Directory buckets only
    #[arg(long, help_heading = MOUNT)]
    pub(super) incremental_upload: bool,

    /// How files may be written. 'streaming': new files, in order, uploaded on the way. 'staged': any
    /// file (an existing one with --allow-overwrite) in any order, by way of a local disk; it is
    /// uploaded when it is closed or synced, which costs the disk's space and time
    #[arg(long, help_heading = MOUNT, value_name = "MODE", default_value = "streaming")]
    pub(super) write_mode: WriteMode,

    /// Directory on a local disk for files that are being written, with --write-mode staged. What
    /// could not be uploaded stays there: see mount-s3 staged --help
    #[arg(long, help_heading = MOUNT, value_name = "DIRECTORY")]
    pub(super) stage: Option<PathBuf>,

    /// Let the kernel gather what is written to new files and hand it over in large pieces: small
    /// writes are several times faster, but what is wrong with one is told by fsync or close, not
    /// by the write
    #[arg(long, help_heading = MOUNT)]
    #[arg(conflicts_with_all = ["read_only", "incremental_upload", "stage", "posix_metadata"])]
    pub(super) writeback_cache: bool,

    /// Unmount when the process ends, however it ends
    #[arg(long, help_heading = MOUNT)]
    pub(super) auto_unmount: bool,

    /// Let root use the file system, not only the user who mounts it
    #[arg(long, help_heading = MOUNT, conflicts_with = "allow_other")]
    pub(super) allow_root: bool,

    /// Let all users use the file system, not only the user who mounts it
    #[arg(long, help_heading = MOUNT)]
    pub(super) allow_other: bool,

    /// Owner of files and directories [default: the user who mounts]
    #[arg(long, help_heading = MOUNT, value_parser = value_parser!(u32).range(1..))]
    pub(super) uid: Option<u32>,

    /// Group of files and directories [default: the group of the user who mounts]
    #[arg(long, help_heading = MOUNT, value_parser = value_parser!(u32).range(1..))]
    pub(super) gid: Option<u32>,

    /// Permissions of directories, octal
    #[arg(long, help_heading = MOUNT, value_name = "MODE", value_parser = Permissions::parse)]
    #[arg(default_value_t = Permissions::DIRECTORY_DEFAULT)]
    pub(super) dir_mode: Permissions,

    /// Permissions of files, octal
    #[arg(long, help_heading = MOUNT, value_name = "MODE", value_parser = Permissions::parse)]
    #[arg(default_value_t = Permissions::FILE_DEFAULT)]
    pub(super) file_mode: Permissions,

    /// Keep modes, owners, times and symbolic links in the user metadata of objects, as s3fs and
    /// rclone do. Looking at a file then costs a HEAD, and changing its attributes a copy of the
    /// object onto itself
    #[arg(long, help_heading = MOUNT)]
    pub(super) posix_metadata: bool,

    /// Show what S3 says of objects as extended attributes user.s3.*. Reading one costs a HEAD at
    /// most; programs that show or copy files ask the mount for each of them
    #[arg(long, help_heading = MOUNT)]
    pub(super) xattrs: bool,

    /// Stay in the foreground
    #[arg(short, long, help_heading = MOUNT)]
    pub(super) foreground: bool,
}

/// The value of `--write-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum WriteMode {
    Streaming,
    Staged,
}
