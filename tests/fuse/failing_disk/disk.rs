//! A disk that fails on demand: ext4 on a loop device, whose bytes come from a FUSE file system of this
//! process, which has a single file and answers EIO when it is told to.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use tempfile::TempDir;

/// What fails.
#[derive(Debug, Default)]
struct Faults {
    reads: AtomicBool,
    writes: AtomicBool,
}

/// A file system on a disk that can fail; unmounted when dropped.
#[derive(Debug)]
pub(super) struct Disk {
    place: Option<TempDir>,
    raw: Option<TempDir>,
    session: Option<BackgroundSession>,
    faults: Arc<Faults>,
}

impl Disk {
    /// A disk that is well. What cannot be written to it is lost, and nothing else: there is no journal,
    /// without which a file system would be for reading only from then on.
    pub(super) fn new() -> Self {
        let faults = Arc::<Faults>::default();
        let bytes = tempfile::tempfile().expect("a file");
        bytes.set_len(SIZE).expect("made longer");
        let raw = tempfile::tempdir().expect("a directory");
        let device = Device {
            bytes,
            faults: Arc::clone(&faults),
        };
        let session = fuser::spawn_mount(device, raw.path(), &Config::default());
        let disk = Self {
            place: Some(tempfile::tempdir().expect("a directory")),
            session: Some(session.expect("mounted")),
            faults,
            raw: Some(raw),
        };
        let file = disk.raw.as_ref().expect("mounted").path().join(NAME);
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-O", "^has_journal", "-m", "0"])
            .args(["-E", "lazy_itable_init=0"])
            .arg(&file));
        run(Command::new("mount")
            .args(["-o", "loop,errors=continue"])
            .args([&file, disk.path()]));
        fs::set_permissions(disk.path(), Permissions::from_mode(0o700)).expect("set");
        disk
    }

    pub(super) fn path(&self) -> &Path {
        self.place.as_ref().expect("mounted").path()
    }

    /// Sets what fails from now on.
    pub(super) fn fail(&self, reads: bool, writes: bool) {
        self.faults.reads.store(reads, Ordering::SeqCst);
        self.faults.writes.store(writes, Ordering::SeqCst);
    }

    /// Lets the disk have what was written, as far as it takes that.
    pub(super) fn sync(&self) {
        // It may say that it has lost something.
        let output = Command::new("sync").arg("-f").arg(self.path()).output();
        output.expect("sync runs");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.fail(false, false);
        // Lazy, so that a test that failed with a file open still leaves nothing behind.
        let unmount = |place: Option<TempDir>| {
            let Some(place) = place else { return };
            let path = place.keep();
            let mut umount = Command::new("umount");
            let _ = umount
                .arg("--lazy")
                .arg(&path)
                .stderr(Stdio::null())
                .status();
            let _ = fs::remove_dir(path);
        };
        unmount(self.place.take());
        // The loop device lets go of its file by itself; until then the session goes on.
        unmount(self.raw.take());
        if let Some(session) = self.session.take() {
            drop(session);
        }
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A directory with one file.
struct Device {
    bytes: File,
    faults: Arc<Faults>,
}

fn attr(ino: INodeNo) -> FileAttr {
    let is_file = ino == FILE;
    FileAttr {
        ino,
        size: if is_file { SIZE } else { 0 },
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_file {
            FileType::RegularFile
        } else {
            FileType::Directory
        },
        perm: if is_file { 0o600 } else { 0o700 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Device {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == NAME {
            reply.entry(&FOREVER, &attr(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &attr(ino));
    }

    // Nothing is kept of it, so that every failure shows.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut buffer = vec![0; size as usize];
        let is_read = !self.faults.reads.load(Ordering::SeqCst)
            && self.bytes.read_exact_at(&mut buffer, offset).is_ok();
        if is_read {
            reply.data(&buffer);
        } else {
            reply.error(Errno::EIO);
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let is_written = !self.faults.writes.load(Ordering::SeqCst)
            && self.bytes.write_all_at(data, offset).is_ok();
        if is_written {
            reply.written(u32::try_from(data.len()).expect("a request"));
        } else {
            reply.error(Errno::EIO);
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }
}

const NAME: &str = "disk";

const FILE: INodeNo = INodeNo(2);

/// 256 MiB, of which memory has what is written.
const SIZE: u64 = 256 << 20;

const FOREVER: Duration = Duration::from_secs(1 << 30);
