//! How far ahead of its readers a stream may fetch. Pure: time is an argument.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Bytes by which the windows of one handle's streams may still grow beyond their initial sizes.
#[derive(Debug)]
pub(super) struct Spare(AtomicU64);

impl Spare {
    pub(super) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(bytes)))
    }

    fn take(&self, bytes: u64) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            })
            .is_ok()
    }

    fn give(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The read window of one stream.
///
/// The bytes granted always reach as far as any reader has asked for, so no reader waits forever.
/// Beyond that they reach `size` bytes ahead. `size` doubles while readers starve and the last
/// doubling made the stream faster; it shrinks when readers skip more than they read.
#[derive(Debug)]
pub(super) struct Window {
    /// End of the stream's range: nothing is granted beyond it.
    end: u64,
    /// Everything before this offset may be delivered.
    granted: u64,
    /// The furthest byte that a reader has asked for.
    asked: u64,
    /// Bytes to grant beyond `asked`.
    size: u64,
    /// What `size` starts with.
    floor: u64,
    /// Bytes not yet received that are worth waiting for instead of another request.
    soon: u64,
    reorder: u64,
    /// Most bytes by which granting may lag behind, so that small reads do not each extend.
    step: u64,
    /// Bytes that readers may yet skip before the window shrinks; earned by reading.
    dense: u64,
    epoch: Epoch,
    /// The rate before the doubling on trial, in KiB per second.
    trial: Option<f64>,
    /// Epochs to wait before the next doubling, after one that did not help.
    hold: u32,
    spare: Arc<Spare>,
}

/// One window's worth of reading.
#[derive(Debug)]
struct Epoch {
    start: u64,
    end: u64,
    began: Instant,
    starved: bool,
}

impl Window {
    /// A window that grants the whole of `range` at once.
    pub(super) fn whole(range: &Range<u64>, now: Instant) -> Self {
        Self::sliding(range, WHOLE, WHOLE, WHOLE, Spare::new(0), now)
    }

    /// A window over `range` that starts with `floor` bytes and grows by what it takes of `spare`.
    /// `reorder` is how far readers of one run may overtake each other.
    pub(super) fn sliding(
        range: &Range<u64>,
        floor: u64,
        part_size: u64,
        reorder: u64,
        spare: Arc<Spare>,
        now: Instant,
    ) -> Self {
        let granted = range.start.saturating_add(floor).min(range.end);
        Self {
            end: range.end,
            granted,
            asked: range.start,
            size: floor,
            floor,
            soon: part_size.saturating_mul(2),
            reorder,
            step: (part_size / 4).clamp(1, (floor / 4).max(1)),
            dense: floor,
            epoch: Epoch {
                start: range.start,
                end: granted,
                began: now,
                starved: false,
            },
            trial: None,
            hold: 0,
            spare,
        }
    }

    /// Everything before this offset may be delivered.
    pub(super) fn granted(&self) -> u64 {
        self.granted
    }

    /// The furthest byte that a reader has asked for.
    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    /// Reads that start here or before belong to the stream's readers.
    pub(super) fn near(&self) -> u64 {
        let ahead = self.reorder.min(self.size);
        self.asked.saturating_add(ahead).min(self.end)
    }

    /// Reads that start before this offset need not wait long, when everything before `received`
    /// has arrived.
    pub(super) fn soon(&self, received: u64) -> u64 {
        let soon = received.saturating_add(self.soon).min(self.granted);
        soon.max(received)
    }

    /// Bytes that a reader may skip without the window vanishing.
    pub(super) fn leeway(&self) -> u64 {
        self.dense.max(self.size)
    }

    /// Notes that a reader asks for `need`, while everything before `received` has arrived.
    /// Returns whether more is granted than before.
    pub(super) fn ask(&mut self, need: &Range<u64>, received: u64, now: Instant) -> bool {
        let gap = need.start.saturating_sub(self.asked);
        if gap > self.dense {
            self.resize(self.size.saturating_sub(gap));
        }
        self.dense = self.dense.saturating_sub(gap);

        let fresh = need.end.saturating_sub(need.start.max(self.asked));
        self.asked = self.asked.max(need.end);
        self.dense = (self.dense + fresh).min(self.floor.saturating_mul(2));
        if self.size < self.floor && gap == 0 {
            self.resize((self.size + 2 * fresh).min(self.floor));
        }

        self.epoch.starved |= need.end > received;
        if self.asked >= self.epoch.end {
            self.turn(now);
        }

        let target = self.asked.saturating_add(self.size).min(self.end);
        let due = need.end > self.granted
            || target == self.end
            || target.saturating_sub(self.granted) >= self.step;
        if !due || target <= self.granted {
            return false;
        }
        self.granted = target;
        true
    }

    /// Ends an epoch: judges the doubling on trial, decides on the next one.
    fn turn(&mut self, now: Instant) {
        let seconds = now.duration_since(self.epoch.began).as_secs_f64();
        let kib = u32::try_from((self.asked - self.epoch.start) / 1024).unwrap_or(u32::MAX);
        let rate = f64::from(kib) / seconds.max(1e-9);

        if self.trial.take().is_some_and(|before| rate < before * GAIN) {
            self.resize(self.size / 2);
            self.hold = HOLD;
        } else if self.hold > 0 {
            self.hold -= 1;
        } else if self.epoch.starved && self.size >= self.floor && self.grow() {
            self.trial = Some(rate);
        }

        self.epoch = Epoch {
            start: self.asked,
            end: self.asked.saturating_add(self.size.max(1)),
            began: now,
            starved: false,
        };
    }

    fn grow(&mut self) -> bool {
        let grown = self.spare.take(self.size);
        if grown {
            self.size *= 2;
        }
        grown
    }

    /// Sets a size that is not larger than before, or not larger than the floor.
    fn resize(&mut self, size: u64) {
        let borrowed = self.size.saturating_sub(self.floor);
        self.spare.give(borrowed - size.saturating_sub(self.floor));
        self.size = size;
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.spare.give(self.size.saturating_sub(self.floor));
    }
}

/// More than any object has, and far from overflow: the window that holds nothing back.
const WHOLE: u64 = 1 << 60;

/// A doubled window must make the stream this much faster to be kept. A window that is smaller
/// than the bandwidth-delay product nearly doubles the rate; one that is larger only costs memory.
const GAIN: f64 = 1.2;

/// Epochs to wait after a doubling that did not help.
const HOLD: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const MIB: u64 = 1 << 20;

    fn scan(window: &mut Window, now: &mut Instant, bytes: u64, rate: impl Fn(u64) -> f64) {
        let stop = window.asked() + bytes;
        while window.asked() < stop {
            let start = window.asked();
            *now += Duration::from_secs_f64(MIB as f64 / rate(window.size));
            window.ask(&(start..start + MIB), start, *now);
        }
    }

    #[test]
    fn grows_while_latency_bound_and_stops_at_the_bandwidth_delay_product() {
        let spare = Spare::new(1 << 30);
        let mut now = Instant::now();
        let mut window = Window::sliding(&(0..1 << 40), 16 * MIB, 8 * MIB, MIB, spare.clone(), now);
        // 100 ms round trip, 1 GB/s at most: about 100 MiB of window are useful.
        scan(&mut window, &mut now, 8192 * MIB, |size| {
            (size as f64 / 0.1).min(1e9)
        });
        assert!(
            (64 * MIB..=256 * MIB).contains(&window.size),
            "{}",
            window.size / MIB
        );
        drop(window);
        assert_eq!(spare.0.load(Ordering::Relaxed), 1 << 30);
    }

    #[test]
    fn grows_no_further_than_the_spare_bytes_allow() {
        let mut now = Instant::now();
        let mut window = Window::sliding(
            &(0..1 << 40),
            16 * MIB,
            8 * MIB,
            MIB,
            Spare::new(20 * MIB),
            now,
        );
        scan(&mut window, &mut now, 4096 * MIB, |size| size as f64);
        assert_eq!(window.size, 32 * MIB);
    }

    #[test]
    fn shrinks_to_nothing_when_readers_stride() {
        let mut window = Window::sliding(
            &(0..1 << 40),
            16 * MIB,
            8 * MIB,
            MIB,
            Spare::new(1 << 30),
            Instant::now(),
        );
        for step in 0..16 {
            let start = step * 4 * MIB;
            window.ask(&(start..start + MIB / 4), u64::MAX, Instant::now());
        }
        assert!(window.granted() - window.asked() < MIB);
    }

    proptest! {
        #[test]
        fn grants_every_byte_asked_for(
            asks in prop::collection::vec((0u64..1000, 1u64..100), 1..100),
            floor in 1u64..64,
        ) {
            let now = Instant::now();
            let spare = Spare::new(256);
            let mut window = Window::sliding(&(0..1000), floor, 8, 4, spare.clone(), now);
            for (start, len) in asks {
                let need = start..(start + len).min(1000);
                let before = window.granted();
                let raised = window.ask(&need, 0, now);
                prop_assert_eq!(raised, window.granted() > before);
                prop_assert!(window.granted() >= need.end);
                prop_assert!(window.granted() <= 1000);
                prop_assert!(window.granted() >= before);
            }
            drop(window);
            prop_assert_eq!(spare.0.load(Ordering::Relaxed), 256);
        }
    }
}
