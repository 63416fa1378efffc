//! Where to cut a range of keys in two, when nothing is known but its ends. No I/O here.

/// The cuts of one range so far.
///
/// Keys of a data set begin alike: `data/set/train/`. So the end of each directory that the first
/// key is in is tried first, the outermost at first, which narrows the range to the directory that
/// matters; then the middle between two bytes.
#[derive(Debug, Clone)]
pub(super) struct Cuts {
    /// Where in the first key the next directory is looked for; `None` when all were tried.
    directories: Option<usize>,
    /// Where bytes may differ.
    prefix: usize,
    tried: usize,
    missed: usize,
}

impl Cuts {
    /// None yet, of a range of keys that start with `prefix`.
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            directories: Some(prefix.len()),
            prefix: prefix.len(),
            tried: 0,
            missed: 0,
        }
    }

    /// How many there were.
    pub(super) fn tried(&self) -> usize {
        self.tried
    }

    /// A text after `low`, a key, and before `high`. `None` if there is none, or it is not worth
    /// a request.
    pub(super) fn next(&mut self, low: &str, high: Option<&str>) -> Option<String> {
        let is_empty = high.is_some_and(|high| *high <= *low);
        if low.is_empty() || is_empty || self.missed >= MOST_MISSED {
            return None;
        }
        self.tried += 1;
        while let Some(from) = self.directories {
            let rest = low.as_bytes().get(from..).unwrap_or_default();
            let Some(slash) = rest.iter().position(|byte| *byte == b'/') else {
                self.directories = None;
                break;
            };
            self.directories = Some(from + slash + 1);
            // The least text after all that is in the directory.
            let end = format!("{}0", low.get(..from + slash)?);
            if high.is_none_or(|high| *end < *high) {
                return Some(end);
            }
        }
        between(low, high, self.prefix)
    }

    /// Takes note whether anything was found after the last cut.
    pub(super) fn note(&mut self, found: bool) {
        if found {
            self.directories = None;
            self.missed = 0;
        } else {
            self.missed += 1;
        }
    }
}

/// A text after `low` and before `high`, which is greater; both begin with the same `prefix` bytes.
/// Only ASCII characters are put between.
fn between(low: &str, high: Option<&str>, prefix: usize) -> Option<String> {
    let (from, to) = (low.as_bytes(), high.map_or(&b""[..], str::as_bytes));
    let mut at = match high {
        Some(_) => from.iter().zip(to).take_while(|(a, b)| a == b).count(),
        None => prefix,
    };
    // Only the first byte that differs has an upper end.
    let mut most = to.get(at).copied().unwrap_or(LAST).min(LAST);
    while at <= from.len() {
        let least = from.get(at).copied().unwrap_or(FIRST - 1);
        if least >= LAST {
            return None;
        }
        let middle = least.midpoint(most);
        if middle > least && most > least {
            return Some(format!("{}{}", low.get(..at)?, char::from(middle)));
        }
        at += 1;
        most = LAST;
    }
    None
}

/// The characters that keys are made of, and one that is greater.
const FIRST: u8 = b' ';
const LAST: u8 = 0x7f;

/// A range in which so many cuts found nothing has its keys close together.
const MOST_MISSED: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prop_cut_is_inside(
            low in "[ab/é0~\u{1} ]{1,6}",
            high in prop::option::of("[ab/é0~\u{1} ]{1,6}"),
            misses in 0_usize..10,
        ) {
            prop_assume!(high.as_ref().is_none_or(|high| low < *high));
            let mut cuts = Cuts::new("");
            let mut high = high;
            for _ in 0..misses {
                let Some(cut) = cuts.next(&low, high.as_deref()) else { break };
                prop_assert!(low < cut, "{:?} {:?}", low, cut);
                prop_assert!(high.as_ref().is_none_or(|high| cut < *high), "{:?} {:?}", cut, high);
                cuts.note(false);
                high = Some(cut);
            }
        }
    }

    #[test]
    fn directories_come_first_and_then_bytes() {
        let mut cuts = Cuts::new("");
        let low = "data/train/n01/x";
        let mut high = None;
        for expected in ["data0", "data/train0", "data/train/n010"] {
            let cut = cuts.next(low, high.as_deref()).expect("a cut");
            assert_eq!(cut, expected);
            cuts.note(false);
            high = Some(cut);
        }
        cuts.note(true);
        assert_eq!(cuts.next("b", Some("h")).as_deref(), Some("e"));
        assert_eq!(cuts.next("b", Some("c")).as_deref(), Some("bO"));
        assert_eq!(cuts.next("b", None).as_deref(), Some("p"));
        assert_eq!(cuts.next("", None), None);
    }
}
