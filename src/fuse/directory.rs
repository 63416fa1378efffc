//! Requests that read directories.

use std::ffi::OsStr;
use std::sync::Arc;

use fuser::{
    FileHandle, FopenFlags, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyEntry, ReplyOpen,
};

use super::adapter::Adapter;
use super::convert::{GENERATION, absent_attr, file_attr, file_type, handle, inode};
use crate::fs::{Caching, DirEntry, Emit, Entry, Fs, Lookup, OpenedDir, Pid};
use crate::metrics::Operation;

impl Adapter {
    pub(super) fn do_lookup(&self, parent: INodeNo, name: &OsStr, by: Pid, reply: ReplyEntry) {
        let (served, name) = (Arc::clone(&self.served), name.to_owned());
        self.executor.run(Operation::Lookup, async move {
            let lookup = async |fs: Arc<Fs>| fs.lookup(inode(parent), &name, by).await;
            match served.run(lookup).await {
                Ok(Lookup::Found(Entry { attr, valid_for })) => {
                    reply.entry(&valid_for, &file_attr(&attr), GENERATION);
                }
                Ok(Lookup::Missing { valid_for }) => {
                    reply.entry(&valid_for, &absent_attr(), GENERATION);
                }
                Err(error) => reply.error(served.fail(
                    Operation::Lookup,
                    format_args!("{name:?} in inode {parent}"),
                    &error,
                )),
            }
        });
    }

    pub(super) fn do_opendir(&self, ino: INodeNo, reply: ReplyOpen) {
        let served = Arc::clone(&self.served);
        self.executor.run(Operation::Opendir, async move {
            let opendir = async |fs: Arc<Fs>| fs.opendir(inode(ino)).await;
            match served.run(opendir).await {
                Ok(OpenedDir { dir, caching }) => {
                    reply.opened(FileHandle(dir.0), directory_reply(caching));
                }
                Err(error) => reply.error(served.fail(
                    Operation::Opendir,
                    format_args!("inode {ino}"),
                    &error,
                )),
            }
        });
    }

    pub(super) fn do_readdir(
        &self,
        ino: INodeNo,
        dir: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let (served, revealed) = (Arc::clone(&self.served), self.revealed.clone());
        self.executor.run(Operation::Readdir, async move {
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
                Err(error) => reply.error(served.fail(
                    Operation::Readdir,
                    format_args!("inode {ino}"),
                    &error,
                )),
            }
            // The reply has attributes of its own for the kernel where they were asked for.
            if let Ok(fs) = served.fs() {
                revealed.tell(fs.take_revealed().map(|(ino, name)| (INodeNo(ino.0), name)));
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
        self.executor.run(Operation::Readdirplus, async move {
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
                    reply.error(served.fail(
                        Operation::Readdirplus,
                        format_args!("inode {ino}"),
                        &error,
                    ));
                }
            }
        });
    }
}

/// What the kernel may do with the entries of a directory. Without `FOPEN_KEEP_CACHE` it drops those
/// that it has.
fn directory_reply(caching: Caching) -> FopenFlags {
    match caching {
        Caching::No => FopenFlags::empty(),
        Caching::Renew => FopenFlags::FOPEN_CACHE_DIR,
        Caching::Keep => FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
    }
}

fn emitted(full: bool) -> Emit {
    if full { Emit::Full } else { Emit::Taken }
}
