//! Which inodes the kernel reads by itself, from files of the cache.
//!
//! The kernel asks of all who have an inode open at the same time that they read in the same way:
//! all from one file, or all from this process. So the first who opens decides. Whoever then cannot
//! do likewise gets another inode for the same name.
//!
//! Of what the kernel reads by itself nothing is heard. So a handle of which a descriptor was closed
//! does not count again when another one is used: a writer may replace the object, and the handle
//! goes on with the version that it has.

mod refusals;

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use crate::cache::{CachedStore, WholeFile};
use crate::s3::{Key, ObjectInfo};
use crate::tree::{self, FileVersion, InodeNo};

use super::Fs;
use super::errno::Error;
use refusals::Refusals;

impl Fs {
    /// A file that has all of `version`, which `ino` stands for, if whoever opens it can share that with
    /// others.
    pub(super) fn find_whole(
        &self,
        ino: InodeNo,
        version: &FileVersion,
        can_share: bool,
    ) -> Option<WholeFile> {
        let backings = self.backings.as_ref().filter(|_| can_share)?;
        backings.find(ino, &version.key, &version.info)
    }

    /// How many file systems may lie on top of each other, the mount being the topmost one, for the
    /// kernel to read files of the cache by itself; `None` where it is not to.
    pub fn stack_depth(&self) -> Option<u32> {
        let backings = self.backings.as_ref()?;
        Some(if backings.cache.is_stacked() { 2 } else { 1 })
    }

    /// As [`Backings::enter`], if there are any.
    ///
    /// # Errors
    /// `ESTALE` when `ino` is open in another way: its name leads to another inode from now on.
    pub(super) fn enter(
        &self,
        ino: InodeNo,
        can_share: bool,
        whole: Option<WholeFile>,
    ) -> Result<Option<Arc<Backing>>, Error> {
        let Some(backings) = &self.backings else {
            return Ok(None);
        };
        backings
            .enter(ino, can_share, whole)
            .map_err(|Conflict| self.renew(ino))
    }

    /// Lets `ino` be written, unless the kernel reads it by itself.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub(super) fn check_not_backed(&self, ino: InodeNo) -> Result<(), Error> {
        match &self.backings {
            Some(backings) if backings.is_backed(ino) => Err(self.renew(ino)),
            _ => Ok(()),
        }
    }

    fn renew(&self, ino: InodeNo) -> Error {
        self.tree.renew(ino);
        tree::Error::Stale.into()
    }
}

/// What the kernel may read by itself. Every method may be called from any thread.
#[derive(Debug)]
pub(super) struct Backings {
    cache: Arc<CachedStore>,
    open: Mutex<HashMap<InodeNo, Slot>>,
    refusals: Arc<Refusals>,
}

/// How those read who have an inode open.
#[derive(Debug)]
enum Slot {
    /// So many, from this process.
    Served(usize),
    /// So many, from this file.
    Backed(Arc<Backing>, usize),
}

/// An inode is open in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conflict;

/// A file that the kernel may read by itself for all who have one inode open.
pub struct Backing {
    file: WholeFile,
    /// What the kernel knows it by, once it was asked; `None` when it has refused it.
    registered: OnceLock<Option<Box<dyn Any + Send + Sync>>>,
    refusals: Arc<Refusals>,
}

impl Backing {
    /// What the kernel knows the file by: what `register` has returned when it was called for the first
    /// time. `None` when that has failed: then this process is asked for the bytes. Waits while another
    /// thread registers it.
    pub fn register<T: Any + Send + Sync>(
        &self,
        register: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Option<&T> {
        let registered = self
            .registered
            .get_or_init(|| match register(self.file.as_fd()) {
                Ok(registered) => {
                    self.refusals.taken();
                    Some(Box::new(registered))
                }
                Err(error) => {
                    self.refusals.refused(&error, Instant::now());
                    None
                }
            });
        registered.as_ref()?.downcast_ref()
    }
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backing")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Backings {
    /// Files of `cache`.
    pub(super) fn new(cache: Arc<CachedStore>) -> Self {
        Self {
            cache,
            open: Mutex::default(),
            refusals: Arc::default(),
        }
    }

    /// The file of the version `info` of `key`, which `ino` stands for, if there is one and the kernel
    /// takes such files, also of this inode: not while others read it from this process.
    fn find(&self, ino: InodeNo, key: &Key, info: &ObjectInfo) -> Option<WholeFile> {
        let is_of_use = match self.lock().get(&ino) {
            Some(Slot::Served(_)) => false,
            // The kernel was asked before; whether the file is still good is to be seen.
            Some(Slot::Backed(..)) => true,
            None => self.refusals.may_ask(Instant::now()),
        };
        is_of_use.then(|| self.cache.whole(key, &info.etag, info.size))?
    }

    /// Counts one more who reads `ino`, and tells how: from a file, which is `whole` if nobody else
    /// has it open, or from this process.
    ///
    /// # Errors
    /// [`Conflict`] when others read it from a file, and this one cannot, with `can_share` false, or should
    /// not, as the file or the disk is not known to be good any more.
    pub(super) fn enter(
        &self,
        ino: InodeNo,
        can_share: bool,
        whole: Option<WholeFile>,
    ) -> Result<Option<Arc<Backing>>, Conflict> {
        let whole = whole.filter(|file| can_share && self.cache.is_trusted(file));
        match self.lock().entry(ino) {
            Entry::Occupied(mut slot) => match slot.get_mut() {
                Slot::Served(readers) => {
                    *readers += 1;
                    Ok(None)
                }
                Slot::Backed(backing, readers)
                    if whole.is_some() && self.cache.is_trusted(&backing.file) =>
                {
                    *readers += 1;
                    Ok(Some(Arc::clone(backing)))
                }
                Slot::Backed(..) => Err(Conflict),
            },
            Entry::Vacant(slot) => match whole {
                Some(file) => {
                    let backing = Arc::new(Backing {
                        file,
                        registered: OnceLock::new(),
                        refusals: Arc::clone(&self.refusals),
                    });
                    slot.insert(Slot::Backed(Arc::clone(&backing), 1));
                    Ok(Some(backing))
                }
                None => {
                    slot.insert(Slot::Served(1));
                    Ok(None)
                }
            },
        }
    }

    /// Counts one less who reads `ino`.
    pub(super) fn leave(&self, ino: InodeNo) {
        let mut open = self.lock();
        if let Entry::Occupied(mut slot) = open.entry(ino) {
            let (Slot::Served(readers) | Slot::Backed(_, readers)) = slot.get_mut();
            *readers -= 1;
            if *readers == 0 {
                let left = slot.remove();
                drop(open);
                // Lets go of the file, which takes a system call.
                drop(left);
            }
        }
    }

    /// Whether somebody reads `ino` from a file.
    pub(super) fn is_backed(&self, ino: InodeNo) -> bool {
        matches!(self.lock().get(&ino), Some(Slot::Backed(..)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InodeNo, Slot>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
