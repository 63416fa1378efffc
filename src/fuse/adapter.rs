//! From FUSE requests to operations of [`Fs`], and back.
//!
//! An operation is a future that owns its reply. It is polled once on the thread that took the
//! request: an answer that is at hand leaves from there. Only an operation that has to wait for
//! S3 moves to the pool, so that no thread of the session ever waits.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::answer::{answer_open, refused_request};
use super::background::Background;
use super::change::time;
use super::convert::{handle, inode};
use super::executor::Executor;
use super::negotiation;
use super::revealed::Revealed;
use super::served::Served;
use crate::fs::{self, Fs, Pid, Refused, SetAttr};
use crate::metrics::Operation;

/// Serves an [`Fs`] to the kernel.
#[derive(Debug)]
pub(super) struct Adapter {
    pub(super) served: Arc<Served>,
    pub(super) executor: Executor,
    pub(super) revealed: Revealed,
    background: Background,
}

impl Adapter {
    /// Starts the threads that operations continue on after a wait.
    pub(super) fn new(
        served: Arc<Served>,
        revealed: Revealed,
        background: Background,
    ) -> io::Result<Self> {
        Ok(Self {
            executor: Executor::new(Arc::clone(&served.metrics.fuse))?,
            served,
            revealed,
            background,
        })
    }

    fn refuse(&self, operation: Refused, ino: INodeNo) -> fuser::Errno {
        let error = match self.served.fs() {
            Ok(fs) => fs.refuse(operation),
            Err(closed) => closed,
        };
        self.served.fail(
            refused_request(operation),
            format_args!("inode {ino}"),
            &error,
        )
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        negotiation::negotiate(&self.served, self.background, config);
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.do_lookup(parent, name, Pid(req.pid()), reply);
    }

    fn forget(&self, _req: &Request, ino: INodeNo, count: u64) {
        self.executor.run_now(Operation::Forget, |_timer| {
            if let Ok(fs) = self.served.fs() {
                fs.forget(inode(ino), count);
            }
        });
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _file: Option<FileHandle>, reply: ReplyAttr) {
        self.run_attr(Operation::Getattr, ino, reply, move |fs| async move {
            fs.getattr(inode(ino)).await
        });
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let served = Arc::clone(&self.served);
        let (flags, by) = (fs::OpenFlags(flags.0), Pid(req.pid()));
        self.executor.run(Operation::Open, async move {
            let open = async |fs: Arc<Fs>| fs.open(inode(ino), flags, by).await;
            match served.run(open).await {
                Ok(opened) => answer_open(reply, &opened),
                Err(error) => {
                    reply.error(served.fail(Operation::Open, format_args!("inode {ino}"), &error))
                }
            }
        });
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        file: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let served = Arc::clone(&self.served);
        self.executor.run(Operation::Read, async move {
            let read = async |fs: Arc<Fs>| fs.read(handle(file), offset, size).await;
            match served.run(read).await {
                Ok(bytes) => {
                    served.metrics.fuse.note_read(bytes.len());
                    reply.data(&bytes);
                }
                Err(error) => reply.error(served.fail(
                    Operation::Read,
                    format_args!("{size} bytes at {offset} of inode {ino}"),
                    &error,
                )),
            }
        });
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        file: FileHandle,
        offset: u64,
        data: &[u8],
        _flags: WriteFlags,
        _open_flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.do_write(ino, file, offset, data, reply);
    }

    fn flush(
        &self,
        req: &Request,
        ino: INodeNo,
        file: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.do_flush(req, ino, file, reply);
    }

    fn fsync(
        &self,
        _req: &Request,
        ino: INodeNo,
        file: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.do_fsync(ino, file, reply);
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        file: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.do_release(ino, file, reply);
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.do_opendir(ino, reply);
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        dir: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.do_readdir(ino, dir, offset, reply);
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        dir: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.do_readdirplus(ino, dir, offset, reply);
    }

    fn releasedir(
        &self,
        _req: &Request,
        ino: INodeNo,
        dir: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.run_empty(Operation::Releasedir, ino, reply, move |fs| async move {
            fs.releasedir(handle(dir))
        });
    }

    fn statfs(&self, _req: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let _timer = self.served.metrics.fuse.start(Operation::Statfs);
        match self.served.fs() {
            Ok(fs) => {
                let fs::StatFs {
                    capacity,
                    block_size,
                    name_max,
                } = fs.statfs();
                reply.statfs(
                    capacity, capacity, capacity, capacity, capacity, block_size, name_max,
                    block_size,
                );
            }
            Err(closed) => reply.error(self.served.fail(
                Operation::Statfs,
                format_args!("inode {ino}"),
                &closed,
            )),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = SetAttr {
            size,
            mode,
            uid,
            gid,
            accessed: atime.map(time),
            modified: mtime.map(time),
        };
        self.do_setattr(ino, change, reply);
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.do_create(req, parent, name, mode, flags, reply);
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        self.do_mknod(req, parent, name, mode, reply);
    }

    fn mkdir(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        self.do_mkdir(parent, name, reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.do_unlink(parent, name, reply);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.do_rmdir(parent, name, reply);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.do_rename((parent, name), (new_parent, new_name), flags, reply);
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        self.do_readlink(ino, reply);
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        self.do_symlink(req, parent, name, target, reply);
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.do_getxattr(ino, name, size, reply);
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.do_listxattr(ino, size, reply);
    }

    // Everything below is refused. The defaults of the trait would refuse as well, but with other
    // numbers and a warning for each.

    fn link(
        &self,
        _req: &Request,
        ino: INodeNo,
        _new_parent: INodeNo,
        _new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        reply.error(self.refuse(Refused::Link, ino));
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _dir: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply.error(self.refuse(Refused::Fsyncdir, ino));
    }

    fn setxattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(self.refuse(Refused::Setxattr, ino));
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(self.refuse(Refused::Removexattr, ino));
    }

    fn access(&self, _req: &Request, ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        reply.error(self.refuse(Refused::Access, ino));
    }

    fn getlk(
        &self,
        _req: &Request,
        ino: INodeNo,
        _file: FileHandle,
        _lock_owner: LockOwner,
        _start: u64,
        _end: u64,
        _typ: i32,
        _pid: u32,
        reply: ReplyLock,
    ) {
        reply.error(self.refuse(Refused::Getlk, ino));
    }

    fn setlk(
        &self,
        _req: &Request,
        ino: INodeNo,
        _file: FileHandle,
        _lock_owner: LockOwner,
        _start: u64,
        _end: u64,
        _typ: i32,
        _pid: u32,
        _sleep: bool,
        reply: ReplyEmpty,
    ) {
        reply.error(self.refuse(Refused::Setlk, ino));
    }

    fn bmap(&self, _req: &Request, ino: INodeNo, _size: u32, _index: u64, reply: ReplyBmap) {
        reply.error(self.refuse(Refused::Bmap, ino));
    }

    fn ioctl(
        &self,
        _req: &Request,
        ino: INodeNo,
        _file: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _input: &[u8],
        _output_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(self.refuse(Refused::Ioctl, ino));
    }

    fn poll(
        &self,
        _req: &Request,
        ino: INodeNo,
        _file: FileHandle,
        _notifier: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(self.refuse(Refused::Poll, ino));
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _file: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(self.refuse(Refused::Fallocate, ino));
    }

    fn lseek(
        &self,
        _req: &Request,
        ino: INodeNo,
        _file: FileHandle,
        _offset: i64,
        _whence: i32,
        reply: ReplyLseek,
    ) {
        reply.error(self.refuse(Refused::Lseek, ino));
    }

    fn copy_file_range(
        &self,
        _req: &Request,
        ino_in: INodeNo,
        _file_in: FileHandle,
        _offset_in: u64,
        _ino_out: INodeNo,
        _file_out: FileHandle,
        _offset_out: u64,
        _len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(self.refuse(Refused::CopyFileRange, ino_in));
    }
}
