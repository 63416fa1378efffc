//! Distributions, in buckets that grow exponentially.
//!
//! Bucket `i` counts the values above 2^(i/4) and up to 2^((i+1)/4): those of an exponential
//! histogram of OpenTelemetry of scale 2, so that one can be made of these without loss. A quantile
//! is wrong by 19 % at most.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A distribution of whole numbers. Any thread may add to it at any time.
#[derive(Debug)]
pub struct Histogram {
    /// Zeros, and ones, which lie on the lower edge of bucket 0.
    small: [AtomicU64; 2],
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// What a [`Histogram`] held at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistogramFigures {
    /// How many values were zero.
    pub zeros: u64,
    /// How many values each bucket has: number and count, without empty ones, in order. Bucket -1
    /// has the ones.
    pub buckets: Vec<(i32, u64)>,
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// Adds a value.
    pub fn observe(&self, value: u64) {
        let counter = match usize::try_from(value).ok().and_then(|n| self.small.get(n)) {
            Some(counter) => counter,
            None => &self.buckets[bucket(value)],
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Adds a time, in microseconds.
    pub fn observe_time(&self, time: Duration) {
        let micros = time.saturating_add(HALF_A_MICROSECOND).as_micros();
        self.observe(u64::try_from(micros).unwrap_or(u64::MAX));
    }

    /// What it holds now. Values that are added meanwhile may be missing.
    pub fn figures(&self) -> HistogramFigures {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [zeros, ones] = &self.small;
        let counters = [ones].into_iter().chain(&self.buckets);
        let buckets = (-1..).zip(counters.map(get));
        HistogramFigures {
            sum: get(&self.sum),
            zeros: get(zeros),
            buckets: buckets.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            small: Default::default(),
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
        }
    }
}

impl HistogramFigures {
    /// The scale of an exponential histogram of OpenTelemetry that has the same buckets.
    pub const SCALE: i32 = 2;

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.zeros + self.buckets.iter().map(|(_, count)| count).sum::<u64>()
    }

    /// How many values are at most 2^`exponent`.
    pub fn at_most(&self, exponent: i32) -> u64 {
        let below = |bucket: &&(i32, u64)| bucket.0 < exponent * PER_OCTAVE;
        let buckets = self.buckets.iter().take_while(below);
        self.zeros + buckets.map(|(_, count)| count).sum::<u64>()
    }

    /// The value that the part `quantile` (0 to 1) of all values does not exceed, or somewhat more;
    /// 0 without values.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the conversion saturates, and a rank is good enough to 53 bits"
    )]
    pub fn quantile(&self, quantile: f64) -> f64 {
        let rank = ((self.count() as f64 * quantile).ceil() as u64).max(1);
        let mut seen = self.zeros;
        if seen >= rank {
            return 0.0;
        }
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return upper_bound(*bucket);
            }
        }
        0.0
    }

    /// The values that were added since `before`, an earlier state of the same histogram.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let count_before = |bucket: i32| {
            let found = before.buckets.binary_search_by_key(&bucket, |(n, _)| *n);
            found.map_or(0, |place| before.buckets[place].1)
        };
        let buckets = self.buckets.iter();
        let buckets = buckets.map(|&(n, count)| (n, count.saturating_sub(count_before(n))));
        Self {
            zeros: self.zeros.saturating_sub(before.zeros),
            buckets: buckets.filter(|(_, count)| *count > 0).collect(),
            sum: self.sum.saturating_sub(before.sum),
        }
    }
}

/// The greatest value of bucket `number`.
pub fn upper_bound(number: i32) -> f64 {
    (f64::from(number + 1) / f64::from(PER_OCTAVE)).exp2()
}

/// The bucket of a value above 1.
fn bucket(value: u64) -> usize {
    // As many bits as are before the highest one of `value - 1` are those of the octave.
    let octave = (value - 1).ilog2();
    let mantissa = u128::from(value) << 64 >> octave;
    let quarter = QUARTERS.iter().filter(|edge| mantissa > **edge).count();
    (4 * octave as usize + quarter).min(BUCKETS - 1)
}

/// 2^(1/4), 2^(2/4) and 2^(3/4), as multiples of 2^-64.
const QUARTERS: [u128; 3] = [
    0x1_306F_E0A3_1B71_52DF,
    0x1_6A09_E667_F3BC_C908,
    0x1_AE89_F995_AD3A_D5E8,
];

const PER_OCTAVE: i32 = 4;

/// Up to 2^42: 50 days in microseconds, 4 TiB in bytes. What is greater counts as that.
const BUCKETS: usize = 42 * 4;

const HALF_A_MICROSECOND: Duration = Duration::from_nanos(500);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> HistogramFigures {
        let histogram = Histogram::default();
        for value in values {
            histogram.observe(value);
        }
        histogram.figures()
    }

    #[test]
    fn small_values_have_buckets_of_their_own() {
        let figures = of([0, 0, 1, 2, 3, 4, 5, u64::MAX >> 1]);
        assert_eq!(figures.zeros, 2);
        let last = i32::try_from(BUCKETS).expect("small") - 1;
        let expected = [(-1, 1), (3, 1), (6, 1), (7, 1), (9, 1), (last, 1)];
        assert_eq!(figures.buckets, expected);
        assert_eq!(figures.count(), 8);
        assert_eq!(figures.at_most(0), 3);
        assert_eq!(figures.at_most(1), 4);
        assert_eq!(figures.at_most(2), 6);
    }

    #[test]
    fn times_are_rounded_to_microseconds() {
        let histogram = Histogram::default();
        for nanos in [499, 500, 1_499, 2_000_000] {
            histogram.observe_time(Duration::from_nanos(nanos));
        }
        let figures = histogram.figures();
        assert_eq!((figures.zeros, figures.sum), (1, 2002));
    }

    #[test]
    fn quantile_is_near_the_value_of_that_rank() {
        let figures = of(1..=1000);
        for (quantile, expected) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = figures.quantile(quantile);
            assert!(
                (expected..expected * 1.2).contains(&found),
                "{quantile}: {found}"
            );
        }
        assert_eq!(of([]).quantile(0.5).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn since_leaves_what_was_added() {
        let histogram = Histogram::default();
        histogram.observe(3);
        let before = histogram.figures();
        histogram.observe(3);
        histogram.observe(1000);
        assert_eq!(histogram.figures().since(&before), of([3, 1000]));
    }

    proptest! {
        #[test]
        fn prop_a_value_lies_in_its_bucket(value in 2_u64..1 << 42) {
            let number = i32::try_from(bucket(value)).expect("small");
            #[expect(clippy::cast_precision_loss, reason = "less than 2^53")]
            let value = value as f64;
            // Edges that are no powers of two are irrational, so no whole number lies on one.
            prop_assert!(upper_bound(number - 1) < value && value <= upper_bound(number));
        }
    }
}
