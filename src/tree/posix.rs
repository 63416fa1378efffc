//! POSIX attributes in user metadata.
//!
//! The names are those of s3fs and rclone: `mode` (type and permission bits), `uid`, `gid` and
//! `mtime`. Numbers are written as s3fs writes them: all decimal, the time in seconds with nine
//! digits behind the point. What is read is what either of them writes: rclone's `mode` is octal.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Attributes of a file, as far as they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PosixAttr {
    /// Type and permission bits, as `st_mode` has them. The type is a regular file or a symbolic
    /// link.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Time of last modification.
    pub modified: Option<SystemTime>,
}

impl PosixAttr {
    /// What `metadata` says. What cannot be understood counts as not said.
    pub fn read(metadata: &BTreeMap<String, String>) -> Self {
        let text = |name| metadata.get(name).map(String::as_str);
        Self {
            mode: text(MODE).and_then(parse_mode),
            uid: text(UID).and_then(parse_id),
            gid: text(GID).and_then(parse_id),
            modified: text(MTIME).and_then(parse_time),
        }
    }

    /// Puts what is known into `metadata`; the rest of it stays.
    pub fn write(&self, metadata: &mut BTreeMap<String, String>) {
        let numbers = [(MODE, self.mode), (UID, self.uid), (GID, self.gid)];
        for (name, number) in numbers {
            if let Some(number) = number {
                metadata.insert(name.to_owned(), number.to_string());
            }
        }
        if let Some(modified) = self.modified {
            metadata.insert(MTIME.to_owned(), time_text(modified));
        }
    }

    /// Puts what is known into `metadata`, and takes out what is not known; the rest of it stays.
    pub fn replace(&self, metadata: &mut BTreeMap<String, String>) {
        for name in [MODE, UID, GID, MTIME] {
            metadata.remove(name);
        }
        self.write(metadata);
    }

    /// What is known here, and what `self` lacks from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            mode: self.mode.or(other.mode),
            uid: self.uid.or(other.uid),
            gid: self.gid.or(other.gid),
            modified: self.modified.or(other.modified),
        }
    }

    /// Whether this is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode
            .is_some_and(|mode| mode & libc::S_IFMT == libc::S_IFLNK)
    }

    /// The permission bits.
    pub fn permissions(&self) -> Option<u16> {
        let bits = self.mode? & PERMISSIONS;
        u16::try_from(bits).ok()
    }
}

/// A number that has the type of a file in it is decimal, as s3fs has it; everything else is octal.
fn parse_mode(text: &str) -> Option<u32> {
    let decimal = parse_number(text)?;
    let is_typed = decimal <= MODE_BITS && !text.starts_with('0') && has_file_type(decimal);
    let mode = if is_typed {
        decimal
    } else {
        u32::from_str_radix(text, 8).ok()?
    };
    if mode <= PERMISSIONS {
        return Some(mode | libc::S_IFREG);
    }
    (mode <= MODE_BITS && has_file_type(mode)).then_some(mode)
}

/// Whether the type is one that an object can be shown as.
fn has_file_type(mode: u32) -> bool {
    matches!(mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFLNK)
}

/// The last number stands for nobody.
fn parse_id(text: &str) -> Option<u32> {
    parse_number(text).filter(|&id| id != u32::MAX)
}

fn parse_number(text: &str) -> Option<u32> {
    if is_digits(text) {
        text.parse().ok()
    } else {
        None
    }
}

/// Seconds since 1970, which may have a fraction and be negative.
fn parse_time(text: &str) -> Option<SystemTime> {
    let (magnitude, is_before) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (seconds, fraction) = magnitude.split_once('.').unwrap_or((magnitude, "0"));
    if !is_digits(seconds) || !is_digits(fraction) {
        return None;
    }
    let nanoseconds = format!("{:0<9.9}", fraction).parse().ok()?;
    let since = Duration::new(seconds.parse().ok()?, nanoseconds);
    if is_before {
        UNIX_EPOCH.checked_sub(since)
    } else {
        UNIX_EPOCH.checked_add(since)
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn time_text(time: SystemTime) -> String {
    let (sign, since) = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => ("", since),
        Err(error) => ("-", error.duration()),
    };
    format!("{sign}{}.{:09}", since.as_secs(), since.subsec_nanos())
}

const MODE: &str = "mode";
const UID: &str = "uid";
const GID: &str = "gid";
const MTIME: &str = "mtime";

/// The bits of `st_mode`.
const MODE_BITS: u32 = 0o177_777;
/// Those of them that say who may do what.
const PERMISSIONS: u32 = 0o7777;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(name: &str, value: &str) -> PosixAttr {
        PosixAttr::read(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn mode_of_s3fs_is_decimal_and_that_of_rclone_octal() {
        for (text, mode) in [
            ("33188", 0o100_644),
            ("100644", 0o100_644),
            ("0100664", 0o100_664),
            ("0644", 0o100_644),
            ("644", 0o100_644),
            ("0", 0o100_000),
            ("41471", 0o120_777),
            ("120777", 0o120_777),
            ("35309", 0o104_755),
        ] {
            assert_eq!(read("mode", text).mode, Some(mode), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_counts_as_not_said() {
        for text in [
            "",
            "-1",
            "+33188",
            "rw",
            "16877",
            "40755",
            "8",
            "99",
            "1e3",
            "4294967296",
            "0x1ff",
            "33188 ",
            "1000000000",
        ] {
            assert_eq!(read("mode", text), PosixAttr::default(), "{text}");
        }
        for text in ["", "-1", "root", "4294967295", "4294967296", "+1", "1.0"] {
            assert_eq!(read("uid", text), PosixAttr::default(), "{text}");
            assert_eq!(read("gid", text), PosixAttr::default(), "{text}");
        }
        for text in [
            "",
            "-",
            ".",
            ".5",
            "5.",
            "1.5e3",
            "now",
            "--1",
            "18446744073709551616",
            "18446744073709551615",
            "1 ",
            "2024-01-01T00:00:00Z",
        ] {
            assert_eq!(read("mtime", text), PosixAttr::default(), "{text}");
        }
    }

    #[test]
    fn time_has_a_fraction_of_any_length() {
        let nanos = |text| {
            let modified = read("mtime", text).modified.expect("a time");
            modified
                .duration_since(UNIX_EPOCH)
                .expect("after 1970")
                .as_nanos()
        };
        assert_eq!(nanos("1700000000"), 1_700_000_000_000_000_000);
        assert_eq!(nanos("1700000000.5"), 1_700_000_000_500_000_000);
        assert_eq!(nanos("1.000000012"), 1_000_000_012);
        assert_eq!(nanos("1.0000000129"), 1_000_000_012);
        let before = UNIX_EPOCH - Duration::from_millis(1500);
        assert_eq!(read("mtime", "-1.5").modified, Some(before));
    }

    #[test]
    fn write_changes_what_is_known_and_nothing_else() {
        let mut metadata = BTreeMap::from([
            ("uid".to_owned(), "7".to_owned()),
            ("color".to_owned(), "red".to_owned()),
        ]);
        let attr = PosixAttr {
            mode: Some(0o100_644),
            modified: Some(UNIX_EPOCH + Duration::new(5, 7)),
            ..PosixAttr::default()
        };
        attr.write(&mut metadata);
        let pairs: Vec<_> = metadata.iter().map(|(n, v)| (&**n, &**v)).collect();
        let expected = [
            ("color", "red"),
            ("mode", "33188"),
            ("mtime", "5.000000007"),
            ("uid", "7"),
        ];
        assert_eq!(pairs, expected);
        assert!(!attr.is_symlink());
        assert_eq!(attr.permissions(), Some(0o644));
    }

    proptest! {
        #[test]
        fn prop_what_is_written_is_read(
            permissions in 0u32..=0o7777,
            is_link: bool,
            id in 0..u32::MAX,
            seconds in -1_000_000_000_000i64..1_000_000_000_000,
            nanoseconds in 0u32..1_000_000_000,
        ) {
            let kind = if is_link { libc::S_IFLNK } else { libc::S_IFREG };
            let since = Duration::new(seconds.unsigned_abs(), nanoseconds);
            let modified = if seconds < 0 { UNIX_EPOCH - since } else { UNIX_EPOCH + since };
            let attr = PosixAttr {
                mode: Some(kind | permissions),
                uid: Some(id),
                gid: Some(id / 2),
                modified: Some(modified),
            };
            let mut metadata = BTreeMap::new();
            attr.write(&mut metadata);
            prop_assert_eq!(PosixAttr::read(&metadata), attr);
        }

        #[test]
        fn prop_read_never_panics(name in "mode|uid|gid|mtime", value: String) {
            let _ = read(&name, &value);
        }
    }
}
