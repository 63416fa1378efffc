//! Mounting, serving, unmounting.

use std::fs::{self, OpenOptions};
use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use fuser::{MountOption, SessionACL};
use futures::executor::block_on;
use log::{info, warn};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::statvfs::statvfs;

use super::adapter::Adapter;
use super::figures::Figures;
use super::readahead;
use super::revealed::Revealed;
use super::served::Served;
use crate::fs::Fs;

/// How to mount.
#[derive(Debug, Clone)]
pub struct MountConfig {
    /// Where: an existing directory.
    pub directory: PathBuf,
    /// Whether the kernel refuses every change by itself.
    pub read_only: bool,
    /// Who may use the mount.
    pub access: Access,
    /// Whether a helper process unmounts when this process dies.
    pub auto_unmount: bool,
    /// Threads that take requests from the kernel; at least 1. Each keeps a buffer of 16 MiB of
    /// address space, of which it touches as much as the largest request it has seen.
    pub max_threads: usize,
}

/// Who may use a mount. What they may do there is decided by the modes of files and directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The user who mounts. With [`MountConfig::auto_unmount`] also root, as that needs a mount
    /// that is open to more than one user.
    Owner,
    /// The user who mounts, and root.
    Root,
    /// Everybody.
    Other,
}

/// Why a mount failed, as advice to the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// There is no `/dev/fuse`.
    #[error(
        "{FUSE_DEVICE} is not there: load the kernel module (`modprobe fuse`), or hand the device to the container (`--device {FUSE_DEVICE}`)"
    )]
    NoDevice,
    /// `/dev/fuse` is there and cannot be opened.
    #[error("cannot open {FUSE_DEVICE}: {0}")]
    Device(#[source] io::Error),
    /// The helper that mounts for users other than root is missing.
    #[error(
        "fusermount3 is not installed, which users other than root and --auto-unmount need: `apt-get install fuse3` or `dnf install fuse3`"
    )]
    NoFusermount,
    /// A user other than root wants to share the mount.
    #[error(
        "--allow-other, --allow-root and --auto-unmount need a line `user_allow_other` in /etc/fuse.conf when the user is not root"
    )]
    UserAllowOther,
    /// The system does not let this process mount.
    #[error(
        "no permission to mount at {directory}: {reason} (in a container, mounting needs the capability SYS_ADMIN)"
    )]
    NotPermitted {
        /// The mount point.
        directory: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Anything else that the system refuses.
    #[error("cannot mount at {directory}: {reason}")]
    Refused {
        /// The mount point.
        directory: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Threads could not be started.
    #[error("cannot start threads: {0}")]
    Threads(#[source] io::Error),
    /// The mount is there, and `statfs` of it fails or gets no answer.
    #[error("the mount at {directory} does not answer: {reason}")]
    NotAnswering {
        /// The mount point.
        directory: PathBuf,
        /// What was seen.
        reason: String,
    },
}

/// A mounted file system that is being served. Dropping it unmounts.
#[derive(Debug)]
pub struct Session {
    events: Receiver<Event>,
    unmounter: Unmounter,
    served: Arc<Served>,
}

impl Session {
    /// Mounts `fs` and serves it on threads of its own. Returns when the mount answers.
    ///
    /// # Errors
    /// [`MountError`] says what to do about it. Nothing stays mounted.
    pub fn mount(fs: Fs, config: &MountConfig) -> Result<Self, MountError> {
        check_device()?;
        let served = Arc::new(Served::new(fs));
        let revealed = Revealed::default();
        let adapter = Adapter::new(Arc::clone(&served), revealed.clone());
        let adapter = adapter.map_err(MountError::Threads)?;
        let session = fuser::Session::new(adapter, &config.directory, &session_config(config))
            .map_err(|error| diagnose(&config.directory, &error))?;
        revealed
            .start(session.notifier())
            .map_err(MountError::Threads)?;
        // The helper unmounts what is dead when it sees its socket closed, and looks only once. Of
        // the files of a killed process, the kernel closes the one with the highest number first:
        // this copy, which has a higher number than the socket, makes the mount die before.
        let watched = config
            .auto_unmount
            .then(|| session.as_fd().try_clone_to_owned())
            .transpose()
            .map_err(|error| diagnose(&config.directory, &error))?;
        let mut serving = session.spawn().map_err(MountError::Threads)?;
        let threads = mem::replace(&mut serving.guard, thread::spawn(|| Ok(())));
        // Dropping this would unmount whatever is at the directory then, though a mount that was
        // taken away from outside, or detached, may have made room for somebody else's there.
        // It stays, and with it what the helper of `auto_unmount` watches, until the process ends.
        let _kept = ManuallyDrop::new((serving, watched));

        let (send, events) = mpsc::channel();
        let unmounter = Unmounter(Arc::new(Mutex::new(Inner {
            device: None,
            directory: config.directory.clone(),
            ended: false,
            events: send.clone(),
        })));
        let this = Self {
            events,
            unmounter,
            served,
        };
        let inner = Arc::clone(&this.unmounter.0);
        thread::Builder::new()
            .name("fuse-session".into())
            .spawn(move || {
                let result = threads
                    .join()
                    .unwrap_or_else(|_panic| Err(io::Error::other("its thread has panicked")));
                // After an error the mount may still be there, with nobody to serve it.
                lock(&inner).ended = result.is_ok();
                // Nobody listens any more when the session was dropped.
                let _unheard = send.send(Event::Ended(result));
            })
            .map_err(MountError::Threads)?;

        this.check_answer(&config.directory)?;
        lock(&this.unmounter.0).device = device_of(&config.directory);
        readahead::raise(&config.directory);
        info!("mounted at {}", config.directory.display());
        Ok(this)
    }

    /// What tells the figures of the mount.
    pub fn figures(&self) -> Figures {
        Figures::new(&self.served)
    }

    /// What unmounts from elsewhere.
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// Waits until the file system is unmounted, by anybody, and lets go of it. Files that were
    /// closed and are not stored yet are stored before, if that takes no longer than a while.
    ///
    /// After [`Unmounter::unmount`], programs that still use the detached mount may finish within
    /// a moment. Then their reads fail, those that wait too, and this returns.
    ///
    /// # Errors
    /// Requests could not be received from the kernel any more.
    pub fn wait(self) -> io::Result<()> {
        let result = match self.events.recv() {
            Ok(Event::Ended(result)) => result,
            Ok(Event::Unmounted) => match self.events.recv_timeout(UNMOUNT_GRACE) {
                Ok(Event::Ended(result)) => result,
                Ok(Event::Unmounted) | Err(RecvTimeoutError::Timeout) => {
                    warn!("unmounted while files were open: their users get errors now");
                    // What is closed and not stored by now has another descriptor that is open.
                    return Ok(());
                }
                Err(RecvTimeoutError::Disconnected) => Ok(()),
            },
            // The session's thread cannot end without a word, and we hold another sender.
            Err(mpsc::RecvError) => Ok(()),
        };
        self.finish_closed();
        result
    }

    /// Stores what was closed, which its writers take for stored. The kernel tells of no release
    /// that comes after the unmount.
    fn finish_closed(&self) {
        let Ok(fs) = self.served.fs() else { return };
        let (send, done) = mpsc::channel();
        let finish = move || {
            block_on(fs.finish_closed());
            // Whoever waits for this is to have the last of it.
            drop(fs);
            // An end after the time limit has no listener.
            let _late = send.send(());
        };
        let started = thread::Builder::new()
            .name("fuse-finish".into())
            .spawn(finish);
        match started.map(|_thread| done.recv_timeout(FINISH_GRACE)) {
            Ok(Ok(())) => {}
            Ok(Err(_)) => warn!("files that were closed could not be stored in time"),
            Err(error) => warn!("files that were closed cannot be stored: {error}"),
        }
    }

    /// Asks the mount for `statfs`, from a thread of its own as it may hang.
    fn check_answer(&self, directory: &Path) -> Result<(), MountError> {
        let fail = |reason: String| MountError::NotAnswering {
            directory: directory.to_owned(),
            reason,
        };
        let (send, answer) = mpsc::channel();
        let path = directory.to_owned();
        thread::Builder::new()
            .name("fuse-ready".into())
            .spawn(move || {
                // An answer after the time limit has no listener.
                let _late = send.send(statvfs(&path));
            })
            .map_err(MountError::Threads)?;
        match answer.recv_timeout(ANSWER_TIMEOUT) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(errno)) => Err(fail(errno.desc().to_owned())),
            Err(_) => Err(fail(format!("no answer within {ANSWER_TIMEOUT:?}"))),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.unmounter.unmount();
        self.served.close();
    }
}

/// Unmounts a [`Session`] from any thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Unmounter(Arc<Mutex<Inner>>);

impl Unmounter {
    /// Unmounts, so that [`Session::wait`] returns. A mount that is in use is detached: its name
    /// is gone at once, and the rest ends with the last open file or with this process. Does
    /// nothing when already unmounted.
    pub fn unmount(&self) {
        let mut inner = lock(&self.0);
        if let Err(error) = inner.unmount() {
            warn!("cannot unmount {}: {error}", inner.directory.display());
        }
        // Nobody listens any more when the session was dropped.
        let _unheard = inner.events.send(Event::Unmounted);
    }
}

#[derive(Debug)]
struct Inner {
    /// The mount's device numbers, as `/proc/self/mountinfo` has them.
    device: Option<String>,
    directory: PathBuf,
    /// Whether the mount is gone. From then on the directory may be anybody's.
    ended: bool,
    events: Sender<Event>,
}

impl Inner {
    fn unmount(&mut self) -> io::Result<()> {
        if self.ended || !self.is_attached() {
            return Ok(());
        }
        match umount2(&self.directory, MntFlags::empty()) {
            // Somebody else was faster.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(Errno::EBUSY) => self.detach()?,
            Err(Errno::EPERM) => self.ask_helper()?,
            Err(errno) => return Err(errno.into()),
        }
        self.ended = true;
        Ok(())
    }

    /// Whether the mount still has a name. A detached one has not, and lives on without.
    fn is_attached(&self) -> bool {
        let Some(device) = &self.device else {
            return true;
        };
        fs::read_to_string("/proc/self/mountinfo").map_or(true, |table| {
            table
                .lines()
                .any(|line| line.split(' ').nth(2) == Some(device))
        })
    }

    fn detach(&self) -> io::Result<()> {
        Ok(umount2(&self.directory, MntFlags::MNT_DETACH)?)
    }

    /// Unmounts as a user other than root.
    fn ask_helper(&self) -> io::Result<()> {
        let output = Command::new("fusermount3")
            .args(["-u", "-z", "--"])
            .arg(&self.directory)
            .output()?;
        if output.status.success() {
            Ok(())
        } else {
            let text = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(text.trim().to_owned()))
        }
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What [`Session::wait`] waits for.
#[derive(Debug)]
enum Event {
    /// The kernel has no more requests.
    Ended(io::Result<()>),
    /// The mount was removed on request.
    Unmounted,
}

/// Looks for `/dev/fuse` before anything is mounted.
fn check_device() -> Result<(), MountError> {
    match OpenOptions::new().read(true).write(true).open(FUSE_DEVICE) {
        Ok(_) => Ok(()),
        // The device node may exist without its driver.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) =>
        {
            Err(MountError::NoDevice)
        }
        Err(error) => Err(MountError::Device(error)),
    }
}

fn session_config(config: &MountConfig) -> fuser::Config {
    let mut options = vec![
        MountOption::FSName(FILE_SYSTEM_NAME.into()),
        MountOption::DefaultPermissions,
        MountOption::NoAtime,
        MountOption::NoDev,
        MountOption::NoSuid,
    ];
    if config.read_only {
        options.push(MountOption::RO);
    }
    if config.auto_unmount {
        options.push(MountOption::AutoUnmount);
    }
    let mut session = fuser::Config::default();
    session.mount_options = options;
    session.acl = match config.access {
        Access::Owner if config.auto_unmount => SessionACL::RootAndOwner,
        Access::Owner => SessionACL::Owner,
        Access::Root => SessionACL::RootAndOwner,
        Access::Other => SessionACL::All,
    };
    session.n_threads = Some(config.max_threads.max(1));
    // Each thread gets a queue of its own in the kernel. Every kernel since 4.5 can. Not when the
    // helper of `auto_unmount` waits for the end of one file.
    session.clone_fd = !config.auto_unmount;
    session
}

/// The device numbers of what is mounted at the directory.
fn device_of(directory: &Path) -> Option<String> {
    let device = fs::metadata(directory).ok()?.dev();
    Some(format!("{}:{}", libc::major(device), libc::minor(device)))
}

/// Makes advice of what mounting failed with. The helper's errors arrive as its text alone.
fn diagnose(directory: &Path, error: &io::Error) -> MountError {
    let reason = error.to_string().trim().to_owned();
    let directory = directory.to_owned();
    if error.kind() == io::ErrorKind::NotFound && directory.is_dir() {
        MountError::NoFusermount
    } else if reason.contains("user_allow_other") {
        MountError::UserAllowOther
    } else if error.raw_os_error() == Some(libc::EPERM)
        || reason.contains("Operation not permitted")
        || reason.contains("EPERM")
    {
        MountError::NotPermitted { directory, reason }
    } else {
        MountError::Refused { directory, reason }
    }
}

/// The device that the kernel's FUSE requests are read from.
const FUSE_DEVICE: &str = "/dev/fuse";

/// The source of the mount in `/proc/mounts`. Scripts look for this name.
const FILE_SYSTEM_NAME: &str = "mountpoint-s3";

/// How long a fresh mount may take to answer. No request to S3 is part of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long [`Session::wait`] waits for users of open files after an unmount.
const UNMOUNT_GRACE: Duration = Duration::from_secs(2);

/// How long [`Session::wait`] tries to store what was closed.
const FINISH_GRACE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod unit {
    use super::*;

    fn config(access: Access, auto_unmount: bool, read_only: bool) -> fuser::Config {
        session_config(&MountConfig {
            directory: "/".into(),
            read_only,
            access,
            auto_unmount,
            max_threads: 3,
        })
    }

    #[test]
    fn options_are_those_that_scripts_know() {
        let options = config(Access::Owner, false, false).mount_options;
        for option in [
            MountOption::FSName("mountpoint-s3".into()),
            MountOption::DefaultPermissions,
            MountOption::NoAtime,
            MountOption::NoDev,
            MountOption::NoSuid,
        ] {
            assert!(options.contains(&option), "{option:?}");
        }
        assert!(!options.contains(&MountOption::RO));
        assert!(
            config(Access::Owner, false, true)
                .mount_options
                .contains(&MountOption::RO)
        );
    }

    #[test]
    fn auto_unmount_opens_the_mount_to_root() {
        assert_eq!(config(Access::Owner, false, false).acl, SessionACL::Owner);
        assert_eq!(
            config(Access::Owner, true, false).acl,
            SessionACL::RootAndOwner
        );
        assert_eq!(config(Access::Other, true, false).acl, SessionACL::All);
    }

    #[test]
    fn diagnose_names_the_remedy() {
        let dir = tempfile::tempdir().expect("a directory");
        let of = |kind, text: &str| diagnose(dir.path(), &io::Error::new(kind, text)).to_string();
        assert!(of(io::ErrorKind::NotFound, "No such file").contains("apt-get install fuse3"));
        assert!(
            of(
                io::ErrorKind::PermissionDenied,
                "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf",
            )
            .contains("a line `user_allow_other`")
        );
        assert!(
            of(
                io::ErrorKind::Other,
                "fusermount3: mount failed: Operation not permitted\n",
            )
            .contains("SYS_ADMIN")
        );
        assert!(of(io::ErrorKind::Other, "strange\n").ends_with("strange"));
    }

    #[test]
    fn diagnose_of_a_missing_directory_does_not_blame_fusermount() {
        let error = io::Error::from(io::ErrorKind::NotFound);
        assert!(matches!(
            diagnose(Path::new("/nonexistent/mount/point"), &error),
            MountError::Refused { .. }
        ));
    }
}
