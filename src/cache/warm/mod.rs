//! Filling the cache before anybody reads: what is missing, room for it, and (in `fetch`) its bytes.

mod fetch;
mod rate;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::ops::Range;
use std::thread;
use std::time::{Duration, SystemTime};

pub use fetch::{End, FetchLimits, Fetched, Trouble};

use super::amount::{Amount, PAGE, in_pages};
use super::keeper::{look_through, order};
use super::notes::Notes;
use super::parallel::map_all;
use super::{BLOCK, CachedStore};
use crate::s3::{ETag, Key};

/// A version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The object.
    pub key: Key,
    /// The version.
    pub etag: ETag,
    /// Its length in bytes.
    pub size: u64,
}

/// What a cache lacks of versions that it should have.
#[derive(Debug, Default)]
pub struct Lacking {
    /// How many it has in whole.
    pub complete: u64,
    /// Bytes of these.
    pub complete_bytes: u64,
    /// The others.
    pub wanted: Vec<Wanted>,
}

/// A version of which bytes are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The version.
    pub version: Version,
    /// How many bytes.
    pub missing: u64,
}

impl CachedStore {
    /// What the cache lacks of `versions`, as its notes say. That it has something counts as the last
    /// use of it, so that it is removed after what was not used for longer.
    pub fn lacking(&self, versions: Vec<Version>) -> Lacking {
        let missing = map_all(&versions, |version| {
            let gaps = self.gaps_of(version, |notes| {
                // Only the order in which entries are removed depends on it.
                if let Err(error) = notes.keep() {
                    log::debug!("{}: {error}", version.key);
                }
            });
            gaps.iter().map(|gap| gap.end - gap.start).sum::<u64>()
        });
        let mut lacking = Lacking::default();
        for (version, missing) in versions.into_iter().zip(missing) {
            if missing > 0 {
                lacking.wanted.push(Wanted { version, missing });
            } else {
                lacking.complete += 1;
                lacking.complete_bytes += version.size;
            }
        }
        lacking
    }

    /// Makes room for all that is missing, by removing what was not used since `since`; and takes out
    /// of `wanted`, from the end, and gives back what there is no room for even so. Once `is_stopped` says
    /// so, nothing more is waited for, and nothing is removed.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn make_room(
        &self,
        wanted: &mut Vec<Wanted>,
        since: SystemTime,
        is_stopped: impl Fn() -> bool,
    ) -> io::Result<Vec<Wanted>> {
        let usage = &self.shared.usage;
        let directory = self.shared.entries.directory();
        // The keeper counts at once.
        while !usage.is_counted() {
            if is_stopped() {
                return Ok(Vec::new());
            }
            if let Some(error) = usage.failure() {
                return Err(error);
            }
            thread::sleep(COUNTING);
        }
        let price = |one: &Wanted| self.price(one);
        let needed: Amount = wanted.iter().map(price).sum();
        let mut room = usage.room(directory.root());
        if !needed.fits_in(room) {
            let mut candidates = look_through(directory, |path, error| {
                let text = format!("{} cannot be read", path.display());
                self.shared.failures.note(&text, error);
            })?;
            candidates.retain(|candidate| candidate.last_use < since);
            order(&mut candidates);
            for candidate in candidates {
                if needed.fits_in(room) || is_stopped() {
                    break;
                }
                match candidate.place.remove_unused() {
                    Ok(false) => {}
                    Ok(true) => {
                        usage.removed(candidate.bytes, candidate.place.shard());
                        self.shared.metrics.removed.add(candidate.bytes);
                        room = usage.room(directory.root());
                    }
                    Err(error) => log::warn!("{}: {error}", candidate.place),
                }
            }
        }
        let mut taken = Amount::default();
        let fits = wanted.iter().take_while(|one| {
            taken = taken + price(one);
            taken.fits_in(room)
        });
        let fits = fits.count();
        Ok(wanted.split_off(fits))
    }

    /// What the missing bytes take of the disk, with the notes.
    fn price(&self, Wanted { version, missing }: &Wanted) -> Amount {
        let name = self.name(&version.key, &version.etag, version.size);
        let layout = self.shared.entries.place(&name, version.size).layout();
        let notes = version.size.div_ceil(BLOCK) * 8;
        Amount {
            bytes: in_pages(*missing) + in_pages(notes) + PAGE,
            // What has some bytes already has its files.
            files: match *missing == version.size {
                true => layout.files(),
                false => 0,
            },
        }
    }

    /// The bytes of a version that are missing.
    fn gaps(&self, version: &Version) -> Vec<Range<u64>> {
        self.gaps_of(version, |_notes| {})
    }

    /// The same, when `look` has looked at the notes, if there are any.
    fn gaps_of(&self, version: &Version, look: impl FnOnce(&Notes)) -> Vec<Range<u64>> {
        let whole = 0..version.size;
        if whole.is_empty() {
            return Vec::new();
        }
        let gaps = self.notes(version).and_then(|notes| match notes {
            Some(notes) => {
                look(&notes);
                notes.gaps()
            }
            None => Ok(vec![whole.clone()]),
        });
        gaps.unwrap_or_else(|error| {
            log::debug!("{}: {error}", version.key);
            vec![whole]
        })
    }

    /// The notes of a version, if its files can be used.
    fn notes(&self, version: &Version) -> io::Result<Option<Notes>> {
        let name = self.name(&version.key, &version.etag, version.size);
        let place = self.shared.entries.place(&name, version.size);
        let notes = Notes::open(&place)?;
        let data = fs::symlink_metadata(place.data())?;
        let size = version.size;
        Ok(notes.filter(|notes| notes.size() == size && data.len() == size))
    }
}

const COUNTING: Duration = Duration::from_millis(5);
