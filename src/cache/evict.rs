//! What somebody has asked to be removed.

use std::collections::HashSet;
use std::io;
use std::time::SystemTime;

use super::entry::remove;
use super::holdings::Holdings;
use super::keeper::{Candidate, look_through, order};
use super::name::{object_of, object_stem};

/// What to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eviction {
    /// All there is.
    All,
    /// What was not used since.
    UnusedSince(SystemTime),
    /// What is least likely to be read again, until the rest takes no more bytes of the disk than this.
    ToBytes(u64),
    /// All versions of these objects.
    Objects(Objects),
}

/// Objects, whatever their versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Objects(HashSet<String>);

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evicted {
    /// Entries that are gone.
    pub entries: u64,
    /// Bytes that they took on the disk. What has one of them open keeps its bytes until it closes it.
    pub bytes: u64,
    /// Entries that could not be removed.
    pub stuck: u64,
    /// Bytes of the disk that the rest takes.
    pub left: u64,
}

impl Objects {
    /// Adds the object `key` of `bucket`, where `origin` tells stores apart that have buckets of the
    /// same name: as for a [`CachedStore`](super::CachedStore).
    pub fn add(&mut self, origin: &str, bucket: &str, key: &str) {
        self.0.insert(object_stem(origin, bucket, key));
    }

    fn has(&self, candidate: &Candidate) -> bool {
        let stem = candidate.place.file_name().unwrap_or_default();
        self.0.contains(object_of(&stem.to_string_lossy()))
    }
}

impl Holdings {
    /// Removes entries. Who has one of them open goes on reading it.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn evict(&self, what: &Eviction) -> io::Result<Evicted> {
        let mut found = look_through(&self.directory)?;
        let mut evicted = Evicted {
            left: found.iter().map(|candidate| candidate.bytes).sum(),
            ..Evicted::default()
        };
        match what {
            Eviction::All => {}
            Eviction::UnusedSince(time) => found.retain(|candidate| candidate.last_use < *time),
            Eviction::ToBytes(_) => order(&mut found),
            Eviction::Objects(objects) => found.retain(|candidate| objects.has(candidate)),
        }
        for candidate in found {
            if matches!(what, Eviction::ToBytes(most) if evicted.left <= *most) {
                break;
            }
            match remove(&candidate.place) {
                Ok(()) => {
                    evicted.entries += 1;
                    evicted.bytes += candidate.bytes;
                    evicted.left = evicted.left.saturating_sub(candidate.bytes);
                }
                Err(error) => {
                    log::warn!("{}: {error}", candidate.place.display());
                    evicted.stuck += 1;
                }
            }
        }
        Ok(evicted)
    }
}
