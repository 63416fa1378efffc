//! A POSIX file system over a [`Store`], without any notion of FUSE.
//!
//! [`Fs`] has one function an operation, named as in FUSE. It joins the namespace
//! ([`crate::tree`]) with the bytes ([`crate::read`], [`mod@crate::write`]): a lookup asks the tree, an
//! open pins the version that the tree names, and every read of that handle is of that version. A
//! file that is written is local to the tree until it is complete.
//! What a failure means to the caller of a system call is decided in [`errno`] alone.

mod ahead;
mod attr;
mod backing;
mod change;
mod config;
mod content_type;
mod directory;
pub mod errno;
mod file;
mod foretaste;
mod handles;
mod open;
mod opens;
mod pins;
mod posix;
mod process;
mod refuse;
mod rename;
mod report;
mod staged;
#[cfg(test)]
mod tests;
mod waiting;
mod xattr;

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use attr::{Attr, Entry, FileKind, StatFs};
pub use backing::Backing;
pub use change::{RenameMode, SetAttr};
pub use config::FsConfig;
pub use directory::{DirEntry, OpenedDir};
pub use errno::{Errno, Error};
pub use handles::{HandleKind, HandleNo};
pub use open::OpenFlags;
pub use posix::Creator;
pub use process::Pid;
pub use refuse::Refused;
pub use xattr::Xattr;

pub use crate::tree::{Caching, Emit, InodeNo};

use crate::cache::CachedStore;
use crate::metrics::{FileUse, Metrics};
use crate::prefetch::{Prefetcher, Visit};
use crate::read::{ReadConfig, ReadHandle};
use crate::s3::{ErrorKind, Store};
use crate::stage::Stage;
use crate::tree::{self, Belief, DirHandle, FileVersion, Freshness, Node, Tree};
use crate::write::WriteConfig;
use backing::Backings;
use file::WriterKind;
use foretaste::Foretastes;
use handles::HandleTable;
use open::Intent;
use opens::{Entrance, Opens, Reading, Writer};
use pins::{Pinned, Pins};
use staged::{StagedHandle, Stages};

/// A mounted bucket. Every method may be called from any thread, and any number at once.
#[derive(Debug)]
pub struct Fs {
    store: Arc<dyn Store>,
    tree: Tree,
    read: ReadConfig,
    write: WriteConfig,
    config: FsConfig,
    files: HandleTable<OpenFile>,
    opens: Arc<Opens>,
    foretastes: Foretastes,
    pins: Pins,
    dirs: HandleTable<DirHandle>,
    stages: Option<Stages>,
    prefetcher: Option<Arc<Prefetcher>>,
    backings: Option<Backings>,
    metrics: Metrics,
}

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// This.
    Found(Entry),
    /// Nothing, and that may be believed for a time.
    Missing {
        /// For how long.
        valid_for: Duration,
    },
}

/// A file that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The handle.
    pub file: HandleNo,
    /// What it is good for.
    pub kind: OpenKind,
    /// What the kernel reads by itself instead of asking for bytes, if it takes it.
    pub backing: Option<Arc<Backing>>,
}

/// What a handle is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenKind {
    /// It reads, and nothing has to be done when a descriptor of it is closed.
    Reads,
    /// It reads, and whoever wants to write waits for it to be closed: [`Fs::flush`] tells.
    ReadsUntilClosed,
    /// It writes.
    Writes,
    /// It writes, and the kernel may gather what is written in its page cache, which is the inode's alone.
    WritesInPages,
    /// It reads and writes a staged file.
    Staged,
}

impl Fs {
    /// A file system over the names of `tree` and the objects of `store`.
    pub fn new(
        store: Arc<dyn Store>,
        tree: Tree,
        read: ReadConfig,
        write: WriteConfig,
        config: FsConfig,
    ) -> Self {
        Self {
            tree,
            store,
            read,
            write,
            config,
            files: HandleTable::new(HandleKind::File),
            opens: Arc::default(),
            foretastes: Foretastes::default(),
            pins: Pins::default(),
            dirs: HandleTable::new(HandleKind::Directory),
            stages: None,
            prefetcher: None,
            backings: None,
            metrics: Metrics::default(),
        }
    }

    /// Lets files be written in any order, by way of `stage`.
    #[must_use]
    pub fn staged(self, stage: Stage) -> Self {
        Self {
            stages: Some(Stages::new(stage)),
            ..self
        }
    }

    /// Fetches files before they are opened. To be used only where what was found is believed for a
    /// while.
    #[must_use]
    pub fn prefetching(self, prefetcher: Arc<Prefetcher>) -> Self {
        Self {
            prefetcher: Some(prefetcher),
            ..self
        }
    }

    /// Lets the kernel read by itself what `cache` has as a whole. Not where files are staged: there
    /// a file may change while others read it.
    #[must_use]
    pub fn backed(self, cache: Arc<CachedStore>) -> Self {
        Self {
            backings: Some(Backings::new(cache)),
            ..self
        }
    }

    /// Counts what happens in `metrics`.
    #[must_use]
    pub fn observed(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Finds `name` in the directory `parent` on behalf of the thread `by`, and counts one more
    /// reference to its inode, to be given back with [`Self::forget`].
    ///
    /// # Errors
    /// Any failure of the namespace: no such name, unless that is believed for a time; no
    /// directory; a name that S3 cannot have.
    ///
    /// # Cancel safety
    /// A dropped lookup counts no reference.
    pub async fn lookup(&self, parent: InodeNo, name: &OsStr, by: Pid) -> Result<Lookup, Error> {
        if let Some(entry) = self.lookup_by_get(parent, name, by).await? {
            return Ok(Lookup::Found(entry));
        }
        match self.tree.lookup(parent, name).await {
            Ok(node) => Ok(Lookup::Found(self.entry(&node))),
            Err(tree::Error::NotFound) => match self.tree.missing_for(parent, name) {
                Some(valid_for) => Ok(Lookup::Missing { valid_for }),
                None => Err(tree::Error::NotFound.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// The names that [`Self::lookup`] has said to be missing, and that were listed since.
    pub fn take_revealed(&self) -> impl Iterator<Item = (InodeNo, Arc<str>)> {
        self.tree.take_revealed().into_iter()
    }

    /// Gives back `count` references of lookups.
    pub fn forget(&self, ino: InodeNo, count: u64) {
        self.tree.forget(ino, count);
    }

    /// The attributes of an inode. Those of an open file are of the version that its handles are
    /// pinned to, and cost no request.
    ///
    /// # Errors
    /// Any failure of the namespace.
    ///
    /// # Cancel safety
    /// A dropped call has changed nothing.
    pub async fn getattr(&self, ino: InodeNo) -> Result<Entry, Error> {
        match self.pinned(ino) {
            Some(entry) => Ok(entry),
            None => Ok(self.entry(&self.tree.getattr(ino).await?)),
        }
    }

    /// The attributes of an inode as they were last, whatever has become of its name. Makes no request.
    ///
    /// # Errors
    /// There is no such inode.
    fn remembered(&self, ino: InodeNo) -> Result<Entry, Error> {
        match self.pinned(ino) {
            Some(entry) => Ok(entry),
            None => Ok(self.entry(&self.tree.remembered(ino)?)),
        }
    }

    /// The attributes of an inode that is open.
    fn pinned(&self, ino: InodeNo) -> Option<Entry> {
        Some(match self.pins.get(ino)? {
            Pinned::Version(info) => Entry {
                attr: Attr::of_file(ino, &info, &self.config),
                valid_for: PINNED_VALID_FOR,
            },
            Pinned::Local(file) => self.local_entry(ino, &file),
        })
    }

    /// Opens a file on behalf of the thread `by`. A handle that reads pins the version: every read
    /// of it is of that version, or fails. A file that somebody has written and closed is stored
    /// first, if it was not.
    ///
    /// # Errors
    /// What the rules of opening refuse; [`Error::Archived`]; [`Error::TooManyWriters`];
    /// [`Error::Complete`]; any failure of the namespace, among them `ESTALE` when the inode stands
    /// for a version that is no longer the object's.
    ///
    /// # Cancel safety
    /// A dropped open has opened nothing; what it fetched is given up.
    pub async fn open(&self, ino: InodeNo, flags: OpenFlags, by: Pid) -> Result<Opened, Error> {
        open::check_flags(flags, &self.config)?;
        if let Some(stages) = &self.stages
            && let Some(opened) = self.open_staged(stages, ino, flags, by).await?
        {
            return Ok(opened);
        }
        if let Some((key, _file)) = self.tree.local(ino)? {
            if self.finish_writer_of(&key).await? {
                return Err(tree::Error::Stale.into());
            }
            open::check_new(flags)?;
            let in_pages = self.config.writeback_cache && flags.only_writes();
            let kind = WriterKind::New { in_pages };
            return self.open_writer(ino, key, kind, by).await;
        }
        let (freshness, is_append) = match open::intent(flags, &self.config)? {
            Intent::Read(freshness) => {
                return self
                    .open_reader(ino, freshness, flags.only_reads(), by)
                    .await;
            }
            Intent::Replace => (Freshness::Cached, false),
            Intent::Append => (Freshness::Newest, true),
        };
        let Belief { version, doubt } = self.tree.believe(ino, freshness)?;
        let FileVersion { key, mut info } = version;
        if !is_append {
            let kind = WriterKind::Replace(info);
            return self.open_writer(ino, key, kind, by).await;
        }
        if let Some(doubt) = doubt {
            info = self.tree.ask(&key, doubt).await?;
        }
        open::check_version(&key, &info)?;
        let kind = WriterKind::Append(info);
        self.open_writer(ino, key, kind, by).await
    }

    async fn open_reader(
        &self,
        ino: InodeNo,
        freshness: Freshness,
        can_share: bool,
        by: Pid,
    ) -> Result<Opened, Error> {
        let Belief { version, doubt } = self.tree.believe(ino, freshness)?;
        self.tree.note_read(ino);
        let whole = self.find_whole(ino, &version, can_share);
        let fetched = self.foretastes.take(ino, by, &version);
        let FileVersion { key, info } = version;
        let reading = match self.opens.read(&key)? {
            Entrance::Free(reading) => reading,
            Entrance::Closed(writer) => {
                self.finish_other(&writer).await?;
                return Err(tree::Error::Stale.into());
            }
        };
        let is_sure = doubt.is_none();
        let (reader, visit, info) = match (fetched, doubt) {
            // The lookup has asked for just this version.
            (Some(reader), _) if freshness == Freshness::Cached => (reader, None, info),
            (_, doubt) => {
                let (reader, visit) = if whole.is_some() {
                    (self.plain_reader(&key, &info), None)
                } else {
                    self.reader(&key, &info, is_sure)
                };
                let info = match doubt {
                    Some(doubt) => open::confirm(&self.tree, &reader, &key, info, doubt).await?,
                    None => info,
                };
                (reader, visit, info)
            }
        };
        open::check_version(&key, &info)?;
        let backing = self.enter(ino, can_share, whole)?;
        self.pins.add(ino, Pinned::Version(info));
        let file = self.files.insert(OpenFile::Reader {
            file_use: self.metrics.files.open(key.as_str()),
            ino,
            reader,
            reading,
            visit,
        });
        let kind = if self.config.can_reopen() {
            OpenKind::ReadsUntilClosed
        } else {
            OpenKind::Reads
        };
        Ok(Opened {
            file,
            kind,
            backing,
        })
    }

    /// Reads up to `size` bytes from `offset`: fewer only at the end of the file.
    ///
    /// # Errors
    /// [`Error::UnknownHandle`], [`Error::NotOpenForReading`], [`Error::Replaced`], or
    /// [`Error::Read`].
    ///
    /// # Cancel safety
    /// A dropped read loses nothing: the next one may read the same bytes again.
    pub async fn read(&self, file: HandleNo, offset: u64, size: u32) -> Result<Bytes, Error> {
        let file = self.files.get(file)?;
        let result = self.read_open(&file, offset, size).await;
        if let Ok(bytes) = &result {
            file.file_use().read.add(bytes.len() as u64);
        }
        result
    }

    async fn read_open(&self, file: &OpenFile, offset: u64, size: u32) -> Result<Bytes, Error> {
        let (ino, reader, reading, visit) = match file {
            OpenFile::Reader {
                ino,
                reader,
                reading,
                visit,
                ..
            } => (ino, reader, reading, visit),
            OpenFile::Staged(handle) => return handle.staged.read(offset, size).await,
            OpenFile::Writer { writer, .. } => return self.read_page(writer, offset, size).await,
        };
        // Somebody else may have opened it for writing since.
        if let Some(staged) = self.staged_of(*ino) {
            return staged.read(offset, size).await;
        }
        reading.resume()?;
        if let Some(visit) = visit {
            visit.note_reading();
        }
        let result = reader.read_at(offset, size as usize).await;
        if let (Ok(bytes), Some(visit)) = (&result, visit) {
            visit.note_read(bytes.len());
        }
        if let Err(error) = &result
            && matches!(error.kind(), ErrorKind::Precondition | ErrorKind::NotFound)
        {
            // The next open must not be given this version again, whatever the TTL says.
            self.tree.note_replaced(*ino);
        }
        result.map_err(Error::Read)
    }

    /// What `statfs` says of this file system.
    pub fn statfs(&self) -> StatFs {
        StatFs::UNLIMITED
    }

    /// Why `operation` is not done.
    pub fn refuse(&self, operation: Refused) -> Error {
        operation.error(&self.config)
    }

    /// Whether the attributes of the entries of a directory take requests of their own, so that it
    /// pays to read many at a time.
    pub fn has_costly_attributes(&self) -> bool {
        self.config.posix_metadata
    }

    /// Whether the kernel gathers what is written to new files. It then believes itself alone about the
    /// lengths and times of files that it knows.
    pub fn has_writeback_cache(&self) -> bool {
        self.config.writeback_cache
    }

    fn entry(&self, node: &Node) -> Entry {
        Entry {
            attr: Attr::of_node(node, &self.config),
            valid_for: node.valid_for,
        }
    }
}

/// A file that is open.
#[derive(Debug)]
enum OpenFile {
    Reader {
        ino: InodeNo,
        reader: ReadHandle,
        reading: Reading,
        /// Of a file that was opened without a doubt about its version.
        visit: Option<Box<Visit>>,
        file_use: Arc<FileUse>,
    },
    Writer {
        writer: Arc<Writer>,
        file_use: Arc<FileUse>,
    },
    Staged(StagedHandle),
}

impl OpenFile {
    /// What counts its bytes.
    fn file_use(&self) -> &FileUse {
        match self {
            Self::Reader { file_use, .. } | Self::Writer { file_use, .. } => file_use,
            Self::Staged(handle) => &handle.file_use,
        }
    }
}

/// How long the attributes of a file that is open for reading are believed. Its version cannot change; what the
/// name leads to is another question, which the kernel asks with a lookup.
const PINNED_VALID_FOR: Duration = Duration::from_secs(3600);
