//! So many bytes in a second, and no more.

use std::num::NonZeroU64;
use std::time::Instant;

/// Allows bytes at a rate. What is not taken when it could be is kept for a moment only.
#[derive(Debug)]
pub(super) struct Rate {
    /// Bytes per second.
    rate: f64,
    /// Bytes that may be taken now.
    saved: f64,
    /// The most that is kept.
    most: f64,
    counted: Instant,
}

impl Rate {
    /// `rate` bytes per second, of which `largest` may be asked for at a time. Nothing may be taken at
    /// `now`.
    pub(super) fn new(rate: NonZeroU64, largest: u64, now: Instant) -> Self {
        let rate = float(rate.get());
        Self {
            rate,
            saved: 0.0,
            most: float(largest).max(rate * KEPT_SECONDS),
            counted: now,
        }
    }

    /// Takes so many bytes, if they may be taken by `now`.
    pub(super) fn take(&mut self, bytes: u64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted);
        self.counted = now;
        self.saved = (self.saved + passed.as_secs_f64() * self.rate).min(self.most);
        let may = float(bytes) <= self.saved;
        if may {
            self.saved -= float(bytes);
        }
        may
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a part in 2^52 is no matter for a rate"
)]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

const KEPT_SECONDS: f64 = 0.1;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rate_is_kept_whatever_is_asked_for() {
        let begin = Instant::now();
        let rate = NonZeroU64::new(1000).expect("not zero");
        for step in [1, 7, 100, 900] {
            let mut bytes = Rate::new(rate, 900, begin);
            let mut taken = 0;
            for millis in 0..=10_000 {
                while bytes.take(step, begin + Duration::from_millis(millis)) {
                    taken += step;
                }
                assert!(taken <= millis, "{taken} at {millis} ms");
            }
            assert!(taken >= 10_000 - step, "{taken} by {step}");
        }
    }

    #[test]
    fn what_was_not_taken_is_not_kept_for_long() {
        let begin = Instant::now();
        let rate = NonZeroU64::new(1000).expect("not zero");
        let mut bytes = Rate::new(rate, 50, begin);
        let later = begin + Duration::from_secs(60);
        assert!(bytes.take(100, later));
        assert!(!bytes.take(1, later));
    }
}
