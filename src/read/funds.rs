//! What a fetch pays for.

use crate::memory::{Lease, Room};

/// Pays for the buffers of one fetch: for those that hold what was delivered, and for those that
/// the store will need for what it was allowed to deliver.
#[derive(Debug)]
pub(super) struct Funds {
    /// None of a fetch that was paid for by a permit.
    lease: Option<Lease>,
    /// Size of the parts in which a store fetches: it needs buffers for whole ones.
    part_size: u64,
    /// Where the parts begin.
    base: u64,
    /// Everything before this offset is paid for.
    paid: u64,
    /// Bytes that the file may hold by choice.
    most: u64,
}

impl Funds {
    /// For a fetch that is paid for as a whole, by `lease` or by a permit.
    pub(super) fn whole(lease: Option<Lease>) -> Self {
        Self {
            lease,
            part_size: 1,
            base: 0,
            paid: u64::MAX,
            most: 0,
        }
    }

    /// For a fetch in parts from offset `start` on, of which `lease` pays for the first ones.
    /// It gets further ahead by choice as long as its file holds less than `most` bytes.
    pub(super) fn in_parts(lease: Lease, start: u64, part_size: u64, most: u64) -> Self {
        Self {
            paid: start.saturating_add(lease.bytes()),
            lease: Some(lease),
            part_size,
            base: start,
            most,
        }
    }

    /// Everything before this offset is paid for.
    pub(super) fn paid(&self) -> u64 {
        self.paid
    }

    /// Bytes held.
    pub(super) fn held(&self) -> u64 {
        self.lease.as_ref().map_or(0, Lease::bytes)
    }

    /// What may be held besides.
    pub(super) fn room(&self) -> Room {
        match &self.lease {
            Some(lease) => lease.account().room(self.most),
            None => Room {
                growth: 0,
                over: false,
            },
        }
    }

    /// Pays for everything before `end`. Returns whether that was possible.
    pub(super) fn pay(&mut self, end: u64) -> bool {
        if end <= self.paid {
            return true;
        }
        let paid = self.whole_parts(end);
        let fits = match &mut self.lease {
            Some(lease) => lease.grow(paid - self.paid),
            None => false,
        };
        if fits {
            self.paid = paid;
        }
        fits
    }

    /// Gives back the price of `bytes` bytes that were freed.
    pub(super) fn freed(&mut self, bytes: u64) {
        if self.paid < u64::MAX
            && let Some(lease) = &mut self.lease
        {
            lease.shrink(bytes);
        }
    }

    /// The end of what is paid for if the parts begin anew at `base`.
    pub(super) fn paid_from(&self, base: u64) -> u64 {
        let parts = self.paid.saturating_sub(base) / self.part_size;
        base.saturating_add(parts.saturating_mul(self.part_size))
    }

    /// Lets the parts begin anew at `base` and pays for everything before `end`, which is needed.
    pub(super) fn rebase(&mut self, base: u64, end: u64) {
        if self.paid == u64::MAX {
            return;
        }
        self.base = base;
        let paid = self.whole_parts(end.max(base));
        if let Some(lease) = &mut self.lease {
            if paid > self.paid {
                lease.overdraw(paid - self.paid);
            } else {
                lease.shrink(self.paid - paid);
            }
        }
        self.paid = paid;
    }

    fn whole_parts(&self, end: u64) -> u64 {
        let parts = (end - self.base).div_ceil(self.part_size);
        self.base
            .saturating_add(parts.saturating_mul(self.part_size))
    }
}
