//! What a cache has on the disk, for who looks after it: counted here, checked in `verify`, removed in
//! `evict`. Mounts may use it meanwhile.

use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::Path;
use std::time::SystemTime;

use super::amount::Free;
use super::directory::{Directory, Surroundings};
use super::name::object_of;
use super::notes::{Notes, has_block_at};
use super::parallel::map_all;
use super::place::{Layout, Place};
use super::uses::Uses;
use super::{BLOCK, OpenError};

/// The files of a cache. Nothing is kept open.
#[derive(Debug)]
pub struct Holdings {
    pub(super) directory: Directory,
}

/// How much a cache has. A version of an object is complete when all of its blocks are noted; what was
/// noted is not checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// Bytes that its files take on the disk.
    pub bytes: u64,
    /// Objects of which it has something.
    pub objects: u64,
    /// Versions that it has in whole.
    pub complete: u64,
    /// Versions that it has a part of.
    pub partial: u64,
    /// Versions that are not the last used one of their object.
    pub replaced: u64,
    /// Entries that cannot be used: their notes are damaged, or their bytes are gone.
    pub unusable: u64,
    /// Bytes of the objects of those that are complete or partial, and of these the ones that are there.
    pub object_bytes: u64,
    /// See [`Self::object_bytes`].
    pub present_bytes: u64,
    /// When what was not used for the longest time was used last.
    pub oldest_use: Option<SystemTime>,
    /// When something was used last.
    pub newest_use: Option<SystemTime>,
}

/// The file system that a cache is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that this user may still take.
    pub free: u64,
    /// All bytes.
    pub total: u64,
}

impl Holdings {
    /// Opens the cache in `directory`, which is there.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the directory; [`OpenError::Absent`] when there is no
    /// cache in it.
    pub fn open(directory: &Path, surroundings: Surroundings) -> Result<Self, OpenError> {
        let directory = Directory::find(directory, surroundings)?;
        Ok(Self { directory })
    }

    /// Counts all that is there.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn survey(&self) -> io::Result<Survey> {
        let places = self.directory.places()?;
        let parts = map_all(&places, |place| survey(place));
        let mut sum = Survey::default();
        for part in parts {
            sum.add(&part?);
        }
        Ok(sum)
    }

    /// The file system that it is in.
    ///
    /// # Errors
    /// The file system does not say.
    pub fn disk(&self) -> io::Result<Disk> {
        let Free { left, total } = Free::of(self.directory.root())?;
        Ok(Disk {
            free: left.bytes,
            total: total.bytes,
        })
    }
}

impl Survey {
    fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.objects += other.objects;
        self.complete += other.complete;
        self.partial += other.partial;
        self.replaced += other.replaced;
        self.unusable += other.unusable;
        self.object_bytes += other.object_bytes;
        self.present_bytes += other.present_bytes;
        self.oldest_use = match (self.oldest_use, other.oldest_use) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self.newest_use = self.newest_use.max(other.newest_use);
    }
}

/// Counts what is in one of the directories: all versions of an object are in the same one.
fn survey(place: &Path) -> io::Result<Survey> {
    let mut sum = Survey::default();
    let files = match fs::read_dir(place) {
        // It is no directory of the cache, or gone.
        Err(error) if matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::NotFound) => {
            return Ok(sum);
        }
        files => files?,
    };
    let mut files = files.collect::<io::Result<Vec<_>>>()?;
    // What the file system says of them lies in this order on the disk.
    files.sort_unstable_by_key(DirEntryExt::ino);
    let mut objects = Vec::new();
    for file in files {
        let Some(place) = Place::of_file(&file.path()) else {
            continue;
        };
        match survey_entry(&file, &place, &mut sum) {
            Ok(true) => objects.push(object_of(place.stem()).to_owned()),
            // Somebody has just removed it, or has not filled it yet.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            unusable => {
                if let Err(error) = unusable {
                    log::debug!("{place}: {error}");
                }
                sum.unusable += 1;
            }
        }
    }
    let versions = objects.len();
    objects.sort_unstable();
    objects.dedup();
    sum.objects += objects.len() as u64;
    sum.replaced += (versions - objects.len()) as u64;
    Ok(sum)
}

/// Counts one entry, for which `file` stands, and says whether it can be used.
fn survey_entry(file: &DirEntry, place: &Place, sum: &mut Survey) -> io::Result<bool> {
    let found = file.metadata()?;
    let (size, missing) = match place.layout() {
        Layout::Attribute if found.len() == 0 => return Err(ErrorKind::NotFound.into()),
        Layout::Attribute => {
            sum.bytes += found.blocks() * SECTOR;
            if !found.is_file() || found.len() > BLOCK {
                return Ok(false);
            }
            match has_block_at(place)? {
                Some(true) => (found.len(), 0),
                // A crash has left bytes without notes.
                Some(false) => (found.len(), found.len()),
                None => return Ok(false),
            }
        }
        Layout::Map => {
            let data = fs::symlink_metadata(place.data());
            let data_blocks = data.as_ref().map_or(0, MetadataExt::blocks);
            sum.bytes += (found.blocks() + data_blocks) * SECTOR;
            let (Some(notes), Ok(data)) = (Notes::open(place)?, data) else {
                return Ok(false);
            };
            if data.len() != notes.size() {
                return Ok(false);
            }
            let gaps = notes.gaps()?;
            (
                notes.size(),
                gaps.iter().map(|gap| gap.end - gap.start).sum(),
            )
        }
    };
    if missing == 0 {
        sum.complete += 1;
    } else {
        sum.partial += 1;
    }
    sum.object_bytes += size;
    sum.present_bytes += size - missing;
    let used = Uses::of(place.layout(), &found)?.last;
    sum.oldest_use = Some(sum.oldest_use.map_or(used, |oldest| oldest.min(used)));
    sum.newest_use = sum.newest_use.max(Some(used));
    Ok(true)
}

/// What the file system counts a file's bytes in.
const SECTOR: u64 = 512;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::fs::{XattrFlags, removexattr, setxattr};

    use super::*;
    use crate::cache::notes::ATTRIBUTE_NAME;
    use crate::cache::tests::{Fixture, MIB, damage};

    #[test]
    fn survey_counts_what_is_there() {
        let fixture = Fixture::new();
        let holdings = fixture.holdings();
        assert_eq!(holdings.survey().expect("read"), Survey::default());
        let begun = SystemTime::now() - Duration::from_secs(1);
        let size = 2 * MIB + 1;
        let replaced = fixture.fake.put_synthetic("k", size, 1);
        fixture.read(&replaced, size, 0..size).expect("read");
        let etag = fixture.fake.put_synthetic("k", size, 2);
        fixture.read(&etag, size, MIB..MIB + 1).expect("read");
        let other = fixture.fake.put_synthetic("other", MIB, 3);
        crate::cache::tests::read(
            fixture.store.as_ref(),
            "other",
            &other,
            MIB,
            0..MIB,
            u64::MAX,
        )
        .expect("read");
        fixture.settle();
        let found = holdings.survey().expect("read");
        assert_eq!(
            (found.objects, found.complete, found.partial),
            (2, 2, 1),
            "{found:?}"
        );
        assert_eq!((found.replaced, found.unusable), (1, 0));
        assert_eq!(found.object_bytes, 2 * size + MIB);
        assert_eq!(found.present_bytes, size + BLOCK + MIB);
        assert!(
            found.bytes >= found.present_bytes && found.bytes < 4 * MIB,
            "{found:?}"
        );
        let (oldest, newest) = (
            found.oldest_use.expect("used"),
            found.newest_use.expect("used"),
        );
        assert!(begun <= oldest && oldest <= newest, "{found:?}");

        for map in fixture.files("map").iter().take(2) {
            damage(map, 30, 1 << 20);
        }
        fs::create_dir(fixture.files("map")[2].with_file_name("a.map")).expect("made");
        let strange = fixture.cache.0.entries.root().join("strange");
        fs::write(strange, "no directory").expect("written");
        let found = holdings.survey().expect("read");
        assert_eq!(found.unusable, 3, "{found:?}");
        assert_eq!(found.complete + found.partial, 1);
        let disk = holdings.disk().expect("told");
        assert!(disk.free > 0 && disk.free < disk.total, "{disk:?}");
    }

    #[test]
    fn small_object_without_notes_is_not_there() {
        let fixture = Fixture::new();
        let etag = fixture.fake.put_synthetic("k", 100, 7);
        fixture.read(&etag, 100, 0..100).expect("read");
        let holdings = fixture.holdings();
        let counted = || {
            let found = holdings.survey().expect("read");
            let versions = (found.complete, found.partial, found.unusable);
            (versions, found.object_bytes, found.present_bytes)
        };
        assert_eq!(counted(), ((1, 0, 0), 100, 100));
        let file = fixture.files("block").remove(0);
        setxattr(&file, ATTRIBUTE_NAME, b"damaged", XattrFlags::REPLACE).expect("written");
        assert_eq!(counted(), ((0, 0, 1), 0, 0));
        // As a crash leaves it.
        removexattr(&file, ATTRIBUTE_NAME).expect("removed");
        assert_eq!(counted(), ((0, 1, 0), 100, 0));
        fixture.read(&etag, 100, 0..100).expect("read");
        assert_eq!(counted(), ((1, 0, 0), 100, 100));
    }

    #[test]
    fn holdings_are_those_of_a_cache_that_is_there() {
        let nothing = tempfile::tempdir().expect("a directory");
        let error =
            Holdings::open(nothing.path(), Surroundings::Machine).expect_err("there is none");
        assert!(matches!(error, OpenError::Absent { .. }), "{error}");
        assert_eq!(fs::read_dir(nothing.path()).expect("there").count(), 0);
    }
}
