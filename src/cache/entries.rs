//! The entries that are open.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::amount::PAGE;
use super::directory::Directory;
use super::entry::Entry;
use super::name::Name;
use super::place::Place;
use super::prover::Prover;
use super::usage::Usage;

/// The entries that are open.
#[derive(Debug)]
pub(super) struct Entries {
    directory: Arc<Directory>,
    prover: Prover,
    usage: Arc<Usage>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// With the number of the use that was the last one.
    entries: HashMap<Name, (Arc<Entry>, u64)>,
    uses: u64,
}

impl Entries {
    /// None yet. What is good of them is told to `prover`, and that their notes take room to `usage`.
    pub(super) fn new(directory: Arc<Directory>, prover: Prover, usage: Arc<Usage>) -> Self {
        Self {
            directory,
            prover,
            usage,
            open: Mutex::default(),
        }
    }

    /// The entry of `name`, made if there is none; `None` when others remove it each time.
    ///
    /// # Errors
    /// The disk does not have it, and does not take it.
    pub(super) fn get(&self, name: &Name, size: u64) -> io::Result<Option<Arc<Entry>>> {
        if let Some(entry) = self.known(name).filter(|entry| entry.is_current()) {
            return Ok(Some(entry));
        }
        let Some(entry) = Entry::open(&self.directory, &self.prover, name, size)? else {
            return Ok(None);
        };
        if entry.has_made_notes() {
            self.usage.added(PAGE, name.shard());
        }
        let entry = Arc::new(entry);
        self.prover.check(&entry);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let uses = open.uses;
        open.entries.insert(*name, (Arc::clone(&entry), uses));
        let oldest = (open.entries.len() > MOST_OPEN)
            .then(|| open.entries.iter().min_by_key(|(_, (_, uses))| *uses))
            .flatten()
            .map(|(name, _)| *name);
        let closed = oldest.and_then(|oldest| open.entries.remove(&oldest));
        drop(open);
        drop(closed);
        Ok(Some(entry))
    }

    /// Where the files are.
    pub(super) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Where the files of `name`, of an object of `size` bytes, are.
    pub(super) fn place(&self, name: &Name, size: u64) -> Place {
        self.directory.place(name, size)
    }

    /// Closes the files of `name`: the next one who asks for them opens them again.
    pub(super) fn forget(&self, name: &Name) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = open.entries.remove(name);
        drop(open);
        drop(closed);
    }

    /// The directory whose file system has the files.
    pub(super) fn root(&self) -> &Path {
        self.directory.root()
    }

    /// Closes all.
    #[cfg(test)]
    pub(super) fn forget_all(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.entries.clear();
    }

    fn known(&self, name: &Name) -> Option<Arc<Entry>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let uses = open.uses;
        let (entry, last) = open.entries.get_mut(name)?;
        *last = uses;
        Some(Arc::clone(entry))
    }
}

/// Entries that are kept open; each takes up to two descriptors.
const MOST_OPEN: usize = 256;
