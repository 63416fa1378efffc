//! How long answers of S3 are believed.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::inode::InodeNo;

/// How long what S3 said may be repeated without asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// As short as a file system can work with: 100 ms for files, 1 s for directories and for what
    /// a listing said of files. Opening a file always asks, and that a name is missing is never
    /// remembered.
    Minimal,
    /// This long, for everything.
    For(Duration),
}

impl Ttl {
    /// How long the attributes of a file are believed.
    pub(super) fn of_file(self) -> Duration {
        match self {
            Self::Minimal => MINIMAL_FILE,
            Self::For(ttl) => ttl,
        }
    }

    /// How long the existence of a directory is believed.
    pub(super) fn of_directory(self) -> Duration {
        match self {
            Self::Minimal => MINIMAL_DIRECTORY,
            Self::For(ttl) => ttl,
        }
    }

    /// How long a page of a listing is believed about the files and directories on it.
    pub(super) fn of_listed(self) -> Duration {
        match self {
            Self::Minimal => MINIMAL_LISTED,
            Self::For(ttl) => ttl,
        }
    }

    /// How long the absence of a name is believed.
    pub(super) fn of_absence(self) -> Duration {
        match self {
            Self::Minimal => Duration::ZERO,
            Self::For(ttl) => ttl,
        }
    }

    /// How long the version of a file is believed when it is opened.
    pub(super) fn of_version(self) -> Duration {
        self.of_absence()
    }
}

/// A point in time as the tree remembers it: 8 bytes, also inside an `Option`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(NonZeroU64);

impl Moment {
    /// No moment is before this one.
    pub(super) const OLDEST: Self = Self(NonZeroU64::MIN);

    /// What is left at `now` of `ttl` for an answer asked for at this moment.
    /// `None` when nothing is left.
    pub(super) fn remaining(self, ttl: Duration, now: Self) -> Option<Duration> {
        ttl.checked_sub(now.since(self))
            .filter(|left| !left.is_zero())
    }

    /// The moment that was `age` before this one.
    pub(super) fn before(self, age: Duration) -> Self {
        let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        let micros = self.0.get().saturating_sub(age);
        NonZeroU64::new(micros).map_or(Self::OLDEST, Self)
    }

    /// How long after `earlier` this moment is.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.get().saturating_sub(earlier.0.get()))
    }
}

/// Where a tree takes the time from.
pub struct Clock {
    start: Instant,
    read: Box<dyn Fn() -> Instant + Send + Sync>,
    /// The least that the next moment may be.
    least: AtomicU64,
}

impl Clock {
    /// The system's monotonic clock.
    pub fn system() -> Self {
        Self::new(Instant::now)
    }

    /// A clock of the caller's own. It must not run backwards.
    pub fn new(read: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self {
            start: read(),
            read: Box::new(read),
            least: AtomicU64::new(1),
        }
    }

    pub(super) fn now(&self) -> Moment {
        let elapsed = (self.read)().saturating_duration_since(self.start);
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let least = self.least.load(Ordering::Acquire);
        let now = NonZeroU64::MIN.saturating_add(START.saturating_add(micros));
        Moment(now.max(NonZeroU64::new(least).unwrap_or(now)))
    }

    /// When `moment` was; the start of the clock for what was before.
    pub(super) fn instant(&self, moment: Moment) -> Instant {
        let micros = moment.0.get().saturating_sub(START + NonZeroU64::MIN.get());
        self.start + Duration::from_micros(micros)
    }

    /// The moment of a change: every moment that is read later is after it.
    pub(super) fn tick(&self) -> Moment {
        let now = self.now();
        self.least
            .fetch_max(now.0.get().saturating_add(1), Ordering::AcqRel);
        now
    }

    /// Whether there was a change at this moment or after it.
    pub(super) fn has_ticked_since(&self, moment: Moment) -> bool {
        moment.0.get() < self.least.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

/// A moment for each of many names. Holds `MOST` of them, then drops the oldest.
#[derive(Debug, Default)]
pub(super) struct Moments<const MOST: usize> {
    names: HashMap<Name, Moment>,
    /// Every insertion in order. A name that was inserted again is here twice; the moment in
    /// `names` tells which of the two counts.
    order: VecDeque<(Name, Moment)>,
    dropped: Option<Moment>,
}

/// The names that S3 did not know when it was asked at that moment.
pub(super) type Absences = Moments<100_000>;

/// The names that this mount has changed at that moment.
pub(super) type Changes = Moments<10_000>;

type Name = (InodeNo, Arc<str>);

impl<const MOST: usize> Moments<MOST> {
    /// Remembers `moment` for `name` in `parent`.
    pub(super) fn insert(&mut self, parent: InodeNo, name: Arc<str>, moment: Moment) {
        let name = (parent, name);
        self.names.insert(name.clone(), moment);
        self.order.push_back((name, moment));
        while self.order.len() > MOST {
            let Some((oldest, moment)) = self.order.pop_front() else {
                break;
            };
            if self.names.get(&oldest) == Some(&moment) {
                self.names.remove(&oldest);
                self.dropped = self.dropped.max(Some(moment));
            }
        }
    }

    /// Forgets `name` in `parent`. Returns whether it was here.
    pub(super) fn remove(&mut self, parent: InodeNo, name: &Arc<str>) -> bool {
        !self.names.is_empty() && self.names.remove(&(parent, Arc::clone(name))).is_some()
    }

    /// The moment of `name` in `parent`.
    pub(super) fn get(&self, parent: InodeNo, name: &Arc<str>) -> Option<Moment> {
        if self.names.is_empty() {
            return None;
        }
        self.names.get(&(parent, Arc::clone(name))).copied()
    }

    /// Takes every name, those that are not here included, to have this moment.
    pub(super) fn drop_all(&mut self, moment: Moment) {
        self.names.clear();
        self.order.clear();
        self.dropped = self.dropped.max(Some(moment));
    }

    /// The latest moment that had to make room for others, or counts for all.
    pub(super) fn dropped(&self) -> Option<Moment> {
        self.dropped
    }
}

/// Microseconds at the start of a clock. Before it is room for what was known before, however long that is
/// believed.
const START: u64 = 1 << 62;

const MINIMAL_FILE: Duration = Duration::from_millis(100);
const MINIMAL_DIRECTORY: Duration = Duration::from_secs(1);
const MINIMAL_LISTED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(micros: u64) -> Moment {
        Moment(NonZeroU64::MIN.saturating_add(micros))
    }

    #[test]
    fn remaining_counts_down_and_ends_at_the_ttl() {
        let ttl = Duration::from_micros(10);
        assert_eq!(moment(5).remaining(ttl, moment(5)), Some(ttl));
        assert_eq!(
            moment(5).remaining(ttl, moment(14)),
            Some(Duration::from_micros(1))
        );
        assert_eq!(moment(5).remaining(ttl, moment(15)), None);
        assert_eq!(moment(5).remaining(Duration::ZERO, moment(5)), None);
        assert!(moment(5).remaining(Duration::MAX, moment(15)).is_some());
    }

    #[test]
    fn moments_are_also_before_the_start_of_a_clock() {
        let start = Instant::now();
        let clock = Clock::new(move || start);
        let now = clock.now();
        let century = Duration::from_secs(100 * 366 * 24 * 60 * 60);
        assert_eq!(now.since(now.before(century)), century);
        assert_eq!(now.before(Duration::MAX), Moment::OLDEST);
        assert!(Moment::OLDEST < now.before(century));
        assert_eq!(clock.instant(now), start);
        assert_eq!(clock.instant(now.before(century)), start);
        let later = moment(START + 7);
        assert_eq!(clock.instant(later), start + Duration::from_micros(7));
    }

    #[test]
    fn moments_beyond_the_limit_drop_the_oldest() {
        const MOST: usize = 100;
        let mut moments = Moments::<MOST>::default();
        let name = |i: usize| Arc::<str>::from(i.to_string());
        for i in 0..MOST {
            moments.insert(InodeNo(1), name(i), moment(1));
        }
        moments.insert(InodeNo(1), name(0), moment(2));
        assert_eq!(moments.dropped(), None);
        moments.insert(InodeNo(1), name(MOST), moment(3));
        assert_eq!(moments.get(InodeNo(1), &name(0)), Some(moment(2)));
        assert_eq!(moments.get(InodeNo(1), &name(1)), None);
        assert_eq!(moments.dropped(), Some(moment(1)));
        assert_eq!(moments.get(InodeNo(1), &name(2)), Some(moment(1)));
        assert_eq!(moments.get(InodeNo(2), &name(2)), None);
        assert!(moments.names.len() <= MOST && moments.order.len() <= MOST);
    }

    #[test]
    fn moment_removed_is_not_found_and_leaves_others() {
        let mut absences = Absences::default();
        let (a, b) = (Arc::<str>::from("a"), Arc::<str>::from("b"));
        absences.insert(InodeNo(1), Arc::clone(&a), moment(1));
        absences.insert(InodeNo(1), Arc::clone(&b), moment(1));
        absences.remove(InodeNo(1), &a);
        assert_eq!(absences.get(InodeNo(1), &a), None);
        assert_eq!(absences.get(InodeNo(1), &b), Some(moment(1)));
    }

    #[test]
    fn tick_is_before_every_later_moment_though_the_clock_stands_still() {
        let start = Instant::now();
        let clock = Clock::new(move || start);
        let before = clock.now();
        let change = clock.tick();
        assert!(before <= change);
        assert!(clock.has_ticked_since(before) && clock.has_ticked_since(change));
        assert!(!clock.has_ticked_since(clock.now()));
        assert!(change < clock.now());
        assert!(clock.now() <= clock.tick());
    }
}
