//! What a file that is written pays for.

use std::sync::Arc;
use std::time::Instant;

use super::config::Place;
use crate::memory::{Budget, Lease};

/// What a handle that is neither complete nor failed pays with.
pub(super) struct Funds {
    lease: Lease,
    _place: Place,
}

impl Funds {
    /// Pays for nothing yet.
    pub(super) fn new(budget: &Arc<Budget>, place: Place) -> Self {
        Self {
            lease: budget.open_without_holder().empty_lease(),
            _place: place,
        }
    }

    /// Pays for `bytes` bytes more if they fit, and are no more than what this handle may hold by
    /// choice, which is `most`.
    pub(super) fn add(&mut self, bytes: u64, most: u64) -> bool {
        self.lease.account().room(most).growth >= bytes && self.lease.grow(bytes)
    }

    /// Pays for `bytes` bytes in all. A file that is open cannot be refused the memory of one
    /// part: the number of places bounds what that comes to.
    pub(super) fn pay(&mut self, bytes: u64) {
        let more = bytes.saturating_sub(self.lease.bytes());
        if more > 0 && !self.grow(more) {
            self.lease.overdraw(more);
        }
    }

    /// Pays for `bytes` bytes in all, if they fit.
    pub(super) fn try_pay(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.lease.bytes());
        more == 0 || self.grow(more)
    }

    fn grow(&mut self, more: u64) -> bool {
        if self.lease.grow(more) {
            return true;
        }
        let budget = Arc::clone(self.lease.account().budget());
        budget.reclaim(more, Instant::now()) && self.lease.grow(more)
    }

    /// Gives back what was paid for beyond `bytes` bytes.
    pub(super) fn keep(&mut self, bytes: u64) {
        self.lease.shrink(self.lease.bytes().saturating_sub(bytes));
    }

    /// Gives back all that was paid for.
    pub(super) fn give_back(&mut self) {
        self.keep(0);
    }
}
