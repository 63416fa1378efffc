//! Names of buckets.

use std::fmt;

/// The name of a general purpose bucket, or of an access point's alias that stands for one.
///
/// Looser than S3's rules for new buckets, because old ones and other stores allow more: 3 to 255
/// letters, digits, `.`, `-` and `_`.
/// S3: [bucket naming rules](https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketName(String);

/// A text that cannot be the name of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBucketName {
    /// The text is an ARN.
    #[error("access points and other ARNs are not supported yet: {0:?}")]
    Arn(String),
    /// The text names a directory bucket (S3 Express One Zone).
    #[error("directory buckets are not supported yet: {0:?}")]
    Directory(String),
    /// The text is too short or too long.
    #[error("a bucket name has 3 to 255 characters: {0:?}")]
    Length(String),
    /// The text has a character that no bucket name has.
    #[error("a bucket name has only letters, digits, '.', '-' and '_': {0:?}")]
    Character(String),
}

impl BucketName {
    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// [`InvalidBucketName`] says what the text is instead.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidBucketName> {
        let text = text.into();
        if text.starts_with("arn:") {
            return Err(InvalidBucketName::Arn(text));
        }
        if text.ends_with("--x-s3") {
            return Err(InvalidBucketName::Directory(text));
        }
        if !(3..=255).contains(&text.len()) {
            return Err(InvalidBucketName::Length(text));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !text.bytes().all(allowed) || text.bytes().all(|byte| byte == b'.') {
            return Err(InvalidBucketName::Character(text));
        }
        Ok(Self(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name can be a label of a host name that TLS certificates of S3 cover.
    pub(super) fn fits_host(&self) -> bool {
        let lower = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = self.0.as_bytes();
        bytes.len() <= 63
            && bytes.iter().all(|byte| lower(byte) || *byte == b'-')
            && bytes.first().is_some_and(lower)
            && bytes.last().is_some_and(lower)
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{BucketName, InvalidBucketName};

    #[test]
    fn new_accepts_what_stores_allow() {
        for text in ["abc", "my.bucket", "Old_Bucket", "ap-alias-s3alias", "a-1"] {
            assert_eq!(BucketName::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn new_refuses_with_the_reason() {
        let refusal = |text: &str| BucketName::new(text).unwrap_err();
        let arn = "arn:aws:s3:us-east-1:123456789012:accesspoint/x";
        assert!(matches!(refusal(arn), InvalidBucketName::Arn(_)));
        let express = "logs--use1-az5--x-s3";
        assert!(matches!(refusal(express), InvalidBucketName::Directory(_)));
        assert!(matches!(refusal("ab"), InvalidBucketName::Length(_)));
        assert!(matches!(refusal(""), InvalidBucketName::Length(_)));
        for text in ["a/b/c", "a b c", "...", "evil.com#x", "bücket", "a\r\nb"] {
            assert!(matches!(refusal(text), InvalidBucketName::Character(_)));
        }
    }

    #[test]
    fn fits_host_needs_a_single_lower_case_label() {
        let fits = |text: &str| BucketName::new(text).unwrap().fits_host();
        assert!(fits("my-bucket-1"));
        for text in ["my.bucket", "Bucket", "a_b", "-ab", "ab-", &"x".repeat(64)] {
            assert!(!fits(text), "{text}");
        }
    }
}
