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

    /// Pages of a serial listing, at least. `more`: whether something follows what came.
    pub(super) fn pages_known(&self, more: bool) -> usize {
        let page = self.page.max(1);
        if more {
            self.entries / page + 1
        } else {
            self.entries.div_ceil(page)
        }
    }

    /// Whether one of `open` ranges may be split. `more`: whether something follows what came.
    pub(super) fn allows_split(&self, open: usize, more: bool) -> bool {
        if self.page == 0 || open == 0 {
            return false;
        }
        let room = self.wasted + self.page * (open + 1) - 1;
        let extra = room / self.page;
        extra * ONE_OF <= self.pages_known(more)
    }
}

/// One page of so many may be superfluous.
const ONE_OF: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_is_allowed_for_every_fifth_page() {
        let mut budget = Budget::default();
        assert!(!budget.allows_split(1, true));
        for pages in 1..=30 {
            budget.note_page(10, 10);
            for open in 1..8 {
                assert_eq!(
                    budget.allows_split(open, true),
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
        assert!(budget.allows_split(2, true));
        budget.note_closed(1, 9);
        assert!(budget.allows_split(1, true));
        assert!(!budget.allows_split(2, true), "its last entry takes a page");
    }
}
