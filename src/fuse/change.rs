//! Requests that change something: files that are written, and the namespace.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use fuser::{
    FileHandle, FopenFlags, INodeNo, RenameFlags, ReplyAttr, ReplyCreate, ReplyEmpty, ReplyEntry,
    ReplyWrite, Request, TimeOrNow,
};

use super::adapter::Adapter;
use super::convert::{GENERATION, creator, file_attr, handle, inode};
use crate::fs::{Error, Fs, OpenFlags, OpenKind, Pid, RenameMode, SetAttr};
use crate::metrics::Operation;

impl Adapter {
    /// Writes. Bytes that fit into the file's buffer are copied there, and the answer leaves at
    /// once; others are copied to where they can wait.
    pub(super) fn do_write(
        &self,
        ino: INodeNo,
        file: FileHandle,
        offset: u64,
        data: &[u8],
        reply: ReplyWrite,
    ) {
        // A request has no more bytes than it has room for their number.
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let served = Arc::clone(&self.served);
        let answer = move |result: Result<(), Error>, reply: ReplyWrite| match result {
            Ok(()) => {
                served.metrics.fuse.note_written(size);
                reply.written(size);
            }
            Err(error) => reply.error(served.fail(
                Operation::Write,
                format_args!("{size} bytes at {offset} of inode {ino}"),
                &error,
            )),
        };
        self.executor.run_now(Operation::Write, |timer| {
            let fs = match self.served.fs() {
                Ok(fs) => fs,
                Err(closed) => return answer(Err(closed), reply),
            };
            if let Some(result) = fs.write_now(handle(file), offset, data) {
                return answer(result, reply);
            }
            let (served, data) = (Arc::clone(&self.served), Bytes::copy_from_slice(data));
            self.executor.go_on(timer, async move {
                let write = async |fs: Arc<Fs>| fs.write(handle(file), offset, data).await;
                answer(served.run(write).await, reply);
            });
        });
    }

    pub(super) fn do_flush(
        &self,
        request: &Request,
        ino: INodeNo,
        file: FileHandle,
        reply: ReplyEmpty,
    ) {
        let by = Pid(request.pid());
        self.run_empty(Operation::Flush, ino, reply, move |fs| async move {
            fs.flush(handle(file), by).await
        });
    }

    pub(super) fn do_fsync(&self, ino: INodeNo, file: FileHandle, reply: ReplyEmpty) {
        self.run_empty(Operation::Fsync, ino, reply, move |fs| async move {
            fs.fsync(handle(file)).await
        });
    }

    pub(super) fn do_release(&self, ino: INodeNo, file: FileHandle, reply: ReplyEmpty) {
        self.run_empty(Operation::Release, ino, reply, move |fs| async move {
            fs.release(handle(file)).await
        });
    }

    pub(super) fn do_create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (served, name) = (Arc::clone(&self.served), name.to_owned());
        let (creator, flags) = (creator(request, mode), OpenFlags(flags));
        let by = Pid(request.pid());
        self.executor.run(Operation::Create, async move {
            let create =
                async |fs: Arc<Fs>| fs.create(inode(parent), &name, creator, flags, by).await;
            match served.run(create).await {
                Ok((entry, opened)) => reply.created(
                    &entry.valid_for,
                    &file_attr(&entry.attr),
                    GENERATION,
                    FileHandle(opened.file.0),
                    open_reply(opened.kind),
                ),
                Err(error) => reply.error(served.fail(
                    Operation::Create,
                    format_args!("{name:?} in inode {parent}"),
                    &error,
                )),
            }
        });
    }

    pub(super) fn do_mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        reply: ReplyEntry,
    ) {
        let creator = creator(request, mode);
        self.run_entry(
            Operation::Mknod,
            parent,
            name,
            reply,
            move |fs, name| async move { fs.mknod(inode(parent), &name, creator).await },
        );
    }

    pub(super) fn do_mkdir(&self, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.run_entry(
            Operation::Mkdir,
            parent,
            name,
            reply,
            move |fs, name| async move { fs.mkdir(inode(parent), &name).await },
        );
    }

    pub(super) fn do_unlink(&self, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.run_empty(Operation::Unlink, parent, reply, move |fs| async move {
            fs.unlink(inode(parent), &name).await
        });
    }

    pub(super) fn do_rmdir(&self, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.run_empty(Operation::Rmdir, parent, reply, move |fs| async move {
            fs.rmdir(inode(parent), &name).await
        });
    }

    pub(super) fn do_rename(
        &self,
        (parent, name): (INodeNo, &OsStr),
        (new_parent, new_name): (INodeNo, &OsStr),
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        let mode = if flags.is_empty() {
            RenameMode::Replace
        } else if flags == RenameFlags::RENAME_NOREPLACE {
            RenameMode::KeepTarget
        } else {
            RenameMode::Other
        };
        self.run_empty(Operation::Rename, parent, reply, move |fs| async move {
            let (from, to) = ((inode(parent), &*name), (inode(new_parent), &*new_name));
            fs.rename(from, to, mode).await
        });
    }

    pub(super) fn do_setattr(&self, ino: INodeNo, change: SetAttr, reply: ReplyAttr) {
        self.run_attr(Operation::Setattr, ino, reply, move |fs| async move {
            fs.setattr(inode(ino), change).await
        });
    }
}

/// How the kernel is to treat an open file.
///
/// What is read stays cached from one open to the next, which is right because an inode stands for
/// one version of an object: the pages of another version belong to another inode. A close of a
/// handle that reads is not told unless somebody waits for it, which spares a request. What is
/// written passes by the cache: it could only be read after the file was closed, as another inode,
/// and whole requests come in the order in which they were written. Where the kernel gathers what is
/// written, the cache of the new inode is where it does so.
pub(super) fn open_reply(kind: OpenKind) -> FopenFlags {
    match kind {
        OpenKind::Reads => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH,
        OpenKind::ReadsUntilClosed => FopenFlags::FOPEN_KEEP_CACHE,
        OpenKind::Writes => FopenFlags::FOPEN_DIRECT_IO,
        OpenKind::WritesInPages => FopenFlags::empty(),
        // All who have it open, and memory that maps it, share its pages.
        OpenKind::Staged => FopenFlags::FOPEN_KEEP_CACHE,
    }
}

pub(super) fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}
