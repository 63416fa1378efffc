//! Where the sockets of mounts lie: in a directory that belongs to the user who mounts and that
//! nobody else can enter, under the device number of the mount.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::getuid;

/// The path of the socket of a mount with this device number, in a directory that is there.
///
/// # Errors
/// There is no place that is private to this user.
pub(super) fn prepare(device: u64) -> io::Result<PathBuf> {
    Ok(make_directory()?.join(name(device)))
}

/// Connects to the mount with this device number, if it is one of this user's that listens.
///
/// # Errors
/// There is none.
pub(in crate::cli) fn connect(device: u64) -> io::Result<UnixStream> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for directory in directories() {
        if !is_private(&directory) {
            continue;
        }
        match UnixStream::connect(directory.join(name(device))) {
            Ok(stream) => {
                check_peer(&stream)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The device numbers of the mounts of this user; some of them may have ended.
pub(in crate::cli) fn devices() -> Vec<u64> {
    let directories = directories().filter(|directory| is_private(directory));
    let entries = directories
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut devices: Vec<u64> = names.filter_map(|name| number(&name)).collect();
    devices.sort_unstable();
    devices.dedup();
    devices
}

fn name(device: u64) -> String {
    format!("{device}{SUFFIX}")
}

fn number(name: &str) -> Option<u64> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// Where sockets may lie, the best place first.
fn directories() -> impl Iterator<Item = PathBuf> {
    let uid = getuid();
    [
        format!("/run/user/{uid}/mount-s3"),
        format!("/tmp/mount-s3-{uid}"),
    ]
    .into_iter()
    .map(PathBuf::from)
}

fn make_directory() -> io::Result<PathBuf> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for directory in directories() {
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => failure = error,
            _ if is_private(&directory) => return Ok(directory),
            _ => {
                let text = format!("{} is not private", directory.display());
                failure = io::Error::new(io::ErrorKind::PermissionDenied, text);
            }
        }
    }
    Err(failure)
}

/// Whether a directory is this user's, and no link, and closed to others.
fn is_private(directory: &Path) -> bool {
    fs::symlink_metadata(directory).is_ok_and(|found| {
        found.is_dir()
            && found.uid() == getuid().as_raw()
            && found.permissions().mode() & 0o077 == 0
    })
}

/// Refuses another user, who could only be here if the directory was opened to others.
pub(super) fn check_peer(stream: &UnixStream) -> io::Result<()> {
    let peer = getsockopt(stream, PeerCredentials)?.uid();
    if peer == getuid().as_raw() || peer == 0 {
        return Ok(());
    }
    let text = format!("user {peer} is at the other end");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

const SUFFIX: &str = ".sock";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_a_directory_that_is_closed_to_others_is_private() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = place.path().join("d");
        assert!(!is_private(&directory));
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .expect("made");
        assert!(is_private(&directory));
        let link = place.path().join("l");
        symlink(&directory, &link).expect("made");
        assert!(!is_private(&link));
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).expect("changed");
        assert!(!is_private(&directory));
    }

    #[test]
    fn peer_of_the_same_user_is_served() {
        let (one, _other) = UnixStream::pair().expect("a pair");
        assert!(check_peer(&one).is_ok());
    }

    #[test]
    fn names_lead_to_device_numbers_and_back() {
        assert_eq!(number(&name(42)), Some(42));
        for wrong in ["42", "x.sock", ".sock", "-1.sock"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }
}
