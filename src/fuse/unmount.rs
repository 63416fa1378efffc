//! Unmounting, by whichever thread is told to.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::warn;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

/// Unmounts a [`Session`](super::Session) from any thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Unmounter(Arc<Mutex<Inner>>);

impl Unmounter {
    pub(super) fn new(place: Place, events: Sender<Event>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            place,
            ended: false,
            events,
        })))
    }

    /// Unmounts, so that [`Session::wait`](super::Session::wait) returns. A mount that is in use is detached: its name
    /// is gone at once, and the rest ends with the last open file or with this process. Does
    /// nothing when already unmounted.
    pub fn unmount(&self) {
        let mut inner = lock(&self.0);
        if let Err(error) = inner.unmount() {
            warn!("cannot unmount {}: {error}", inner.place);
        }
        // Nobody listens any more when the session was dropped.
        let _unheard = inner.events.send(Event::Unmounted);
    }

    /// Notes what is mounted at the directory now.
    pub(super) fn remember_device(&self, directory: &Path) {
        lock(&self.0).place = Place::Directory {
            path: directory.to_owned(),
            device: device_of(directory),
        };
    }

    /// Notes that the mount is gone.
    pub(super) fn has_ended(&self) {
        lock(&self.0).ended = true;
    }

    /// Whether the mount is another process's to unmount.
    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(lock(&self.0).place, Place::Elsewhere)
    }
}

/// Where a mount is.
#[derive(Debug)]
pub(super) enum Place {
    /// At this directory, with these device numbers, as `/proc/self/mountinfo` has them. They are
    /// known when the mount answers.
    Directory {
        path: PathBuf,
        device: Option<String>,
    },
    /// Where another process has mounted it, which unmounts it, too.
    Elsewhere,
}

impl Place {
    pub(super) fn at(directory: &Path) -> Self {
        Self::Directory {
            path: directory.to_owned(),
            device: None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, .. } => path.display().fmt(f),
            Self::Elsewhere => f.write_str("what another process has mounted"),
        }
    }
}

#[derive(Debug)]
struct Inner {
    place: Place,
    /// Whether the mount is gone. From then on the directory may be anybody's.
    ended: bool,
    events: Sender<Event>,
}

impl Inner {
    fn unmount(&mut self) -> io::Result<()> {
        let Place::Directory { path, device } = &self.place else {
            return Ok(());
        };
        if self.ended || !is_attached(device.as_deref()) {
            return Ok(());
        }
        match umount2(path, MntFlags::empty()) {
            // Somebody else was faster.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(Errno::EBUSY) => umount2(path, MntFlags::MNT_DETACH)?,
            Err(Errno::EPERM) => ask_helper(path)?,
            Err(errno) => return Err(errno.into()),
        }
        self.ended = true;
        Ok(())
    }
}

/// Whether the mount with these numbers, or one whose numbers are not known yet, still has a name. A
/// detached one has not, and lives on without.
fn is_attached(device: Option<&str>) -> bool {
    let Some(device) = device else {
        return true;
    };
    fs::read_to_string("/proc/self/mountinfo").map_or(true, |table| {
        table
            .lines()
            .any(|line| line.split(' ').nth(2) == Some(device))
    })
}

/// Unmounts as a user other than root.
fn ask_helper(directory: &Path) -> io::Result<()> {
    let output = Command::new("fusermount3")
        .args(["-u", "-z", "--"])
        .arg(directory)
        .output()?;
    if output.status.success() {
        Ok(())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(text.trim().to_owned()))
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device numbers of what is mounted at the directory.
fn device_of(directory: &Path) -> Option<String> {
    let device = fs::metadata(directory).ok()?.dev();
    Some(format!("{}:{}", libc::major(device), libc::minor(device)))
}

/// What [`Session::wait`](super::Session::wait) waits for.
#[derive(Debug)]
pub(super) enum Event {
    /// The kernel has no more requests.
    Ended(io::Result<()>),
    /// The mount was removed on request.
    Unmounted,
}
