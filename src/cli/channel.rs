//! The socket at which a mount is told in which order its files will be read.
//!
//! It lies in a directory that belongs to the user who mounts and that nobody else can enter, under
//! the device number of the mount. A client sends the paths below the mount point, one a line, and
//! ends its half of the connection. The answer is a line `missing N` for each path that is no file
//! which can be read, counted from 0, and at last `found N`, or `error TEXT`.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::getuid;

use crate::prefetch::Prefetcher;
use crate::s3::{Key, Prefix};

/// The mount's end. Dropping it removes the socket.
#[derive(Debug)]
pub(super) struct Channel {
    path: PathBuf,
    ends: Arc<AtomicBool>,
}

impl Channel {
    /// Listens for what will be read of the mount at `mount_point`, whose keys start with `prefix`.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(super) fn open(
        mount_point: &Path,
        prefix: Prefix,
        prefetcher: Weak<Prefetcher>,
    ) -> io::Result<Self> {
        let device = fs::metadata(mount_point)?.dev();
        let path = make_directory()?.join(name(device));
        // One of a mount that was killed. No other mount that lives has this number.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        thread::Builder::new()
            .name("prefetch-list".into())
            .spawn(move || {
                for client in listener.incoming() {
                    if is_over.load(Ordering::Acquire) {
                        return;
                    }
                    let answered = client.and_then(|client| answer(&client, &prefix, &prefetcher));
                    if let Err(error) = answered {
                        log::warn!("an order of files to fetch ahead: {error}");
                    }
                }
            })?;
        Ok(Self { path, ends })
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        // Wakes the thread, which is not waited for: it may be with a client.
        let woken = UnixStream::connect(&self.path).map(drop);
        if let Err(error) = woken.and_then(|()| fs::remove_file(&self.path)) {
            log::debug!("{}: {error}", self.path.display());
        }
    }
}

/// Connects to the mount with this device number, if it is one of this user's that listens.
///
/// # Errors
/// There is none.
pub(super) fn connect(device: u64) -> io::Result<UnixStream> {
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

fn name(device: u64) -> String {
    format!("{device}.sock")
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
fn check_peer(stream: &UnixStream) -> io::Result<()> {
    let peer = getsockopt(stream, PeerCredentials)?.uid();
    if peer == getuid().as_raw() || peer == 0 {
        return Ok(());
    }
    let text = format!("user {peer} is at the other end");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn answer(client: &UnixStream, prefix: &Prefix, prefetcher: &Weak<Prefetcher>) -> io::Result<()> {
    check_peer(client)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut reply = BufWriter::new(client);
    match read_and_follow(client, prefix, prefetcher) {
        Ok(found) => {
            let missing = found.iter().enumerate().filter(|(_, is_found)| !**is_found);
            for (number, _) in missing {
                writeln!(reply, "missing {number}")?;
            }
            let count = found.iter().filter(|is_found| **is_found).count();
            log::debug!("{count} of {} files are fetched as told", found.len());
            writeln!(reply, "found {count}")?;
        }
        Err(text) => writeln!(reply, "error {}", text.replace('\n', " "))?,
    }
    reply.flush()
}

/// Which of the files whose paths the client sends were found. They are followed.
fn read_and_follow(
    client: &UnixStream,
    prefix: &Prefix,
    prefetcher: &Weak<Prefetcher>,
) -> Result<Vec<bool>, String> {
    let mut keys = Vec::new();
    for line in BufReader::new(client).lines() {
        let line = line.map_err(|error| error.to_string())?;
        if keys.len() == MOST_PATHS {
            return Err(format!("more than {MOST_PATHS} paths: tell them in parts"));
        }
        let key = Key::new(format!("{}{line}", prefix.as_str()));
        keys.push(key.map_err(|error| format!("{line:?}: {error}"))?);
    }
    let prefetcher = prefetcher.upgrade().ok_or("the mount ends")?;
    block_on(prefetcher.follow(keys)).map_err(|error| error.to_string())
}

/// Paths in one order: each takes about 200 bytes of memory.
pub(super) const MOST_PATHS: usize = 500_000;

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

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
}
