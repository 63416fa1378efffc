//! Following the pages of a listing, which must come to an end.

use std::fmt;
use std::sync::Arc;

use super::{ListFrom, ListPage};

/// Names the page of a listing that follows another one. Knows how the listing was followed up to
/// there, so that whoever follows it notices that it has no end.
#[derive(Clone, PartialEq, Eq)]
pub struct PageToken {
    text: Arc<str>,
    trail: Trail,
}

/// How a listing was followed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Trail {
    /// A token of before. Tokens that go around in a circle of any length lead there again, as it
    /// is replaced after twice as many pages each time.
    mark: Option<Arc<str>>,
    /// Pages since then.
    pages: u32,
    /// After how many it is replaced.
    lap: u32,
    /// The first entry of the last page that had one.
    first: Option<Arc<str>>,
    /// Pages in a row that had no entry, or began as the one before.
    vain: u32,
}

/// A listing that is not worth following.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endless {
    /// It leads to where it was.
    Circle,
    /// Its pages bring nothing.
    Nothing,
}

impl PageToken {
    /// A token of which nothing else is known.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            trail: Trail::default(),
        }
    }

    /// The token, as the store wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl ListFrom {
    /// Lets the token of `page`, which begins here, know how it was come by.
    pub(super) fn follow(&self, page: &mut ListPage) -> Result<(), Endless> {
        let object = page.objects.first().map(|object| &object.key);
        let first = object.or_else(|| page.common_prefixes.first());
        let Some(next) = &mut page.next else {
            return Ok(());
        };
        let mut trail = Trail::default();
        if let Self::Page(here) = self {
            trail.clone_from(&here.trail);
            if next.text == here.text || trail.mark.as_ref() == Some(&next.text) {
                return Err(Endless::Circle);
            }
        }
        trail.pages += 1;
        if trail.pages > trail.lap {
            trail.lap = trail.pages.saturating_mul(2);
            trail.pages = 0;
            trail.mark = Some(Arc::clone(&next.text));
        }
        let is_new = first.is_some_and(|first| trail.first.as_deref() != Some(&**first));
        if is_new {
            trail.first = first.map(|first| Arc::from(&**first));
            trail.vain = 0;
        } else {
            trail.vain += 1;
        }
        if trail.vain > MOST_IN_VAIN {
            return Err(Endless::Nothing);
        }
        next.trail = trail;
        Ok(())
    }
}

impl Endless {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Circle => "the listing goes around in circles",
            Self::Nothing => "the listing goes on and on, and nothing comes",
        }
    }
}

/// Pages in a row without anything new. Directory buckets have a few, where much was deleted.
const MOST_IN_VAIN: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows the listing whose page with this number is that, and says how it ended after how
    /// many pages.
    fn follow(page: impl Fn(u32) -> (Vec<String>, Option<String>)) -> (u32, Result<(), Endless>) {
        let mut from = ListFrom::Start;
        for number in 0.. {
            let (common_prefixes, next) = page(number);
            let mut page = ListPage {
                common_prefixes,
                next: next.map(PageToken::new),
                ..ListPage::default()
            };
            let followed = from.follow(&mut page);
            match (followed, page.next) {
                (Ok(()), Some(next)) => from = ListFrom::Page(next),
                (followed, _) => return (number, followed),
            }
        }
        unreachable!("it has no end");
    }

    #[test]
    fn circle_of_any_length_is_noticed_whatever_its_pages_bring() {
        for before in [0, 1, 5] {
            for length in [1, 2, 3, 7, 100] {
                let (pages, end) = follow(|number| {
                    let at = match number {
                        n if n < before => n,
                        n => before + (n - before) % length,
                    };
                    (vec![format!("{at}/")], Some(at.to_string()))
                });
                assert_eq!(end, Err(Endless::Circle), "{before} {length}");
                assert!(pages <= 4 * (before + length) + 4, "{pages} of {length}");
            }
        }
    }

    #[test]
    fn listing_that_brings_nothing_is_left() {
        let next = |number: u32| Some(number.to_string());
        let (pages, end) = follow(|number| (Vec::new(), next(number)));
        assert_eq!((pages, end), (MOST_IN_VAIN, Err(Endless::Nothing)));
        let (pages, end) = follow(|number| (vec!["a/".to_owned()], next(number)));
        assert_eq!((pages, end), (MOST_IN_VAIN + 1, Err(Endless::Nothing)));
    }

    #[test]
    fn long_listing_with_gaps_is_followed_to_its_end() {
        let (pages, end) = follow(|number| {
            let entries = match number % 1000 {
                0 => vec![format!("{number}/")],
                _ => Vec::new(),
            };
            (entries, (number < 10_000).then(|| number.to_string()))
        });
        assert_eq!((pages, end), (10_000, Ok(())));
    }
}
