//! What the number of an inode says.

use super::super::error::Error;
use super::super::inode::InodeNo;

/// Where an inode is in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The position of the file's object, or of the first object in the directory.
    pub(super) position: u64,
    /// How often the file has got another number; of a directory 0.
    pub(super) renewal: u16,
    /// How many names lead to the directory; 0 of a file.
    pub(super) depth: u16,
}

impl Place {
    /// What `ino`, which is not the root, stands for.
    ///
    /// # Errors
    /// [`Error::Stale`] when it is no number of [`Self::number`].
    pub(super) fn of(ino: InodeNo) -> Result<Self, Error> {
        let InodeNo(number) = ino;
        let low = |shift: u32, bits: u32| u16::try_from((number >> shift) & ((1 << bits) - 1));
        let position = number >> (RENEWAL_BITS + DEPTH_BITS);
        match (position, low(DEPTH_BITS, RENEWAL_BITS), low(0, DEPTH_BITS)) {
            (1.., Ok(renewal), Ok(depth)) => Ok(Self {
                position: position - 1,
                renewal,
                depth,
            }),
            _ => Err(Error::Stale),
        }
    }

    /// The number; never that of the root, nor 0.
    pub(super) fn number(self) -> InodeNo {
        let high = (self.position + 1) << (RENEWAL_BITS + DEPTH_BITS);
        InodeNo(high | u64::from(self.renewal) << DEPTH_BITS | u64::from(self.depth))
    }
}

/// The renewal after this one. That of long ago comes again: it is renewed again if somebody still
/// has it open.
pub(super) fn next_renewal(renewal: u16) -> u16 {
    (renewal + 1) % (1 << RENEWAL_BITS)
}

/// Names that lead to a directory, at most: a key has 1024 bytes, and a name a byte and a `/`.
pub(super) const MOST_DEPTH: u16 = 512;

const DEPTH_BITS: u32 = 10;
const RENEWAL_BITS: u32 = 12;

// What is left is enough for all positions.
const _: () = assert!(MOST_DEPTH < 1 << DEPTH_BITS);
const _: () = assert!(crate::index::MOST_OBJECTS < 1 << (64 - DEPTH_BITS - RENEWAL_BITS));
