//! How much of the disk the files take, and how much they may.

use std::io;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::CacheLimits;
use super::amount::{Amount, Free, in_pages};

/// Counts bytes. Any thread may use it.
///
/// Other processes write to the same directory, and what is written takes more or less than it should.
/// So all files are counted now and then, directory after directory; what is written meanwhile counts
/// from then on where the count has passed already.
#[derive(Debug)]
pub(super) struct Usage {
    limits: CacheLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes on the disk, as far as this process knows.
    on_disk: u64,
    /// Bytes that were admitted, and wait to be written.
    pending: u64,
    /// What is being written: by each thread one thing.
    writing: Vec<Writing>,
    /// Bytes that were admitted since a count began.
    admitted: u64,
    /// The count under way.
    count: Count,
    /// Counts that were made.
    counts: u64,
    /// Whether all files were counted once.
    is_counted: bool,
    /// Why they could not be counted last.
    failure: Option<Arc<io::Error>>,
    /// If somebody has asked for room since they were counted last: for how many bytes at a time, at most.
    asked: Option<u64>,
    /// Whether the disk has refused to take something since.
    is_refused: bool,
}

/// A count of all files.
#[derive(Debug, Default)]
struct Count {
    /// The last shard that it has come to; they are in order.
    last: Option<u8>,
    /// Bytes that came since it has, in that shard and those before it.
    added: u64,
    /// Bytes that went.
    removed: u64,
}

/// Bytes that are being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Writing {
    bytes: u64,
    shard: u8,
    /// How often the files of the shard were counted before.
    passes: u64,
}

/// What to do with more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Write,
    /// Write, and let all files be counted: for others room has to be made, or others have taken some.
    WriteAndCount,
    /// There is no room until some is made.
    Leave,
}

impl Usage {
    /// Nothing is counted yet.
    pub(super) fn new(limits: CacheLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
        }
    }

    /// Whether `len` more bytes of a file may be written into `directory`; if so they count, until they
    /// are [`written`](Self::end_writing) or [`left out`](Self::left_out).
    pub(super) fn admit(&self, len: u64, directory: &Path) -> Verdict {
        let more = in_pages(len);
        let free = Free::of(directory).unwrap_or_default();
        let least = self.least(&free);
        let most = self.most();
        let mut state = self.lock();
        if self.limits.most.is_some() && !state.is_counted {
            return Verdict::Leave;
        }
        let used = state.used() + more;
        if used > most || !(least + Amount::of_bytes(more)).fits_in(free.left) {
            // There is no use in room for what never fits.
            if more <= most {
                state.ask_for(more);
            }
            return Verdict::Leave;
        }
        state.pending += more;
        state.admitted += more;
        if used > most - most / MARGIN || !(least + least.part(MARGIN)).fits_in(free.left) {
            state.ask_for(0);
            return Verdict::WriteAndCount;
        }
        match state.admitted > most / MARGIN {
            true => Verdict::WriteAndCount,
            false => Verdict::Write,
        }
    }

    /// Notes that `len` bytes that were admitted begin to be written, in this shard.
    pub(super) fn begin_writing(&self, len: u64, shard: u8) -> Writing {
        let mut state = self.lock();
        state.pending = state.pending.saturating_sub(in_pages(len));
        let writing = Writing {
            bytes: in_pages(len),
            shard,
            passes: state.passes(shard),
        };
        state.writing.push(writing);
        writing
    }

    /// Notes that what was being written is written, or cannot be.
    pub(super) fn end_writing(&self, writing: Writing, is_written: bool) {
        let mut state = self.lock();
        let place = state.writing.iter().position(|known| *known == writing);
        if let Some(place) = place {
            state.writing.swap_remove(place);
        }
        if is_written && !state.is_found(&writing) {
            state.add(writing.bytes, writing.shard);
        }
    }

    /// Notes that `len` bytes that were admitted are not going to be written.
    pub(super) fn left_out(&self, len: u64) {
        let mut state = self.lock();
        state.pending = state.pending.saturating_sub(in_pages(len));
    }

    /// Notes that files in this shard take so many bytes of the disk more.
    pub(super) fn added(&self, bytes: u64, shard: u8) {
        self.lock().add(bytes, shard);
    }

    /// Notes that files in this shard that took so many bytes are gone.
    pub(super) fn removed(&self, bytes: u64, shard: u8) {
        let mut state = self.lock();
        state.on_disk = state.on_disk.saturating_sub(bytes);
        if state.count.has_come_to(shard) {
            state.count.removed += bytes;
        }
    }

    /// Notes that all files are being counted from now on.
    pub(super) fn begin_count(&self) {
        let mut state = self.lock();
        state.count = Count::default();
        state.failure = None;
        state.admitted = 0;
    }

    /// Notes that those in this shard are counted now. Those before it were.
    pub(super) fn count_shard(&self, shard: u8) {
        self.lock().count.last = Some(shard);
    }

    /// Notes what all files were found to take, and says how much of it has to go: what is over the limit,
    /// and if somebody has asked for room, so much that nobody does soon.
    pub(super) fn counted(&self, held: Amount, directory: &Path) -> Amount {
        let free = Free::of(directory).unwrap_or_default();
        let least = self.least(&free);
        let margin = least.part(MARGIN);
        let most = self.most();
        let mut state = self.lock();
        let Count { added, removed, .. } = mem::take(&mut state.count);
        state.on_disk = (held.bytes + added).saturating_sub(removed);
        state.counts += 1;
        state.is_counted = true;
        let used = state.used();
        let asked = state.asked.take();
        let is_refused = mem::take(&mut state.is_refused);
        drop(state);
        let is_below = used <= most - most / MARGIN && (least + margin).fits_in(free.left);
        if is_below && asked.is_none() && !is_refused {
            return Amount::default();
        }
        // A margin below what makes somebody ask for room again, or as much as is asked for at a time.
        let more = (most / MARGIN).max(asked.unwrap_or_default());
        let over = Amount::of_bytes((used + more).saturating_sub(most - most / MARGIN));
        let more = margin.max(Amount::of_bytes(asked.unwrap_or_default()));
        let short = (least + margin + more).saturating_sub(free.left);
        let refused = match is_refused {
            true => held.part(MARGIN).max(Amount { bytes: 1, files: 1 }),
            false => Amount::default(),
        };
        over.max(short).max(refused).min(held)
    }

    /// Notes that the files cannot be counted.
    pub(super) fn cannot_count(&self, error: io::Error) {
        self.lock().failure = Some(Arc::new(error));
    }

    /// Why the files could not be counted last, if that is so.
    pub(super) fn failure(&self) -> Option<io::Error> {
        let failure = self.lock().failure.clone()?;
        Some(io::Error::new(failure.kind(), failure))
    }

    /// Notes that the disk has taken something no more, whatever it says of its room: some has to be made.
    pub(super) fn refused(&self) {
        self.lock().is_refused = true;
    }

    /// What can be written into `directory` before anybody asks for room.
    pub(super) fn room(&self, directory: &Path) -> Amount {
        let free = Free::of(directory).unwrap_or_default();
        let least = self.least(&free);
        let most = self.most();
        let below_limit = Amount {
            bytes: (most - most / MARGIN).saturating_sub(self.used()),
            files: u64::MAX,
        };
        let above_least = free.left.saturating_sub(least + least.part(MARGIN));
        below_limit.min(above_least)
    }

    /// Whether all files were counted once.
    pub(super) fn is_counted(&self) -> bool {
        self.lock().is_counted
    }

    /// Bytes on the disk, and those that will be soon, as far as this process knows.
    pub(super) fn used(&self) -> u64 {
        self.lock().used()
    }

    fn most(&self) -> u64 {
        self.limits.most.unwrap_or(u64::MAX)
    }

    /// What has to stay free.
    fn least(&self, free: &Free) -> Amount {
        let one = free.total.part(100);
        let percent = u64::from(self.limits.free_percent);
        Amount {
            bytes: one.bytes * percent,
            files: one.files * percent,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn used(&self) -> u64 {
        let writing = self.writing.iter().filter(|one| !self.is_found(one));
        self.on_disk + self.pending + writing.map(|one| one.bytes).sum::<u64>()
    }

    /// Whether a count has passed since it began to be written. Then as much was found on the disk as was
    /// there; the next count finds the rest.
    fn is_found(&self, writing: &Writing) -> bool {
        self.passes(writing.shard) != writing.passes
    }

    fn ask_for(&mut self, bytes: u64) {
        self.asked = self.asked.max(Some(bytes));
    }

    fn add(&mut self, bytes: u64, shard: u8) {
        self.on_disk += bytes;
        if self.count.has_come_to(shard) {
            self.count.added += bytes;
        }
    }

    /// How often the files of this shard were counted.
    fn passes(&self, shard: u8) -> u64 {
        self.counts + u64::from(self.count.has_come_to(shard))
    }
}

impl Count {
    fn has_come_to(&self, shard: u8) -> bool {
        self.last.is_some_and(|last| shard <= last)
    }
}

/// The share of a limit, one in so many, before which room is made, and after which others are looked for
/// that write, too.
const MARGIN: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::amount::PAGE;

    fn usage(most: u64) -> Usage {
        Usage::new(CacheLimits {
            most: Some(most),
            free_percent: 0,
        })
    }

    fn write(usage: &Usage, len: u64, shard: u8) {
        let writing = usage.begin_writing(len, shard);
        usage.end_writing(writing, true);
    }

    const ROOT: &str = "/";

    #[test]
    fn admit_keeps_to_the_limit_and_asks_for_room_before_it() {
        let usage = usage(1000 * PAGE);
        let admit = |pages| usage.admit(pages * PAGE, Path::new(ROOT));
        assert_eq!(admit(1), Verdict::Leave, "nothing is counted");
        let counted = |pages| {
            let bytes = pages * PAGE;
            let excess = usage.counted(Amount { bytes, files: 9 }, Path::new(ROOT));
            assert_eq!((excess.files, excess.bytes % PAGE), (0, 0));
            excess.bytes / PAGE
        };
        let room = || usage.room(Path::new(ROOT)).bytes / PAGE;
        assert_eq!(counted(950), 0, "nobody has asked");
        assert_eq!(room(), 0);
        assert_eq!(admit(51), Verdict::Leave);
        assert_eq!(
            counted(950),
            51,
            "for what was refused, and what comes after it"
        );
        assert_eq!(admit(250), Verdict::Leave);
        assert_eq!(counted(800), 100);
        assert_eq!(admit(1001), Verdict::Leave);
        assert_eq!(counted(800), 0, "there is never room for that");
        assert_eq!(counted(950), 0);
        assert_eq!(counted(951), 51);
        assert_eq!(counted(0), 0);
        assert_eq!(room(), 950);
        assert_eq!(admit(50), Verdict::Write);
        assert_eq!(admit(1), Verdict::WriteAndCount, "others may write, too");
        usage.begin_count();
        assert_eq!(admit(50), Verdict::Write);
        assert_eq!(admit(849), Verdict::WriteAndCount);
        assert_eq!(admit(50), Verdict::WriteAndCount);
        assert_eq!(admit(1), Verdict::Leave);
        for pages in [50, 1, 50, 849, 50] {
            write(&usage, pages * PAGE, 0);
        }
        assert_eq!(counted(1000), 100);
        usage.removed(100 * PAGE, 0);
        assert_eq!(usage.used(), 900 * PAGE);
        usage.begin_count();
        assert_eq!(admit(50), Verdict::Write);
        usage.left_out(50 * PAGE);
        assert_eq!(usage.used(), 900 * PAGE);
    }

    #[test]
    fn what_is_less_than_a_page_takes_one() {
        let usage = usage(100 * PAGE);
        usage.counted(Amount::default(), Path::new(ROOT));
        assert_eq!(usage.admit(1, Path::new(ROOT)), Verdict::Write);
        assert_eq!(usage.admit(PAGE + 1, Path::new(ROOT)), Verdict::Write);
        assert_eq!(usage.used(), 3 * PAGE);
        write(&usage, 1, 0);
        usage.left_out(PAGE + 1);
        assert_eq!(usage.used(), PAGE);
    }

    #[test]
    fn what_comes_and_goes_during_a_count_counts_once() {
        let usage = usage(1000 * PAGE);
        usage.counted(Amount::default(), Path::new(ROOT));
        let admit = |pages| usage.admit(pages * PAGE, Path::new(ROOT));
        for pages in [1, 2, 4, 32] {
            admit(pages);
        }
        usage.begin_count();
        write(&usage, PAGE, 7);
        let early = usage.begin_writing(32 * PAGE, 7);
        usage.count_shard(7);
        usage.end_writing(early, true);
        write(&usage, 2 * PAGE, 7);
        usage.removed(PAGE, 3);
        // These are found.
        usage.added(8 * PAGE, 8);
        usage.removed(16 * PAGE, 8);
        let bytes = 100 * PAGE;
        usage.counted(Amount { bytes, files: 9 }, Path::new(ROOT));
        // What is not written yet counts, too.
        assert_eq!(usage.used(), (100 + 2 - 1 + 4) * PAGE);
        write(&usage, 4 * PAGE, 0);
        assert_eq!(usage.used(), 105 * PAGE);
        // Found by a count that has ended since.
        admit(8);
        let early = usage.begin_writing(8 * PAGE, 0);
        assert_eq!(usage.used(), 113 * PAGE);
        usage.begin_count();
        usage.counted(Amount { bytes, files: 9 }, Path::new(ROOT));
        assert_eq!(usage.used(), 100 * PAGE);
        usage.end_writing(early, true);
        assert_eq!(usage.used(), 100 * PAGE);
        admit(1);
        usage.end_writing(usage.begin_writing(PAGE, 0), false);
        assert_eq!(usage.used(), 100 * PAGE);
    }

    #[test]
    fn disk_that_has_to_stay_free_takes_nothing() {
        let usage = Usage::new(CacheLimits {
            most: None,
            free_percent: 100,
        });
        assert_eq!(usage.admit(1, Path::new(ROOT)), Verdict::Leave);
        let held = Amount { bytes: 7, files: 3 };
        assert_eq!(usage.counted(held, Path::new(ROOT)), held);
    }

    #[test]
    fn disk_that_has_refused_something_gets_room_once() {
        let usage = usage(1000);
        let counted = |bytes, files| {
            let excess = usage.counted(Amount { bytes, files }, Path::new(ROOT));
            (excess.bytes, excess.files)
        };
        for (held, excess) in [((900, 300), (45, 15)), ((5, 2), (1, 1)), ((0, 0), (0, 0))] {
            usage.refused();
            assert_eq!(counted(held.0, held.1), excess);
            assert_eq!(counted(held.0, held.1), (0, 0));
        }
    }
}
