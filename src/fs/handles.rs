//! Handles of open files and directories.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::errno::Error;

/// The number of an open file or directory, never used twice in the life of an
/// [`Fs`](super::Fs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HandleNo(pub u64);

/// What a handle stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandleKind {
    /// An open file.
    File,
    /// An open directory.
    Directory,
}

impl fmt::Display for HandleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Directory => "directory",
        })
    }
}

/// Everything of one kind that is open. Every method may be called from any thread.
#[derive(Debug)]
pub(super) struct HandleTable<T> {
    kind: HandleKind,
    next: AtomicU64,
    open: RwLock<HashMap<HandleNo, Arc<T>>>,
}

impl<T> HandleTable<T> {
    pub(super) fn new(kind: HandleKind) -> Self {
        Self {
            kind,
            next: AtomicU64::new(1),
            open: RwLock::default(),
        }
    }

    /// Keeps `value` until [`Self::remove`].
    pub(super) fn insert(&self, value: T) -> HandleNo {
        let handle = HandleNo(self.next.fetch_add(1, Ordering::Relaxed));
        self.open
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(handle, Arc::new(value));
        handle
    }

    /// What `handle` stands for.
    ///
    /// # Errors
    /// [`Error::UnknownHandle`] when it was never given out, or is closed.
    pub(super) fn get(&self, handle: HandleNo) -> Result<Arc<T>, Error> {
        self.open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&handle)
            .cloned()
            .ok_or(Error::UnknownHandle(self.kind))
    }

    /// Shows all that is open to `look`, which must not open or close anything.
    pub(super) fn for_each(&self, mut look: impl FnMut(&T)) {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.values().for_each(|value| look(value));
    }

    /// Closes `handle`. Operations that are under way keep what it stands for alive.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) fn remove(&self, handle: HandleNo) -> Result<Arc<T>, Error> {
        self.open
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&handle)
            .ok_or(Error::UnknownHandle(self.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn get_after_insert_returns_the_value() {
        let table = HandleTable::new(HandleKind::File);
        let (a, b) = (table.insert("a"), table.insert("b"));
        assert_ne!(a, b);
        assert_eq!(*table.get(a).expect("open"), "a");
        assert_eq!(*table.get(b).expect("open"), "b");
    }

    #[test]
    fn get_after_remove_fails_and_numbers_are_not_reused() {
        let table = HandleTable::new(HandleKind::Directory);
        let first = table.insert(1);
        assert_eq!(*table.remove(first).expect("open"), 1);
        assert!(matches!(
            table.get(first),
            Err(Error::UnknownHandle(HandleKind::Directory))
        ));
        assert!(table.remove(first).is_err());
        assert_ne!(table.insert(2), first);
    }

    #[test]
    fn remove_during_use_keeps_the_value_alive() {
        let table = HandleTable::new(HandleKind::File);
        let handle = table.insert(String::from("x"));
        let used = table.get(handle).expect("open");
        table.remove(handle).expect("open");
        assert_eq!(*used, "x");
    }
}
