//! The namespace: inodes over keys.
//!
//! S3 knows keys, the kernel knows inodes. A [`Tree`] turns one into the other: keys are split
//! on `/`, every text that a key starts with up to a `/` is a directory, and what is left is a
//! file. Where a key can be no path (an empty component, `.`, `..`, a NUL, more than 255 bytes)
//! it is not shown; where a file and a directory have one name, the directory is.
//!
//! A directory exists as long as some key starts with its path and a `/`: one whose keys can
//! all not be shown, `a//b` alone, is an empty directory. A listing of the directory above could
//! not tell it from any other one.
//!
//! A file that is being written, and a directory that was made here and has no key in it yet, are
//! local: the tree shows them beside what S3 has. Of one name, a directory in S3 counts first,
//! then what is local, then an object (a file over which a directory appears stays hidden to its
//! end). When a file is complete, its name leads to what S3 says
//! from then on, and no answer that S3 gave before is believed any more.
//!
//! Where the store cannot rename, objects are copied, and deleted after that; the inodes keep their
//! numbers, as their bytes are the same. An empty directory stays only by a marker, an object whose
//! key ends in `/`.
//!
//! Listings do not say all of an object. A tree that shows files only with their details asks for
//! those by a HEAD of each file that is listed, many at a time.
//!
//! A tree may take its names from an index of the bucket instead: then nothing is asked, nothing
//! changes, and what follows does not apply.
//!
//! What S3 said is believed for a time ([`Ttl`]) and then asked for again. Nothing is kept of an
//! inode that the kernel has forgotten, unless it is local; but a [`Memory`] may know what S3 said of
//! names before there was this tree.

mod answered;
mod around;
mod caching;
mod change;
mod dir;
mod error;
mod expiry;
mod indexed;
mod inode;
mod listing;
mod local;
mod lookup;
mod marker;
mod memory;
mod name;
mod pager;
mod pages;
mod posix;
mod readdir;
mod rename;
mod resolve;
mod short;
mod stored;
mod table;
mod walk;

#[cfg(test)]
mod tests;

pub use answered::LookupCounters;
pub use around::Listed;
pub use caching::Caching;
pub use change::Named;
pub use dir::DirHandle;
pub use error::Error;
pub use expiry::{Clock, Ttl};
pub use inode::{Belief, Doubt, FileVersion, Found, InodeNo, Node, NodeKind, ROOT};
pub use local::{LocalAttr, LocalFile};
pub use memory::Memory;
pub use posix::PosixAttr;
pub use readdir::{DirEntry, Emit};

use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::index::Index;
use crate::s3::{self, Key, ObjectDetails, ObjectInfo, Prefix, Store};
use answered::Lookups;
use around::Nearby;
use expiry::Moment;
use indexed::{FOREVER, IndexDir, Indexed};
use inode::{Content, Inode};
use pages::Pages;
use readdir::BucketDir;
use resolve::Flights;
use table::Table;
use walk::Walks;

/// What a [`Tree`] shows, and how long it believes what it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeConfig {
    /// The part of the bucket that is the root directory.
    pub prefix: Prefix,
    /// How long what was found is believed.
    pub ttl: Ttl,
    /// How long the absence of a name is believed.
    pub negative_ttl: Ttl,
    /// Whether files are shown only with their [details](ObjectInfo::details), which costs a HEAD
    /// of each file of a directory that is listed.
    pub details: bool,
    /// Whether a lookup may fetch the page of a listing around the name: the store lists in byte
    /// order, and nothing is needed that only a HEAD says.
    pub pages: bool,
    /// Whether listings come in byte order. If not, they go page by page.
    pub ordered: bool,
}

/// How new an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// What is known counts as long as its [`Ttl`] says; under [`Ttl::Minimal`] S3 is asked.
    Cached,
    /// S3 is asked in any case.
    Newest,
}

/// The namespace of one mount. All methods may be called from any number of threads.
#[derive(Debug)]
pub struct Tree {
    names: Names,
}

/// Where names come from.
#[derive(Debug)]
enum Names {
    /// From the bucket, which is asked, and may be changed.
    Bucket(Arc<Core>),
    /// From an index of the bucket.
    Index(Arc<Indexed>),
}

impl Tree {
    /// A tree over the objects of `store`. Makes no request.
    pub fn new(store: Arc<dyn Store>, config: TreeConfig) -> Self {
        Self::with_clock(store, config, Clock::system())
    }

    /// As [`Self::new`], with what `memory` knows. Not for a tree that shows files only with their
    /// [details](TreeConfig::details), which nobody remembers.
    pub fn remembering(store: Arc<dyn Store>, config: TreeConfig, memory: Arc<dyn Memory>) -> Self {
        Self::build(store, config, Clock::system(), Some(memory))
    }

    /// As [`Self::new`], with a clock of the caller's own for the expiry of what is known.
    pub fn with_clock(store: Arc<dyn Store>, config: TreeConfig, clock: Clock) -> Self {
        Self::build(store, config, clock, None)
    }

    fn build(
        store: Arc<dyn Store>,
        config: TreeConfig,
        clock: Clock,
        memory: Option<Arc<dyn Memory>>,
    ) -> Self {
        let table = Mutex::new(Table::new(clock.now()));
        let core = Core {
            store,
            config,
            clock,
            memory,
            made: SystemTime::now(),
            table,
            flights: Flights::default(),
            pages: Mutex::default(),
            nearby: Nearby::default(),
            notices: Notices::default(),
            details: Mutex::default(),
            lists_otherwise: AtomicBool::new(false),
            walks: Walks::default(),
            requests: AtomicUsize::new(0),
            lookups: Lookups::default(),
        };
        Self {
            names: Names::Bucket(Arc::new(core)),
        }
    }

    /// The part of `index` whose keys start with `prefix`.
    pub fn of_index(index: Arc<Index>, prefix: Prefix) -> Self {
        Self {
            names: Names::Index(Arc::new(Indexed::new(index, prefix))),
        }
    }

    /// What the bucket is asked and changed by.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] when names come from an index.
    fn core(&self) -> Result<&Arc<Core>, Error> {
        match &self.names {
            Names::Bucket(core) => Ok(core),
            Names::Index(_) => Err(Error::ReadOnly),
        }
    }

    /// Finds `name` in the directory `parent`, and counts one reference of the kernel to what it
    /// returns, which [`Self::forget`] takes back.
    ///
    /// # Errors
    /// [`Error::NameTooLong`] and [`Error::InvalidName`] without asking S3, [`Error::NotFound`],
    /// [`Error::NotDirectory`], [`Error::Stale`] when `parent` is not known, [`Error::S3`].
    ///
    /// # Cancel safety
    /// A dropped future has counted no reference.
    pub async fn lookup(&self, parent: InodeNo, name: &OsStr) -> Result<Node, Error> {
        match &self.names {
            Names::Bucket(core) => Core::lookup(core, parent, name).await,
            Names::Index(index) => index.lookup(parent, name),
        }
    }

    /// How long it may be believed that there is no `name` in `parent`, which a lookup has just said;
    /// `None` when not at all.
    pub fn missing_for(&self, parent: InodeNo, name: &OsStr) -> Option<Duration> {
        let name = Arc::from(name::parse(name).ok()?);
        let core = match &self.names {
            Names::Bucket(core) => core,
            Names::Index(_) => return Some(FOREVER),
        };
        let asked = core.table().absent_since(parent, &name)?;
        let ttl = core.config.negative_ttl.of_absence();
        asked.remaining(ttl, core.clock.now())
    }

    /// The names that were missing when S3 was asked for them, and that listings have shown since
    /// the last call.
    pub fn take_revealed(&self) -> Vec<(InodeNo, Arc<str>)> {
        match &self.names {
            Names::Bucket(core) => core.table().take_revealed(),
            Names::Index(_) => Vec::new(),
        }
    }

    /// How many lookups were answered so far, and by what.
    pub fn lookups(&self) -> LookupCounters {
        match &self.names {
            Names::Bucket(core) => core.lookups.get(),
            Names::Index(index) => index.lookups(),
        }
    }

    /// How many inodes are remembered; of an index, none has to be.
    pub fn inodes(&self) -> usize {
        match &self.names {
            Names::Bucket(core) => core.table().len(),
            Names::Index(_) => 0,
        }
    }

    /// Takes back `lookups` references of the kernel to `ino`.
    pub fn forget(&self, ino: InodeNo, lookups: u64) {
        if let Names::Bucket(core) = &self.names {
            core.table().forget(ino, lookups);
        }
    }

    /// The attributes of `ino`. S3 is asked when what is known is too old; never for the root.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the object or the directory is gone, [`Error::Stale`] when
    /// another version or something else has its name now or `ino` is not known, [`Error::S3`].
    ///
    /// # Cancel safety
    /// Safe: a dropped future has changed nothing.
    pub async fn getattr(&self, ino: InodeNo) -> Result<Node, Error> {
        match &self.names {
            Names::Bucket(core) => core.getattr(ino).await,
            Names::Index(index) => index.getattr(ino),
        }
    }

    /// What was last known of an inode, whatever its name leads to by now. Makes no request.
    ///
    /// # Errors
    /// [`Error::Stale`] when there is no such inode.
    pub fn remembered(&self, ino: InodeNo) -> Result<Node, Error> {
        match &self.names {
            Names::Bucket(core) => {
                let table = core.table();
                Ok(core.node(ino, table.get(ino)?, Duration::ZERO))
            }
            Names::Index(index) => index.getattr(ino),
        }
    }

    /// The version of the file `ino`, to be opened, and whether S3 has to be asked for it first.
    /// Makes no request: a doubt is settled by [`Self::ask`], or by [`Self::settle`].
    ///
    /// # Errors
    /// [`Error::IsDirectory`], [`Error::Stale`] and [`Error::NotFound`] as [`Self::getattr`].
    pub fn believe(&self, ino: InodeNo, freshness: Freshness) -> Result<Belief, Error> {
        match &self.names {
            Names::Bucket(core) => core.believe(ino, freshness),
            Names::Index(index) => index.file(ino).map(|version| Belief {
                version,
                doubt: None,
            }),
        }
    }

    /// What is known of the object of the file `ino`, with its details unless they are older than
    /// a moment; `None` for what is no object. Makes no request.
    ///
    /// # Errors
    /// [`Error::Stale`] when there is no such inode.
    pub fn known(&self, ino: InodeNo) -> Result<Option<ObjectInfo>, Error> {
        match &self.names {
            Names::Bucket(core) => core.known(ino),
            Names::Index(index) => index.known(ino),
        }
    }

    /// The object of the file `ino` with its details; `None` for what is no object. Unless the
    /// newest ones are wanted, S3 is asked only when they are not [known](Self::known).
    ///
    /// # Errors
    /// Those of [`Self::getattr`].
    ///
    /// # Cancel safety
    /// Safe: a dropped future has changed nothing.
    pub async fn describe(
        &self,
        ino: InodeNo,
        freshness: Freshness,
    ) -> Result<Option<ObjectInfo>, Error> {
        match &self.names {
            Names::Bucket(core) => core.describe(ino, freshness).await,
            Names::Index(index) => index.known(ino),
        }
    }

    /// Asks S3 for the metadata of `key`, whose version is in doubt. They are of the version that
    /// was believed in.
    ///
    /// # Errors
    /// Those of [`Self::getattr`].
    ///
    /// # Cancel safety
    /// Safe: a dropped future has changed nothing.
    pub async fn ask(&self, key: &Key, doubt: Doubt) -> Result<ObjectInfo, Error> {
        self.core()?.ask(key, doubt).await
    }

    /// Takes note of what became of a request for exactly the version `info` that was made after
    /// the doubt arose: if it succeeded, that version is the newest.
    ///
    /// # Errors
    /// Those of [`Self::getattr`], as `outcome` has it.
    pub fn settle(
        &self,
        info: &ObjectInfo,
        doubt: Doubt,
        outcome: Result<(), s3::Error>,
    ) -> Result<(), Error> {
        self.core()?.settle(info, doubt, outcome)
    }

    /// Takes note that the object of the file `ino` is another version by now, or gone: whatever
    /// was believed of its name, S3 is asked the next time.
    pub fn note_replaced(&self, ino: InodeNo) {
        if let Names::Bucket(core) = &self.names {
            core.note_replaced(ino);
        }
    }

    /// Lets the name of the file `ino` lead to another inode from the next lookup on, though it may
    /// be the same version.
    pub fn renew(&self, ino: InodeNo) {
        match &self.names {
            Names::Bucket(core) => core.table().retire(ino),
            Names::Index(index) => index.renew(ino),
        }
    }

    /// Opens the directory `ino` to read its entries. Makes no request.
    ///
    /// # Errors
    /// [`Error::NotDirectory`], [`Error::Stale`] when `ino` is not known.
    pub async fn open_dir(&self, ino: InodeNo) -> Result<DirHandle, Error> {
        let kind = match &self.names {
            Names::Bucket(core) => {
                dir::Kind::Bucket(Box::new(BucketDir::open(Arc::clone(core), ino)?))
            }
            Names::Index(index) => dir::Kind::Index(IndexDir::open(Arc::clone(index), ino)?),
        };
        Ok(DirHandle(kind))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Names::Bucket(core) = &self.names {
            core.walks.end();
        }
    }
}

/// What a tree and its open directories share.
#[derive(Debug)]
struct Core {
    store: Arc<dyn Store>,
    config: TreeConfig,
    clock: Clock,
    memory: Option<Arc<dyn Memory>>,
    /// The modification time of every directory.
    made: SystemTime,
    table: Mutex<Table>,
    flights: Flights,
    pages: Mutex<Pages>,
    nearby: Nearby,
    notices: Notices,
    /// The details that S3 said last.
    details: Mutex<Option<Arc<ObjectDetails>>>,
    /// Whether the store was seen to list in another order than that of the bytes.
    lists_otherwise: AtomicBool,
    walks: Walks,
    /// HEADs and LISTs so far.
    requests: AtomicUsize,
    lookups: Lookups,
}

impl Core {
    /// Locks the table. No request and no foreign code runs under the lock.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, ino: InodeNo, inode: &Inode, valid_for: Duration) -> Node {
        let (kind, valid_for) = match &inode.content {
            Content::Directory(_) => (self.directory(), valid_for),
            Content::File(info) => (NodeKind::File(info.clone()), valid_for),
            // It may grow, or be complete, at any time.
            Content::Local(local) => (NodeKind::Local(local.file.attr()), Duration::ZERO),
        };
        Node {
            ino,
            kind,
            valid_for,
        }
    }

    fn directory(&self) -> NodeKind {
        NodeKind::Directory {
            modified: self.made,
        }
    }

    /// How long the attributes of such an inode are believed.
    fn ttl_of(&self, content: &Content) -> Duration {
        match content {
            Content::Directory(_) => self.config.ttl.of_directory(),
            Content::File(_) => self.config.ttl.of_file(),
            Content::Local(_) => Duration::ZERO,
        }
    }

    /// Whether all is known that a file is to be shown with.
    fn is_described(&self, content: &Content) -> bool {
        match content {
            Content::File(info) => info.details.is_some() || !self.config.details,
            Content::Directory(_) | Content::Local(_) => true,
        }
    }

    /// As [`Self::ttl_of`], of what is not an inode yet.
    fn ttl_of_found(&self, found: &Found) -> Duration {
        match found {
            Found::Directory => self.config.ttl.of_directory(),
            Found::File(_) => self.config.ttl.of_file(),
        }
    }

    /// Whether a name that S3 did not know at `asked` still counts as missing.
    fn is_absent(&self, asked: Moment, now: Moment) -> bool {
        let ttl = self.config.negative_ttl.of_absence();
        asked.remaining(ttl, now).is_some()
    }
}

/// Oddities of the bucket that are logged when they are first met.
#[derive(Debug, Default)]
struct Notices {
    marker_with_content: AtomicBool,
    name_too_long: AtomicBool,
}
