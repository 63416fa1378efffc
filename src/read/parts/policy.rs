//! When a part is worth a second request, and how many there may be. Pure: time is an argument.
//!
//! A part is compared with those of about its size that arrived before: it is late when it has
//! taken longer than all but one in a hundred of them. While there are too few to say that, only a
//! part that takes many times as long as most of them is late.
//!
//! Second requests spend a credit in bytes, which what is fetched earns.

use std::time::Duration;

/// What is known of the parts of one mount.
#[derive(Debug)]
pub(super) struct Policy {
    delays: [Delays; CLASSES],
    /// What may be asked for twice, in hundredths of a byte.
    credit: u64,
    most_credit: u64,
    percent: u64,
}

/// How long parts took, in a logarithmic histogram that forgets.
#[derive(Debug)]
struct Delays {
    counts: [u32; BUCKETS],
    total: u32,
}

impl Policy {
    /// Lets `percent` per cent of all bytes be asked for twice, and one part of `part_size` bytes
    /// in advance. Zero allows nothing.
    pub(super) fn new(percent: u64, part_size: u64) -> Self {
        let part = part_size.saturating_mul(100);
        Self {
            delays: [const { Delays::new() }; CLASSES],
            credit: if percent > 0 { part } else { 0 },
            most_credit: part.saturating_mul(MOST_PARTS),
            percent,
        }
    }

    /// Notes that a part of `bytes` bytes has arrived, `delay` after it was first asked for.
    pub(super) fn note_arrival(&mut self, bytes: u64, delay: Duration) {
        self.delays[class(bytes)].note(delay);
        let earned = bytes.saturating_mul(self.percent);
        self.credit = self.credit.saturating_add(earned).min(self.most_credit);
    }

    /// Whether a part of `bytes` bytes that was asked for `age` ago is late.
    pub(super) fn is_late(&self, bytes: u64, age: Duration) -> bool {
        let patience = self.delays[class(bytes)].patience();
        patience.is_some_and(|patience| age > patience)
    }

    /// Whether `bytes` bytes may be asked for twice now.
    pub(super) fn affords(&self, bytes: u64) -> bool {
        bytes.saturating_mul(100) <= self.credit
    }

    /// Spends the credit for `bytes` bytes.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_sub(bytes.saturating_mul(100));
    }
}

impl Delays {
    const fn new() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
        }
    }

    fn note(&mut self, delay: Duration) {
        self.counts[bucket(delay)] += 1;
        self.total += 1;
        if self.total >= MEMORY {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    /// How long a part may take before it is late; `None` when nothing can be said.
    fn patience(&self) -> Option<Duration> {
        if self.total < FEW {
            return None;
        }
        let median = self.exceeded_by(self.total / 2);
        Some(if self.total < ENOUGH {
            (median * 8).max(EARLY_FLOOR)
        } else {
            let p99 = self.exceeded_by(self.total / 100);
            p99.max(median * 2).max(FLOOR)
        })
    }

    /// A time, rounded up, that no more than `count` parts took longer than.
    fn exceeded_by(&self, count: u32) -> Duration {
        let mut longer = 0;
        let index = self.counts.iter().rposition(|&here| {
            longer += here;
            longer > count
        });
        index.map_or(Duration::ZERO, upper_edge)
    }
}

/// Which parts are comparable: those that take about as long.
fn class(bytes: u64) -> usize {
    let limits = [64 << 10, 512 << 10, 2 << 20];
    limits.iter().take_while(|&&limit| bytes > limit).count()
}

/// The index of the bucket of `delay`: four for each doubling, from a microsecond on.
fn bucket(delay: Duration) -> usize {
    let micros = u32::try_from(delay.as_micros()).unwrap_or(u32::MAX).max(4);
    let exponent = micros.ilog2();
    let quarter = (micros >> (exponent - 2)) & 3;
    (exponent * 4 + quarter) as usize
}

/// The end of a bucket.
fn upper_edge(index: usize) -> Duration {
    let (exponent, quarter) = (index / 4, index as u64 % 4);
    Duration::from_micros((5 + quarter) << exponent >> 2)
}

const CLASSES: usize = 4;

const BUCKETS: usize = 128;

/// Half of what is known is forgotten when so many parts are known.
const MEMORY: u32 = 4000;

/// Parts from which a percentile can be told.
const ENOUGH: u32 = 100;

/// Parts from which anything can be told.
const FEW: u32 = 4;

/// No part is late before this: a busy machine delays what has long arrived.
pub(super) const FLOOR: Duration = Duration::from_millis(50);

/// The same while there are not enough parts to compare with.
const EARLY_FLOOR: Duration = Duration::from_secs(1);

/// The most parts for which credit is saved up: a store that slows down for everybody is not made
/// faster by more requests.
const MOST_PARTS: u64 = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;
    const PART: u64 = 8 * MIB;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn after(count: u64, delay: impl Fn(u64) -> Duration) -> Policy {
        let mut policy = Policy::new(1, PART);
        (0..count).for_each(|index| policy.note_arrival(PART, delay(index)));
        policy
    }

    #[test]
    fn part_later_than_99_of_100_is_late() {
        let policy = after(1000, |index| {
            millis(if index % 50 == 0 { 400 } else { 100 })
        });
        assert!(!policy.is_late(PART, millis(400)));
        assert!(policy.is_late(PART, millis(500)));
        assert!(
            !policy.is_late(4096, Duration::from_secs(9)),
            "of another size"
        );
    }

    #[test]
    fn rare_stalls_do_not_make_patient() {
        let policy = after(1000, |index| {
            millis(if index % 200 == 0 { 8000 } else { 100 })
        });
        assert!(policy.is_late(PART, millis(250)));
    }

    #[test]
    fn fast_store_is_given_time() {
        let policy = after(1000, |_| Duration::from_micros(200));
        assert!(!policy.is_late(PART, FLOOR));
        assert!(policy.is_late(PART, FLOOR + millis(1)));
    }

    #[test]
    fn few_parts_tell_only_of_a_stall() {
        assert!(!after(3, |_| millis(1)).is_late(PART, Duration::from_secs(100)));
        let policy = after(4, |_| millis(10));
        assert!(!policy.is_late(PART, millis(999)));
        assert!(policy.is_late(PART, millis(1001)));
        let slow = after(50, |_| millis(2000));
        assert!(!slow.is_late(PART, millis(16_000)));
        let stalled = after(5, |index| millis(if index == 2 { 8000 } else { 10 }));
        assert!(stalled.is_late(PART, millis(1001)));
    }

    #[test]
    fn changed_store_is_learned() {
        let mut policy = after(10_000, |_| millis(100));
        (0..10_000).for_each(|_| policy.note_arrival(PART, millis(1000)));
        assert!(!policy.is_late(PART, millis(900)));
    }

    #[test]
    fn zero_per_cent_affords_nothing() {
        let mut policy = Policy::new(0, PART);
        (0..1000).for_each(|_| policy.note_arrival(PART, millis(1)));
        assert!(!policy.affords(1));
    }

    #[test]
    fn credit_is_not_saved_up_for_ever() {
        let policy = after(100_000, |_| millis(1));
        assert!(policy.affords(8 * PART) && !policy.affords(8 * PART + 1));
    }

    proptest! {
        #[test]
        fn prop_bucket_holds_its_delay(micros in 4u64..1 << 32) {
            let delay = Duration::from_micros(micros);
            let edge = upper_edge(bucket(delay));
            prop_assert!(delay < edge && edge <= delay + delay / 4 + Duration::from_micros(1));
        }

        #[test]
        fn prop_percentile_is_exceeded_by_no_more_than_asked_for(
            delays in prop::collection::vec(1u64..100_000, 1..500),
            count in 0u32..500,
        ) {
            let mut known = Delays::new();
            delays.iter().for_each(|&micros| known.note(Duration::from_micros(micros)));
            let time = known.exceeded_by(count);
            let longer = delays.iter().filter(|&&micros| Duration::from_micros(micros) > time);
            prop_assert!(longer.count() <= count as usize);
        }

        #[test]
        fn prop_no_more_than_a_per_cent_and_a_part_is_asked_for_twice(
            percent in 0u64..=100,
            parts in prop::collection::vec((1u64..20 * MIB, 0u64..10_000, any::<bool>()), 0..300),
        ) {
            let mut policy = Policy::new(percent, PART);
            let (mut fetched, mut twice) = (0, 0);
            for (bytes, delay, hedge) in parts {
                if hedge && policy.affords(bytes) {
                    policy.spend(bytes);
                    twice += bytes;
                }
                policy.note_arrival(bytes, millis(delay));
                fetched += bytes;
                prop_assert!(twice <= fetched * percent / 100 + PART);
            }
        }
    }
}
