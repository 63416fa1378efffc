//! Blocks of the file: read, checked, and held for a while.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use super::format::{Fields, Malformed, Record};
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
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, place.offset)
            .map_err(BadBlock::File)?;
        if crc32c(0, &bytes) != place.crc {
            return Err(BadBlock::Damaged);
        }
        let block = Arc::new(bytes);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= MOST_BLOCKS {
            recent.pop_back();
        }
        recent.push_front((number, Arc::clone(&block)));
        Ok(block)
    }

    fn find(&self, number: usize) -> Option<Arc<Vec<u8>>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let at = recent.iter().position(|(other, _)| *other == number)?;
        let found = recent.remove(at)?;
        let block = Arc::clone(&found.1);
        recent.push_front(found);
        Some(block)
    }
}

/// A place in a block: a record, whose key is put together on the way there.
#[derive(Debug)]
pub(super) struct BlockCursor {
    bytes: Arc<Vec<u8>>,
    /// Where the record ends.
    end: usize,
    /// Where it begins.
    start: usize,
    /// Records after this one.
    left: u32,
    key: Vec<u8>,
}

impl BlockCursor {
    /// The place before the first of `records` records.
    pub(super) fn new(bytes: Arc<Vec<u8>>, records: u32) -> Self {
        Self {
            bytes,
            end: 0,
            start: 0,
            left: records,
            key: Vec::new(),
        }
    }

    /// Goes to the next record, and says whether there is one.
    pub(super) fn advance(&mut self) -> Result<bool, Malformed> {
        let rest = self.bytes.get(self.end..).unwrap_or_default();
        if self.left == 0 {
            return match rest {
                [] => Ok(false),
                _ => Err(Malformed("a block has more than its records")),
            };
        }
        let mut fields = Fields(rest);
        Record::decode(&mut fields)?.follow(&mut self.key)?;
        self.start = self.end;
        self.end = self.bytes.len() - fields.0.len();
        self.left -= 1;
        Ok(true)
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

/// 2 MiB of blocks: some for each thread that looks something up.
const MOST_BLOCKS: usize = 64;
