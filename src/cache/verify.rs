//! Every block that is noted, read and checked.

use std::fs::File;
use std::io;
use std::iter;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::BLOCK;
use super::entry::block_len;
use super::holdings::Holdings;
use super::keeper::{Candidate, look_through};
use super::notes::Notes;
use super::parallel::map_all;
use super::place::{Place, open_to_read};
use super::watch::Watch;
use crate::crt::crc32c;

/// What a look at every block has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verified {
    /// Entries that were looked at.
    pub entries: u64,
    /// Blocks that are what was written.
    pub good_blocks: u64,
    /// Bytes in these.
    pub good_bytes: u64,
    /// Blocks that are not, or that the disk does not give. They count as missing from now on.
    pub bad_blocks: u64,
    /// Entries that could not be used at all. They were removed.
    pub unusable: u64,
    /// Entries that are as they were, as the disk refuses to change them, and what it does not give.
    pub stuck: u64,
}

impl Verified {
    /// Whether everything was what it should be.
    pub fn is_good(&self) -> bool {
        (self.bad_blocks, self.unusable, self.stuck) == (0, 0, 0)
    }

    fn add(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            good_blocks: self.good_blocks + other.good_blocks,
            good_bytes: self.good_bytes + other.good_bytes,
            bad_blocks: self.bad_blocks + other.bad_blocks,
            unusable: self.unusable + other.unusable,
            stuck: self.stuck + other.stuck,
        }
    }
}

impl Holdings {
    /// Reads and checks everything, and lets what is bad count as missing. `begin` gets to know how many
    /// bytes the disk has, and gives who watches.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn verify<W: Watch>(&self, begin: impl FnOnce(u64) -> W) -> io::Result<Verified> {
        let mut unreadable = Verified::default();
        let entries = look_through(&self.directory, |path, error| {
            log::warn!("{}: {error}", path.display());
            unreadable.stuck += 1;
        })?;
        let watch = begin(entries.iter().map(|entry| entry.bytes).sum());
        let parts = map_all(&entries, |entry| check(entry, &watch));
        Ok(parts.into_iter().fold(unreadable, Verified::add))
    }
}

/// Checks the files of an entry.
fn check(entry: &Candidate, watch: &impl Watch) -> Verified {
    let mut check = Check {
        watch,
        told: 0,
        result: Verified::default(),
    };
    if watch.is_stopped() {
        return check.result;
    }
    let place = &entry.place;
    match check.run(place) {
        Ok(()) => {}
        // Notes go first when an entry is removed.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !has_notes(place) => {
            return Verified::default();
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => check.remove(place),
        Err(error) => {
            log::warn!("{}: {error}", place);
            check.result.stuck += 1;
        }
    }
    if check.result.bad_blocks > 0 {
        let (bad, place) = (check.result.bad_blocks, place);
        log::warn!("{place}: blocks that are not what was written: {bad}");
    }
    check.result.entries += 1;
    // What the disk has beside the blocks that were read.
    watch.advanced(entry.bytes.saturating_sub(check.told));
    check.result
}

/// Whether anything is noted of the entry at `place`.
fn has_notes(place: &Place) -> bool {
    !matches!(Notes::open(place), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// A look at one entry.
struct Check<'a, W> {
    watch: &'a W,
    /// Bytes that were told of.
    told: u64,
    result: Verified,
}

/// The files of an entry.
struct Files<'a> {
    place: &'a Place,
    notes: Notes,
    data: File,
}

impl<W: Watch> Check<'_, W> {
    fn run(&mut self, place: &Place) -> io::Result<()> {
        let notes = Notes::open(place)?;
        let data = open_to_read(&place.data())?;
        let len = data.metadata()?.len();
        let Some(notes) = notes.filter(|notes| notes.size() == len) else {
            self.remove(place);
            return Ok(());
        };
        let files = Files { place, notes, data };
        let mut next = 0;
        for gap in files.notes.gaps()? {
            self.blocks(&files, next..gap.start)?;
            next = gap.end;
        }
        self.blocks(&files, next..len)
    }

    /// Checks the blocks in these bytes, which were noted.
    fn blocks(&mut self, files: &Files<'_>, range: Range<u64>) -> io::Result<()> {
        let mut next = range.start;
        let mut most = PIECE;
        while next < range.end && !self.watch.is_stopped() {
            let len = most.min(range.end - next);
            let mut buffer = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
            // Before the bytes, which are written before it.
            let sums = files
                .notes
                .sums(next / BLOCK, buffer.len().div_ceil(block_len()))?;
            match files.data.read_exact_at(&mut buffer, next) {
                Ok(()) => {}
                // One of them is the one that the disk does not give.
                Err(_) if len > BLOCK => {
                    most = BLOCK;
                    continue;
                }
                Err(error) => {
                    log::warn!("{}: {error}", files.place);
                    buffer.clear();
                }
            }
            most = PIECE;
            let numbers = next / BLOCK..;
            let blocks = buffer.chunks(block_len()).chain(iter::repeat(&[][..]));
            for ((number, sum), block) in numbers.zip(sums).zip(blocks) {
                match sum {
                    // It was forgotten meanwhile.
                    None => {}
                    Some(sum) if !block.is_empty() && crc32c(0, block) == sum => {
                        self.result.good_blocks += 1;
                        self.result.good_bytes += block.len() as u64;
                    }
                    Some(_) => {
                        Notes::forget_at(files.place, number)?;
                        self.result.bad_blocks += 1;
                    }
                }
            }
            self.told += len;
            self.watch.advanced(len);
            next += len;
        }
        Ok(())
    }

    fn remove(&mut self, place: &Place) {
        log::warn!("{}: cannot be used, and is removed", place);
        match place.remove() {
            Ok(()) => self.result.unusable += 1,
            Err(error) => {
                log::warn!("{}: {error}", place);
                self.result.stuck += 1;
            }
        }
    }
}

/// Bytes that are read at a time.
const PIECE: u64 = 8 * BLOCK;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr};

    use super::*;
    use crate::cache::notes::ATTRIBUTE_NAME;
    use crate::cache::record::ATTRIBUTE;
    use crate::cache::tests::{Fixture, MIB, read};
    use crate::s3::fake::synthetic;

    #[derive(Default)]
    struct Counting {
        bytes: AtomicU64,
        is_stopped: bool,
    }

    impl Watch for Counting {
        fn advanced(&self, bytes: u64) {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }

        fn is_stopped(&self) -> bool {
            self.is_stopped
        }
    }

    fn verify(fixture: &Fixture) -> Verified {
        let holdings = fixture.holdings();
        holdings.verify(|_| Counting::default()).expect("read")
    }

    fn flip(path: &Path, place: u64) {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .expect("there");
        let mut byte = [0];
        file.read_exact_at(&mut byte, place).expect("read");
        file.write_all_at(&[byte[0] ^ 4], place).expect("written");
    }

    #[test]
    fn bad_blocks_are_found_and_fetched_again() {
        let fixture = Fixture::new();
        let size = 5 * MIB + 77;
        let etag = fixture.fake.put_synthetic("k", size, 7);
        fixture.read(&etag, size, 0..2 * MIB).expect("read");
        fixture.read(&etag, size, 3 * MIB..size).expect("read");
        let good = Verified {
            entries: 1,
            good_blocks: 33,
            good_bytes: 4 * MIB + 77,
            ..Verified::default()
        };
        assert_eq!(verify(&fixture), good);
        assert!(verify(&fixture).is_good());
        let data = &fixture.files("data")[0];
        for place in [0, 2 * BLOCK + 9, 2 * MIB - 1, 3 * MIB, size - 1] {
            flip(data, place);
        }
        // Nothing was noted there.
        flip(data, 2 * MIB + 5);
        let before = fs::metadata(data)
            .expect("there")
            .modified()
            .expect("known");
        let bad = Verified {
            bad_blocks: 5,
            good_blocks: 28,
            good_bytes: 4 * MIB - 4 * BLOCK,
            ..good
        };
        assert_eq!(verify(&fixture), bad);
        assert!(!bad.is_good());
        // Who has seen the file to be good has to see that it is not.
        let after = fs::metadata(data)
            .expect("there")
            .modified()
            .expect("known");
        assert!(after > before);
        let found = verify(&fixture);
        assert_eq!(
            found,
            Verified {
                bad_blocks: 0,
                ..bad
            },
            "they are forgotten"
        );
        let gets = fixture.gets();
        let body = fixture.read(&etag, size, 0..size).expect("read");
        assert!(body == synthetic(7, 0..size));
        assert!(fixture.gets() > gets);
    }

    #[test]
    fn every_flipped_bit_of_a_small_entry_is_found() {
        let fixture = Fixture::new();
        let etag = fixture.fake.put_synthetic("k", 100, 7);
        let fill = || {
            let body = fixture.read(&etag, 100, 0..100).expect("read");
            assert!(body == synthetic(7, 0..100));
            assert!(verify(&fixture).is_good());
            fixture.files("block").remove(0)
        };
        for place in 0..100 {
            flip(&fill(), place);
            let found = verify(&fixture);
            assert_eq!(
                (found.good_blocks, found.bad_blocks),
                (0, 1),
                "byte {place}"
            );
        }
        for place in 0..ATTRIBUTE {
            let file = File::open(fill()).expect("there");
            let mut attribute = [0; ATTRIBUTE];
            fgetxattr(&file, ATTRIBUTE_NAME, &mut attribute).expect("read");
            attribute[place] ^= 4;
            fsetxattr(&file, ATTRIBUTE_NAME, &attribute, XattrFlags::REPLACE).expect("written");
            let found = verify(&fixture);
            assert_eq!((found.good_blocks, found.unusable), (0, 1), "byte {place}");
        }
    }

    #[test]
    fn bytes_that_a_crash_has_left_without_notes_are_nothing() {
        let fixture = Fixture::new();
        let etag = fixture.fake.put_synthetic("k", 100, 7);
        fixture.read(&etag, 100, 0..100).expect("read");
        let file = fixture.files("block").remove(0);
        fremovexattr(File::open(&file).expect("there"), ATTRIBUTE_NAME).expect("removed");
        assert_eq!(verify(&fixture), Verified::default());
        assert!(file.exists(), "it may be being filled");
    }

    #[test]
    fn what_is_unusable_is_removed_and_what_is_gone_is_no_failure() {
        let fixture = Fixture::new();
        for n in 0..4 {
            let key = format!("k{n}");
            let etag = fixture.fake.put_synthetic(&key, MIB, n);
            read(fixture.store.as_ref(), &key, &etag, MIB, 0..MIB, u64::MAX).expect("read");
        }
        fixture.settle();
        let data = fixture.files("data");
        fs::remove_file(&data[0]).expect("removed");
        File::options()
            .write(true)
            .open(&data[1])
            .expect("there")
            .set_len(5)
            .expect("cut");
        fs::rename(data[2].with_extension("map"), data[3].with_extension("map")).expect("renamed");
        let found = verify(&fixture);
        assert_eq!(
            (found.entries, found.unusable, found.good_blocks),
            (3, 3, 0),
            "{found:?}"
        );
        assert_eq!(fixture.files("map").len(), 0);
        assert!(verify(&fixture).is_good());
    }

    #[test]
    fn who_watches_is_told_of_all_and_can_stop_it() {
        let fixture = Fixture::new();
        let etag = fixture.fake.put_synthetic("k", 5 * MIB, 7);
        fixture.read(&etag, 5 * MIB, 0..5 * MIB).expect("read");
        let holdings = fixture.holdings();
        struct Shared<'a>(&'a Counting);
        impl Watch for Shared<'_> {
            fn advanced(&self, bytes: u64) {
                self.0.advanced(bytes);
            }
            fn is_stopped(&self) -> bool {
                self.0.is_stopped()
            }
        }
        let watch = Counting::default();
        let mut all = 0;
        holdings
            .verify(|bytes| {
                all = bytes;
                Shared(&watch)
            })
            .expect("read");
        assert!(all >= 5 * MIB);
        assert_eq!(watch.bytes.into_inner(), all);
        let stopped = Counting {
            is_stopped: true,
            ..Counting::default()
        };
        let found = holdings.verify(|_| stopped).expect("read");
        assert_eq!(found, Verified::default());
    }
}
