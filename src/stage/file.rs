//! A staged file: reading and changing it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::lock::Mutex as AsyncMutex;

use super::Error;
use super::blocks::{self, BLOCK, Block, Blocks};
use super::disk::{Disk, Paths};
use super::record::Record;
use super::state::{Fate, State};
use crate::read::{ReadConfig, ReadHandle};
use crate::s3::{ETag, ErrorKind, Key, Store};
use crate::write::WriteConfig;

/// Where the bytes of staged files come from, and go to.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The bucket.
    pub store: Arc<dyn Store>,
    /// How bytes are fetched that are not on the disk.
    pub read: ReadConfig,
    /// The size of parts, and the memory for them.
    pub write: WriteConfig,
}

/// A file on the local disk that is to be an object. Every method may be called from any thread.
/// Dropping it leaves what is on the disk.
pub struct StagedFile {
    pub(super) remote: Remote,
    pub(super) disk: Disk,
    pub(super) mutation: AsyncMutex<()>,
    /// Held while the record on the disk is replaced or removed. Locked before `state`.
    record: Mutex<()>,
    pub(super) state: Mutex<State>,
}

/// A run of bytes to be read.
enum Run {
    Disk(Range<u64>),
    Base(Range<u64>, Arc<ReadHandle>),
}

impl StagedFile {
    /// Begins the file that `record` tells of, of which nothing is on the disk.
    pub(super) fn create(paths: Paths, record: Record, remote: Remote) -> Result<Self, Error> {
        let size = record.base.as_ref().map_or(0, |base| base.size);
        let (disk, blocks) = Disk::create(paths, size, &record)?;
        Self::new(disk, blocks, record, remote)
    }

    /// Opens what another process has left.
    pub(super) fn reopen(paths: Paths, remote: Remote) -> Result<Self, Error> {
        let (disk, blocks, record) = Disk::open(paths)?;
        let this = Self::new(disk, blocks, record, remote)?;
        this.lock().stored_metadata = None;
        Ok(this)
    }

    fn new(disk: Disk, blocks: Blocks, record: Record, remote: Remote) -> Result<Self, Error> {
        let key = record.key(disk.record_path())?;
        let base = record.base.as_ref();
        let base = base.map(|base| remote.reader(&key, &base.etag(), base.size));
        let stored_metadata = record.base.as_ref().map(|_| record.metadata.clone());
        let state = State {
            key,
            size: disk.len()?,
            blocks,
            base,
            stored_metadata,
            is_untouched: true,
            fate: Fate::Kept,
            record,
        };
        Ok(Self {
            remote,
            disk,
            mutation: AsyncMutex::new(()),
            record: Mutex::new(()),
            state: Mutex::new(state),
        })
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.lock().size
    }

    /// The key that it is stored under.
    pub fn key(&self) -> Key {
        self.lock().key.clone()
    }

    /// Whether nothing was written to it since it was begun.
    pub fn is_untouched(&self) -> bool {
        self.lock().is_untouched
    }

    /// Whether S3 has something under its key, as far as is known.
    pub fn has_object(&self) -> bool {
        self.lock().record.has_object
    }

    /// Reads `length` bytes at `offset`: fewer at the end of the file, none beyond it.
    ///
    /// # Errors
    /// [`Error::Disk`]; [`Error::S3`], with [`ErrorKind::Precondition`] or
    /// [`ErrorKind::NotFound`] when bytes are needed of an object that somebody else has replaced
    /// or deleted.
    ///
    /// # Cancel safety
    /// Safe: a dropped read has changed nothing.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Bytes, Error> {
        let base = self.base();
        match self.read_at(offset, length).await {
            Err(Error::S3(error)) if is_gone(error.kind()) => {
                // It may have been stored meanwhile: then another version is the base by now, or
                // will be when that has ended.
                drop(self.mutation.lock().await);
                let now = self.base();
                let is_same = match (&base, &now) {
                    (Some(base), Some(now)) => Arc::ptr_eq(base, now),
                    (base, now) => base.is_none() && now.is_none(),
                };
                if is_same {
                    return Err(error.into());
                }
                self.read_at(offset, length).await
            }
            result => result,
        }
    }

    /// Writes at `offset` if that needs no bytes of S3, and nobody else changes the file: `None`
    /// when it is not so, and nothing has happened.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    pub fn write_now(&self, offset: u64, data: &[u8]) -> Option<Result<(), Error>> {
        let _mutation = self.mutation.try_lock()?;
        let end = match self.end_of(offset, data.len() as u64) {
            Ok(end) => end,
            Err(error) => return Some(Err(error)),
        };
        if !self.needed(offset..end).is_empty() {
            return None;
        }
        Some(self.put(offset, data))
    }

    /// Writes at `offset`, and fetches before that the blocks of which only a part is written.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Disk`], with [`StorageFull`](std::io::ErrorKind::StorageFull)
    /// among them; [`Error::S3`]. Bytes of this write may be there or not, and nothing else has
    /// changed.
    ///
    /// # Cancel safety
    /// A dropped write has changed nothing.
    pub async fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let _mutation = self.mutation.lock().await;
        let end = self.end_of(offset, data.len() as u64)?;
        self.fetch(offset..end).await?;
        self.put(offset, data)
    }

    /// Cuts the file off at `size` bytes, or adds zeros up to there.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    ///
    /// # Cancel safety
    /// A dropped call has changed nothing.
    pub async fn truncate(&self, size: u64) -> Result<(), Error> {
        let _mutation = self.mutation.lock().await;
        let before = self.lock().size;
        if size > before {
            self.end_of(size, 0)?;
            // Zeros are written, without a byte of them.
            self.fetch(size..size).await?;
            self.dirty(&mut self.lock(), before..size)?;
        }
        if size != before {
            self.disk.set_len(size)?;
            let mut state = self.lock();
            state.check_kept()?;
            state.size = size;
            state.is_untouched = false;
        }
        Ok(())
    }

    /// The user metadata that the object is to have.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.lock().record.metadata.clone()
    }

    /// Sets the user metadata that the object is to have.
    ///
    /// # Errors
    /// [`Error::Disk`]: they are set, but not for a later process. [`Error::LetGo`].
    pub fn set_metadata(&self, metadata: BTreeMap<String, String>) -> Result<(), Error> {
        {
            let mut state = self.lock();
            if state.record.metadata == metadata {
                return Ok(());
            }
            state.check_kept()?;
            state.record.metadata = metadata;
        }
        self.save()
    }

    /// Whether S3 has the file as it is.
    pub fn is_stored(&self) -> bool {
        !self.lock().has_changed()
    }

    /// Takes the file's name away by `act`, which is told whether S3 has something under its key,
    /// while nobody can store it. Those who have the file open may go on using it, but nothing of it
    /// is stored.
    ///
    /// # Errors
    /// Those of `act`; the file is as before.
    ///
    /// # Cancel safety
    /// As `act`; the file is as before.
    pub async fn remove<T, E>(&self, act: impl AsyncFnOnce(bool) -> Result<T, E>) -> Result<T, E> {
        let _mutation = self.mutation.lock().await;
        let done = act(self.has_object()).await?;
        self.lock().fate = Fate::Removed;
        self.remove_copy();
        Ok(done)
    }

    /// Lets go of the copy on the disk if nothing is lost with it: S3 has the file as it is, or its
    /// name is gone. Returns whether it has. From then on the file can be read, but not changed.
    pub fn let_go(&self) -> bool {
        {
            let mut state = self.lock();
            // Whoever changes the file meanwhile has noted that under this lock, or is refused.
            if state.fate == Fate::Kept && (state.has_changed() || !state.is_described()) {
                return false;
            }
            state.give_up();
        }
        self.remove_copy();
        true
    }

    /// Lets go of the copy on the disk, whatever S3 has. From then on the file can be read, but not
    /// changed.
    pub fn discard(&self) {
        self.lock().give_up();
        self.remove_copy();
    }

    fn remove_copy(&self) {
        let _record = self.lock_record();
        self.disk.remove();
    }

    /// As [`Self::read`], without a second try.
    pub(super) async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, Error> {
        let runs = self.runs(offset, length);
        let mut whole = BytesMut::new();
        let count = runs.len();
        for run in runs {
            let (bytes, expected) = match run {
                Run::Disk(range) => {
                    let length = usize_of(range.end - range.start);
                    (self.disk.read(range.start, length)?, length)
                }
                Run::Base(range, base) => {
                    let length = usize_of(range.end - range.start);
                    (base.read_at(range.start, length).await?, length)
                }
            };
            if count == 1 {
                return Ok(bytes);
            }
            whole.extend_from_slice(&bytes);
            if bytes.len() < expected {
                // It was cut off meanwhile.
                break;
            }
        }
        Ok(whole.freeze())
    }

    /// Where the bytes of a read are.
    fn runs(&self, offset: u64, length: usize) -> Vec<Run> {
        let state = self.lock();
        let end = offset.saturating_add(length as u64).min(state.size);
        let mut runs: Vec<Run> = Vec::new();
        let mut at = offset;
        while at < end {
            let block = blocks::index(at);
            let next = ((block + 1) * BLOCK).min(end);
            let absent = state.blocks.get(block) == Block::Absent;
            match (runs.last_mut(), &state.base) {
                (Some(Run::Base(range, _)), Some(_)) if absent => range.end = next,
                (_, Some(base)) if absent => runs.push(Run::Base(at..next, Arc::clone(base))),
                (Some(Run::Disk(range)), _) => range.end = next,
                _ => runs.push(Run::Disk(at..next)),
            }
            at = next;
        }
        runs
    }

    /// The blocks that have to be on the disk before `bytes` are written, and are not: those that
    /// keep a byte which is not written, and the last one of a file that grows.
    fn needed(&self, bytes: Range<u64>) -> Vec<u64> {
        let state = self.lock();
        if state.base.is_none() {
            return Vec::new();
        }
        let size = state.size;
        let mut needed = Vec::new();
        let mut need = |block: u64| {
            if state.blocks.get(block) == Block::Absent && !needed.contains(&block) {
                needed.push(block);
            }
        };
        if bytes.end > size && !size.is_multiple_of(BLOCK) {
            let (block, start) = (blocks::index(size), blocks::index(size) * BLOCK);
            if bytes.start > start {
                need(block);
            }
        }
        for block in blocks::covering(&bytes) {
            let kept = (block * BLOCK)..((block + 1) * BLOCK).min(size);
            if kept.start < kept.end && (kept.start < bytes.start || bytes.end < kept.end) {
                need(block);
            }
        }
        needed
    }

    /// Fetches the blocks that are needed to write `bytes`.
    async fn fetch(&self, bytes: Range<u64>) -> Result<(), Error> {
        for block in self.needed(bytes) {
            let (start, base, size) = {
                let state = self.lock();
                (block * BLOCK, state.base.clone(), state.size)
            };
            let Some(base) = base else { break };
            let length = usize_of(BLOCK.min(size - start));
            let fetched = base.read_at(start, length).await?;
            self.disk.write(start, &fetched)?;
            let mut state = self.lock();
            self.mark(&mut state, block..block + 1, Block::Clean)?;
        }
        Ok(())
    }

    /// Writes to the disk; the blocks that are needed are there.
    fn put(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        let end = offset + data.len() as u64;
        let mut state = self.lock();
        state.check_kept()?;
        let size = state.size;
        // What is on the disk already counts as changed from the first byte on.
        let there: Vec<u64> = blocks::covering(&(offset..end))
            .filter(|block| state.base.is_none() || state.blocks.get(*block) != Block::Absent)
            .collect();
        for block in there {
            self.mark(&mut state, block..block + 1, Block::Dirty)?;
        }
        if offset > size {
            // The zeros between the end and the first byte.
            self.dirty(&mut state, size..offset)?;
        }
        drop(state);
        if let Err(error) = self.disk.write(offset, data) {
            if end > size {
                self.disk.set_len(size)?;
            }
            return Err(error);
        }
        let mut state = self.lock();
        state.check_kept()?;
        self.dirty(&mut state, offset..end)?;
        state.size = state.size.max(end);
        state.is_untouched = false;
        Ok(())
    }

    fn dirty(&self, state: &mut State, bytes: Range<u64>) -> Result<(), Error> {
        self.mark(state, blocks::covering(&bytes), Block::Dirty)
    }

    pub(super) fn mark(
        &self,
        state: &mut State,
        blocks: Range<u64>,
        block: Block,
    ) -> Result<(), Error> {
        let set = state.blocks.set(blocks, block);
        set.map_err(|error| self.disk.error(error))
    }

    /// Where `length` bytes at `offset` end, if the file may be that long.
    fn end_of(&self, offset: u64, length: u64) -> Result<u64, Error> {
        let largest = self.remote.write.largest_file();
        offset
            .checked_add(length)
            .filter(|end| *end <= largest)
            .ok_or(Error::TooLarge { largest })
    }

    /// Notes on the disk what is to become of the file.
    pub(super) fn save(&self) -> Result<(), Error> {
        let _record = self.lock_record();
        let record = {
            let state = self.lock();
            if state.fate != Fate::Kept {
                return Ok(());
            }
            state.record.clone()
        };
        self.disk.save(&record)
    }

    fn lock_record(&self) -> MutexGuard<'_, ()> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn base(&self) -> Option<Arc<ReadHandle>> {
        self.lock().base.clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remote {
    pub(super) fn reader(&self, key: &Key, etag: &ETag, size: u64) -> Arc<ReadHandle> {
        Arc::new(ReadHandle::new(
            Arc::clone(&self.store),
            key.clone(),
            etag.clone(),
            size,
            self.read.clone(),
        ))
    }
}

impl fmt::Debug for StagedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedFile")
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}

/// Whether a request failed because the version it was for is not there any more.
fn is_gone(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Precondition | ErrorKind::NotFound)
}

/// A length of a read, or of a block.
pub(super) fn usize_of(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
