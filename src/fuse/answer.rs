//! How operations are run and answered.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::sync::Arc;

use fuser::{FileHandle, FopenFlags, INodeNo, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyOpen};

use super::adapter::Adapter;
use super::change::open_reply;
use super::convert::{GENERATION, file_attr};
use crate::fs::{Entry, Error, Fs, Opened, Refused};
use crate::metrics::Operation;

impl Adapter {
    /// Runs an operation on `ino` that has no result.
    pub(super) fn run_empty<F>(
        &self,
        request: Operation,
        ino: INodeNo,
        reply: ReplyEmpty,
        operation: impl FnOnce(Arc<Fs>) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let served = Arc::clone(&self.served);
        self.executor.run(request, async move {
            match served.run(async move |fs| operation(fs).await).await {
                Ok(()) => reply.ok(),
                Err(error) => {
                    reply.error(served.fail(request, format_args!("inode {ino}"), &error))
                }
            }
        });
    }

    /// Runs an operation that says what `ino` is.
    pub(super) fn run_attr<F>(
        &self,
        request: Operation,
        ino: INodeNo,
        reply: ReplyAttr,
        operation: impl FnOnce(Arc<Fs>) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<Entry, Error>> + Send + 'static,
    {
        let served = Arc::clone(&self.served);
        self.executor.run(request, async move {
            match served.run(async move |fs| operation(fs).await).await {
                Ok(entry) => reply.attr(&entry.valid_for, &file_attr(&entry.attr)),
                Err(error) => {
                    reply.error(served.fail(request, format_args!("inode {ino}"), &error))
                }
            }
        });
    }

    /// Runs an operation that says what `name` in `parent` leads to.
    pub(super) fn run_entry<F>(
        &self,
        request: Operation,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
        find: impl FnOnce(Arc<Fs>, OsString) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<Entry, Error>> + Send + 'static,
    {
        let (served, name) = (Arc::clone(&self.served), name.to_owned());
        self.executor.run(request, async move {
            let wanted = name.clone();
            match served.run(async move |fs| find(fs, wanted).await).await {
                Ok(entry) => {
                    reply.entry(&entry.valid_for, &file_attr(&entry.attr), GENERATION);
                }
                Err(error) => reply.error(served.fail(
                    request,
                    format_args!("{name:?} in inode {parent}"),
                    &error,
                )),
            }
        });
    }
}

/// Answers an open.
pub(super) fn answer_open(reply: ReplyOpen, opened: &Opened) {
    let (file, flags) = (FileHandle(opened.file.0), open_reply(opened.kind));
    let backing = opened.backing.as_ref();
    match backing.and_then(|backing| backing.register(|file| reply.open_backing(file))) {
        // There is nothing in the page cache of the inode itself that could be kept.
        Some(registered) => {
            reply.opened_passthrough(file, flags - FopenFlags::FOPEN_KEEP_CACHE, registered);
        }
        None => reply.opened(file, flags),
    }
}

/// The request that is refused.
pub(super) fn refused_request(refused: Refused) -> Operation {
    match refused {
        Refused::Access => Operation::Access,
        Refused::Bmap => Operation::Bmap,
        Refused::CopyFileRange => Operation::CopyFileRange,
        Refused::Fallocate => Operation::Fallocate,
        Refused::Fsyncdir => Operation::Fsyncdir,
        Refused::Getlk => Operation::Getlk,
        Refused::Ioctl => Operation::Ioctl,
        Refused::Link => Operation::Link,
        Refused::Lseek => Operation::Lseek,
        Refused::Poll => Operation::Poll,
        Refused::Readlink => Operation::Readlink,
        Refused::Removexattr => Operation::Removexattr,
        Refused::Setlk => Operation::Setlk,
        Refused::Setxattr => Operation::Setxattr,
        Refused::Symlink => Operation::Symlink,
    }
}
