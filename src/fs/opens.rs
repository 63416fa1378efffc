//! Who has a file open: many readers, or one writer.
//!
//! The rule is about a name. Closing gives way: `close` of one descriptor is the last that is
//! heard of a handle before the kernel releases it, some time later. So a handle that was closed
//! once, but not yet released, does not keep others out. It may still be used, through another
//! descriptor, and then counts again, unless another handle has taken over meanwhile.
//!
//! That does not go for a writer whose bytes the kernel gathers: it may be used without anybody hearing of it. It
//! gives way when it is released, and whoever comes between its close and that waits a while.

mod guards;

use std::collections::HashMap;
use std::collections::hash_map::{Entry, OccupiedEntry};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::errno::Error;
use super::process::Pid;
use super::waiting::Waiting;
use crate::s3::Key;
use crate::tree::{InodeNo, LocalFile};
use crate::write::WriteHandle;

pub(super) use guards::{HeldDirectory, Opening, Reading};

/// What is open, by key. Every method may be called from any thread.
#[derive(Debug, Default)]
pub(super) struct Opens {
    slots: Mutex<HashMap<Key, Slot>>,
    /// What the keys in directories that are being renamed start with. Locked after `slots`.
    directories: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Handles that read and were not closed.
    readers: usize,
    writer: Option<Holder>,
}

#[derive(Debug)]
enum Holder {
    /// Somebody is about to write.
    Opening,
    /// Somebody is giving it another name, or this name to another file.
    Renaming,
    Open(Arc<Writer>),
}

/// An answer to who wants to open a file.
#[derive(Debug)]
pub(super) enum Entrance<T> {
    /// The file is free, and now held by this.
    Free(T),
    /// A writer has closed the file, and has to be finished first: [`Opens::let_go`].
    Closed(Arc<Writer>),
}

/// A file that is open for writing.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) ino: InodeNo,
    key: Mutex<Key>,
    /// Whether no object is behind it, which would come to light when it gets another name.
    is_new: AtomicBool,
    pub(super) file: Arc<LocalFile>,
    pub(super) handle: WriteHandle,
    pub(super) opened_by: Pid,
    phase: AtomicU8,
    /// Those who wait for it to be released.
    waiting: Waiting,
}

/// Keeps everybody else out.
const ACTIVE: u8 = 0;
/// Was closed, and gives way.
const CLOSED: u8 = 1;
/// Gave way: somebody else finishes it.
const REPLACED: u8 = 2;
/// Is finished.
const ENDED: u8 = 3;
/// Was closed, and gives way when it is released: the kernel may have bytes of it until then.
const CLOSING: u8 = 4;

impl Opens {
    /// Opens `key` for reading.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] while it is written.
    pub(super) fn read(self: &Arc<Self>, key: &Key) -> Result<Entrance<Reading>, Error> {
        let mut slots = self.lock();
        if let Some(slot) = slots.get(key)
            // Who renames an object lets it be read.
            && !matches!(slot.writer, Some(Holder::Renaming))
            && let Some(writer) = slot.closed_writer()?
        {
            return Ok(Entrance::Closed(writer));
        }
        slots.entry(key.clone()).or_default().readers += 1;
        Ok(Entrance::Free(Reading {
            opens: Arc::clone(self),
            key: key.clone(),
            active: AtomicBool::new(true),
        }))
    }

    /// Opens `key` for writing: a new file, which those who read its predecessor do not care about,
    /// or one that exists.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] while it is written, or read.
    pub(super) fn write(
        self: &Arc<Self>,
        key: &Key,
        is_new: bool,
    ) -> Result<Entrance<Opening>, Error> {
        let mut slots = self.lock();
        self.check_directories(key)?;
        if let Some(slot) = slots.get(key) {
            if let Some(writer) = slot.closed_writer()? {
                return Ok(Entrance::Closed(writer));
            }
            if slot.readers > 0 && !is_new {
                return Err(Error::NotPermitted("the file is open for reading"));
            }
        }
        slots.entry(key.clone()).or_default().writer = Some(Holder::Opening);
        Ok(Entrance::Free(Opening {
            opens: Arc::clone(self),
            key: key.clone(),
        }))
    }

    /// The writer of `key`, if it is closed and has to be finished before anything is done about
    /// the file: [`Self::let_go`].
    ///
    /// # Errors
    /// [`Error::NotPermitted`] while the file is written.
    pub(super) fn closed_writer(&self, key: &Key) -> Result<Option<Arc<Writer>>, Error> {
        let slots = self.lock();
        self.check_directories(key)?;
        match slots.get(key) {
            Some(slot) => slot.closed_writer(),
            None => Ok(None),
        }
    }

    /// The writer of `key`, closed or not.
    pub(super) fn writer(&self, key: &Key) -> Option<Arc<Writer>> {
        match &self.lock().get(key)?.writer {
            Some(Holder::Open(writer)) => Some(Arc::clone(writer)),
            Some(Holder::Opening | Holder::Renaming) | None => None,
        }
    }

    /// Keeps those who want to write `key`, to delete it, or to rename it, out until the answer is
    /// dropped.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] while somebody else does that.
    pub(super) fn hold(self: &Arc<Self>, key: &Key) -> Result<Entrance<Opening>, Error> {
        let mut slots = self.lock();
        self.check_directories(key)?;
        if let Some(slot) = slots.get(key)
            && let Some(writer) = slot.closed_writer()?
        {
            return Ok(Entrance::Closed(writer));
        }
        slots.entry(key.clone()).or_default().writer = Some(Holder::Renaming);
        Ok(Entrance::Free(Opening {
            opens: Arc::clone(self),
            key: key.clone(),
        }))
    }

    /// As [`Self::hold`], for every key that starts with `prefix`.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] while somebody else writes, deletes or renames one of them, or a
    /// directory above.
    pub(super) fn hold_directory(
        self: &Arc<Self>,
        prefix: &str,
    ) -> Result<Entrance<HeldDirectory>, Error> {
        let slots = self.lock();
        let mut directories = self.directories();
        let meets = |other: &String| other.starts_with(prefix) || prefix.starts_with(&**other);
        if directories.iter().any(meets) {
            return Err(RENAMED);
        }
        for (_key, slot) in slots
            .iter()
            .filter(|(key, _)| key.as_str().starts_with(prefix))
        {
            if let Some(writer) = slot.closed_writer()? {
                return Ok(Entrance::Closed(writer));
            }
        }
        directories.push(prefix.to_owned());
        Ok(Entrance::Free(HeldDirectory {
            opens: Arc::clone(self),
            prefix: prefix.to_owned(),
        }))
    }

    /// Notes that the writer, which is of `from`, writes the file that `held` holds, from now on;
    /// `is_new` says whether there is no object of that.
    pub(super) fn redirect(&self, writer: &Arc<Writer>, from: &Key, held: Opening, is_new: bool) {
        let mut slots = self.lock();
        writer.is_new.store(is_new, Ordering::Relaxed);
        *writer.lock_key() = held.key.clone();
        if let Some(slot) = slots.get_mut(&held.key) {
            slot.writer = Some(Holder::Open(Arc::clone(writer)));
        }
        if let Entry::Occupied(mut slot) = slots.entry(from.clone()) {
            slot.get_mut().writer = None;
            drop_if_empty(slot);
        }
        drop(slots);
        // Finds that its place was taken.
        drop(held);
    }

    /// All writers that are closed and not finished.
    pub(super) fn closed_writers(&self) -> Vec<Arc<Writer>> {
        let slots = self.lock();
        let writers = slots.values().filter_map(|slot| slot.closed_writer().ok());
        writers.flatten().collect()
    }

    /// All writers that are closed and not finished, which may go on.
    pub(super) fn resting_writers(&self) -> Vec<Arc<Writer>> {
        let slots = self.lock();
        let writers = slots.values().filter_map(|slot| match &slot.writer {
            Some(Holder::Open(writer))
                if matches!(writer.phase.load(Ordering::Relaxed), CLOSED | CLOSING) =>
            {
                Some(Arc::clone(writer))
            }
            _ => None,
        });
        writers.collect()
    }

    /// Notes that a descriptor of the writer was closed.
    pub(super) fn close(&self, writer: &Writer) {
        let _slots = self.lock();
        if writer.phase.load(Ordering::Relaxed) == ACTIVE {
            let closed = match writer.handle.takes_pages() {
                true => CLOSING,
                false => CLOSED,
            };
            writer.phase.store(closed, Ordering::Relaxed);
        }
    }

    /// Notes that no descriptor of the writer is left.
    pub(super) fn release(&self, writer: &Writer) {
        let _slots = self.lock();
        if matches!(writer.phase.load(Ordering::Relaxed), ACTIVE | CLOSING) {
            writer.phase.store(CLOSED, Ordering::Relaxed);
        }
        writer.waiting.end();
    }

    /// Waits for a writer that was closed to let go of the file, which it does at once unless the kernel may
    /// have bytes of it.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when it is still open a while later.
    pub(super) async fn let_go(&self, writer: &Writer) -> Result<(), Error> {
        let end = {
            let _slots = self.lock();
            if !writer.may_go_on() {
                return Ok(());
            }
            writer.waiting.wait(RELEASED_WITHIN)
        };
        end.await;
        let _slots = self.lock();
        match writer.may_go_on() {
            true => Err(BUSY),
            false => Ok(()),
        }
    }

    /// Lets a writer go on that may have been closed.
    ///
    /// # Errors
    /// [`Error::Replaced`] when it gave way to another handle.
    pub(super) fn resume(&self, writer: &Writer) -> Result<(), Error> {
        if writer.phase.load(Ordering::Relaxed) == ACTIVE {
            return Ok(());
        }
        let _slots = self.lock();
        match writer.phase.load(Ordering::Relaxed) {
            CLOSED | CLOSING => writer.phase.store(ACTIVE, Ordering::Relaxed),
            REPLACED => return Err(Error::Replaced),
            _ => {}
        }
        Ok(())
    }

    /// Notes that the writer is finished, however that went.
    pub(super) fn end(&self, writer: &Writer) {
        let mut slots = self.lock();
        if writer.phase.load(Ordering::Relaxed) != REPLACED {
            writer.phase.store(ENDED, Ordering::Relaxed);
        }
        if let Entry::Occupied(mut slot) = slots.entry(writer.key())
            && matches!(&slot.get().writer, Some(Holder::Open(other)) if ptr::eq(&raw const **other, writer))
        {
            slot.get_mut().writer = None;
            drop_if_empty(slot);
        }
    }

    /// # Errors
    /// [`Error::NotPermitted`] while a directory above `key` is being renamed.
    fn check_directories(&self, key: &Key) -> Result<(), Error> {
        let directories = self.directories();
        if directories
            .iter()
            .any(|prefix| key.as_str().starts_with(&**prefix))
        {
            return Err(RENAMED);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directories(&self) -> MutexGuard<'_, Vec<String>> {
        self.directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn closed_writer(&self) -> Result<Option<Arc<Writer>>, Error> {
        match &self.writer {
            None => Ok(None),
            Some(Holder::Opening) => Err(BUSY),
            Some(Holder::Renaming) => Err(RENAMED),
            Some(Holder::Open(writer)) if writer.phase.load(Ordering::Relaxed) == ACTIVE => {
                Err(BUSY)
            }
            Some(Holder::Open(writer)) => {
                if !writer.may_go_on() {
                    writer.phase.store(REPLACED, Ordering::Relaxed);
                }
                Ok(Some(Arc::clone(writer)))
            }
        }
    }
}

fn drop_if_empty(slot: OccupiedEntry<'_, Key, Slot>) {
    if slot.get().readers == 0 && slot.get().writer.is_none() {
        slot.remove();
    }
}

impl Writer {
    pub(super) fn new(
        ino: InodeNo,
        key: Key,
        file: Arc<LocalFile>,
        handle: WriteHandle,
        is_new: bool,
        opened_by: Pid,
    ) -> Arc<Self> {
        Arc::new(Self {
            ino,
            key: Mutex::new(key),
            is_new: AtomicBool::new(is_new),
            file,
            handle,
            opened_by,
            phase: AtomicU8::new(ACTIVE),
            waiting: Waiting::default(),
        })
    }

    /// The key that it writes.
    pub(super) fn key(&self) -> Key {
        self.lock_key().clone()
    }

    /// Whether no object has its key, as far as is known, that it will replace.
    pub(super) fn is_new(&self) -> bool {
        self.is_new.load(Ordering::Relaxed)
    }

    /// Whether a descriptor of it was closed, and none was used since.
    pub(super) fn is_closed(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != ACTIVE
    }

    /// Whether it keeps others out, at least for now.
    fn may_go_on(&self) -> bool {
        matches!(self.phase.load(Ordering::Relaxed), ACTIVE | CLOSING)
    }

    fn lock_key(&self) -> MutexGuard<'_, Key> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In which time the kernel tells of the release of a file that was closed before: it asks for that before `close`
/// returns.
const RELEASED_WITHIN: Duration = Duration::from_secs(1);

const BUSY: Error = Error::NotPermitted("the file is being written");

const RENAMED: Error =
    Error::NotPermitted("the file, or a directory that it is in, is being renamed");
