//! Guesses where names lie that have not come yet. No I/O here.
//!
//! Names are taken for numbers: each position has its letters, those that were seen there and their
//! like (one digit stands for all ten), and a letter's rank among them is its digit. Names that
//! are counted up, or come from a hash, then lie evenly. All of this may be wrong; nothing but the
//! number of requests depends on it.

use std::collections::BTreeSet;

use crate::s3::ListPage;

/// The letters at each position of the names of a listing.
#[derive(Debug, Default)]
pub(super) struct Alphabet {
    positions: Vec<Letters>,
}

/// A stretch of names, and how many are in it.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    /// Every one is greater than this text, or equal.
    pub(super) from: String,
    /// The last one.
    pub(super) to: String,
    /// How many there are.
    pub(super) entries: usize,
}

impl Alphabet {
    /// Takes in some of the entries of a page of the listing of `prefix`.
    pub(super) fn learn(&mut self, page: &ListPage, prefix: &str) {
        let step = |len: usize| len.div_ceil(LEARNED_OF_A_PAGE).max(1);
        let objects = page.objects.iter().map(|object| object.key.as_str());
        let groups = page.common_prefixes.iter().map(String::as_str);
        let objects = objects.rev().step_by(step(page.objects.len()));
        let groups = groups.rev().step_by(step(page.common_prefixes.len()));
        for text in objects.chain(groups) {
            if let Some(name) = text.strip_prefix(prefix) {
                self.learn_name(name.strip_suffix('/').unwrap_or(name));
            }
        }
    }

    fn learn_name(&mut self, name: &str) {
        for (position, letter) in name.chars().take(MOST_POSITIONS).enumerate() {
            if position == self.positions.len() {
                self.positions.push(Letters::default());
            }
            if let Some(letters) = self.positions.get_mut(position) {
                letters.insert(letter);
            }
        }
    }

    /// A text that about `entries` entries lie before and after `at`, if they lie as close as in
    /// the stretch.
    pub(super) fn ahead(&self, at: &str, stretch: &Stretch, entries: usize) -> Option<String> {
        let window = self.window(at, stretch)?;
        let way = window.span.checked_mul(entries as u128)? / stretch.entries as u128;
        let target = window.at.checked_add(way.max(1))?;
        if target >= window.end {
            return None;
        }
        window.text(at, target)
    }

    /// About how many entries lie between `at` and `end`, if they lie as close as in the stretch.
    pub(super) fn between(&self, at: &str, end: &str, stretch: &Stretch) -> Option<usize> {
        let window = self.window(at, stretch)?;
        if common(at, end) < window.start {
            return None;
        }
        let way = window.value(end).saturating_sub(window.at);
        let entries = way.checked_mul(stretch.entries as u128)? / window.span;
        Some(usize::try_from(entries).unwrap_or(usize::MAX))
    }

    /// The positions in which the names around `at` differ.
    fn window(&self, at: &str, stretch: &Stretch) -> Option<Window<'_>> {
        let Stretch { from, to, entries } = stretch;
        if *entries == 0 {
            return None;
        }
        let alike = common(from, to).min(common(from, at)).min(common(to, at));
        let start = alike.saturating_sub(CARRIED);
        let positions = self.positions.get(start..)?;
        let mut end = 1_u128;
        let mut length = 0;
        for letters in positions {
            match end.checked_mul(letters.count()) {
                Some(more) if more <= MOST_VALUE => end = more,
                _ => break,
            }
            length += 1;
        }
        let mut window = Window {
            start,
            positions: positions.get(..length)?,
            end,
            at: 0,
            span: 0,
        };
        window.at = window.value(at);
        window.span = window.value(to).saturating_sub(window.value(from));
        (window.span > 0).then_some(window)
    }
}

/// Some positions of names that have the ones before in common, and the numbers that they make.
#[derive(Debug)]
struct Window<'a> {
    /// The first position.
    start: usize,
    positions: &'a [Letters],
    /// Every number is less than this.
    end: u128,
    /// The number of the text that something is looked for after.
    at: u128,
    /// What the stretch takes.
    span: u128,
}

impl Window<'_> {
    fn value(&self, text: &str) -> u128 {
        let mut letters = text.chars().skip(self.start);
        self.positions.iter().fold(0, |value, position| {
            let digit = letters.next().map_or(0, |letter| position.rank(letter));
            value * position.count() + digit
        })
    }

    /// The shortest text of this number that has its start in common with `like`.
    fn text(&self, like: &str, mut value: u128) -> Option<String> {
        let mut letters = Vec::with_capacity(self.positions.len());
        for position in self.positions.iter().rev() {
            let count = position.count();
            let digit = value % count;
            value /= count;
            if digit > 0 || !letters.is_empty() {
                letters.push(position.letter(digit)?);
            }
        }
        let start = like.chars().take(self.start);
        Some(start.chain(letters.into_iter().rev()).collect())
    }
}

/// The letters of one position.
#[derive(Debug, Default)]
struct Letters {
    /// A bit for each letter of ASCII.
    ascii: u128,
    /// The blocks of 64 letters beyond, by number.
    blocks: BTreeSet<u32>,
}

impl Letters {
    /// Adds a letter and its like.
    fn insert(&mut self, letter: char) {
        let like = match letter {
            '0'..='9' => '0'..='9',
            'a'..='f' => 'a'..='f',
            'g'..='z' => 'a'..='z',
            'A'..='F' => 'A'..='F',
            'G'..='Z' => 'A'..='Z',
            _ => letter..=letter,
        };
        if letter.is_ascii() {
            for letter in like {
                self.ascii |= 1 << u32::from(letter);
            }
        } else {
            self.blocks.insert(u32::from(letter) / BLOCK);
        }
    }

    fn count(&self) -> u128 {
        let blocks = self.blocks.len() as u128 * u128::from(BLOCK);
        (u128::from(self.ascii.count_ones()) + blocks).max(1)
    }

    /// How many of the letters are before this one; of the last one, if it is after all.
    fn rank(&self, letter: char) -> u128 {
        let number = u32::from(letter);
        let rank = if letter.is_ascii() {
            u128::from((self.ascii & ((1 << number) - 1)).count_ones())
        } else {
            let (block, rest) = (number / BLOCK, number % BLOCK);
            let before = self.blocks.range(..block).count() as u128 * u128::from(BLOCK);
            let within = if self.blocks.contains(&block) {
                rest
            } else {
                0
            };
            u128::from(self.ascii.count_ones()) + before + u128::from(within)
        };
        rank.min(self.count() - 1)
    }

    /// The letter with this rank.
    fn letter(&self, rank: u128) -> Option<char> {
        let rank = usize::try_from(rank).ok()?;
        let mut ascii = (0..128_u8).filter(|letter| self.ascii >> letter & 1 == 1);
        let in_ascii = usize::try_from(self.ascii.count_ones()).ok()?;
        if rank < in_ascii {
            return ascii.nth(rank).map(char::from);
        }
        let (block, rest) = (
            (rank - in_ascii) / BLOCK as usize,
            (rank - in_ascii) % BLOCK as usize,
        );
        let block = self.blocks.iter().nth(block)?;
        char::from_u32(block * BLOCK + u32::try_from(rest).ok()?)
    }
}

/// Letters that two texts start with in common.
fn common(one: &str, other: &str) -> usize {
    one.chars()
        .zip(other.chars())
        .take_while(|(a, b)| a == b)
        .count()
}

/// Letters of a block beyond ASCII.
const BLOCK: u32 = 64;

/// Entries of each kind that are learned from, of one page.
const LEARNED_OF_A_PAGE: usize = 32;

/// Positions that are learned.
const MOST_POSITIONS: usize = 256;

/// Positions before the first one that differs into which a number may be carried.
const CARRIED: usize = 8;

/// So large may the numbers get, with room to multiply by a number of entries.
const MOST_VALUE: u128 = 1 << 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn alphabet(names: &[&str]) -> Alphabet {
        let mut alphabet = Alphabet::default();
        for name in names {
            alphabet.learn_name(name);
        }
        alphabet
    }

    fn stretch(from: &str, to: &str, entries: usize) -> Stretch {
        Stretch {
            from: from.to_owned(),
            to: to.to_owned(),
            entries,
        }
    }

    #[test]
    fn ahead_counts_on_where_names_are_counted() {
        let alphabet = alphabet(&["img-000000", "img-000999"]);
        let page = stretch("img-000000", "img-000999", 999);
        let ahead = |at, entries| alphabet.ahead(at, &page, entries);
        assert_eq!(ahead("img-000999", 5_000).unwrap(), "img-005999");
        assert_eq!(ahead("img-000999", 4_001).unwrap(), "img-005");
        assert_eq!(ahead("img-700999", 100_000).unwrap(), "img-800999");
        assert_eq!(alphabet.between("img-000999", "img-01", &page), Some(9_001));
    }

    #[test]
    fn ahead_spreads_over_hexadecimal_digits() {
        let alphabet = alphabet(&["00012a", "0fc4bd"]);
        let page = stretch("000000", "0fffff", 1_000);
        let half = alphabet.ahead("0fffff", &page, 7_000).unwrap();
        assert!(half.as_str() > "7f" && half.as_str() < "81", "{half}");
        assert_eq!(
            alphabet.ahead("0fffff", &page, 16_000),
            None,
            "beyond the last name"
        );
    }

    #[test]
    fn ahead_knows_letters_beyond_ascii() {
        let alphabet = alphabet(&["\u{65e5}\u{672c}a", "\u{65e5}\u{6771}b"]);
        let page = stretch("\u{65e5}\u{672c}a", "\u{65e5}\u{6771}b", 10);
        let ahead = alphabet.ahead("\u{65e5}\u{6771}b", &page, 1).unwrap();
        assert!(*ahead > *"\u{65e5}\u{6771}b", "{ahead}");
        assert!(ahead.starts_with('\u{65e5}'), "{ahead}");
    }

    #[test]
    fn nothing_is_guessed_from_nothing() {
        let alphabet = alphabet(&["a"]);
        assert_eq!(alphabet.ahead("a", &stretch("a", "a", 1), 5), None);
        assert_eq!(alphabet.ahead("", &stretch("", "", 0), 5), None);
        assert_eq!(
            Alphabet::default().ahead("a", &stretch("a", "b", 1), 5),
            None
        );
    }
}
