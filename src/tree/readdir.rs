//! Reading an open directory.

mod emit;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use futures::future::join_all;
use futures::lock::Mutex;

use super::Core;
use super::caching::Caching;
use super::error::Error;
use super::expiry::Moment;
use super::inode::{Found, InodeNo, Node, ROOT};
use super::listing::{Entry, Listing};
use super::pager::{Page, Pager};
use super::table::Answer;
use super::walk::Guess;
use crate::s3::{Key, ListPage};

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name.
    pub name: Arc<str>,
    /// Where to go on after this entry: the `offset` of the next [`DirHandle::read`](super::DirHandle::read).
    pub offset: u64,
    /// What the name leads to. The kernel holds a reference to it only if it was read with
    /// attributes and is neither `.` nor `..`.
    pub node: Node,
}

/// Whether the reader took an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// It did, and wants the next one.
    Taken,
    /// It had no room for it.
    Full,
}

/// One open directory.
///
/// Entries come from listings of S3 made for this handle, page by page as they are read. Names
/// come in the order of the store; a file `a` comes where a directory `a` would. What was local
/// when the listing began comes last, unless the listing has the name.
pub(super) struct BucketDir {
    core: Arc<Core>,
    ino: InodeNo,
    parent: InodeNo,
    stream: Mutex<Stream>,
}

impl BucketDir {
    pub(super) fn open(core: Arc<Core>, ino: InodeNo) -> Result<Self, Error> {
        let mut table = core.table();
        let prefix = table.directory_prefix(ino, &core.config.prefix)?;
        let inode = table.get(ino)?;
        let (parent, name) = (inode.parent, Arc::from(&inode.name));
        table.pin(ino)?;
        drop(table);
        let mut stream = Stream::new(&core, prefix);
        stream.changes = core.changes_of(ino);
        // What is kept is not read again.
        if ino != ROOT && core.caching(ino) != Caching::Keep {
            stream.guess = core.walks.open(&core, parent, &name, &stream.prefix);
        }
        let stream = Mutex::new(stream);
        Ok(Self {
            core,
            ino,
            parent,
            stream,
        })
    }

    /// See [`super::DirHandle::caching`].
    pub(super) fn caching(&self) -> Caching {
        self.core.caching(self.ino)
    }

    /// See [`super::DirHandle::read`]. Offset 0 lists anew. Other offsets are those of entries read
    /// last: the end of what was read, or before it as far as the last page of the listing reaches.
    /// Where entries may be kept, they are all that any handle of this directory was given.
    pub(super) async fn read(
        &self,
        offset: u64,
        plus: bool,
        emit: &mut (dyn FnMut(DirEntry) -> Emit + Send),
    ) -> Result<(), Error> {
        let mut stream = self.stream.lock().await;
        if offset == 0 {
            stream.changes = self.core.changes_of(self.ino);
        }
        if offset == 0 || stream.is_at_start() {
            self.begin(&mut stream)?;
        }
        let offset = if stream.reaches(offset) {
            offset
        } else {
            self.find(&mut stream, offset).await?
        };
        stream.pager.progress();
        while stream.end() <= offset.max(DOTS) && stream.next != Next::End {
            self.fetch(&mut stream).await?;
        }
        if stream.next == Next::End && offset == stream.end() && stream.is_whole {
            self.core
                .note_listed(self.ino, stream.began, stream.changes);
        }
        let limit = if self.core.config.details {
            self.describe(&mut stream, offset).await
        } else {
            u64::MAX
        };
        self.emit_from(&stream, offset..limit, plus, emit)
    }

    /// Begins a listing.
    fn begin(&self, stream: &mut Stream) -> Result<(), Error> {
        let guess = stream.guess.take();
        *stream = Stream {
            changes: stream.changes,
            ..Stream::new(&self.core, self.prefix()?)
        };
        // Before the first page: what leaves this set later is in the listing, or was before.
        stream.locals = self.core.table().locals(self.ino);
        // And before this: what has left it already is a change that is seen.
        if let Some(guess) = guess.filter(|guess| guess.is_good(&self.core, &stream.prefix)) {
            stream.pager = guess.pager;
        }
        Ok(())
    }

    /// Lets the stream reach `offset`, which it does not, and returns where to go on.
    ///
    /// A kernel that keeps entries reads some of them from there, though they were given to another
    /// handle, and asks for the rest when it has dropped them. Offsets are positions: as long as
    /// nothing is known to have changed, that of another listing names the same entry, and what
    /// somebody else has changed within the time for which entries are believed may come twice or
    /// not at all. After a change that is known, all entries come again: who reads a directory while
    /// it changes can bear a name that comes twice, but not one that was there all the time and never
    /// comes (`rm -r`, which removes what it has read, would leave files behind).
    ///
    /// # Errors
    /// [`Error::BadOffset`] for an offset that nobody was given.
    async fn find(&self, stream: &mut Stream, offset: u64) -> Result<u64, Error> {
        if self.caching() == Caching::No || offset > self.core.furthest(self.ino) {
            return Err(Error::BadOffset);
        }
        let changes = self.core.changes_of(self.ino);
        let mut is_same = stream.changes == changes;
        if is_same {
            if offset < stream.first {
                self.begin(stream)?;
            }
            while stream.end() < offset && stream.next != Next::End {
                stream.pager.progress();
                self.fetch(stream).await?;
            }
            is_same = stream.reaches(offset);
        }
        if !is_same {
            stream.changes = changes;
            self.begin(stream)?;
        }
        stream.is_whole = false;
        Ok(if is_same { offset } else { DOTS })
    }

    /// Finds out the details of the next entries from `offset` on, and where these end.
    async fn describe(&self, stream: &mut Stream, offset: u64) -> u64 {
        let limit = offset.max(DOTS) + DESCRIBED_AT_ONCE;
        let skipped = usize::try_from(offset.saturating_sub(stream.first)).unwrap_or(usize::MAX);
        let next = stream.entries.iter_mut().skip(skipped);
        let next = next.take(usize::try_from(limit - offset).unwrap_or(usize::MAX));
        let asked = next.filter_map(|item| match item {
            Item::Listed(entry) => self.describe_entry(entry),
            Item::Local { .. } => None,
        });
        join_all(asked).await;
        limit
    }

    /// Finds out the details of an entry, unless they are known. An object that cannot be asked for
    /// stays as it is, and whoever looks it up hears why.
    fn describe_entry<'a>(&'a self, entry: &'a mut Entry) -> Option<impl Future<Output = ()> + 'a> {
        let Found::File(info) = &mut entry.found else {
            return None;
        };
        if info.details.is_none() {
            info.details = self.core.table().known_details(self.ino, &entry.name, info);
        }
        if info.details.is_some() {
            return None;
        }
        let key = Key::new(format!("{}{}", self.prefix().ok()?, entry.name)).ok()?;
        Some(async move {
            match self.core.head(&key).await {
                Ok(Some(found)) => *info = found,
                Ok(None) => {}
                Err(error) => log::debug!("an entry of a directory: {error}"),
            }
        })
    }

    /// Replaces what is buffered by the next page. Changes nothing when it fails.
    async fn fetch(&self, stream: &mut Stream) -> Result<(), Error> {
        if self.prefix()? != stream.prefix {
            return Err(Error::Stale);
        }
        let page = stream.pager.next().await?;
        let next = if page.is_last {
            Next::End
        } else {
            Next::Middle
        };
        if stream.next == Next::First {
            stream.began = page.asked;
            self.settle(&page, next);
        }
        stream.first = stream.end();
        stream.entries.clear();
        stream.asked = page.asked;
        stream.arrived = page.arrived;
        let mut entries = VecDeque::new();
        let listing = &mut stream.listing;
        let after = listing.last().unwrap_or_default().to_owned();
        listing.absorb(page.entries, &self.core.notices, &mut entries);
        let is_last = next == Next::End;
        if is_last {
            listing.finish(&mut entries);
        }
        self.core
            .keep_page(self.ino, page.asked, after, listing, is_last, &entries);
        for entry in entries {
            stream.locals.remove(&entry.name);
            if entry.found == Found::Directory && stream.directories.len() < MOST_DIRECTORIES {
                stream.directories.push(Arc::clone(&entry.name));
            }
            stream.entries.push_back(Item::Listed(entry));
        }
        if next == Next::End {
            let locals = std::mem::take(&mut stream.locals).into_iter();
            let locals = locals.map(|(name, ino)| Item::Local { name, ino });
            stream.entries.extend(locals);
            let directories = std::mem::take(&mut stream.directories);
            self.core.walks.note_read(self.ino, directories);
        }
        self.core.note_given(self.ino, stream.end());
        stream.next = next;
        Ok(())
    }

    /// What the keys in the directory start with now.
    fn prefix(&self) -> Result<String, Error> {
        let core = &self.core;
        core.table().directory_prefix(self.ino, &core.config.prefix)
    }

    /// Takes in what the first page says about the directory itself.
    fn settle(&self, page: &Page, next: Next) {
        let ListPage {
            objects,
            common_prefixes,
            ..
        } = &page.entries;
        let answer = if !objects.is_empty() || !common_prefixes.is_empty() {
            Answer::Is(Found::Directory)
        } else if next == Next::End {
            Answer::Gone
        } else {
            return;
        };
        // An open directory that has vanished reads as an empty one; its name is asked for again.
        if self.ino != ROOT
            && let Err(error) = self.core.take_in(self.ino, &answer, page.asked)
        {
            log::debug!("inode {} while it is read: {error}", self.ino);
        }
    }
}

impl Drop for BucketDir {
    fn drop(&mut self) {
        self.core.table().unpin(self.ino);
    }
}

impl fmt::Debug for BucketDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketDir")
            .field("ino", &self.ino)
            .finish_non_exhaustive()
    }
}

/// How far the reading of a directory is.
#[derive(Debug)]
struct Stream {
    /// What the keys in the directory started with.
    prefix: String,
    pager: Pager,
    /// A listing that was begun when this directory was expected to be opened.
    guess: Option<Guess>,
    listing: Listing,
    next: Next,
    /// Position of the first buffered entry; `.` and `..` are at 0 and 1.
    first: u64,
    /// What the last page brought.
    entries: VecDeque<Item>,
    /// The directories that came, as far as they are of interest to a walk.
    directories: Vec<Arc<str>>,
    /// The local names that the listing has not shown so far.
    locals: BTreeMap<Arc<str>, InodeNo>,
    /// How often the entries had changed when the listing began; before that, when the directory was
    /// opened.
    changes: u32,
    /// Whether the entries were read one after the other from the first on.
    is_whole: bool,
    /// When the first page was asked for.
    began: Moment,
    /// When the last page was asked for.
    asked: Moment,
    /// When it came.
    arrived: Moment,
}

/// One entry to be read.
#[derive(Debug)]
enum Item {
    /// S3 has it.
    Listed(Entry),
    /// It was local when the listing began, and S3 did not list its name.
    Local { name: Arc<str>, ino: InodeNo },
}

/// Which page comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    First,
    Middle,
    End,
}

impl Stream {
    fn new(core: &Arc<Core>, prefix: String) -> Self {
        let now = core.clock.now();
        Self {
            listing: Listing::new(prefix.clone()),
            pager: Pager::new(Arc::clone(core), prefix.clone(), true),
            prefix,
            next: Next::First,
            first: DOTS,
            entries: VecDeque::new(),
            guess: None,
            directories: Vec::new(),
            locals: BTreeMap::new(),
            began: now,
            changes: 0,
            is_whole: true,
            asked: now,
            arrived: now,
        }
    }

    fn is_at_start(&self) -> bool {
        self.next == Next::First
    }

    /// Position after the last buffered entry.
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Whether reading can go on from `offset`.
    fn reaches(&self, offset: u64) -> bool {
        let first = if self.first == DOTS { 0 } else { self.first };
        (first..=self.end()).contains(&offset)
    }
}

/// Entries before the first of the listing: `.` and `..`.
pub(super) const DOTS: u64 = 2;

/// Directories of a directory that a walk is expected to open.
const MOST_DIRECTORIES: usize = 10_000;

/// Entries whose details are asked for at the same time. So many fill a reply of the kernel's usual
/// size.
const DESCRIBED_AT_ONCE: u64 = 32;
