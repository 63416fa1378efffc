//! What is held of a file or a directory, and given back when it is dropped.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::errno::Error;
use super::{Holder, Opens, Writer, drop_if_empty};
use crate::s3::Key;

/// One handle that reads. It is out when dropped.
#[derive(Debug)]
pub(in super::super) struct Reading {
    pub(super) opens: Arc<Opens>,
    pub(super) key: Key,
    pub(super) active: AtomicBool,
}

impl Reading {
    /// Notes that a descriptor of the handle was closed.
    pub(in super::super) fn close(&self) {
        let mut slots = self.opens.lock();
        if self.active.swap(false, Ordering::Relaxed)
            && let Entry::Occupied(mut slot) = slots.entry(self.key.clone())
        {
            slot.get_mut().readers -= 1;
            drop_if_empty(slot);
        }
    }

    /// Lets a handle go on that may have been closed.
    ///
    /// # Errors
    /// [`Error::Replaced`] while somebody writes the file.
    pub(in super::super) fn resume(&self) -> Result<(), Error> {
        if self.active.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut slots = self.opens.lock();
        let slot = slots.entry(self.key.clone()).or_default();
        if matches!(slot.writer, Some(Holder::Opening | Holder::Open(_))) {
            return Err(Error::Replaced);
        }
        if !self.active.swap(true, Ordering::Relaxed) {
            slot.readers += 1;
        }
        Ok(())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.close();
    }
}

/// A directory that is being renamed, until this is dropped.
#[derive(Debug)]
pub(in super::super) struct HeldDirectory {
    pub(super) opens: Arc<Opens>,
    pub(super) prefix: String,
}

impl Drop for HeldDirectory {
    fn drop(&mut self) {
        let mut directories = self.opens.directories();
        if let Some(at) = directories.iter().position(|other| *other == self.prefix) {
            directories.swap_remove(at);
        }
    }
}

/// The place of a writer to be. It is free again when this is dropped before it was taken.
#[derive(Debug)]
pub(in super::super) struct Opening {
    pub(super) opens: Arc<Opens>,
    pub(super) key: Key,
}

impl Opening {
    /// Takes the place.
    pub(in super::super) fn take(self, writer: &Arc<Writer>) {
        if let Some(slot) = self.opens.lock().get_mut(&self.key) {
            slot.writer = Some(Holder::Open(Arc::clone(writer)));
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let mut slots = self.opens.lock();
        if let Entry::Occupied(mut slot) = slots.entry(self.key.clone())
            && matches!(slot.get().writer, Some(Holder::Opening | Holder::Renaming))
        {
            slot.get_mut().writer = None;
            drop_if_empty(slot);
        }
    }
}
