//! Files that are written in any order: staged on a local disk, and stored from there.
//!
//! A [`StagedFile`] is the local copy of one object, new or existing. Writes go to a sparse file in
//! blocks of 128 KiB; of an object that exists, only those blocks are fetched of which a write
//! changes a part. Reads take from the disk what is there, and the rest from S3.
//! [`StagedFile::store`] makes an object of it: by one request, or by an upload in parts, of which
//! those that did not change are copied inside S3.
//!
//! Every file has three files in the [`Stage`] of the mount (`disk`): its bytes, the states of its
//! blocks (`blocks`), and a record of what is to become of it (`record`). They are changed in an
//! order that leaves them usable when the process is killed at any moment: every write that was
//! answered is there. What a stage still holds when its mount is gone is listed, stored or thrown
//! away by the functions of `leftover`.
//!
//! # Locks
//! `mutation` of a file is held while it is changed, stored or renamed, across requests. `state`
//! is held for a moment, never across an `await`, and may be taken under `mutation`.

mod blocks;
mod disk;
mod error;
mod file;
mod leftover;
mod pieces;
mod record;
mod session;
mod state;
mod store;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use file::{Remote, StagedFile};
pub use leftover::{FileId, Leftover, LeftoverSession, leftovers};
pub use record::{Origin, Version};
pub use session::Stage;
