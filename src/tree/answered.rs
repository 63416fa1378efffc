//! What answered lookups.

use crate::metrics::Counter;

/// How many lookups were answered so far, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LookupCounters {
    /// By what was known already.
    pub known: u64,
    /// By a page of a listing that was at hand.
    pub page: u64,
    /// By a GET of what a listing had shown, which the open that follows needs, too.
    pub get: u64,
    /// By asking S3 for the name, or for the page around it.
    pub asked: u64,
}

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    pub(super) known: Counter,
    pub(super) page: Counter,
    pub(super) get: Counter,
    pub(super) asked: Counter,
}

impl Lookups {
    pub(super) fn get(&self) -> LookupCounters {
        LookupCounters {
            known: self.known.get(),
            page: self.page.get(),
            get: self.get.get(),
            asked: self.asked.get(),
        }
    }
}
