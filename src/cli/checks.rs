//! Whether a directory can be mounted on, checked before anything is started.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::descriptor;
use super::exit::Failure;

/// What can be mounted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MountPoint {
    /// A directory, by its absolute path without symbolic links.
    Directory(PathBuf),
    /// A file descriptor with this number, which somebody else mounts.
    Descriptor(RawFd),
}

impl MountPoint {
    /// Checks what was typed.
    ///
    /// # Errors
    /// As [`check_mount_point`] and [`descriptor::check`].
    pub(super) fn check(given: &Path) -> Result<Self, Failure> {
        match descriptor::number_of(given) {
            Some(number) => descriptor::check(number).map(|()| Self::Descriptor(number)),
            None => check_mount_point(given).map(Self::Directory),
        }
    }
}

/// Checks the mount point and gives its absolute path without symbolic links.
///
/// # Errors
/// The directory is missing, is none, cannot be reached, or has something mounted on it.
pub(super) fn check_mount_point(directory: &Path) -> Result<PathBuf, Failure> {
    let shown = directory.display();
    let metadata = fs::metadata(directory).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(format!("mount point {shown} does not exist"))
            .with_remedy(format!("create it: mkdir -p {shown}")),
        // The latter while it ends.
        io::ErrorKind::NotConnected | io::ErrorKind::ConnectionAborted => {
            Failure::new(format!("mount point {shown} is already mounted"))
                .because("the process that served it has ended without unmounting it")
                .with_remedy(format!("run: umount {shown}"))
        }
        _ => Failure::new(format!("mount point {shown} cannot be accessed")).caused_by(&error),
    })?;
    if !metadata.is_dir() {
        return Err(Failure::new(format!(
            "mount point {shown} is not a directory"
        )));
    }
    let unreadable = |error: io::Error| {
        Failure::new(format!("mount point {shown} cannot be checked")).caused_by(&error)
    };
    let absolute = directory.canonicalize().map_err(unreadable)?;
    let table = fs::read("/proc/self/mountinfo")
        .map_err(|error| unreadable(error).because("/proc/self/mountinfo cannot be read"))?;
    if is_mounted(&table, &absolute) {
        return Err(
            Failure::new(format!("mount point {shown} is already mounted"))
                .with_remedy(format!("choose another directory, or run: umount {shown}")),
        );
    }
    Ok(absolute)
}

/// Whether the kernel's mount table (proc(5), `/proc/pid/mountinfo`) has something at this path.
/// The trigger of an automounter does not count: it is there to be mounted over.
fn is_mounted(table: &[u8], path: &Path) -> bool {
    table.split(|byte| *byte == b'\n').any(|line| {
        mount_of_line(line).is_some_and(|(point, kind)| point == path && kind != "autofs")
    })
}

/// Mount point and type of the file system of one line.
fn mount_of_line(line: &[u8]) -> Option<(PathBuf, &OsStr)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = fields.nth(4)?;
    // Optional fields of any number end with a single hyphen.
    fields.find(|field| *field == b"-")?;
    Some((
        PathBuf::from(unescape(point)),
        OsStr::from_bytes(fields.next()?),
    ))
}

/// Undoes the kernel's escapes: three octal digits after a backslash.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &after[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = br"22 28 0:20 / /proc rw,nosuid shared:5 - proc proc rw
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
90 28 0:45 / /mnt/with\040space rw,nosuid,nodev - fuse.mount-s3 mount-s3 rw
91 28 0:46 / /auto rw,relatime shared:7 master:1 - autofs systemd-1 rw
short line
";

    #[test]
    fn is_mounted_finds_exact_mount_points_only() {
        for (path, expected) in [
            ("/", true),
            ("/proc", true),
            ("/mnt/with space", true),
            ("/mnt", false),
            ("/mnt/with", false),
            ("/auto", false),
            ("", false),
        ] {
            assert_eq!(is_mounted(TABLE, Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn unescape_keeps_what_is_no_escape() {
        assert_eq!(unescape(br"a\040b\134c"), OsString::from(r"a b\c"));
        assert_eq!(unescape(br"a\04"), OsString::from(r"a\04"));
        assert_eq!(unescape(br"\999"), OsString::from(r"\999"));
    }

    #[test]
    fn check_mount_point_accepts_a_plain_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = check_mount_point(directory.path()).expect("free");
        assert_eq!(path, directory.path().canonicalize().expect("exists"));
    }

    #[test]
    fn check_mount_point_names_what_is_wrong() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("written");
        for (path, reason) in [
            (directory.path().join("missing"), "does not exist"),
            (file, "is not a directory"),
            (PathBuf::from("/proc"), "is already mounted"),
        ] {
            let failure = check_mount_point(&path).expect_err("not mountable");
            let expected = format!("mount point {} {reason}", path.display());
            assert!(failure.to_string().starts_with(&expected), "{failure}");
        }
    }
}
