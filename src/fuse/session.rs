//! Mounting, serving, unmounting.

use std::fs::OpenOptions;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use fuser::{MountOption, SessionACL};
use futures::executor::block_on;
use log::{info, warn};
use nix::sys::statvfs::statvfs;

use super::adapter::Adapter;
use super::background::Background;
use super::figures::Figures;
use super::readahead;
use super::revealed::Revealed;
use super::served::Served;
use super::unmount::{Event, Place, Unmounter};
use super::watched::copy_above_all;
use crate::fs::Fs;

/// How to mount.
#[derive(Debug, Clone)]
pub struct MountConfig {
    /// Where: an existing directory. For [`Session::take_over`], a name for it.
    pub directory: PathBuf,
    /// What is mounted, as the table of mounts is to name it; without, it is `mountpoint-s3`. What the
    /// helper could not read, a name with a comma or a backslash, is as good as none.
    pub source: Option<String>,
    /// Whether the kernel refuses every change by itself.
    pub read_only: bool,
    /// Who may use the mount.
    pub access: Access,
    /// Whether a helper process unmounts when this process dies.
    pub auto_unmount: bool,
    /// Threads that take requests from the kernel; at least 1. Each keeps a buffer of 16 MiB of
    /// address space, of which it touches as much as the largest request it has seen.
    pub max_threads: usize,
    /// What the kernel may have under way.
    pub background: Background,
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
    /// A descriptor that was handed over has no mount.
    #[error(
        "{descriptor} does not serve a mount: {reason}; who hands it over has to call mount(2) with `fd=N` before, and must not serve it"
    )]
    NotMounted {
        /// The descriptor's name.
        descriptor: PathBuf,
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
        let (served, adapter, revealed) = adapt(fs, config)?;
        let session = fuser::Session::new(adapter, &config.directory, &session_config(config))
            .map_err(|error| diagnose(&config.directory, &error))?;
        let place = Place::at(&config.directory);
        let this = Self::serve(session, served, &revealed, config, place)?;
        this.check_answer(&config.directory)?;
        this.unmounter.remember_device(&config.directory);
        readahead::raise(&config.directory);
        info!("mounted at {}", config.directory.display());
        Ok(this)
    }

    /// Serves a mount that somebody else has made with `device`, which is `/dev/fuse`, opened for
    /// reading and writing. Returns when the kernel was answered once. The mount is not unmounted by
    /// this process, which may be in another mount namespace: when the session is dropped or this
    /// process ends, it is disconnected. Who may use it is up to the options it was mounted with,
    /// but for [`Access::Root`]; [`MountConfig::auto_unmount`] has no effect.
    ///
    /// # Errors
    /// [`MountError`] says what to do about it.
    pub fn take_over(fs: Fs, device: OwnedFd, config: &MountConfig) -> Result<Self, MountError> {
        let (served, adapter, revealed) = adapt(fs, config)?;
        let mut options = session_config(&MountConfig {
            auto_unmount: false,
            ..config.clone()
        });
        // The device need not be there for us.
        options.clone_fd = check_device().is_ok();
        let acl = match config.access {
            Access::Owner | Access::Other => SessionACL::All,
            Access::Root => SessionACL::RootAndOwner,
        };
        let session = fuser::Session::from_fd(adapter, device, acl, options).map_err(|error| {
            MountError::NotMounted {
                descriptor: config.directory.clone(),
                reason: error.to_string(),
            }
        })?;
        let config = MountConfig {
            auto_unmount: false,
            ..config.clone()
        };
        let this = Self::serve(session, served, &revealed, &config, Place::Elsewhere)?;
        info!("serving the mount of {}", config.directory.display());
        Ok(this)
    }

    /// Serves a mount on threads of its own.
    fn serve(
        session: fuser::Session<Adapter>,
        served: Arc<Served>,
        revealed: &Revealed,
        config: &MountConfig,
        place: Place,
    ) -> Result<Self, MountError> {
        revealed
            .start(session.notifier())
            .map_err(MountError::Threads)?;
        let watched = config
            .auto_unmount
            .then(|| copy_above_all(session.as_fd()))
            .transpose()
            .map_err(|error| diagnose(&config.directory, &error))?;
        let mut serving = session.spawn().map_err(MountError::Threads)?;
        let threads = mem::replace(&mut serving.guard, thread::spawn(|| Ok(())));
        // Dropping this would unmount whatever is at the directory then, though a mount that was
        // taken away from outside, or detached, may have made room for somebody else's there.
        // It stays, and with it what the helper of `auto_unmount` watches, until the process ends.
        let _kept = ManuallyDrop::new((serving, watched));

        let (send, events) = mpsc::channel();
        let unmounter = Unmounter::new(place, send.clone());
        let this = Self {
            events,
            unmounter,
            served,
        };
        let unmounter = this.unmounter();
        thread::Builder::new()
            .name("fuse-session".into())
            .spawn(move || {
                let result = threads
                    .join()
                    .unwrap_or_else(|_panic| Err(io::Error::other("its thread has panicked")));
                // After an error the mount may still be there, with nobody to serve it.
                if result.is_ok() {
                    unmounter.has_ended();
                }
                // Nobody listens any more when the session was dropped.
                let _unheard = send.send(Event::Ended(result));
            })
            .map_err(MountError::Threads)?;
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

    /// Waits until the file system is unmounted, by anybody, or a mount that was taken over is to be
    /// left, and lets go of it. Files that were closed and are not stored yet are stored before, if
    /// that takes no longer than a while.
    ///
    /// After [`Unmounter::unmount`], programs that still use the detached mount may finish within
    /// a moment, or while files that were closed are stored. Then their reads fail, those that wait too,
    /// and this returns.
    ///
    /// # Errors
    /// Requests could not be received from the kernel any more.
    pub fn wait(self) -> io::Result<()> {
        let result = match self.events.recv() {
            Ok(Event::Ended(result)) => result,
            Ok(Event::Unmounted) if self.unmounter.is_elsewhere() => {
                // Nothing is unmounted: programs go on while this takes its time.
                self.finish(|fs| {
                    await_releases(fs);
                    block_on(fs.finish_released());
                });
                return Ok(());
            }
            Ok(Event::Unmounted) => match self.events.recv_timeout(UNMOUNT_GRACE) {
                Ok(Event::Ended(result)) => result,
                Ok(Event::Unmounted) | Err(RecvTimeoutError::Timeout) => {
                    warn!("unmounted while files were open: their users get errors");
                    // What is staged and open stays staged: it may not be written to its end.
                    self.finish(|fs| block_on(fs.finish_released_writers()));
                    return Ok(());
                }
                Err(RecvTimeoutError::Disconnected) => Ok(()),
            },
            // The session's thread cannot end without a word, and we hold another sender.
            Err(mpsc::RecvError) => Ok(()),
        };
        // The kernel tells of no release that comes after the unmount.
        self.finish(|fs| block_on(fs.finish_closed()));
        result
    }

    /// Stores by `store` what was closed, which its writers take for stored.
    fn finish(&self, store: impl FnOnce(&Fs) + Send + 'static) {
        let Ok(fs) = self.served.fs() else { return };
        let (send, done) = mpsc::channel();
        let finish = move || {
            store(&fs);
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

/// Waits until the kernel has told of the releases that follow the last closes, which it does within
/// a moment, but for files that another process has open.
fn await_releases(fs: &Fs) {
    let since = Instant::now();
    while fs.awaits_release() && since.elapsed() < UNMOUNT_GRACE {
        thread::sleep(RELEASE_POLL);
    }
}

/// What answers the kernel, and what it shares with the session.
fn adapt(fs: Fs, config: &MountConfig) -> Result<(Arc<Served>, Adapter, Revealed), MountError> {
    let served = Arc::new(Served::new(fs));
    let revealed = Revealed::default();
    let adapter = Adapter::new(Arc::clone(&served), revealed.clone(), config.background)
        .map_err(MountError::Threads)?;
    Ok((served, adapter, revealed))
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
    // The helper reads these two as a part of its own syntax.
    let is_plain = |name: &&str| !name.contains([',', '\\']);
    let name = config.source.as_deref().filter(is_plain);
    let mut options = vec![
        MountOption::FSName(name.unwrap_or(FILE_SYSTEM_NAME).to_owned()),
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

/// The source of a mount in `/proc/mounts` that is not told another. Scripts look for this name.
const FILE_SYSTEM_NAME: &str = "mountpoint-s3";

/// How long a fresh mount may take to answer. No request to S3 is part of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long [`Session::wait`] waits for users of open files after an unmount.
const UNMOUNT_GRACE: Duration = Duration::from_secs(2);

/// How often [`Session::wait`] looks for files whose release is to come.
const RELEASE_POLL: Duration = Duration::from_millis(10);

/// How long [`Session::wait`] tries to store what was closed.
const FINISH_GRACE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod unit {
    use super::*;

    fn config(access: Access, auto_unmount: bool, read_only: bool) -> fuser::Config {
        session_config(&MountConfig {
            directory: "/".into(),
            source: None,
            read_only,
            access,
            auto_unmount,
            max_threads: 3,
            background: Background::default(),
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
    fn source_is_what_is_told_if_the_helper_can_read_it() {
        let named = |source: Option<&str>| {
            let options = session_config(&MountConfig {
                directory: "/".into(),
                source: source.map(str::to_owned),
                read_only: false,
                access: Access::Owner,
                auto_unmount: false,
                max_threads: 1,
                background: Background::default(),
            })
            .mount_options;
            let name = options.into_iter().find_map(|option| match option {
                MountOption::FSName(name) => Some(name),
                _ => None,
            });
            name.expect("a name")
        };
        assert_eq!(named(Some("s3://bucket/a b/")), "s3://bucket/a b/");
        for other in [None, Some("s3://bucket/a,b/"), Some(r"s3://bucket/a\b/")] {
            assert_eq!(named(other), "mountpoint-s3", "{other:?}");
        }
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
