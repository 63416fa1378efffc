//! How many guesses a listing may make. No I/O here.

/// Keeps the requests of a split listing within 1.2 times the pages of a serial one.
///
/// Every page but the last of a range is full. So a range that has ended has asked for some
/// entries more than it shows, which is known, and one that has not will have for at most one page
/// more. A serial listing needs as many pages as the entries that came fill, at least.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Entries of a full page: as many as any had.
    page: usize,
    /// Entries that count, so far.
    entries: usize,
    /// Room for entries in the pages of closed ranges that was not needed.
    wasted: usize,
}

impl Budget {
    /// Notes a page of `size` entries, `kept` of which are in its range.
    pub(super) fn note_page(&mut self, size: usize, kept: usize) {
        self.page = self.page.max(size);
        self.entries += kept;
    }

    /// Notes that a range has ended or is not wanted any more.
    pub(super) fn note_closed(&mut self, requests: usize, entries: usize) {
        self.wasted += (requests * self.page).saturating_sub(entries);
    }

    /// Entries of a full page.
    pub(super) fn page_size(&self) -> usize {
        self.page
    }

    /// Pages of a serial listing, at least.
    pub(super) fn pages_known(&self) -> usize {
        self.entries.div_ceil(self.page.max(1))
    }

    /// Whether one of the ranges, `open` of which have not ended, may be split.
    pub(super) fn allows_split(&self, open: usize, end: End) -> bool {
        if self.page == 0 || open == 0 {
            return false;
        }
        // What is after the last entry of the listing is on no further page.
        let (last, more) = match end {
            End::Here => (0, 0),
            End::After => (1, 1),
            End::Unknown => (1, 0),
        };
        let room = self.wasted + self.page * (open + 1) - last;
        let known = (self.entries + more).div_ceil(self.page);
        room / self.page * ONE_OF <= known
    }
}

/// What is known of the end of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The last entry has come.
    Here,
    /// It has not, and comes after all that have.
    After,
    /// Neither is known.
    Unknown,
}

/// One page of so many may be superfluous.
const ONE_OF: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_is_allowed_for_every_fifth_page() {
        let mut budget = Budget::default();
        assert!(!budget.allows_split(1, End::After));
        for pages in 1..=30 {
            budget.note_page(10, 10);
            for open in 1..8 {
                assert_eq!(
                    budget.allows_split(open, End::After),
                    open * 5 <= pages + 1,
                    "{pages} {open}"
                );
            }
        }
    }

    #[test]
    fn closed_range_costs_what_it_wasted() {
        let mut budget = Budget::default();
        for _ in 0..13 {
            budget.note_page(10, 10);
        }
        assert!(budget.allows_split(2, End::After));
        budget.note_closed(1, 9);
        assert!(budget.allows_split(1, End::After));
        assert!(
            !budget.allows_split(2, End::After),
            "its last entry takes a page"
        );
    }
}
