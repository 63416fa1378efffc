//! Requests about what is kept beside the bytes of a file: extended attributes, symbolic links.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use fuser::{INodeNo, ReplyData, ReplyEntry, ReplyXattr, Request};

use super::adapter::Adapter;
use super::convert::{creator, inode};
use super::served::Served;
use crate::fs::{Error, Fs, Xattr};
use crate::metrics::Operation;

impl Adapter {
    pub(super) fn do_getxattr(&self, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (served, name) = (Arc::clone(&self.served), name.to_owned());
        self.executor.run(Operation::Getxattr, async move {
            let getxattr = async |fs: Arc<Fs>| fs.getxattr(inode(ino), &name, size).await;
            let result = served.run(getxattr).await;
            answer(&served, Operation::Getxattr, ino, result, reply);
        });
    }

    pub(super) fn do_listxattr(&self, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.executor.run_now(Operation::Listxattr, |_timer| {
            let list = self.served.fs();
            let list = list.and_then(|fs| fs.listxattr(inode(ino), size));
            answer(&self.served, Operation::Listxattr, ino, list, reply);
        });
    }

    pub(super) fn do_symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let (creator, target) = (creator(request, libc::S_IFLNK), target.to_owned());
        self.run_entry(
            Operation::Symlink,
            parent,
            name,
            reply,
            move |fs, name| async move {
                fs.symlink(inode(parent), &name, target.as_os_str(), creator)
                    .await
            },
        );
    }

    pub(super) fn do_readlink(&self, ino: INodeNo, reply: ReplyData) {
        let served = Arc::clone(&self.served);
        self.executor.run(Operation::Readlink, async move {
            let readlink = async |fs: Arc<Fs>| fs.readlink(inode(ino)).await;
            match served.run(readlink).await {
                Ok(target) => reply.data(&target),
                Err(error) => reply.error(served.fail(
                    Operation::Readlink,
                    format_args!("inode {ino}"),
                    &error,
                )),
            }
        });
    }
}

fn answer(
    served: &Served,
    request: Operation,
    ino: INodeNo,
    result: Result<Xattr, Error>,
    reply: ReplyXattr,
) {
    match result {
        Ok(Xattr::Size(bytes)) => reply.size(bytes),
        Ok(Xattr::Bytes(bytes)) => reply.data(&bytes),
        Err(error) => reply.error(served.fail(request, format_args!("inode {ino}"), &error)),
    }
}
