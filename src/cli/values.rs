//! The values of flags and arguments, parsed once and then trusted.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::metrics::{Label, names};
use crate::s3::{BucketName, InvalidBucketName, Key, Prefix};
use crate::tree::Ttl;

/// The first argument: what to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// `BUCKET_NAME`; the prefix, if any, comes from its flag.
    Name(BucketName),
    /// `s3://bucket/prefix/`.
    Uri(BucketName, Prefix),
}

/// Where the manifest of an inventory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Manifest {
    /// A file.
    Path(PathBuf),
    /// `s3://bucket/key`.
    Uri(BucketName, Key),
}

/// Objects of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ObjectsUri {
    /// `s3://bucket/` or `s3://bucket/prefix/`.
    Below(BucketName, Prefix),
    /// `s3://bucket/key`.
    One(BucketName, Key),
}

/// The permission bits of a file or a directory: at most 0777.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Permissions(u16);

impl Source {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("s3://") else {
            return parse_bucket(text).map(Self::Name);
        };
        if rest.starts_with("arn:") {
            return Err(
                "ARNs are not supported in s3:// URIs; name the ARN alone, and use --prefix"
                    .to_owned(),
            );
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self::Uri(parse_bucket(bucket)?, parse_prefix(prefix)?))
    }
}

impl Manifest {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("s3://") else {
            return Ok(Self::Path(PathBuf::from(text)));
        };
        match rest.split_once('/') {
            Some((bucket, key)) if !key.is_empty() && !key.ends_with('/') => {
                let key = Key::new(key).map_err(|error| error.to_string())?;
                Ok(Self::Uri(parse_bucket(bucket)?, key))
            }
            _ => Err("must be a file, or s3://bucket/.../manifest.json".to_owned()),
        }
    }
}

impl ObjectsUri {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("s3://")
            .ok_or("must be s3://bucket/, s3://bucket/prefix/ or s3://bucket/key")?;
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        let bucket = parse_bucket(bucket)?;
        if path.is_empty() || path.ends_with('/') {
            return Ok(Self::Below(bucket, parse_prefix(path)?));
        }
        let key = Key::new(path).map_err(|error| error.to_string())?;
        Ok(Self::One(bucket, key))
    }
}

impl Permissions {
    pub(super) const FILE_DEFAULT: Self = Self(0o644);
    pub(super) const DIRECTORY_DEFAULT: Self = Self(0o755);

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // The parser of the standard library also takes a sign.
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("must be a valid octal number".to_owned());
        }
        let bits = u16::from_str_radix(text, 8)
            .map_err(|_not_octal| "must be a valid octal number".to_owned())?;
        if bits > 0o777 {
            return Err("only user/group/other permissions are supported".to_owned());
        }
        Ok(Self(bits))
    }

    pub(super) fn bits(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

fn parse_bucket(text: &str) -> Result<BucketName, String> {
    BucketName::new(text).map_err(|error| match error {
        InvalidBucketName::Length(_) => "bucket names must be 3-255 characters long".to_owned(),
        InvalidBucketName::Character(_) => {
            "the bucket must have a valid name (only letters, numbers, ., - and _) or a valid ARN"
                .to_owned()
        }
        InvalidBucketName::Arn(_) | InvalidBucketName::BucketArn(_) => error.to_string(),
    })
}

pub(super) fn parse_prefix(text: &str) -> Result<Prefix, String> {
    Prefix::new(text).map_err(|error| format!("invalid bucket prefix: {error}"))
}

/// `true` or `false`, as AWS's tools take it.
pub(super) fn parse_switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be 'true' or 'false'".to_owned()),
    }
}

/// How long metadata is believed: a number of seconds, or a word.
pub(super) fn parse_ttl(text: &str) -> Result<Ttl, String> {
    match text {
        "minimal" => return Ok(Ttl::Minimal),
        "indefinite" => return Ok(INDEFINITE),
        _ => {}
    }
    let seconds: u64 = text.parse().map_err(|_not_a_number| {
        "must be a number of seconds, 'indefinite' or 'minimal'".to_owned()
    })?;
    match Duration::from_secs(seconds) {
        Duration::ZERO => Ok(Ttl::Minimal),
        ttl if ttl <= MAX_TTL => Ok(Ttl::For(ttl)),
        _ => Err(format!(
            "must be at most {} seconds (100 years); use 'indefinite' for no limit",
            MAX_TTL.as_secs()
        )),
    }
}

/// The address of an S3 service. It is logged, so it must not carry a password.
pub(super) fn parse_endpoint(text: &str) -> Result<String, String> {
    let text = parse_word(text)?;
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .ok_or_else(|| "must start with https:// or http://".to_owned())?;
    if rest.contains('@') {
        return Err("must not contain a user name or a password".to_owned());
    }
    if rest.is_empty() || rest.starts_with(['/', ':']) {
        return Err("must name a host".to_owned());
    }
    Ok(text)
}

/// A time of a tenth of a second to an hour, in seconds.
pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok();
    let seconds = seconds.filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "must be a number of seconds from 0.1 to 3600".to_owned())
}

/// A time that has passed: a number and a unit.
pub(super) fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a number and a unit: 90s, 15m, 12h, 7d or 4w".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(end);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_no_number| wrong())?;
    let age = number.checked_mul(seconds).map(Duration::from_secs);
    age.filter(|age| *age <= MAX_TTL)
        .ok_or_else(|| "must be at most 100 years".to_owned())
}

/// The URL of a receiver of metrics, to which a path is added.
pub(super) fn parse_receiver(text: &str) -> Result<String, String> {
    let url = parse_endpoint(text)?;
    if url.contains(['?', '#']) {
        return Err("must not have a query or a fragment".to_owned());
    }
    Ok(url)
}

/// A label of metrics: `key=value`.
pub(super) fn parse_label(text: &str) -> Result<Label, String> {
    let (name, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins || !name.chars().all(is_part) || name.starts_with("__") {
        return Err("the key must be letters, digits and underscores".to_owned());
    }
    if names::LABELS.contains(&name) {
        return Err(format!("the key {name} is taken"));
    }
    Ok(Label::new(name.to_owned(), value.to_owned()))
}

/// A text that goes into a host name or a header: no blanks, no control characters.
pub(super) fn parse_word(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be printable ASCII characters without spaces".to_owned());
    }
    Ok(text.to_owned())
}

/// The ARN of a key of the Key Management Service. An id or an alias alone would be looked for in
/// the account of whoever uploads.
pub(super) fn parse_key_arn(text: &str) -> Result<String, String> {
    let word = parse_word(text)?;
    if word.starts_with("arn:") && word.contains(":key") {
        Ok(word)
    } else {
        Err("must be the ARN of a key: arn:...:key/...".to_owned())
    }
}

/// A text that goes into a header: no control characters.
pub(super) fn parse_header_text(text: &str) -> Result<String, String> {
    if !text
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
    {
        return Err("must be printable ASCII characters".to_owned());
    }
    Ok(text.to_owned())
}

/// For ever.
pub(super) const INDEFINITE: Ttl = Ttl::For(MAX_TTL);

/// The longest time that metadata may be believed: 100 years, which is as good as for ever.
const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> BucketName {
        BucketName::new(text).expect("valid")
    }

    #[test]
    fn parse_source_accepts_names_and_uris() {
        let prefix = |text| Prefix::new(text).expect("valid");
        let cases = [
            ("bucket", Source::Name(name("bucket"))),
            ("my.Bucket-1", Source::Name(name("my.Bucket-1"))),
            ("s3://bucket", Source::Uri(name("bucket"), prefix(""))),
            ("s3://bucket/", Source::Uri(name("bucket"), prefix(""))),
            (
                "s3://bucket/a/b/",
                Source::Uri(name("bucket"), prefix("a/b/")),
            ),
            ("s3://bucket//", Source::Uri(name("bucket"), prefix("/"))),
        ];
        for (text, expected) in cases {
            assert_eq!(Source::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn parse_objects_tells_prefixes_and_keys_apart() {
        let below = |prefix| ObjectsUri::Below(name("bucket"), Prefix::new(prefix).expect("valid"));
        let one = |key| ObjectsUri::One(name("bucket"), Key::new(key).expect("valid"));
        for (text, expected) in [
            ("s3://bucket", below("")),
            ("s3://bucket/", below("")),
            ("s3://bucket/a/b/", below("a/b/")),
            ("s3://bucket/a/b", one("a/b")),
            ("s3://bucket//b", one("/b")),
        ] {
            assert_eq!(ObjectsUri::parse(text), Ok(expected), "{text}");
        }
        for text in ["bucket", "/a/b", "s3://", "s3://b!cket/a", "S3://bucket"] {
            assert!(ObjectsUri::parse(text).is_err(), "{text}");
        }
        let long = format!("s3://bucket/{}", "k".repeat(1025));
        assert!(ObjectsUri::parse(&long).is_err());
    }

    #[test]
    fn parse_age_takes_a_number_and_a_unit() {
        let seconds = |n| Ok(Duration::from_secs(n));
        assert_eq!(parse_age("0s"), seconds(0));
        assert_eq!(parse_age("15m"), seconds(900));
        assert_eq!(parse_age("2h"), seconds(7200));
        assert_eq!(parse_age("7d"), seconds(604_800));
        assert_eq!(parse_age("1w"), seconds(604_800));
        for text in [
            "", "7", "d", "-1d", "1.5d", "1y", "1d1h", "7 d", "+7d", "7dd",
        ] {
            let error = parse_age(text).expect_err(text);
            assert!(error.contains("a number and a unit"), "{text}: {error}");
        }
        for text in ["5300w", "18446744073709551615w"] {
            assert!(parse_age(text).expect_err(text).contains("100 years"));
        }
    }

    #[test]
    fn parse_source_refuses_with_the_reason() {
        let long = "b".repeat(256);
        let cases = [
            ("ab", "3-255 characters"),
            (long.as_str(), "3-255 characters"),
            ("", "3-255 characters"),
            ("bu!cket", "only letters, numbers, ., - and _"),
            ("bücket", "only letters, numbers, ., - and _"),
            ("bucket/prefix/", "only letters, numbers, ., - and _"),
            ("bu!cket", "or a valid ARN"),
            ("arn:aws:s3:::bucket", "use its name: bucket"),
            (
                "arn:aws:sns:us-east-1:123456789012:topic",
                "not the ARN of an S3 access point",
            ),
            (
                "s3://arn:aws:s3:::bucket/",
                "ARNs are not supported in s3:// URIs",
            ),
            ("s3://", "3-255 characters"),
            ("s3://bucket/prefix", "prefix must end in '/'"),
        ];
        for (text, reason) in cases {
            let error = Source::parse(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn parse_permissions_accepts_octal_up_to_0777() {
        assert_eq!(Permissions::parse("0"), Ok(Permissions(0)));
        assert_eq!(Permissions::parse("0640"), Ok(Permissions(0o640)));
        assert_eq!(Permissions::parse("777"), Ok(Permissions(0o777)));
        for text in ["", "+7", "-1", "888", "0x1", "rwx", "7777777777"] {
            let error = Permissions::parse(text).expect_err(text);
            assert_eq!(error, "must be a valid octal number", "{text}");
        }
        for text in ["1000", "4755", "01777"] {
            let error = Permissions::parse(text).expect_err(text);
            assert_eq!(
                error, "only user/group/other permissions are supported",
                "{text}"
            );
        }
    }

    #[test]
    fn parse_ttl_accepts_seconds_and_words() {
        let seconds = |n| Ttl::For(Duration::from_secs(n));
        assert_eq!(parse_ttl("minimal"), Ok(Ttl::Minimal));
        assert_eq!(parse_ttl("indefinite"), Ok(Ttl::For(MAX_TTL)));
        assert_eq!(parse_ttl("0"), Ok(Ttl::Minimal));
        assert_eq!(parse_ttl("60"), Ok(seconds(60)));
        assert_eq!(parse_ttl("3153600000"), Ok(seconds(3_153_600_000)));
        for text in ["3153600001", "18446744073709551615"] {
            assert!(parse_ttl(text).expect_err(text).contains("100 years"));
        }
        for text in ["", "-1", "1.5", "1s", "forever", "99999999999999999999"] {
            assert!(
                parse_ttl(text)
                    .expect_err(text)
                    .contains("number of seconds")
            );
        }
    }

    #[test]
    fn parse_endpoint_accepts_urls_without_secrets() {
        for text in [
            "https://s3.example.com",
            "http://127.0.0.1:9000",
            "http://[::1]:9000/",
        ] {
            assert_eq!(parse_endpoint(text), Ok(text.to_owned()));
        }
        for (text, reason) in [
            ("s3.example.com", "https:// or http://"),
            ("ftp://s3.example.com", "https:// or http://"),
            ("https://", "name a host"),
            ("https://:80", "name a host"),
            ("https://key:secret@s3.example.com", "must not contain"),
            ("https://a b", "without spaces"),
        ] {
            let error = parse_endpoint(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn parse_label_takes_what_prometheus_takes() {
        assert_eq!(parse_label("team=a=b"), Ok(Label::new("team", "a=b")));
        assert_eq!(parse_label("_x1="), Ok(Label::new("_x1", "")));
        for text in ["team", "=x", "1a=x", "a-b=x", "__a=x", "le=x", "bucket=x"] {
            assert!(parse_label(text).is_err(), "{text}");
        }
        assert!(parse_receiver("http://h:4318/x").is_ok());
        assert!(parse_receiver("http://h:4318/?key=x").is_err());
    }

    #[test]
    fn parse_word_refuses_what_would_break_a_header() {
        assert_eq!(parse_word("us-east-1"), Ok("us-east-1".to_owned()));
        for text in ["", "a b", "a\nb", "a\r\nx: y", "ü"] {
            assert!(parse_word(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_header_text("my app/1"), Ok("my app/1".to_owned()));
        assert!(parse_header_text("a\r\nb").is_err());
    }
}
