//! Blocks of the file: read, checked, and held for a while.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::format::{BLOCK_BYTES, Fields, Malformed, Record};
use crate::crt::crc32c;

/// Where a block is, and what it has to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockPlace {
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) crc: u32,
    pub(super) records: u32,
}

/// The blocks that were used last. The kernel's page cache has the file; this saves only copying a
/// block and checking it again, as the neighbours of a key are often asked for next.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    recent: Mutex<VecDeque<(usize, Arc<Vec<u8>>)>>,
}

/// Why a block cannot be had.
#[derive(Debug)]
pub(super) enum BadBlock {
    File(std::io::Error),
    Damaged,
}

impl Blocks {
    /// The bytes of the block `number`, which is at `place` of `file`. They are those that were
    /// written.
    pub(super) fn get(
        &self,
        file: &File,
        number: usize,
        place: BlockPlace,
    ) -> Result<Arc<Vec<u8>>, BadBlock> {
        if let Some(block) = self.find(number) {
            return Ok(block);
        }
        let length = usize::try_from(place.bytes).map_err(|_| BadBlock::Damaged)?;
        let mut bytes = self.buffer(length);
        file.read_exact_at(&mut bytes, place.offset)
            .map_err(BadBlock::File)?;
        if crc32c(0, &bytes) != place.crc {
            return Err(BadBlock::Damaged);
        }
        let block = Arc::new(bytes);
        // Another thread may have read the same one meanwhile, which does no harm.
        self.lock().push_front((number, Arc::clone(&block)));
        Ok(block)
    }

    /// A buffer of this length: that of the block which is dropped for it, unless somebody looks at
    /// that still. Large buffers that come and go would leave holes in the heap.
    fn buffer(&self, length: usize) -> Vec<u8> {
        let oldest = {
            let mut recent = self.lock();
            let is_full = recent.len() >= MOST_BLOCKS;
            is_full.then(|| recent.pop_back()).flatten()
        };
        let unused = oldest.and_then(|(_, block)| Arc::into_inner(block));
        let mut buffer = unused.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES));
        buffer.resize(length, 0);
        buffer
    }

    fn find(&self, number: usize) -> Option<Arc<Vec<u8>>> {
        let mut recent = self.lock();
        let at = recent.iter().position(|(other, _)| *other == number)?;
        let found = recent.remove(at)?;
        let block = Arc::clone(&found.1);
        recent.push_front(found);
        Some(block)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(usize, Arc<Vec<u8>>)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a block: a record, whose key is put together on the way there.
#[derive(Debug, Clone)]
pub(super) struct BlockCursor {
    bytes: Arc<Vec<u8>>,
    /// Where the record ends.
    end: usize,
    /// Where it begins.
    start: usize,
    /// Records in the block.
    records: u32,
    /// Records up to this one, with it.
    passed: u32,
    key: Vec<u8>,
}

impl BlockCursor {
    /// The place before the first of `records` records.
    pub(super) fn new(bytes: Arc<Vec<u8>>, records: u32) -> Self {
        Self {
            bytes,
            end: 0,
            start: 0,
            records,
            passed: 0,
            key: Vec::new(),
        }
    }

    /// Goes to the next record, and says whether there is one.
    pub(super) fn advance(&mut self) -> Result<bool, Malformed> {
        let rest = self.bytes.get(self.end..).unwrap_or_default();
        if self.passed == self.records {
            return match rest {
                [] => Ok(false),
                _ => Err(Malformed("a block has more than its records")),
            };
        }
        let mut fields = Fields(rest);
        Record::decode(&mut fields)?.follow(&mut self.key)?;
        self.start = self.end;
        self.end = self.bytes.len() - fields.0.len();
        self.passed += 1;
        Ok(true)
    }

    /// How many records of the block come before this one.
    pub(super) fn number(&self) -> u32 {
        self.passed.saturating_sub(1)
    }

    /// The key of this record.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// What this record says beside the key.
    pub(super) fn record(&self) -> Result<Record<'_>, Malformed> {
        let bytes = self.bytes.get(self.start..self.end);
        Record::decode(&mut Fields(bytes.unwrap_or_default()))
    }
}

/// Room for most blocks: the last record may reach beyond the end.
const BUFFER_BYTES: usize = BLOCK_BYTES + (1 << 10);

/// 2 MiB of blocks: some for each thread that looks something up.
const MOST_BLOCKS: usize = 64;
