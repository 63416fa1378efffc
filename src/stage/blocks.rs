//! Which blocks of a staged file are on the disk, and which of those S3 does not have.
//!
//! The states are in memory, and in a file of one byte a block that a later process reads.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes of a block: as much as the kernel reads ahead at a time by default.
pub(super) const BLOCK: u64 = 128 << 10;

/// What is known of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Block {
    /// It is as in the base, and not on the disk.
    Absent = 0,
    /// It is on the disk, and as in the base.
    Clean = 1,
    /// It is on the disk, and S3 does not have it.
    Dirty = 2,
}

/// The states of all blocks. What was never set is absent.
#[derive(Debug)]
pub(super) struct Blocks {
    states: Vec<Block>,
    file: File,
}

/// The number of the block that the byte at `offset` is in.
pub(super) fn index(offset: u64) -> u64 {
    offset / BLOCK
}

/// The blocks that have bytes in `bytes`.
pub(super) fn covering(bytes: &Range<u64>) -> Range<u64> {
    if bytes.is_empty() {
        return index(bytes.start)..index(bytes.start);
    }
    index(bytes.start)..bytes.end.div_ceil(BLOCK)
}

impl Blocks {
    /// The states that `file` holds.
    pub(super) fn read(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        let states = bytes.into_iter().map(|byte| match byte {
            1 => Block::Clean,
            2 => Block::Dirty,
            _ => Block::Absent,
        });
        Ok(Self {
            states: states.collect(),
            file,
        })
    }

    pub(super) fn get(&self, index: u64) -> Block {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.states.get(index).copied())
            .unwrap_or(Block::Absent)
    }

    /// Whether a block of `blocks` is dirty.
    pub(super) fn is_dirty(&self, blocks: Range<u64>) -> bool {
        blocks
            .take_while(|index| *index < self.states.len() as u64)
            .any(|index| self.get(index) == Block::Dirty)
    }

    /// Sets the state of `blocks`, on the disk first.
    pub(super) fn set(&mut self, blocks: Range<u64>, state: Block) -> io::Result<()> {
        if blocks.clone().all(|index| self.get(index) == state) {
            return Ok(());
        }
        let number = |index| usize::try_from(index).map_err(io::Error::other);
        let (start, end) = (number(blocks.start)?, number(blocks.end)?);
        self.file
            .write_all_at(&vec![state as u8; end - start], blocks.start)?;
        if self.states.len() < end {
            self.states.resize(end, Block::Absent);
        }
        self.states[start..end].fill(state);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covering_counts_blocks_that_have_a_byte() {
        assert_eq!(covering(&(0..0)), 0..0);
        assert_eq!(covering(&(0..1)), 0..1);
        assert_eq!(covering(&(BLOCK - 1..BLOCK + 1)), 0..2);
        assert_eq!(covering(&(BLOCK..2 * BLOCK)), 1..2);
        assert!(covering(&(BLOCK + 1..BLOCK + 1)).is_empty());
    }

    #[test]
    fn states_are_read_as_they_were_set() {
        let file = tempfile::tempfile().expect("a file");
        let mut blocks = Blocks::read(file.try_clone().expect("a file")).expect("no states");
        blocks.set(2..4, Block::Dirty).expect("room");
        blocks.set(3..6, Block::Clean).expect("room");
        for blocks in [blocks, Blocks::read(file).expect("states")] {
            let states: Vec<_> = (0..7).map(|index| blocks.get(index)).collect();
            use Block::{Absent, Clean, Dirty};
            let expected = [Absent, Absent, Dirty, Clean, Clean, Clean, Absent];
            assert_eq!(states, expected);
            assert!(blocks.is_dirty(0..3));
            assert!(!blocks.is_dirty(3..9));
        }
    }
}
