//! One budget for the buffers of every open file.
//!
//! A file that is open holds buffers between its reads: what was fetched ahead, and what lies just
//! behind its readers. Each byte of them is paid for from the [`Budget`] of the process *before*
//! it is asked for:
//!
//! * An [`Account`] is one open file's; its [`Lease`]s are what it holds.
//! * A lease that does not fit is refused, never waited for. Its owner then asks for a
//!   [reclaim](Budget::reclaim), which takes back what files hold that have not been read for a
//!   while, the longest unread ones first.
//! * What still does not fit is read without holding anything: by a [`Permit`] for exactly the
//!   bytes of one read, from a reserve of its own. A permit is waited for, and its turn comes:
//!   whoever has one needs nothing else to finish and give it back.
//!
//! So no read waits for memory that an idle file keeps, and two files never wait for each other.
//! [`MemoryPlan`] divides the memory of the process. `Growth` tells whether a window is worth its memory.

mod gate;
mod growth;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

pub use gate::{Entry, Permit};
pub(crate) use growth::{Growth, kib_f64};
pub use plan::MemoryPlan;

use gate::Gate;

/// Bytes that open files may hold. Every method may be called from any thread.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    /// Accounts that hold something.
    active: AtomicU64,
    gate: Arc<Gate>,
    /// What was used more recently than this is not taken back.
    grace: Duration,
    holders: Mutex<Holders>,
}

/// Something that can give back memory, on any thread.
pub trait Holder: Send + Sync {
    /// When it was last used; `None` when it holds nothing.
    fn last_used(&self) -> Option<Instant>;

    /// Gives back at least `bytes` bytes if that much is idle, of what was not used after
    /// `idle_since`, and returns how many it gave.
    fn give_back(&self, bytes: u64, idle_since: Instant) -> u64;
}

/// What one open file holds, in sum.
#[derive(Debug)]
pub struct Account {
    budget: Arc<Budget>,
    number: u64,
    held: AtomicU64,
}

/// Bytes that are paid for, until this is dropped.
#[derive(Debug)]
pub struct Lease {
    account: Arc<Account>,
    bytes: u64,
}

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes by which it may grow.
    pub growth: u64,
    /// It holds more than its fair share while memory is short, and should shrink.
    pub over: bool,
}

#[derive(Default)]
struct Holders {
    next: u64,
    open: HashMap<u64, Weak<dyn Holder>>,
    /// No search before this.
    quiet_until: Option<Instant>,
}

impl Budget {
    /// A budget of `limit` bytes, and a reserve of `reserve` bytes for permits.
    pub fn new(limit: u64, reserve: u64) -> Arc<Self> {
        Self::with_grace(limit, reserve, GRACE)
    }

    /// A budget that refuses nothing.
    pub fn unlimited() -> Arc<Self> {
        Self::new(UNLIMITED, UNLIMITED)
    }

    pub(crate) fn with_grace(limit: u64, reserve: u64, grace: Duration) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
            active: AtomicU64::new(0),
            gate: Gate::new(reserve),
            grace,
            holders: Mutex::default(),
        })
    }

    /// Bytes that leases may hold.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that leases hold now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that permits hold now.
    pub fn permitted(&self) -> u64 {
        self.gate.used()
    }

    /// How many wait for a permit.
    pub fn waiting(&self) -> usize {
        self.gate.waiting()
    }

    /// Bytes that may be held for what is only expected to be read: so many that memory is not
    /// [short](Self::relieve) for it.
    pub fn spare(&self) -> u64 {
        (self.limit / 8 * 5).saturating_sub(self.used())
    }

    /// Accounts that hold something, at least 1.
    pub fn sharers(&self) -> u64 {
        self.active.load(Ordering::Relaxed).max(1)
    }

    /// Opens the account of `holder`, which is asked to give back until the account is dropped.
    pub fn open(self: &Arc<Self>, holder: Weak<dyn Holder>) -> Arc<Account> {
        let mut holders = self.holders();
        let number = holders.number();
        holders.open.insert(number, holder);
        drop(holders);
        Arc::new(Account {
            budget: Arc::clone(self),
            number,
            held: AtomicU64::new(0),
        })
    }

    /// Opens an account that nobody is asked to give back for.
    pub fn open_without_holder(self: &Arc<Self>) -> Arc<Account> {
        Arc::new(Account {
            budget: Arc::clone(self),
            number: self.holders().number(),
            held: AtomicU64::new(0),
        })
    }

    /// A permit for `bytes` bytes of one read. More than the whole reserve counts as the whole.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue and nothing else.
    pub fn permit(&self, bytes: u64) -> Entry {
        self.gate.enter(bytes)
    }

    /// A permit, if there is one now and nobody waits for one.
    pub fn try_permit(&self, bytes: u64) -> Option<Permit> {
        self.gate.try_enter(bytes)
    }

    /// Takes back `bytes` bytes, if so many are idle. Returns whether any were freed. Searches
    /// ten times a second at most, so that a shortage does not cost more than it has to.
    pub fn reclaim(&self, bytes: u64, now: Instant) -> bool {
        let Some(idle_since) = now.checked_sub(self.grace) else {
            return false;
        };
        let mut candidates = {
            let mut holders = self.holders();
            if holders.quiet_until.is_some_and(|until| now < until) {
                return false;
            }
            holders.quiet_until = Some(now + self.grace.min(QUIET));
            let open: Vec<_> = holders.open.values().filter_map(Weak::upgrade).collect();
            open
        };
        candidates.retain(|holder| holder.last_used().is_some());
        candidates.sort_by_cached_key(|holder| holder.last_used());
        let mut freed = 0;
        for holder in candidates {
            if freed >= bytes {
                break;
            }
            freed += holder.give_back(bytes - freed, idle_since);
        }
        if freed >= bytes {
            // There may be more where this came from.
            self.holders().quiet_until = None;
        }
        freed > 0
    }

    /// Takes back what is idle when memory is short, so that files in use may have it.
    pub fn relieve(&self, now: Instant) {
        if self.is_short() {
            self.reclaim(self.used().saturating_sub(self.limit / 8 * 5), now);
        }
    }

    fn is_short(&self) -> bool {
        self.used() > self.limit / 4 * 3
    }

    /// What each account could hold if all held the same. An eighth is left for newcomers.
    fn fair_share(&self) -> u64 {
        (self.limit - self.limit / 8) / self.sharers()
    }

    fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= self.limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok()
    }

    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// The budget that pays.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Pays for `bytes` bytes; `None` when they do not fit.
    pub fn lease(self: &Arc<Self>, bytes: u64) -> Option<Lease> {
        let mut lease = self.empty_lease();
        lease.grow(bytes).then_some(lease)
    }

    /// A lease of nothing, to be grown.
    pub fn empty_lease(self: &Arc<Self>) -> Lease {
        Lease {
            account: Arc::clone(self),
            bytes: 0,
        }
    }

    /// Bytes held by all of its leases.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// What it may do, if it should hold no more than `most` bytes by choice: anything as long as
    /// half of the budget is free, and from there on what its fair share allows.
    pub fn room(&self, most: u64) -> Room {
        let (held, share) = (self.held(), self.budget.fair_share());
        let free = (self.budget.limit / 2).saturating_sub(self.budget.used());
        let growth = share.saturating_sub(held).max(free);
        Room {
            growth: growth.min(most.saturating_sub(held)),
            over: held > share && self.budget.is_short(),
        }
    }

    fn add(&self, bytes: u64) {
        if bytes > 0 && self.held.fetch_add(bytes, Ordering::Relaxed) == 0 {
            self.budget.active.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.holders().open.remove(&self.number);
    }
}

impl Lease {
    /// Bytes paid for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The account that this belongs to.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Pays for `bytes` bytes more. Returns whether they fit; if not, nothing has changed.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let fits = self.account.budget.take(bytes);
        if fits {
            self.account.add(bytes);
            self.bytes += bytes;
        }
        fits
    }

    /// Pays for `bytes` bytes more, though it may be beyond the limit: for what cannot be refused
    /// any more. Nothing else fits until that much is given back.
    pub fn overdraw(&mut self, bytes: u64) {
        self.account.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.account.add(bytes);
        self.bytes += bytes;
    }

    /// Gives back `bytes` bytes, or all if there are fewer.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        if bytes == 0 {
            return;
        }
        self.bytes -= bytes;
        let account = &self.account;
        if account.held.fetch_sub(bytes, Ordering::Relaxed) == bytes {
            account.budget.active.fetch_sub(1, Ordering::Relaxed);
        }
        account.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

impl Holders {
    /// The number of the next account.
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl fmt::Debug for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holders")
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

/// Far from overflow.
const UNLIMITED: u64 = 1 << 60;

/// Long enough that the streams of readers who take turns are not dropped between their reads,
/// which would fetch everything again and again.
const GRACE: Duration = Duration::from_secs(1);

/// After a search that found too little.
const QUIET: Duration = Duration::from_millis(100);
