//! The socket at which the user of a mount asks it for something.
//!
//! A client sends a line with what it wants, and ends its half of the connection:
//!
//! * `status`: the answer is a [`Status`] as JSON.
//! * `prefetch`, and the paths below the mount point of files in the order in which they will be
//!   read, one a line: the answer is a line `missing N` for each path that is no file which can be
//!   read, counted from 0, and at last `found N`.
//!
//! A line `error TEXT` says why there is no answer.

mod follow;
mod place;

use std::fs::{self, Metadata};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

pub(super) use follow::MOST_PATHS;
pub(super) use place::{Place, connect, places};

use super::status::Status;
use crate::prefetch::Prefetcher;
use crate::s3::Prefix;

/// The mount's end. Dropping it removes the socket.
#[derive(Debug)]
pub(super) struct Channel {
    path: PathBuf,
    /// The socket at the path.
    made: Identity,
    listener: UnixListener,
    ends: Arc<AtomicBool>,
}

/// What a file is told from others by that had its name.
type Identity = (u64, i64, i64);

/// What a mount does for those who ask.
pub(super) struct Services {
    /// Of the keys of the files of the mount.
    pub(super) prefix: Prefix,
    /// Hears what will be read, if that is of use.
    pub(super) prefetcher: Option<Weak<Prefetcher>>,
    /// Tells how the mount is.
    pub(super) status: Box<dyn Fn() -> Status + Send + Sync>,
}

impl Channel {
    /// Listens for who has something to ask of the mount at `place`.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(super) fn open(place: Place, services: Services) -> io::Result<Self> {
        Self::open_at(place::prepare(place)?, services)
    }

    fn open_at(path: PathBuf, services: Services) -> io::Result<Self> {
        // One of a mount that was killed, or is about to end: it is not mounted, as this one has its number.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let made = identity(&fs::symlink_metadata(&path)?);
        let incoming = listener.try_clone()?;
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        let services = Arc::new(services);
        thread::Builder::new()
            .name("channel".into())
            .spawn(move || serve(&incoming, &services, &is_over))?;
        Ok(Self {
            path,
            made,
            listener,
            ends,
        })
    }
}

fn identity(found: &Metadata) -> Identity {
    (found.ino(), found.ctime(), found.ctime_nsec())
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        // Wakes the thread, which is not waited for.
        let woken = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Err(error) = woken {
            log::debug!("the channel of the mount: {error}");
        }
        // Another mount may have this number by now.
        match fs::symlink_metadata(&self.path) {
            Ok(found) if identity(&found) == self.made => {
                if let Err(error) = fs::remove_file(&self.path) {
                    log::debug!("{}: {error}", self.path.display());
                }
            }
            _ => {}
        }
    }
}

/// Asks the mount at `place` how it is.
///
/// # Errors
/// It does not listen, or gives no answer.
pub(super) fn ask_status(place: Place) -> io::Result<Status> {
    let mut stream = connect(place)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(STATUS.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.take(LONGEST_STATUS).read_to_end(&mut answer)?;
    serde_json::from_slice(&answer).map_err(|error| {
        let answer = String::from_utf8_lossy(&answer);
        match answer.strip_prefix("error ") {
            Some(text) => io::Error::other(text.trim_end().to_owned()),
            None => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    })
}

/// Serves all clients, until it is over.
fn serve(incoming: &UnixListener, services: &Arc<Services>, is_over: &AtomicBool) {
    let clients = Arc::<AtomicUsize>::default();
    let mut is_told = false;
    for client in incoming.incoming() {
        if is_over.load(Ordering::Acquire) {
            return;
        }
        match client {
            Ok(client) => {
                is_told = false;
                if let Err(error) = begin(client, services, &clients) {
                    log::warn!("a client of this mount: {error}");
                }
            }
            // The client still waits: while there is no descriptor for it, that fails again at once.
            Err(error) => {
                if !mem::replace(&mut is_told, true) {
                    log::warn!("no client of this mount can be served at the moment: {error}");
                }
                thread::sleep(PAUSE);
            }
        }
    }
}

/// Serves a client on a thread of its own, so that one who waits for a long answer holds up nobody.
fn begin(
    client: UnixStream,
    services: &Arc<Services>,
    clients: &Arc<AtomicUsize>,
) -> io::Result<()> {
    place::check_peer(&client)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let place = Seat::take(clients);
    if place.is_none() {
        return (&client).write_all(b"error too many ask this mount at the same time\n");
    }
    let services = Arc::clone(services);
    thread::Builder::new()
        .name("channel-client".into())
        .spawn(move || {
            let _place = place;
            if let Err(error) = answer(&client, &services) {
                log::debug!("a client of this mount: {error}");
            }
        })
        .map(drop)
}

/// One of those who are served at the same time.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        let seat = Self(Arc::clone(taken));
        (taken.fetch_add(1, Ordering::Relaxed) < MOST_CLIENTS).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(client: &UnixStream, services: &Services) -> io::Result<()> {
    let (mut request, mut reply) = (BufReader::new(client), BufWriter::new(client));
    let mut wanted = String::new();
    (&mut request).take(LONGEST_NAME).read_line(&mut wanted)?;
    let answered = match wanted.as_str() {
        STATUS => {
            let status = (services.status)();
            serde_json::to_writer(&mut reply, &status).map_err(|error| error.to_string())
        }
        PREFETCH => {
            let prefetcher = services.prefetcher.as_ref();
            follow::follow(request, &mut reply, &services.prefix, prefetcher)
        }
        _ => Err("this version of mount-s3 does not know what it is asked for".to_owned()),
    };
    if let Err(text) = answered {
        writeln!(reply, "error {}", text.replace('\n', " "))?;
    }
    reply.flush()
}

const STATUS: &str = "status\n";

/// The line before the paths of files that will be read.
pub(super) const PREFETCH: &str = "prefetch\n";

const LONGEST_NAME: u64 = 64;

/// Far above what a mount has to tell.
const LONGEST_STATUS: u64 = 16 << 20;

const MOST_CLIENTS: usize = 16;

/// Until the next try, after no client could be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a client, or a mount, may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// What nobody asks for, and what tells whether it is still held.
    fn services() -> (Services, Weak<()>) {
        let held = Arc::new(());
        let is_held = Arc::downgrade(&held);
        let services = Services {
            prefix: Prefix::default(),
            prefetcher: None,
            status: Box::new(move || panic!("nobody asks: {held:?}")),
        };
        (services, is_held)
    }

    #[test]
    fn mount_that_ends_spares_the_socket_of_the_one_that_has_its_number_now() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let (old, is_old_held) = services();
        let old = Channel::open_at(path.clone(), old).expect("opened");
        let (new, is_new_held) = services();
        let new = Channel::open_at(path.clone(), new).expect("opened");
        drop(old);
        let until = Instant::now() + Duration::from_secs(60);
        while is_old_held.strong_count() > 0 {
            assert!(Instant::now() < until, "its thread goes on");
            thread::sleep(Duration::from_millis(1));
        }
        UnixStream::connect(&path).expect("the other one listens");
        assert_eq!(is_new_held.strong_count(), 1);
        drop(new);
        assert!(!path.exists());
    }
}
