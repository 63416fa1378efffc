//! Requests that read directories.

use std::sync::Arc;

use fuser::{FileHandle, INodeNo, ReplyDirectory, ReplyDirectoryPlus};

use super::adapter::Adapter;
use super::answer::fail;
use super::convert::{GENERATION, file_attr, file_type, handle};
use crate::fs::{DirEntry, Emit, Entry, Fs};

impl Adapter {
    pub(super) fn do_readdir(
        &self,
        ino: INodeNo,
        dir: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let served = Arc::clone(&self.served);
        self.executor.run("readdir", async move {
            let mut emit = |entry: DirEntry<'_>| {
                let attr = &entry.entry.attr;
                emitted(reply.add(
                    INodeNo(attr.ino.0),
                    entry.next_offset,
                    file_type(attr.kind),
                    entry.name,
                ))
            };
            let readdir =
                async |fs: Arc<Fs>| fs.readdir(handle(dir), offset, false, &mut emit).await;
            match served.run(readdir).await {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(fail("readdir", format_args!("inode {ino}"), &error)),
            }
        });
    }

    pub(super) fn do_readdirplus(
        &self,
        ino: INodeNo,
        dir: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let served = Arc::clone(&self.served);
        self.executor.run("readdirplus", async move {
            let mut emit = |entry: DirEntry<'_>| {
                let Entry { attr, valid_for } = &entry.entry;
                emitted(reply.add(
                    INodeNo(attr.ino.0),
                    entry.next_offset,
                    entry.name,
                    valid_for,
                    &file_attr(attr),
                    GENERATION,
                ))
            };
            let readdir =
                async |fs: Arc<Fs>| fs.readdir(handle(dir), offset, true, &mut emit).await;
            match served.run(readdir).await {
                Ok(()) => reply.ok(),
                Err(error) => {
                    reply.error(fail("readdirplus", format_args!("inode {ino}"), &error));
                }
            }
        });
    }
}

fn emitted(full: bool) -> Emit {
    if full { Emit::Full } else { Emit::Taken }
}
