//! How far ahead of its readers a stream may fetch. Pure: time is an argument.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::memory::{Growth, Room, kib_f64};

/// The read window of one stream.
///
/// The bytes granted always reach as far as any reader has asked for, so no reader waits forever.
/// Beyond that they reach `size` bytes ahead, if that much was paid for. `size` jumps to the
/// bandwidth-delay product when the first part shows the delay, and doubles while readers starve
/// and the last doubling made the stream faster; it shrinks when readers skip more than they read,
/// and while its file holds more than its share of memory.
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
    /// Bytes per second that the stream is to reach.
    rate: u64,
    growth: Growth,
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
        Self::sliding(range, WHOLE, WHOLE, WHOLE, WHOLE, now)
    }

    /// A window over `range` that is `floor` bytes large before it grows, and of which `granted`
    /// bytes are granted at once. `reorder` is how far readers of one run may overtake each other.
    pub(super) fn sliding(
        range: &Range<u64>,
        granted: u64,
        floor: u64,
        part_size: u64,
        reorder: u64,
        now: Instant,
    ) -> Self {
        let granted = range.start.saturating_add(granted).min(range.end);
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
            rate: 0,
            growth: Growth::default(),
        }
    }

    /// Aims at `rate` bytes per second.
    pub(super) fn aiming_at(self, rate: u64) -> Self {
        Self { rate, ..self }
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
    /// Returns how far to grant, if that is further than now; at least `need` has to be granted.
    pub(super) fn ask(
        &mut self,
        need: &Range<u64>,
        received: u64,
        room: Room,
        now: Instant,
    ) -> Option<u64> {
        let gap = need.start.saturating_sub(self.asked);
        if gap > self.dense {
            self.size = self.size.saturating_sub(gap);
        }
        self.dense = self.dense.saturating_sub(gap);

        let fresh = need.end.saturating_sub(need.start.max(self.asked));
        self.asked = self.asked.max(need.end);
        self.dense = (self.dense + fresh).min(self.floor.saturating_mul(2));
        if room.over {
            // Nothing new is granted until the readers have come close to the end of the granted.
            let least = self.size.min(self.reorder);
            self.size = self.size.saturating_sub(fresh).max(least);
        } else if self.size < self.floor && gap == 0 {
            self.size = (self.size + 2 * fresh).min(self.floor);
        }

        self.epoch.starved |= need.end > received;
        if self.asked >= self.epoch.end {
            self.turn(room, now);
        }

        let target = self.asked.saturating_add(self.size).min(self.end);
        let due = need.end > self.granted
            || target == self.end
            || target.saturating_sub(self.granted) >= self.step;
        (due && target > self.granted).then_some(target)
    }

    /// Notes that the first part came `delay` after it was asked for: parts that are to follow
    /// each other at the rate aimed at must be asked for that much ahead.
    pub(super) fn note_delay(&mut self, delay: Duration, room: Room) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let product = (self.rate / 1000).saturating_mul(millis);
        let most = self.size.saturating_add(room.growth);
        self.size = self.size.max(product.min(most));
    }

    /// Grants everything before `end`. Returns whether that is more than before.
    pub(super) fn grant(&mut self, end: u64) -> bool {
        let more = end > self.granted;
        self.granted = self.granted.max(end);
        more
    }

    /// Takes back what was granted from `end` on, as the request that knew of it has ended.
    pub(super) fn retract(&mut self, end: u64) {
        self.granted = self.granted.min(end);
    }

    /// How far readers of one run may overtake each other.
    pub(super) fn reorder(&self) -> u64 {
        self.reorder
    }

    /// Ends an epoch: judges the doubling on trial, decides on the next one.
    fn turn(&mut self, room: Room, now: Instant) {
        let seconds = now.duration_since(self.epoch.began).as_secs_f64();
        let rate = kib_f64(self.asked - self.epoch.start) / seconds.max(1e-9);
        let is_wished = self.epoch.starved && self.size >= self.floor;
        let room = is_wished.then_some(room.growth);
        self.size = self.growth.turn(self.size, rate, room);

        self.epoch = Epoch {
            start: self.asked,
            end: self.asked.saturating_add(self.size.max(1)),
            began: now,
            starved: false,
        };
    }
}

/// More than any object has, and far from overflow: the window that holds nothing back.
const WHOLE: u64 = 1 << 60;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn window() -> Window {
        let range = 0..1 << 40;
        Window::sliding(&range, 16 * MIB, 16 * MIB, 8 * MIB, MIB, Instant::now())
    }

    /// Asks, and grants what the window wants.
    fn ask(window: &mut Window, need: &Range<u64>, received: u64, room: Room, now: Instant) {
        if let Some(end) = window.ask(need, received, room, now) {
            window.grant(end);
        }
    }

    /// Room for what `most` leaves of the window's size.
    fn room(window: &Window, most: u64) -> Room {
        Room {
            growth: most.saturating_sub(window.size),
            over: false,
        }
    }

    fn scan(window: &mut Window, most: u64, bytes: u64, rate: impl Fn(u64) -> f64) {
        let mut now = Instant::now();
        let stop = window.asked() + bytes;
        while window.asked() < stop {
            let start = window.asked();
            now += Duration::from_secs_f64(MIB as f64 / rate(window.size));
            let room = room(window, most);
            ask(window, &(start..start + MIB), start, room, now);
        }
    }

    #[test]
    fn grows_while_latency_bound_and_stops_at_the_bandwidth_delay_product() {
        let mut window = window();
        // 100 ms round trip, 1 GB/s at most: about 100 MiB of window are useful.
        scan(&mut window, 1 << 30, 8192 * MIB, |size| {
            (size as f64 / 0.1).min(1e9)
        });
        assert!(
            (64 * MIB..=256 * MIB).contains(&window.size),
            "{}",
            window.size / MIB
        );
    }

    #[test]
    fn grows_no_further_than_the_room_allows() {
        let mut window = window();
        scan(&mut window, 36 * MIB, 4096 * MIB, |size| size as f64);
        assert_eq!(window.size, 32 * MIB);
        scan(&mut window, 50 * MIB, 4096 * MIB, |size| size as f64);
        assert_eq!(window.size, 50 * MIB);
    }

    #[test]
    fn first_delay_makes_room_for_the_rate_aimed_at() {
        let all = room(&window(), 1 << 30);
        let mut window = window().aiming_at(1000 * MIB);
        window.note_delay(Duration::from_millis(5), all);
        assert_eq!(window.size, 16 * MIB, "never less than before");
        window.note_delay(Duration::from_millis(100), all);
        assert!(window.size.abs_diff(100 * MIB) < MIB);
        window.note_delay(Duration::MAX, all);
        assert!(
            window.size <= (1 << 30) + 100 * MIB,
            "no more than there is"
        );
    }

    #[test]
    fn shrinks_while_over_its_share_and_recovers() {
        let mut window = window();
        scan(&mut window, 1 << 30, 1024 * MIB, |size| size as f64);
        let granted = window.granted();
        assert!(granted > window.asked() + 64 * MIB);
        let over = Room {
            growth: 0,
            over: true,
        };
        while window.asked() + MIB < granted {
            let need = window.asked()..window.asked() + MIB;
            ask(&mut window, &need, u64::MAX, over, Instant::now());
            assert!(window.granted() <= granted.max(window.asked() + MIB));
        }
        assert_eq!(window.size, MIB, "what may be overtaken stays granted");
        scan(&mut window, 0, 64 * MIB, |size| size as f64);
        assert_eq!(window.size, 16 * MIB);
    }

    #[test]
    fn shrinks_to_nothing_when_readers_stride() {
        let mut window = window();
        for step in 0..16 {
            let start = step * 4 * MIB;
            let room = room(&window, 1 << 30);
            let need = start..start + MIB / 4;
            ask(&mut window, &need, u64::MAX, room, Instant::now());
        }
        assert!(window.granted() - window.asked() < MIB);
    }

    proptest! {
        #[test]
        fn wants_every_byte_asked_for(
            asks in prop::collection::vec((0u64..1000, 1u64..100, 0u64..512, any::<bool>()), 1..100),
            floor in 1u64..64,
        ) {
            let now = Instant::now();
            let mut window = Window::sliding(&(0..1000), floor, floor, 8, 4, now);
            for (start, len, growth, over) in asks {
                let need = start..(start + len).min(1000);
                let before = window.granted();
                if let Some(end) = window.ask(&need, 0, Room { growth, over }, now) {
                    prop_assert!(window.grant(end));
                }
                prop_assert!(window.granted() >= need.end);
                prop_assert!(window.granted() <= 1000);
                prop_assert!(window.granted() >= before);
            }
        }
    }
}
