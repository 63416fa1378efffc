//! Keeps secrets out of the log.
//!
//! The CRT logs the requests that it signs, with the session token among the headers, and the
//! signatures. Every record passes through here on its way to wherever the log goes.

use std::borrow::Cow;

use log::{Log, Metadata, Record};

/// A logger that takes the secrets out of what it hands on.
#[derive(Debug)]
pub(super) struct Redacting<L>(pub(super) L);

impl<L: Log> Log for Redacting<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        match redact(&text) {
            Cow::Borrowed(_) => self.0.log(record),
            Cow::Owned(safe) => {
                let metadata = record.metadata().clone();
                let mut safely = Record::builder();
                self.0.log(
                    &safely
                        .metadata(metadata)
                        .args(format_args!("{safe}"))
                        .build(),
                );
            }
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// The text without the values that follow a [mark](MARKS).
fn redact(text: &str) -> Cow<'_, str> {
    // Of the same length as the text, so that positions are those of the text.
    let lower = text.to_ascii_lowercase();
    let mut safe = String::new();
    let mut done = 0;
    while let Some(value) = next_value(&lower, done) {
        let length = lower[value..]
            .find(ends_value)
            .unwrap_or(lower.len() - value);
        safe.push_str(&text[done..value]);
        safe.push_str("[redacted]");
        done = value + length;
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    safe.push_str(&text[done..]);
    Cow::Owned(safe)
}

/// Where the first value after `from` begins.
fn next_value(lower: &str, from: usize) -> Option<usize> {
    let after = |mark: &&str| Some(from + lower[from..].find(*mark)? + mark.len());
    let value = MARKS.iter().filter_map(after).min()?;
    let blanks = lower[value..]
        .bytes()
        .take_while(|byte| *byte == b' ')
        .count();
    Some(value + blanks)
}

fn ends_value(c: char) -> bool {
    c.is_whitespace() || matches!(c, '&' | ',' | '"')
}

/// What stands before a session token or a signature, in a header, a query or a log line of the
/// CRT; in lower case.
const MARKS: &[&str] = &[
    "x-amz-security-token:",
    "x-amz-security-token=",
    "x-amz-signature=",
    "signature=",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn redact_hides_tokens_and_signatures() {
        for (text, expected) in [
            (
                "host:h\nx-amz-security-token:SECRET\n\nhost;x-amz-security-token\n",
                "host:h\nx-amz-security-token:[redacted]\n\nhost;x-amz-security-token\n",
            ),
            (
                "X-Amz-Security-Token: SECRET",
                "X-Amz-Security-Token: [redacted]",
            ),
            (
                "/k?X-Amz-Security-Token=SECRET&X-Amz-Signature=SECRET&x=1",
                "/k?X-Amz-Security-Token=[redacted]&X-Amz-Signature=[redacted]&x=1",
            ),
            (
                "AWS4-HMAC-SHA256 Credential=A/b/s3, SignedHeaders=host, Signature=SECRET",
                "AWS4-HMAC-SHA256 Credential=A/b/s3, SignedHeaders=host, Signature=[redacted]",
            ),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn redact_leaves_other_text_alone() {
        for text in ["", "GetObject s3://b/k: HTTP 200", "ÄÖÜ İ ß", "signature"] {
            assert!(matches!(redact(text), Cow::Borrowed(same) if same == text));
        }
    }

    proptest! {
        #[test]
        fn prop_redact_hides_whatever_surrounds_it(before in any::<String>(), after in any::<String>()) {
            let text = format!("{before}\nSignature=TOP-SECRET\n{after}");
            let safe = redact(&text);
            prop_assert!(!safe.contains("TOP-SECRET"));
        }
    }
}
