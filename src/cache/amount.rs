//! What files take of a disk: bytes, and inodes, of which many file systems have a fixed number.

use std::io;
use std::iter::Sum;
use std::ops::Add;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// What files take, or may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Amount {
    pub(super) bytes: u64,
    /// How many there are: each takes an inode.
    pub(super) files: u64,
}

impl Amount {
    /// So many bytes of files that are there.
    pub(super) fn of_bytes(bytes: u64) -> Self {
        Self { bytes, files: 0 }
    }

    /// Whether `room` has room for it.
    pub(super) fn fits_in(self, room: Self) -> bool {
        self.bytes <= room.bytes && self.files <= room.files
    }

    /// Nothing less than nothing.
    pub(super) fn saturating_sub(self, other: Self) -> Self {
        self.with(other, u64::saturating_sub)
    }

    /// What both fit in.
    pub(super) fn max(self, other: Self) -> Self {
        self.with(other, u64::max)
    }

    /// What fits in both.
    pub(super) fn min(self, other: Self) -> Self {
        self.with(other, u64::min)
    }

    /// One part of `parts`.
    pub(super) fn part(self, parts: u64) -> Self {
        Self {
            bytes: self.bytes / parts,
            files: self.files / parts,
        }
    }

    fn with(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            bytes: of(self.bytes, other.bytes),
            files: of(self.files, other.files),
        }
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

/// Room of a file system.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Free {
    /// What this user may still take.
    pub(super) left: Amount,
    /// All of it.
    pub(super) total: Amount,
}

impl Free {
    /// The room of the file system that has `directory`.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let found = statvfs(directory)?;
        let block = found.fragment_size();
        // Some make inodes as they are needed, and say that there are none.
        let has_inodes = found.files() > 0;
        Ok(Self {
            left: Amount {
                bytes: found.blocks_available().saturating_mul(block),
                files: if has_inodes {
                    found.files_available()
                } else {
                    u64::MAX
                },
            },
            total: Amount {
                bytes: found.blocks().saturating_mul(block),
                files: found.files(),
            },
        })
    }
}

/// What a file of `len` bytes takes of the disk, as near as can be told.
pub(super) fn in_pages(len: u64) -> u64 {
    len.next_multiple_of(PAGE)
}

/// What file systems give at a time.
pub(super) const PAGE: u64 = 4096;
