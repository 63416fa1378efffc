//! What a file had before its end, as far as it may come again.

use std::collections::VecDeque;
use std::sync::LazyLock;

use bytes::Bytes;

use crate::crt::crc64nvme;

/// The last bytes that were taken, which the kernel hands over once more with those behind them: all that one
/// folio of its page cache can have, of which only the page in which the file ends is kept as it is.
#[derive(Default)]
pub(super) struct Taken {
    /// Checksums of the last whole pages, the first one first.
    pages: VecDeque<u64>,
    /// The bytes of the page in which the file ends: none if it ends with a page.
    tail: Vec<u8>,
}

impl Taken {
    /// Adds bytes at the end.
    pub(super) fn add(&mut self, mut data: &[u8]) {
        if !self.tail.is_empty() {
            let (rest, behind) = data.split_at(data.len().min(*PAGE - self.tail.len()));
            self.tail.extend_from_slice(rest);
            data = behind;
            if self.tail.len() < *PAGE {
                return;
            }
            let page = std::mem::take(&mut self.tail);
            self.note(&page);
        }
        let mut pages = data.chunks_exact(*PAGE);
        for page in &mut pages {
            self.note(page);
        }
        self.tail.extend_from_slice(pages.remainder());
    }

    fn note(&mut self, page: &[u8]) {
        if self.pages.len() * *PAGE >= LARGEST_FOLIO {
            self.pages.pop_front();
        }
        self.pages.push_back(crc64nvme(0, page));
    }

    /// Whether the file has `data` from the place on which is `back` bytes before its end, which `data` is not
    /// longer than.
    pub(super) fn has(&self, data: &[u8], back: usize) -> bool {
        let Some(in_pages) = back.checked_sub(self.tail.len()) else {
            return self.tail[self.tail.len() - back..].starts_with(data);
        };
        let (whole, tail) = data.split_at(in_pages.min(data.len()));
        let first = self.pages.len().checked_sub(in_pages / *PAGE);
        let is_whole = in_pages.is_multiple_of(*PAGE) && whole.len().is_multiple_of(*PAGE);
        is_whole
            && self.tail.starts_with(tail)
            && first.is_some_and(|first| {
                let known = self.pages.range(first..);
                let pages = whole.chunks_exact(*PAGE);
                pages
                    .zip(known)
                    .all(|(page, sum)| crc64nvme(0, page) == *sum)
            })
    }

    /// The bytes from the place on which is `back` bytes before the end, if they are still here.
    pub(super) fn read(&self, back: usize) -> Option<Bytes> {
        let start = self.tail.len().checked_sub(back)?;
        Some(Bytes::copy_from_slice(&self.tail[start..]))
    }
}

/// Bytes of a page of the page cache.
pub(super) static PAGE: LazyLock<usize> = LazyLock::new(rustix::param::page_size);

/// Bytes that kernels with pages of 4 KiB write back at most because one of them has changed: twice as much as
/// a folio has.
const LARGEST_FOLIO: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::s3::fake::synthetic;

    proptest! {
        #[test]
        fn prop_what_was_added_is_known_and_nothing_else(
            sizes in prop::collection::vec(1u64..20_000, 1..12),
            back in 0usize..9,
            len in 0usize..30_000,
            change in any::<prop::sample::Index>(),
        ) {
            let body = synthetic(1, 0..sizes.iter().sum());
            let mut taken = Taken::default();
            let mut rest = &body[..];
            for size in sizes {
                let (now, behind) = rest.split_at(usize::try_from(size).expect("small"));
                taken.add(now);
                rest = behind;
            }
            let start = (body.len() / *PAGE).saturating_sub(back) * *PAGE;
            let mut data = body[start..][..len.min(body.len() - start)].to_vec();
            let is_page = data.len() + start == body.len() || data.len().is_multiple_of(*PAGE)
                || start + data.len() > body.len() / *PAGE * *PAGE;
            let back = body.len() - start;
            prop_assert_eq!(taken.has(&data, back), is_page);
            if !data.is_empty() {
                data[change.index(len.min(back).max(1)).min(body.len() - start - 1)] ^= 1;
                prop_assert!(!taken.has(&data, back));
            }
        }
    }

    #[test]
    fn only_the_page_in_which_it_ends_is_read_again() {
        let body = synthetic(1, 0..3 * *PAGE as u64 + 100);
        let mut taken = Taken::default();
        taken.add(&body);
        assert_eq!(taken.read(0).as_deref(), Some(&[][..]));
        assert_eq!(taken.read(100).as_deref(), Some(&body[3 * *PAGE..]));
        assert_eq!(taken.read(30).as_deref(), Some(&body[3 * *PAGE + 70..]));
        assert_eq!(taken.read(101), None);
    }

    #[test]
    fn pages_that_no_folio_has_any_more_are_forgotten() {
        let size = LARGEST_FOLIO + *PAGE;
        let body = synthetic(1, 0..size as u64);
        let mut taken = Taken::default();
        taken.add(&body);
        assert!(taken.has(&body[*PAGE..], LARGEST_FOLIO));
        assert!(!taken.has(&body, size));
        assert_eq!(taken.pages.len() * *PAGE, LARGEST_FOLIO);
    }
}
