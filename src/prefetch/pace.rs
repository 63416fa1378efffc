//! How much is fetched ahead. Pure policy: no I/O, no clock.
//!
//! What is fetched ahead has to be earned by reading. Two bounds hold whatever programs do:
//!
//! * All bytes that were fetched and not read, once they were given up, are no more than an eighth
//!   of those that were read, and [`START`] ([`may_waste`]).
//! * What is held of one set of files, or under way, is no more than was read of it, and
//!   [`START`]; if the whole set is expected to be read, [`WHOLE_RATIO`] times that much.

/// How far ahead one set of files is fetched.
#[derive(Debug)]
pub(super) struct Pace {
    /// Files that are to be ahead of whoever reads in order.
    ahead: u64,
    /// Bytes of the files that were read.
    read: u64,
    /// Bytes of the files that were fetched and not read since.
    held: u64,
    /// Times that a file in hand should have been read, if all are read in a random order.
    expected: f64,
    /// Times that one was.
    met: f64,
}

impl Pace {
    /// Nothing was read and nothing fetched.
    pub(super) fn new() -> Self {
        Self {
            ahead: FIRST_AHEAD,
            read: 0,
            held: 0,
            expected: 0.0,
            met: 0.0,
        }
    }

    /// Files that are to be ahead of whoever reads in order.
    pub(super) fn ahead(&self) -> u64 {
        self.ahead
    }

    /// A file of `size` bytes was read, which was `fetched` before or not.
    pub(super) fn note_read(&mut self, size: u64, fetched: bool) {
        self.read = self.read.saturating_add(size);
        if fetched {
            self.note_gone(size);
        }
    }

    /// What was read came in order: as many reads as there are files ahead double them.
    pub(super) fn note_in_order(&mut self) {
        self.ahead = (self.ahead + 1).min(MOST_AHEAD);
    }

    /// What was read came out of order.
    pub(super) fn note_jump(&mut self) {
        self.ahead = (self.ahead / 2).max(FIRST_AHEAD);
    }

    /// A file was read that was expected to have been fetched with this probability, and was or
    /// was not.
    pub(super) fn note_chance(&mut self, expected: f64, met: bool) {
        if self.expected > LONG_TRIAL {
            self.expected /= 2.0;
            self.met /= 2.0;
        }
        self.expected += expected;
        self.met += f64::from(u8::from(met));
    }

    /// Whether what is read has little to do with what is fetched.
    pub(super) fn is_off(&self) -> bool {
        self.expected > TRIAL && self.met < self.expected / 4.0
    }

    /// A file of `size` bytes is fetched.
    pub(super) fn note_fetched(&mut self, size: u64) {
        self.held = self.held.saturating_add(size);
    }

    /// A file of `size` bytes that was fetched is not held any more.
    pub(super) fn note_gone(&mut self, size: u64) {
        self.held = self.held.saturating_sub(size);
    }

    /// Whether a file of `size` bytes may be fetched for who reads in order.
    pub(super) fn may_run(&self, size: u64) -> bool {
        let most = self.read.saturating_add(START).min(MOST_RUN);
        self.held.saturating_add(size) <= most
    }

    /// Whether a file of `size` bytes may be fetched of a set that is read whole.
    pub(super) fn may_fill(&self, size: u64) -> bool {
        let most = self.read.saturating_mul(WHOLE_RATIO).saturating_add(START);
        self.held.saturating_add(size) <= most && !self.is_off()
    }
}

/// Whether more may be fetched after `wasted` bytes were fetched for nothing and `read` bytes were
/// read.
pub(super) fn may_waste(wasted: u64, read: u64) -> bool {
    wasted <= START.saturating_add(read / 8)
}

/// Bytes that may be fetched before it is known what they are good for.
pub(super) const START: u64 = 16 << 20;

/// What may be held of a set that is read whole, for each byte of it that was read.
pub(super) const WHOLE_RATIO: u64 = 8;

const FIRST_AHEAD: u64 = 4;

/// A program that takes 0.1 ms for a file never waits for a store that takes 50 ms.
const MOST_AHEAD: u64 = 512;

/// Bytes ahead of a run: more than any network brings in the time of a round trip.
const MOST_RUN: u64 = 256 << 20;

/// So many reads that should have met a fetched file are enough to judge.
const TRIAL: f64 = 32.0;

/// Older reads count less than newer ones.
const LONG_TRIAL: f64 = 128.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ahead_doubles_with_as_many_reads_and_halves_with_a_jump() {
        let mut pace = Pace::new();
        for _ in 0..FIRST_AHEAD {
            pace.note_in_order();
        }
        assert_eq!(pace.ahead(), 2 * FIRST_AHEAD);
        pace.note_jump();
        assert_eq!(pace.ahead(), FIRST_AHEAD);
        pace.note_jump();
        assert_eq!(pace.ahead(), FIRST_AHEAD);
        for _ in 0..2 * MOST_AHEAD {
            pace.note_in_order();
        }
        assert_eq!(pace.ahead(), MOST_AHEAD);
    }

    #[test]
    fn a_set_is_given_up_when_reads_miss_what_is_fetched() {
        let mut pace = Pace::new();
        for _ in 0..100 {
            pace.note_chance(0.5, false);
        }
        assert!(pace.is_off() && !pace.may_fill(1));
        for i in 0..1000 {
            pace.note_chance(0.5, i % 2 == 0);
        }
        assert!(!pace.is_off() && pace.may_fill(1));
    }

    proptest! {
        #[test]
        fn prop_held_is_bounded_by_what_was_read(
            steps in prop::collection::vec((any::<bool>(), 1u64..8 << 20), 1..200),
        ) {
            let (mut run, mut whole) = (Pace::new(), Pace::new());
            let mut read = 0;
            for (reads, size) in steps {
                if reads {
                    run.note_read(size, false);
                    whole.note_read(size, false);
                    read += size;
                }
                if run.may_run(size) {
                    run.note_fetched(size);
                }
                if whole.may_fill(size) {
                    whole.note_fetched(size);
                }
                prop_assert!(run.held <= read + START && run.held <= MOST_RUN);
                prop_assert!(whole.held <= WHOLE_RATIO * read + START);
            }
        }
    }
}
