//! Looks after parts that take long: one thread of the mount.
//!
//! A part that is asked for is put at the end of a list, and that is all that it costs: it is
//! taken out when it could be late, and then it has nearly always arrived. The thread looks some
//! dozen times a second while parts are asked for, and sleeps while none are.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Get;
use super::policy::{FLOOR, Policy};
use crate::memory::{Budget, Permit};

/// How slow parts are hedged.
#[derive(Debug, Clone)]
pub struct HedgeConfig {
    /// Size in bytes of the parts that a GET is split into: the store's own; values below 1 count
    /// as 1.
    pub part_size: u64,
    /// Per cent of the bytes fetched that may be fetched twice, beside the first part that is.
    pub percent: u64,
    /// What pays for the buffers of second requests.
    pub budget: Arc<Budget>,
}

/// What became of second requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HedgeCounters {
    /// Second requests.
    pub started: u64,
    /// Those that brought their part before the first one did.
    pub won: u64,
    /// Bytes that second requests asked for.
    pub bytes: u64,
}

/// Hedges the slow parts of all GETs of a mount. Dropping it ends its thread; GETs that are under
/// way go on without.
pub struct Hedger {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
}

/// What the GETs of a mount share.
#[derive(Debug)]
pub(in crate::read) struct Core {
    part_size: u64,
    budget: Arc<Budget>,
    policy: Mutex<Policy>,
    counters: Counters,
    list: Mutex<List>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Counters {
    started: AtomicU64,
    won: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct List {
    /// In the order in which they were asked for.
    parts: VecDeque<Watched>,
    /// The thread sleeps until it is woken.
    idle: bool,
    ended: bool,
}

struct Watched {
    get: Weak<Get>,
    start: u64,
    asked: Instant,
}

impl HedgeConfig {
    /// One per cent.
    pub fn new(part_size: u64, budget: Arc<Budget>) -> Self {
        Self {
            part_size,
            percent: 1,
            budget,
        }
    }
}

impl Hedger {
    /// Starts the thread.
    ///
    /// # Errors
    /// What [`thread::Builder::spawn`] reports.
    pub fn start(config: HedgeConfig) -> io::Result<Self> {
        let core = Core::new(config);
        let thread = thread::Builder::new().name("hedger".to_owned()).spawn({
            let core = Arc::clone(&core);
            move || core.run()
        })?;
        Ok(Self {
            core,
            thread: Some(thread),
        })
    }

    /// What became of second requests so far.
    pub fn counters(&self) -> HedgeCounters {
        self.core.counters()
    }

    /// What GETs need of it.
    pub(in crate::read) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for Hedger {
    fn drop(&mut self) {
        let parts = {
            let mut list = self.core.lock();
            list.ended = true;
            std::mem::take(&mut list.parts)
        };
        drop(parts);
        self.core.changed.notify_one();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            log::error!("the thread that hedges slow parts has panicked");
        }
    }
}

impl fmt::Debug for Hedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedger")
            .field("part_size", &self.core.part_size)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn new(config: HedgeConfig) -> Arc<Self> {
        let part_size = config.part_size.max(1);
        Arc::new(Self {
            part_size,
            budget: config.budget,
            policy: Mutex::new(Policy::new(config.percent, part_size)),
            counters: Counters::default(),
            list: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    pub(super) fn counters(&self) -> HedgeCounters {
        let Counters {
            started,
            won,
            bytes,
        } = &self.counters;
        HedgeCounters {
            started: started.load(Ordering::Relaxed),
            won: won.load(Ordering::Relaxed),
            bytes: bytes.load(Ordering::Relaxed),
        }
    }

    pub(super) fn part_size(&self) -> u64 {
        self.part_size
    }

    /// Looks after the part of `get` that begins at `start` and is asked for now.
    pub(super) fn watch(&self, get: &Arc<Get>, start: u64, now: Instant) {
        let mut list = self.lock();
        if list.ended {
            return;
        }
        list.parts.push_back(Watched {
            get: Arc::downgrade(get),
            start,
            asked: now,
        });
        let idle = std::mem::take(&mut list.idle);
        drop(list);
        if idle {
            self.changed.notify_one();
        }
    }

    /// Notes that a part has arrived, `delay` after it was first asked for, and whether the second
    /// request brought it.
    pub(super) fn note_arrival(&self, range: &Range<u64>, delay: Duration, hedge: bool) {
        self.policy().note_arrival(range.end - range.start, delay);
        if hedge {
            self.counters.won.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The means for a second request for the part `range`, which was asked for `age` ago; `None`
    /// when it is not late, or there are none.
    pub(super) fn afford(&self, range: &Range<u64>, age: Duration) -> Option<Permit> {
        let bytes = range.end - range.start;
        let mut policy = self.policy();
        if !policy.is_late(bytes, age) || !policy.affords(bytes) {
            return None;
        }
        let permit = self.budget.try_permit(bytes)?;
        policy.spend(bytes);
        drop(policy);
        self.counters.started.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        Some(permit)
    }

    fn run(&self) {
        let mut slow = Vec::new();
        while self.take(&mut slow) {
            let now = Instant::now();
            slow.retain(|part: &Watched| {
                let get = part.get.upgrade();
                get.is_some_and(|get| get.consider(part.start, now))
            });
        }
    }

    /// Waits for a while, or until there is something to look after, and adds the parts that could
    /// be late to `slow`. Returns whether to go on.
    fn take(&self, slow: &mut Vec<Watched>) -> bool {
        let mut list = self.lock();
        while !list.ended && list.parts.is_empty() && slow.is_empty() {
            list.idle = true;
            list = self
                .changed
                .wait(list)
                .unwrap_or_else(PoisonError::into_inner);
        }
        list.idle = false;
        let pause = match list.parts.front() {
            Some(oldest) if slow.is_empty() => FLOOR.saturating_sub(oldest.asked.elapsed()),
            _ => Duration::ZERO,
        };
        if !list.ended {
            (list, _) = self
                .changed
                .wait_timeout(list, pause.max(TICK))
                .unwrap_or_else(PoisonError::into_inner);
        }
        let now = Instant::now();
        let due = |part: &Watched| part.asked + FLOOR <= now;
        let count = list.parts.partition_point(due);
        slow.extend(list.parts.drain(..count));
        !list.ended
    }

    fn policy(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("start", &self.start)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

/// The least time between two looks.
const TICK: Duration = Duration::from_millis(20);
