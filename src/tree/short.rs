//! Names as the table keeps them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A name of which the first 22 bytes take no memory of their own: so are most names of files, and
/// millions of small pieces on the heap take more than their length and are hard to give back.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Name(Repr);

#[derive(Clone, PartialEq, Eq)]
enum Repr {
    /// Text of so many bytes; what comes after it is 0.
    Short(u8, [u8; SHORT_BYTES]),
    Long(Box<str>),
}

const SHORT_BYTES: usize = 22;

const _: () = assert!(size_of::<Name>() == 24);

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT_BYTES];
        Self(
            match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
                (Some(start), Ok(length)) => {
                    start.copy_from_slice(text.as_bytes());
                    Repr::Short(length, bytes)
                }
                _ => Repr::Long(Box::from(text)),
            },
        )
    }
}

impl From<&Name> for Arc<str> {
    fn from(name: &Name) -> Self {
        Self::from(&**name)
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            // Always text: it was copied from a `str`, all of it.
            Repr::Short(length, bytes) => bytes
                .get(..usize::from(*length))
                .and_then(|text| str::from_utf8(text).ok())
                .unwrap_or_default(),
            Repr::Long(text) => text,
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_the_text_it_was_made_of_whatever_its_length() {
        for text in ["", "a", "ü", "a\0", "ä\u{10ffff}日本"] {
            for repeated in 0..30 {
                let text = text.repeat(repeated);
                assert_eq!(*Name::from(&*text), *text);
                assert_eq!(*Arc::<str>::from(&Name::from(&*text)), *text);
            }
        }
    }

    #[test]
    fn short_name_takes_no_memory_of_its_own() {
        let is_short = |length| matches!(Name::from(&*"x".repeat(length)).0, Repr::Short(..));
        assert!(is_short(SHORT_BYTES));
        assert!(!is_short(SHORT_BYTES + 1));
    }
}
