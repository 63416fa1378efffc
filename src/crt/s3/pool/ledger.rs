//! Who gets memory, when, and what is kept for the next one.
//!
//! A reservation is granted in the order in which it came, as soon as it fits into the limit. A
//! grant is a promise: there is a block for it, but which one is decided when it is *claimed*, as
//! the first bytes arrive. It is then the block that was given back last: its pages are there, and
//! so that few blocks are ever touched, however many requests have been prepared.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::sizes::buffer_bytes;

/// The memory of a pool.
#[derive(Debug)]
pub(super) struct Ledger<B, W> {
    limit: u64,
    part_bytes: u64,
    /// Of the blocks that nobody needs, so many bytes are kept at least.
    spare: u64,
    /// Bytes granted to those who can wait, and to those who cannot.
    patient: u64,
    forced: u64,
    /// Bytes of all blocks.
    held: u64,
    /// By their size.
    idle: BTreeMap<u64, Idle<B>>,
    waiting: VecDeque<Waiting<W>>,
    /// Counts blocks that were given back.
    returned: u64,
}

/// Memory for one buffer; it goes back to the system when dropped.
pub(super) trait Memory: Sized {
    /// Takes `bytes` bytes, at least 1; `None` if the system refuses them.
    fn allocate(bytes: u64) -> Option<Self>;
}

/// Who waits for a reservation.
pub(super) trait Waiter {
    /// It does not want it any more.
    fn is_gone(&self) -> bool;
}

/// A right to a block. Whoever has one gives it back.
#[derive(Debug)]
#[must_use = "its memory is in use until it is given back"]
pub(super) struct Grant {
    bytes: u64,
    forced: bool,
}

/// Why there is no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing was asked for.
    Empty,
    /// More than the limit.
    TooLarge,
    /// The system has no memory.
    NoMemory,
    /// Nobody waits for it any more.
    Gone,
}

/// What is to be done when the ledger is not locked.
#[derive(Debug)]
#[must_use = "somebody waits for the answers"]
pub(super) struct Settled<B, W> {
    /// In the order in which they were asked for.
    pub(super) answers: Vec<(W, Result<Grant, Refusal>)>,
    /// To be dropped, which takes a while.
    pub(super) evicted: Vec<B>,
}

/// What a pool holds. All sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUsage {
    /// What it grants, at most.
    pub limit: u64,
    /// What is granted now, whether or not data has arrived in it.
    pub granted: u64,
    /// The memory that it has: what is granted, and what it keeps for the next ones.
    pub held: u64,
    /// Reservations that wait, or that nobody waits for any more.
    pub waiting: usize,
}

/// Blocks of one size that are not in use.
#[derive(Debug)]
struct Idle<B> {
    /// The one given back last comes last. With the number of its return; 0 for a new one.
    blocks: VecDeque<(u64, B)>,
    /// Of these, so many are granted.
    promised: usize,
}

#[derive(Debug)]
struct Waiting<W> {
    bytes: u64,
    waiter: W,
}

impl<B: Memory, W: Waiter> Ledger<B, W> {
    /// A pool that grants `limit` bytes at most, of parts of `part_bytes` bytes and anything else.
    pub(super) fn new(limit: u64, part_bytes: u64) -> Self {
        Self::with_spare(limit, part_bytes, SPARE)
    }

    fn with_spare(limit: u64, part_bytes: u64, spare: u64) -> Self {
        Self {
            limit,
            part_bytes,
            spare,
            patient: 0,
            forced: 0,
            held: 0,
            idle: BTreeMap::new(),
            waiting: VecDeque::new(),
            returned: 0,
        }
    }

    /// Enters a reservation of `size` bytes. If it is `forced` it is granted at once, even beyond
    /// the limit, unless it alone is larger than that.
    pub(super) fn reserve(&mut self, size: u64, forced: bool, waiter: W) -> Settled<B, W> {
        let mut settled = Settled::new();
        let bytes = self.bytes(size);
        if size == 0 {
            settled.answers.push((waiter, Err(Refusal::Empty)));
        } else if bytes > self.limit {
            settled.answers.push((waiter, Err(Refusal::TooLarge)));
        } else if forced {
            let answer = self.grant(bytes, forced, &mut settled);
            settled.answers.push((waiter, answer));
        } else {
            self.waiting.push_back(Waiting { bytes, waiter });
            self.settle(&mut settled);
        }
        settled
    }

    /// The block of `grant`, which is not claimed again.
    pub(super) fn claim(&mut self, grant: &Grant) -> Option<B> {
        let idle = self.idle.get_mut(&grant.bytes)?;
        idle.promised = idle.promised.checked_sub(1)?;
        let (_, block) = idle.blocks.pop_back()?;
        self.forget_if_empty(grant.bytes);
        Some(block)
    }

    /// Ends a grant; `block` is what was claimed for it.
    pub(super) fn give_back(&mut self, grant: &Grant, block: Option<B>) -> Settled<B, W> {
        let Grant { bytes, forced } = *grant;
        let granted = if forced {
            &mut self.forced
        } else {
            &mut self.patient
        };
        *granted -= bytes;
        let idle = self.idle.entry(bytes).or_default();
        match block {
            Some(block) => {
                self.returned += 1;
                idle.blocks.push_back((self.returned, block));
            }
            None => idle.promised -= 1,
        }
        let mut settled = Settled::new();
        self.settle(&mut settled);
        // As much again as is in use, so that memory does not come and go while a stream does.
        let most = self.spare.max(self.granted());
        self.evict_while(&mut settled, |ledger| {
            ledger.unneeded() > most || ledger.held > ledger.limit
        });
        settled
    }

    /// Gives up every block that nobody needs now.
    pub(super) fn trim(&mut self) -> Settled<B, W> {
        let mut settled = Settled::new();
        self.settle(&mut settled);
        self.evict_while(&mut settled, |ledger| ledger.unneeded() > 0);
        settled
    }

    pub(super) fn usage(&self) -> PoolUsage {
        PoolUsage {
            limit: self.limit,
            granted: self.granted(),
            held: self.held,
            waiting: self.waiting.len(),
        }
    }

    /// Bytes that a buffer of `size` bytes takes.
    pub(super) fn bytes(&self, size: u64) -> u64 {
        buffer_bytes(size, self.part_bytes)
    }

    /// Answers those who wait, from the first one to the first for whom there is no memory. One
    /// who has gone is noticed when its turn comes.
    fn settle(&mut self, settled: &mut Settled<B, W>) {
        while let Some(first) = self.waiting.front() {
            let gone = first.waiter.is_gone();
            if !gone && !self.fits(first.bytes) {
                break;
            }
            let Some(Waiting { bytes, waiter }) = self.waiting.pop_front() else {
                break;
            };
            let answer = if gone {
                Err(Refusal::Gone)
            } else {
                self.grant(bytes, false, settled)
            };
            settled.answers.push((waiter, answer));
        }
    }

    /// Whether a patient reservation fits. Forced ones leave a fifth of the limit to it, whatever
    /// they hold: those who wait here may be what they wait for (s3_default_buffer_pool.c).
    fn fits(&self, bytes: u64) -> bool {
        let forced = self.forced.min(self.limit / 5 * 4);
        bytes <= self.limit.saturating_sub(self.patient + forced)
    }

    fn grant(
        &mut self,
        bytes: u64,
        forced: bool,
        settled: &mut Settled<B, W>,
    ) -> Result<Grant, Refusal> {
        let all_promised = |idle: &Idle<B>| idle.blocks.len() == idle.promised;
        if self.idle.get(&bytes).is_none_or(all_promised) {
            self.evict_while(settled, |ledger| {
                ledger.held.saturating_add(bytes) > ledger.limit
            });
            let block = B::allocate(bytes).ok_or(Refusal::NoMemory)?;
            self.held += bytes;
            let idle = self.idle.entry(bytes).or_default();
            idle.blocks.push_front((0, block));
        }
        self.idle.entry(bytes).or_default().promised += 1;
        if forced {
            self.forced += bytes;
        } else {
            self.patient += bytes;
        }
        Ok(Grant { bytes, forced })
    }

    /// Evicts blocks that nobody needs, those that were used longest ago first.
    fn evict_while(&mut self, settled: &mut Settled<B, W>, too_much: impl Fn(&Self) -> bool) {
        while too_much(self) {
            let unneeded = self.idle.iter_mut().filter_map(|(bytes, idle)| {
                let (returned, _) = idle.blocks.front()?;
                (idle.blocks.len() > idle.promised).then_some((*returned, *bytes, idle))
            });
            let Some((_, bytes, idle)) = unneeded.min_by_key(|(returned, ..)| *returned) else {
                break;
            };
            settled
                .evicted
                .extend(idle.blocks.pop_front().map(|(_, block)| block));
            self.held -= bytes;
            self.forget_if_empty(bytes);
        }
    }

    fn forget_if_empty(&mut self, bytes: u64) {
        if self
            .idle
            .get(&bytes)
            .is_some_and(|idle| idle.blocks.is_empty())
        {
            self.idle.remove(&bytes);
        }
    }

    fn granted(&self) -> u64 {
        self.patient + self.forced
    }

    /// Bytes of the blocks that are not granted: every grant has one.
    fn unneeded(&self) -> u64 {
        self.held - self.granted()
    }
}

impl<B, W> Settled<B, W> {
    fn new() -> Self {
        Self {
            answers: Vec::new(),
            evicted: Vec::new(),
        }
    }
}

impl<B> Default for Idle<B> {
    fn default() -> Self {
        Self {
            blocks: VecDeque::new(),
            promised: 0,
        }
    }
}

/// Four parts of the usual size.
const SPARE: u64 = 32 << 20;
