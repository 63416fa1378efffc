//! What the operator chose about the look of the file system, and what he allows.

/// Settings of an [`Fs`](super::Fs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsConfig {
    /// Owner of every file and directory that says nothing else.
    pub uid: u32,
    /// Group of every file and directory that says nothing else.
    pub gid: u32,
    /// Permission bits of files that say nothing else, at most `0o777`. Archived objects have none.
    pub file_mode: u16,
    /// Permission bits of directories, at most `0o777`.
    pub dir_mode: u16,
    /// Whether every change is refused with `EROFS`. The kernel does so by itself where the mount
    /// carries the flag, but a mount made by somebody else may lack it.
    pub read_only: bool,
    /// Whether objects may be deleted.
    pub allow_delete: bool,
    /// Whether objects may be replaced: by an open that truncates, or by a rename.
    pub allow_overwrite: bool,
    /// Whether files are written by appending to their objects, which then may exist before.
    /// Directory buckets only.
    pub incremental_upload: bool,
    /// Whether files can be renamed. Directory buckets only.
    pub can_rename: bool,
    /// Whether files and directories are renamed by copying objects and then deleting them, where
    /// [`Self::can_rename`] does not hold.
    pub rename_by_copy: bool,
    /// Whether directories are stored as markers, so that they stay when nothing is in them.
    pub keep_directories: bool,
    /// Whether new objects get a `Content-Type` after the ending of their names.
    pub infer_content_type: bool,
    /// Whether the kernel gathers in its page cache what is written to new files. Not where files are
    /// written by appending or staged, nor where the times of files are kept, which the kernel then changes.
    pub writeback_cache: bool,
    /// Whether modes, owners, times and symbolic links are kept in user metadata.
    pub posix_metadata: bool,
    /// Whether there are extended attributes. Without them the kernel asks for one once; with them,
    /// for some of each file that `ls -l` shows.
    pub xattrs: bool,
}

impl FsConfig {
    /// Files and directories of this owner and group, `0644` and `0755`; nothing that exists can
    /// be changed.
    pub const fn new(uid: u32, gid: u32) -> Self {
        Self {
            uid,
            gid,
            file_mode: 0o644,
            dir_mode: 0o755,
            read_only: false,
            allow_delete: false,
            allow_overwrite: false,
            incremental_upload: false,
            can_rename: false,
            rename_by_copy: false,
            keep_directories: false,
            infer_content_type: false,
            writeback_cache: false,
            posix_metadata: false,
            xattrs: false,
        }
    }

    /// Whether a file that exists may be opened for writing.
    pub(super) fn can_reopen(&self) -> bool {
        self.allow_overwrite || self.incremental_upload
    }
}
