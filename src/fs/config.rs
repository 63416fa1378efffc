//! What the operator chose about the look of the file system.

/// Settings of an [`Fs`](super::Fs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsConfig {
    /// Owner of every file and directory.
    pub uid: u32,
    /// Group of every file and directory.
    pub gid: u32,
    /// Permission bits of files, at most `0o777`. Archived objects have none.
    pub file_mode: u16,
    /// Permission bits of directories, at most `0o777`.
    pub dir_mode: u16,
    /// Whether every change is refused with `EROFS`. The kernel does so by itself where the mount
    /// carries the flag, but a mount made by somebody else may lack it.
    pub read_only: bool,
}
