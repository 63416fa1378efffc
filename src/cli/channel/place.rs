//! Where the sockets of mounts lie: in a directory that belongs to the user who mounts and that
//! nobody else can enter, under the device number of the mount; or under the number of its process,
//! if the mount was made by somebody else, and its device number is not known to it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::getuid;

/// Which one of a user's mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) enum Place {
    /// The one with this device number.
    Device(u64),
    /// The one that this process serves, at a place that it does not know.
    Process(u32),
}

/// The path of the socket of a mount, in a directory that is there.
///
/// # Errors
/// There is no place that is private to this user.
pub(super) fn prepare(place: Place) -> io::Result<PathBuf> {
    Ok(make_directory()?.join(name(place)))
}

/// Connects to a mount, if it is one of this user's that listens.
///
/// # Errors
/// There is none.
pub(in crate::cli) fn connect(place: Place) -> io::Result<UnixStream> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for directory in directories() {
        if !is_private(&directory) {
            continue;
        }
        match UnixStream::connect(directory.join(name(place))) {
            Ok(stream) => {
                check_peer(&stream)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The mounts of this user; some of them may have ended.
pub(in crate::cli) fn places() -> Vec<Place> {
    let directories = directories().filter(|directory| is_private(directory));
    let entries = directories
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut places: Vec<Place> = names.filter_map(|name| place(&name)).collect();
    places.sort_unstable();
    places.dedup();
    places
}

fn name(place: Place) -> String {
    match place {
        Place::Device(number) => format!("{number}{SUFFIX}"),
        Place::Process(number) => format!("{PROCESS}{number}{SUFFIX}"),
    }
}

fn place(name: &str) -> Option<Place> {
    let name = name.strip_suffix(SUFFIX)?;
    match name.strip_prefix(PROCESS) {
        Some(number) => number.parse().ok().map(Place::Process),
        None => name.parse().ok().map(Place::Device),
    }
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
const PROCESS: &str = "process-";

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
    fn names_lead_to_places_and_back() {
        for known in [Place::Device(42), Place::Process(42)] {
            assert_eq!(place(&name(known)), Some(known));
        }
        for wrong in ["42", "x.sock", ".sock", "-1.sock", "process-.sock"] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }
}
