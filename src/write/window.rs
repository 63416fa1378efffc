//! How much the uploads of a mount may hold together: enough to keep the network busy, and no more.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::memory::{Growth, kib_f64};

/// The window of all uploads of a mount: bytes that were taken and are not confirmed. Clones share
/// it.
///
/// It jumps to the bandwidth-delay product when a part shows the delay, and doubles while writers
/// wait and the last doubling made them faster together. Each upload has an even share of it, and
/// two parts at least.
#[derive(Clone)]
pub struct SendWindow(Arc<Shared>);

struct Shared {
    part: u64,
    most: u64,
    rate: u64,
    state: Mutex<State>,
}

struct State {
    /// Bytes.
    size: u64,
    uploads: u64,
    /// The shortest time in which a part was confirmed.
    delay: Option<Duration>,
    /// Bytes taken since the epoch began, and whether their writers had to wait.
    taken: u64,
    waited: bool,
    began: Instant,
    growth: Growth,
}

/// Whether an upload had to wait for room, and with how much.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    No,
    /// It does not have all of its share yet: its pace says nothing of the window.
    WithLess,
    WithAll,
}

impl SendWindow {
    /// For parts of `part` bytes; no more than `most` bytes, as far as two parts for each upload
    /// fit into that. It aims at `rate` bytes per second.
    pub fn new(part: u64, most: u64, rate: u64) -> Self {
        let part = part.max(1);
        let state = State {
            size: 2 * part,
            uploads: 0,
            delay: None,
            taken: 0,
            waited: false,
            began: Instant::now(),
            growth: Growth::default(),
        };
        Self(Arc::new(Shared {
            part,
            most: most.max(2 * part),
            rate,
            state: Mutex::new(state),
        }))
    }

    /// A share of it for one more upload.
    pub(super) fn join(&self) -> Share {
        self.0.state().uploads += 1;
        Share(Arc::clone(&self.0))
    }
}

/// One upload's share, until this is dropped.
pub(super) struct Share(Arc<Shared>);

impl Share {
    /// Bytes that the upload may hold now.
    pub(super) fn bytes(&self) -> u64 {
        let state = self.0.state();
        (state.size / state.uploads.max(1)).max(2 * self.0.part)
    }

    /// Notes that the upload took `bytes` bytes, how it had to wait for room, and the shortest time in
    /// which a part of it was confirmed.
    pub(super) fn took(&self, bytes: u64, waited: Waited, delay: Option<Duration>, now: Instant) {
        let shared = &self.0;
        let state = &mut *shared.state();
        if let Some(delay) = delay
            && state.delay.is_none_or(|least| delay < least / 4 * 3)
        {
            state.delay = Some(delay);
            state.size = shared.product(delay);
            state.growth.forget();
            state.begin(now);
        }
        if waited == Waited::WithLess {
            return state.begin(now);
        }
        state.taken += bytes;
        state.waited |= waited == Waited::WithAll;
        if state.taken >= state.size.max(EPOCH_PARTS * shared.part) {
            state.turn(shared.most, shared.rate, now);
        }
    }
}

impl Shared {
    /// What is on the way at the rate that is aimed at, if a part takes `delay` at best, and the common
    /// part a quarter longer.
    fn product(&self, delay: Duration) -> u64 {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let product = (self.rate / 800).saturating_mul(millis);
        product.clamp(2 * self.part, self.most)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends an epoch: judges the doubling on trial, decides on the next one.
    fn turn(&mut self, most: u64, aim: u64, now: Instant) {
        let seconds = now.duration_since(self.began).as_secs_f64();
        let rate = kib_f64(self.taken) / seconds.max(1e-9);
        // Close to what the network allows nothing is gained.
        let is_wished = self.waited && rate < kib_f64(aim) * ENOUGH;
        let room = is_wished.then(|| most.saturating_sub(self.size));
        self.size = self.growth.turn(self.size, rate, room);
        self.begin(now);
    }

    /// Begins an epoch.
    fn begin(&mut self, now: Instant) {
        self.taken = 0;
        self.waited = false;
        self.began = now;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.state().uploads -= 1;
    }
}

impl fmt::Debug for SendWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state();
        f.debug_struct("SendWindow")
            .field("size", &state.size)
            .field("uploads", &state.uploads)
            .finish_non_exhaustive()
    }
}

/// Parts in an epoch, at least: the pace of fewer could not be told from noise.
const EPOCH_PARTS: u64 = 8;

/// The part of the rate aimed at from which on the window is large enough.
const ENOUGH: f64 = 0.8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;
    const PART: u64 = 8 * MIB;

    fn size(window: &SendWindow) -> u64 {
        window.0.state().size
    }

    /// Takes `parts` parts, each of which waits for room, at the rate that a size leads to.
    fn send(window: &SendWindow, share: &Share, parts: u64, rate: impl Fn(u64) -> f64) {
        let mut now = Instant::now();
        for _ in 0..parts {
            now += Duration::from_secs_f64(PART as f64 / rate(size(window)));
            share.took(PART, Waited::WithAll, None, now);
        }
    }

    #[test]
    fn window_grows_while_latency_bound_and_stops_at_the_bandwidth_delay_product() {
        let window = SendWindow::new(PART, 1 << 30, u64::MAX);
        // A part takes 100 ms, 1 GB/s at most: about 100 MiB of window are useful.
        send(&window, &window.join(), 2000, |size| {
            (size as f64 / 0.1).min(1e9)
        });
        let size = size(&window);
        assert!((64 * MIB..=256 * MIB).contains(&size), "{}", size / MIB);
    }

    #[test]
    fn window_of_a_bound_source_stays_small() {
        let window = SendWindow::new(PART, 1 << 30, u64::MAX);
        let share = window.join();
        send(&window, &share, 2000, |_size| 1e9);
        assert!(size(&window) <= 4 * PART, "{}", size(&window) / MIB);
        let idle = SendWindow::new(PART, 1 << 30, u64::MAX);
        let now = Instant::now();
        for _ in 0..100 {
            idle.join().took(PART, Waited::No, None, now);
        }
        assert_eq!(size(&idle), 2 * PART, "nobody waited");
    }

    #[test]
    fn window_jumps_to_what_the_first_delay_makes_of_the_rate() {
        let window = SendWindow::new(PART, 1 << 30, 1000 * MIB);
        let share = window.join();
        let size_after = |millis| {
            let delay = Some(Duration::from_millis(millis));
            share.took(0, Waited::No, delay, Instant::now());
            size(&window)
        };
        assert!(size_after(200).abs_diff(250 * MIB) < MIB);
        assert!(
            size_after(100).abs_diff(125 * MIB) < MIB,
            "the first was slow"
        );
        assert!(
            size_after(1000).abs_diff(125 * MIB) < MIB,
            "the least counts"
        );
        assert_eq!(size_after(1), 2 * PART);
    }

    #[test]
    fn share_is_even_and_two_parts_at_least() {
        let window = SendWindow::new(PART, 64 * MIB, 1 << 40);
        let first = window.join();
        first.took(0, Waited::No, Some(Duration::from_secs(1)), Instant::now());
        assert_eq!(first.bytes(), 64 * MIB);
        let second = window.join();
        assert_eq!((first.bytes(), second.bytes()), (32 * MIB, 32 * MIB));
        let others: Vec<_> = (0..30).map(|_| window.join()).collect();
        assert_eq!(first.bytes(), 2 * PART);
        drop((others, second));
        assert_eq!(first.bytes(), 64 * MIB);
    }

    proptest! {
        #[test]
        fn prop_size_stays_within_its_bounds(
            steps in prop::collection::vec((0u64..1 << 26, 0usize..3, 0u64..500, 0u64..100), 1..200),
            most in 0u64..1 << 28,
        ) {
            let window = SendWindow::new(PART, most, 1 << 30);
            let share = window.join();
            let mut now = Instant::now();
            for (bytes, waited, delay, later) in steps {
                now += Duration::from_millis(later);
                let waited = [Waited::No, Waited::WithLess, Waited::WithAll][waited];
                share.took(bytes, waited, Some(Duration::from_millis(delay)), now);
                prop_assert!(size(&window) >= 2 * PART);
                prop_assert!(size(&window) <= most.max(2 * PART));
            }
        }
    }
}
