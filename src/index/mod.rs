//! The index of a data set: what a bucket holds, in one file on the local disk.
//!
//! A mount with an index asks S3 for no listing and no metadata: its names and attributes are those
//! of the file, in which every object has a position, and [`IndexedStore`] fetches objects in the
//! versions (ETags) that it names, so that every process and every epoch sees the same bytes or an
//! error.
//!
//! A [`Sorter`] brings objects into byte order, an [`IndexWriter`] writes them, [`Index`] reads them.
//!
//! The file is read, a block at a time, and not mapped into memory. Blocks come out of the
//! kernel's page cache either way, which all mounts of one machine share; but a file that is
//! truncated under a mapping kills the process that looks at it, while a read fails; and a block
//! that was read can be compared with its checksum once, and then be trusted.

mod block;
mod compare;
mod crawl;
mod error;
mod format;
mod inventory;
mod middle;
mod order;
mod page;
mod reader;
mod samples;
mod sorter;
mod store;
mod writer;

#[cfg(test)]
mod tests;

pub use compare::{Change, compare};
pub use crawl::crawl;
pub use error::Error;
pub use inventory::{Inventory, InventoryPlace, ObjectReader};
pub use reader::{Cursor, Index, MOST_OBJECTS, Objects};
pub use sorter::{Sorted, Sorter};
pub use store::IndexedStore;
pub use writer::{IndexWriter, Summary};

use crate::s3::Prefix;

/// What an index is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The bucket's name.
    pub bucket: String,
    /// What all keys start with.
    pub prefix: Prefix,
}
