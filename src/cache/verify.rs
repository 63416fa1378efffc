//! Every block that is noted, read and checked.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::BLOCK;
use super::entry::{Entry, Found, map_of, remove};
use super::holdings::Holdings;
use super::keeper::{Candidate, look_through};
use super::notes::Notes;
use super::parallel::map_all;
use super::watch::Watch;

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
    /// Entries that are as they were, as the disk refuses to change them.
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
        let entries = look_through(&self.directory)?;
        let watch = begin(entries.iter().map(|entry| entry.bytes).sum());
        let parts = map_all(&entries, |entry| check(entry, &watch));
        Ok(parts.into_iter().fold(Verified::default(), Verified::add))
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
        Err(error) if error.kind() == io::ErrorKind::NotFound && !map_of(place).exists() => {
            return Verified::default();
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => check.remove(place),
        Err(error) => {
            log::warn!("{}: {error}", place.display());
            check.result.stuck += 1;
        }
    }
    if check.result.bad_blocks > 0 {
        let (bad, place) = (check.result.bad_blocks, place.display());
        log::warn!("{place}: blocks that are not what was written: {bad}");
    }
    check.result.entries += 1;
    // What the disk has beside the blocks that were read.
    watch.advanced(entry.bytes.saturating_sub(check.told));
    check.result
}

/// A look at one entry.
struct Check<'a, W> {
    watch: &'a W,
    /// Bytes that were told of.
    told: u64,
    result: Verified,
}

impl<W: Watch> Check<'_, W> {
    fn run(&mut self, place: &Path) -> io::Result<()> {
        let (Some(notes), Some(files)) = (Notes::open(place)?, Entry::at(place)?) else {
            self.remove(place);
            return Ok(());
        };
        let mut next = 0;
        for gap in notes.gaps()? {
            self.blocks(&files, next..gap.start)?;
            next = gap.end;
        }
        self.blocks(&files, next..files.size())
    }

    /// Checks the blocks in these bytes, which were noted.
    fn blocks(&mut self, files: &Entry, range: Range<u64>) -> io::Result<()> {
        let mut next = range.start;
        let mut most = PIECE;
        while next < range.end && !self.watch.is_stopped() {
            let first = next / BLOCK;
            let len = most.min(range.end - next);
            let mut buffer = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
            let (good, is_bad) = match files.read(first, &mut buffer) {
                Ok((good, found)) => (good as u64, found == Found::Bad),
                // One of them is the one that the disk does not give.
                Err(_) if len > BLOCK => {
                    most = BLOCK;
                    continue;
                }
                Err(error) => {
                    log::debug!("block {first}: {error}");
                    files.forget(first)?;
                    (0, true)
                }
            };
            most = PIECE;
            let good_end = (next + good * BLOCK).min(range.end);
            self.result.good_blocks += good;
            self.result.good_bytes += good_end - next;
            self.result.bad_blocks += u64::from(is_bad);
            // Behind the good ones is one that is not, if they are not all.
            let end = match good_end {
                end if end < next + len => (end + BLOCK).min(range.end),
                end => end,
            };
            self.told += end - next;
            self.watch.advanced(end - next);
            next = end;
        }
        Ok(())
    }

    fn remove(&mut self, place: &Path) {
        log::warn!("{}: cannot be used, and is removed", place.display());
        match remove(place) {
            Ok(()) => self.result.unusable += 1,
            Err(error) => {
                log::warn!("{}: {error}", place.display());
                self.result.stuck += 1;
            }
        }
    }
}

/// Bytes that are read at a time.
const PIECE: u64 = 8 * BLOCK;
