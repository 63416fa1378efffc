//! Mounting, serving, unmounting.

use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use fuser::SessionACL;
use futures::executor::block_on;
use log::{info, warn};
use nix::sys::statvfs::statvfs;

use super::adapter::Adapter;
use super::config::{Access, MountConfig, session_config};
use super::error::{MountError, check_device, diagnose};
use super::figures::Figures;
use super::readahead;
use super::revealed::Revealed;
use super::served::Served;
use super::unmount::{Event, Place, Unmounter};
use super::watched::copy_above_all;
use crate::fs::Fs;

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

/// How long a fresh mount may take to answer. No request to S3 is part of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long [`Session::wait`] waits for users of open files after an unmount.
const UNMOUNT_GRACE: Duration = Duration::from_secs(2);

/// How often [`Session::wait`] looks for files whose release is to come.
const RELEASE_POLL: Duration = Duration::from_millis(10);

/// How long [`Session::wait`] tries to store what was closed.
const FINISH_GRACE: Duration = Duration::from_secs(30);
