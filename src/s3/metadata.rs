//! User metadata as headers.
//!
//! HTTP carries visible ASCII and single spaces between them; a signature allows no more. Every
//! other text goes as an encoded word, as S3 itself does with what is not ASCII.
//! [RFC 2047](https://www.rfc-editor.org/rfc/rfc2047).

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use percent_encoding::percent_decode_str;

use super::message::Header;
use crate::crt::Headers;

/// Metadata that HTTP cannot carry, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsendable {
    #[error("the name {0:?} of user metadata has other characters than a-z, 0-9, '-', '_' and '.'")]
    Name(String),
    #[error("the user metadata {0:?} has a control character")]
    Value(String),
    #[error("the content type {0:?} has characters that are not ASCII")]
    ContentType(String),
}

/// The headers of `metadata`.
pub(super) fn headers(metadata: &BTreeMap<String, String>) -> Result<Vec<Header>, Unsendable> {
    let header = |(name, value): (&String, &String)| {
        let is_token = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Unsendable::Name(name.clone()));
        }
        if value.chars().any(char::is_control) {
            return Err(Unsendable::Value(name.clone()));
        }
        Ok((format!("{PREFIX}{name}").into(), encode(value)))
    };
    metadata.iter().map(header).collect()
}

/// The header of a content type.
pub(super) fn content_type(text: &str) -> Result<Header, Unsendable> {
    if is_plain(text) {
        Ok(("Content-Type".into(), text.to_owned()))
    } else {
        Err(Unsendable::ContentType(text.to_owned()))
    }
}

/// The metadata that an answer has.
pub(super) fn read(headers: &Headers) -> BTreeMap<String, String> {
    let entries = headers.iter().filter_map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix(PREFIX)?;
        Some((name.to_owned(), decode(value)))
    });
    entries.collect()
}

fn encode(value: &str) -> String {
    if is_plain(value) && !value.contains("=?") {
        value.to_owned()
    } else {
        format!("=?UTF-8?B?{}?=", BASE64_STANDARD.encode(value))
    }
}

/// Whether all of `text` arrives as it is, in a signed header.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && !text.contains("  ")
}

/// Replaces the encoded words of `value`, which is left alone where it has none that can be read.
fn decode(value: &str) -> String {
    let mut decoded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, word, after)) = next_word(rest) {
        // Spaces between encoded words only keep lines short.
        if decoded.is_empty() || !before.trim().is_empty() {
            decoded.push_str(before);
        }
        decoded.push_str(&word);
        rest = after;
    }
    decoded.push_str(rest);
    decoded
}

/// What is before the first encoded word of `text`, what the word says, and what is after it.
fn next_word(text: &str) -> Option<(&str, String, &str)> {
    let start = text.find("=?")?;
    let (charset, rest) = text[start + 2..].split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (word, after) = rest.split_once("?=")?;
    let is_utf8 = ["utf-8", "us-ascii"]
        .iter()
        .any(|name| charset.eq_ignore_ascii_case(name));
    let bytes = match encoding {
        "B" | "b" => BASE64_STANDARD.decode(word).ok()?,
        "Q" | "q" => quoted(word),
        _ => return None,
    };
    let word = String::from_utf8(bytes).ok().filter(|_| is_utf8)?;
    Some((&text[..start], word, after))
}

/// Percent encoding, with other signs.
fn quoted(word: &str) -> Vec<u8> {
    let word = word.replace('%', "=25").replace('=', "%").replace('_', " ");
    percent_decode_str(&word).collect()
}

const PREFIX: &str = "x-amz-meta-";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metadata(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    fn sent(value: &str) -> String {
        let headers = headers(&metadata("n", value)).unwrap();
        assert_eq!(headers[0].0, "x-amz-meta-n");
        headers[0].1.clone()
    }

    #[test]
    fn plain_values_are_sent_as_they_are() {
        for value in ["", "a", "0644", "a b; c=d", "text/plain"] {
            assert_eq!(sent(value), value);
        }
    }

    #[test]
    fn other_values_are_sent_as_encoded_words() {
        assert_eq!(sent("ü"), "=?UTF-8?B?w7w=?=");
        for value in [" a", "a ", "a  b", "=?UTF-8?B?eA==?=", "日本語"] {
            assert!(sent(value).starts_with("=?UTF-8?B?"), "{value}");
            assert_eq!(decode(&sent(value)), value);
        }
    }

    #[test]
    fn what_http_cannot_carry_is_refused() {
        for name in ["", "A", "a b", "a:b", "ü", "a\n"] {
            let refused = headers(&metadata(name, "v")).unwrap_err();
            assert_eq!(refused, Unsendable::Name(name.to_owned()));
        }
        for value in ["a\nb", "\0", "a\r", "\u{7f}", "\u{85}"] {
            let refused = headers(&metadata("n", value)).unwrap_err();
            assert_eq!(refused, Unsendable::Value("n".to_owned()));
        }
        assert!(content_type("text/plain; charset=utf-8").is_ok());
        for text in ["ü", "a\nb", " a"] {
            assert!(content_type(text).is_err());
        }
    }

    #[test]
    fn words_of_other_clients_are_read() {
        assert_eq!(decode("=?UTF-8?Q?caf=C3=A9_1?="), "café 1");
        assert_eq!(decode("a =?utf-8?b?w7w=?= b"), "a ü b");
        assert_eq!(decode("=?UTF-8?B?w7w=?= =?UTF-8?B?w7w=?="), "üü");
        for other in [
            "=?UTF-8?B?!?=",
            "=?KOI8-R?B?w7w=?=",
            "=?UTF-8?B?",
            "=?",
            "a=?b",
        ] {
            assert_eq!(decode(other), other);
        }
    }

    #[test]
    fn read_takes_user_metadata_only_in_lower_case() {
        let headers = [("X-Amz-Meta-Mode", "0644"), ("ETag", "e")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let headers: Headers = headers.into_iter().collect();
        assert_eq!(read(&headers), metadata("mode", "0644"));
    }

    proptest! {
        #[test]
        fn prop_values_come_back(value in "\\PC*") {
            prop_assert_eq!(decode(&sent(&value)), value);
        }

        #[test]
        fn prop_decode_never_panics(value: String) {
            let _ = decode(&value);
        }
    }
}
