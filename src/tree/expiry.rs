//! How long answers of S3 are believed.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inode::InodeNo;

/// How long what S3 said may be repeated without asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// As short as a file system can work with: 100 ms for files, 1 s for directories. Opening a
    /// file always asks, and that a name is missing is never remembered.
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
    /// What is left at `now` of `ttl` for an answer asked for at this moment.
    /// `None` when nothing is left.
    pub(super) fn remaining(self, ttl: Duration, now: Self) -> Option<Duration> {
        let age = Duration::from_micros(now.0.get().saturating_sub(self.0.get()));
        ttl.checked_sub(age).filter(|left| !left.is_zero())
    }
}

/// Where a tree takes the time from.
pub struct Clock {
    start: Instant,
    read: Box<dyn Fn() -> Instant + Send + Sync>,
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
        }
    }

    pub(super) fn now(&self) -> Moment {
        let elapsed = (self.read)().saturating_duration_since(self.start);
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        Moment(NonZeroU64::MIN.saturating_add(micros))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

/// The names that are known not to exist. Holds [`MAX_ABSENT`] of them, then drops the oldest.
#[derive(Debug, Default)]
pub(super) struct Absences {
    names: HashMap<Name, Moment>,
    /// Every insertion in order. A name that was inserted again is here twice; the moment in
    /// `names` tells which of the two counts.
    order: VecDeque<(Name, Moment)>,
}

type Name = (InodeNo, Arc<str>);

impl Absences {
    /// Remembers that S3, asked at `asked`, knew no `name` in `parent`.
    pub(super) fn insert(&mut self, parent: InodeNo, name: Arc<str>, asked: Moment) {
        let name = (parent, name);
        self.names.insert(name.clone(), asked);
        self.order.push_back((name, asked));
        while self.order.len() > MAX_ABSENT {
            let Some((oldest, asked)) = self.order.pop_front() else {
                break;
            };
            if self.names.get(&oldest) == Some(&asked) {
                self.names.remove(&oldest);
            }
        }
    }

    /// Forgets that `name` was missing.
    pub(super) fn remove(&mut self, parent: InodeNo, name: &Arc<str>) {
        if !self.names.is_empty() {
            self.names.remove(&(parent, Arc::clone(name)));
        }
    }

    /// When S3 was asked for `name` and did not know it.
    pub(super) fn get(&self, parent: InodeNo, name: &Arc<str>) -> Option<Moment> {
        if self.names.is_empty() {
            return None;
        }
        self.names.get(&(parent, Arc::clone(name))).copied()
    }
}

const MINIMAL_FILE: Duration = Duration::from_millis(100);
const MINIMAL_DIRECTORY: Duration = Duration::from_secs(1);

/// Names that are remembered to be missing, at most.
const MAX_ABSENT: usize = 100_000;

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
    fn absences_beyond_the_limit_drop_the_oldest() {
        let mut absences = Absences::default();
        let name = |i: usize| Arc::<str>::from(i.to_string());
        for i in 0..MAX_ABSENT {
            absences.insert(InodeNo(1), name(i), moment(1));
        }
        absences.insert(InodeNo(1), name(0), moment(2));
        absences.insert(InodeNo(1), name(MAX_ABSENT), moment(3));
        assert_eq!(absences.get(InodeNo(1), &name(0)), Some(moment(2)));
        assert_eq!(absences.get(InodeNo(1), &name(1)), None);
        assert_eq!(absences.get(InodeNo(1), &name(2)), Some(moment(1)));
        assert_eq!(absences.get(InodeNo(2), &name(2)), None);
        assert!(absences.names.len() <= MAX_ABSENT && absences.order.len() <= MAX_ABSENT);
    }

    #[test]
    fn absence_removed_is_not_found_and_leaves_others() {
        let mut absences = Absences::default();
        let (a, b) = (Arc::<str>::from("a"), Arc::<str>::from("b"));
        absences.insert(InodeNo(1), Arc::clone(&a), moment(1));
        absences.insert(InodeNo(1), Arc::clone(&b), moment(1));
        absences.remove(InodeNo(1), &a);
        assert_eq!(absences.get(InodeNo(1), &a), None);
        assert_eq!(absences.get(InodeNo(1), &b), Some(moment(1)));
    }
}
