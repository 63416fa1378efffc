//! Names of buckets, and what they tell.

mod zone;

use std::fmt;

/// What stands for a bucket in requests: its name, or the alias or ARN of an access point.
///
/// Looser than S3's rules for new buckets, because old ones and other stores allow more: 3 to 255
/// letters, digits, `.`, `-` and `_`.
/// S3: [bucket naming rules](https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html),
/// [access points](https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-referencing.html).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketName {
    text: String,
    kind: BucketKind,
}

/// The kind of store that a name stands for, as far as it decides what can be asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketKind {
    /// A general purpose bucket, an access point of any kind before one, or a bucket of another
    /// store.
    GeneralPurpose,
    /// A directory bucket (S3 Express One Zone), or an access point before one.
    Directory,
    /// An access point of S3 on Outposts.
    Outposts,
}

/// A text that cannot be the name of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBucketName {
    /// The text begins as an ARN and is none of an access point.
    #[error(
        "not the ARN of an S3 access point \
         (arn:PARTITION:s3:REGION:ACCOUNT_ID:accesspoint/NAME): {0:?}"
    )]
    Arn(String),
    /// The text is the ARN of a bucket.
    #[error("this is a bucket's ARN; use its name: {0}")]
    BucketArn(String),
    /// The text is too short or too long.
    #[error("a bucket name has 3 to 255 characters: {0:?}")]
    Length(String),
    /// The text has a character that no bucket name has.
    #[error("a bucket name has only letters, digits, '.', '-' and '_': {0:?}")]
    Character(String),
}

impl BucketName {
    /// Checks `text` and makes it a name. What an ARN says is checked when its endpoint is looked
    /// up; here it has to have the form of one.
    ///
    /// # Errors
    /// [`InvalidBucketName`] says what the text is instead.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidBucketName> {
        let text = text.into();
        if !(3..=255).contains(&text.len()) {
            return Err(InvalidBucketName::Length(text));
        }
        if text.starts_with("arn:") {
            return match service_of_arn(&text) {
                Ok("s3-outposts") => Ok(Self::of(text, BucketKind::Outposts)),
                Ok(_) => Ok(Self::of(text, BucketKind::GeneralPurpose)),
                Err(None) => Err(InvalidBucketName::Arn(text)),
                Err(Some(bucket)) => Err(InvalidBucketName::BucketArn(bucket.to_owned())),
            };
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !text.bytes().all(allowed) || text.bytes().all(|byte| byte == b'.') {
            return Err(InvalidBucketName::Character(text));
        }
        let ends = |suffixes: [&str; 2]| suffixes.iter().any(|suffix| text.ends_with(suffix));
        let kind = if ends(DIRECTORY_SUFFIXES) {
            BucketKind::Directory
        } else if text.ends_with(OUTPOSTS_SUFFIX) {
            BucketKind::Outposts
        } else {
            BucketKind::GeneralPurpose
        };
        Ok(Self::of(text, kind))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the name stands for.
    pub fn kind(&self) -> BucketKind {
        self.kind
    }

    /// The region that the name tells: that of an ARN, or of a directory bucket's zone.
    pub fn region(&self) -> Option<String> {
        if self.is_arn() {
            let region = self.text.split(':').nth(3);
            return region
                .filter(|region| !region.is_empty())
                .map(str::to_owned);
        }
        let stem = DIRECTORY_SUFFIXES
            .iter()
            .find_map(|suffix| self.text.strip_suffix(suffix))?;
        let (_, zone) = stem.rsplit_once("--")?;
        zone::region_of(zone)
    }

    /// Whether the name is an ARN.
    pub(super) fn is_arn(&self) -> bool {
        self.text.starts_with("arn:")
    }

    /// Whether the name can be a label of a host name that TLS certificates of S3 cover.
    pub(super) fn fits_host(&self) -> bool {
        let lower = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = self.text.as_bytes();
        bytes.len() <= 63
            && bytes.iter().all(|byte| lower(byte) || *byte == b'-')
            && bytes.first().is_some_and(lower)
            && bytes.last().is_some_and(lower)
    }

    fn of(text: String, kind: BucketKind) -> Self {
        Self { text, kind }
    }
}

/// The service of an access point's ARN; otherwise, of the ARN of a bucket, the bucket's name.
fn service_of_arn(text: &str) -> Result<&str, Option<&str>> {
    let fields: Vec<&str> = text.splitn(6, ':').collect();
    let &[_, partition, service, region, account, resource] = &fields[..] else {
        return Err(None);
    };
    let plain = |text: &str, more: &[u8]| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
        text.bytes().all(allowed)
    };
    let services = ["s3", "s3-object-lambda", "s3-outposts"];
    if service == "s3" && region.is_empty() && account.is_empty() && plain(resource, b".-_") {
        return Err(Some(resource).filter(|bucket| !bucket.is_empty()));
    }
    let well_formed = plain(partition, b"-")
        && plain(region, b"-")
        && plain(account, b"-")
        && plain(resource, b".-_:/")
        && [partition, account, resource]
            .iter()
            .all(|field| !field.is_empty());
    if well_formed && services.contains(&service) {
        Ok(service)
    } else {
        Err(None)
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Ends of the names of directory buckets, and of access points before them.
const DIRECTORY_SUFFIXES: [&str; 2] = ["--x-s3", "--xa-s3"];

/// The end of the alias of an access point on Outposts.
const OUTPOSTS_SUFFIX: &str = "--op-s3";

#[cfg(test)]
mod tests;
