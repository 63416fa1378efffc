//! Entity tags, which name the versions of objects.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::Arc;

/// The entity tag of one version of an object, as S3 spells it, quotes included.
///
/// There is one for each object that is known, so its size counts: the usual spellings, an MD5 sum
/// in quotes and that with a number of parts after it, are kept as numbers. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ETag(Tag);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Tag {
    /// `"0123456789abcdef0123456789abcdef"`, and with `-7` before the last quote for 7 parts.
    Digest { sum: [u8; 16], parts: u32 },
    /// Any other text.
    Text(Arc<str>),
}

impl ETag {
    /// Takes the text of an `ETag` header or element.
    pub fn new(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        Self(digest(text).unwrap_or_else(|| Tag::Text(Arc::from(text))))
    }

    /// The tag as S3 spells it.
    pub fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Tag::Text(text) => Cow::Borrowed(text),
            Tag::Digest { sum, parts } => {
                let mut text = String::with_capacity(DIGEST_LENGTH + 6);
                text.push('"');
                for byte in sum {
                    // Writing to a String cannot fail.
                    let _written = write!(text, "{byte:02x}");
                }
                if *parts > 0 {
                    let _written = write!(text, "-{parts}");
                }
                text.push('"');
                Cow::Owned(text)
            }
        }
    }
}

/// The numbers in `text`, if they spell just this text.
fn digest(text: &str) -> Option<Tag> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let (hex, parts) = match inner.split_once('-') {
        Some((hex, parts)) => (hex, number(parts)?),
        None => (inner, 0),
    };
    let mut sum = [0; 16];
    let (pairs, []) = hex.as_bytes().as_chunks() else {
        return None;
    };
    if pairs.len() != sum.len() {
        return None;
    }
    for (byte, [high, low]) in sum.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(Tag::Digest { sum, parts })
}

/// A number of parts, in the one way in which it is spelt.
fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    is_plain.then(|| text.parse().ok())?
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ETag").field(&self.text()).finish()
    }
}

const DIGEST_LENGTH: usize = 34;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUM: &str = "0123456789abcdef0fedcba987654321";

    #[test]
    fn usual_tags_are_numbers() {
        for text in [
            format!("\"{SUM}\""),
            format!("\"{SUM}-1\""),
            format!("\"{SUM}-10000\""),
        ] {
            let tag = ETag::new(&text);
            assert!(matches!(tag.0, Tag::Digest { .. }), "{text}");
            assert_eq!(tag.text(), text);
        }
        assert_eq!(size_of::<ETag>(), 24);
    }

    #[test]
    fn tags_that_differ_are_different() {
        let texts = [
            format!("\"{SUM}\""),
            format!("\"{SUM}-0\""),
            format!("\"{SUM}-01\""),
            format!("\"{SUM}-+1\""),
            format!("\"{SUM}-1\""),
            format!("\"{SUM}-99999999999\""),
            format!("\"{SUM}-\""),
            format!("\"{}\"", SUM.to_uppercase()),
            format!("W/\"{SUM}\""),
            SUM.to_owned(),
            String::new(),
            "\"".to_owned(),
        ];
        for (at, text) in texts.iter().enumerate() {
            assert_eq!(ETag::new(text).text(), *text);
            for other in texts.iter().skip(at + 1) {
                assert_ne!(ETag::new(text), ETag::new(other));
            }
        }
    }

    proptest! {
        #[test]
        fn prop_every_text_comes_back(text in "\"?([0-9a-f]{30,34}|\\PC{0,8})(-[0-9]{1,6})?\"?") {
            let tag = ETag::new(&text);
            prop_assert_eq!(tag.text(), text);
        }
    }
}
