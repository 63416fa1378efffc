//! Finds out which files are good as a whole, and on the disk.
//!
//! A file of which every block was written or read here, and was good, may still be in memory only:
//! if the disk then does not take it, what is read later is something else. So it is proven only when
//! the file system has been synchronized since without an error. An error says that something of what
//! was written is lost, but not what: memory may still have it, and give it to whoever reads it here. So
//! memory has to forget all files of the cache then, and they are proven anew from what the disk has. Of
//! a file that is complete, of which only some blocks were read, the others are read here.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use log::debug;
use nix::unistd::syncfs;
use rustix::fs::{Advice, fadvise};

use super::BLOCK;
use super::directory::Directory;
use super::entry::{Entry, Found, block_len};
use super::failures::Failures;
use super::name::Short;
use super::place::open_to_read;
use super::proof::{Era, Proven, Stamp};

/// Tells a thread about files, until all clones are dropped.
#[derive(Debug, Clone)]
pub(super) struct Prover {
    news: Sender<News>,
    proven: Arc<Proven>,
}

#[derive(Debug)]
enum News {
    /// All blocks of this file were good.
    Whole(Short, Stamp, Era),
    /// This entry was opened.
    Opened(Weak<Entry>),
}

impl Prover {
    /// Starts the thread, which notes in `proven` what it finds of the files in `directory`, which is open
    /// as `root`.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn start(
        directory: Arc<Directory>,
        root: File,
        proven: Arc<Proven>,
        failures: Arc<Failures>,
    ) -> io::Result<Self> {
        let (send, news) = channel();
        let work = Work {
            directory,
            root,
            proven: Arc::clone(&proven),
            failures,
            whole: Vec::new(),
            opened: VecDeque::new(),
            next_sync: Instant::now(),
            has_lost: false,
        };
        thread::Builder::new()
            .name("cache-prover".into())
            .spawn(move || work.run(&news))?;
        Ok(Self { news: send, proven })
    }

    /// The time that it is.
    pub(super) fn era(&self) -> Era {
        self.proven.era()
    }

    /// Tells that all blocks of the file of `name` were good, when it was as `stamp` says, and that this
    /// was seen in `era`.
    pub(super) fn whole(&self, name: Short, stamp: Stamp, era: Era) {
        self.tell(News::Whole(name, stamp, era));
    }

    /// Lets the blocks of `entry` be read that nobody reads in the next moments, if all are there.
    pub(super) fn check(&self, entry: &Arc<Entry>) {
        self.tell(News::Opened(Arc::downgrade(entry)));
    }

    fn tell(&self, news: News) {
        if self.news.send(news).is_err() {
            debug!("nothing proves files of the cache any more");
        }
    }
}

struct Work {
    /// What the file system is synchronized by. It tells of an error each file that was open before, and
    /// need not tell one that is opened later.
    root: File,
    directory: Arc<Directory>,
    proven: Arc<Proven>,
    failures: Arc<Failures>,
    /// Good, and maybe not on the disk.
    whole: Vec<(Short, Stamp, Era)>,
    /// With when they were opened, the first one first.
    opened: VecDeque<(Instant, Weak<Entry>, Check)>,
    next_sync: Instant,
    /// Whether memory may have bytes that the disk has lost.
    has_lost: bool,
}

/// How far an entry was looked at.
#[derive(Clone, Copy)]
enum Check {
    Begin,
    /// Its blocks before this one were.
    From(u64),
}

impl Work {
    fn run(mut self, news: &Receiver<News>) {
        loop {
            let first = if self.whole.is_empty() && self.opened.is_empty() {
                news.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                news.recv_timeout(self.pause())
            };
            match first {
                Ok(first) => self.hear(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for more in news.try_iter().take(MOST_NEWS) {
                self.hear(more);
            }
            if !self.whole.is_empty() && self.next_sync <= Instant::now() {
                self.sync();
            }
            self.check_next();
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Whole(name, stamp, era) => {
                if self.whole.is_empty() {
                    // What is written just now is waited for once.
                    self.next_sync = self.next_sync.max(Instant::now() + GATHER);
                }
                self.whole.push((name, stamp, era));
            }
            News::Opened(entry) => {
                if self.opened.len() < MOST_OPENED {
                    let begin = Instant::now() + LET_READ;
                    self.opened.push_back((begin, entry, Check::Begin));
                }
            }
        }
    }

    /// How long nothing is to be done.
    fn pause(&self) -> Duration {
        let sync = (!self.whole.is_empty()).then_some(self.next_sync);
        let check = self.opened.front().map(|(begin, ..)| *begin);
        let next = sync.into_iter().chain(check).min();
        let pause = next.map(|next| next.saturating_duration_since(Instant::now()));
        pause.unwrap_or_default()
    }

    /// Lets everything be written to the disk.
    fn sync(&mut self) {
        let began = Instant::now();
        if let Err(error) = syncfs(&self.root) {
            self.has_lost = true;
            let text = "the disk of the cache does not take what was written";
            self.failures.note(text, &error.into());
        }
        if self.has_lost {
            // They are read block by block, each of which is checked.
            self.whole.clear();
            self.forget();
        }
        debug!("{} files of the cache are proven", self.whole.len());
        for (name, stamp, era) in self.whole.drain(..) {
            self.proven.insert(name, stamp, era);
        }
        // A disk that is busy is not kept busy by this.
        self.next_sync = Instant::now() + began.elapsed() * PAUSE;
    }

    /// Lets memory forget what the disk may have lost. What was seen before then counts no more.
    fn forget(&mut self) {
        match forget_files(&self.directory) {
            Ok(()) => {
                self.proven.begin_era();
                self.has_lost = false;
            }
            // It is tried again before anything is proven.
            Err(error) => debug!("files of the cache are not forgotten: {error}"),
        }
    }

    /// Reads some more of the entry that was opened first.
    fn check_next(&mut self) {
        let Some((begin, ..)) = self.opened.front() else {
            return;
        };
        if *begin > Instant::now() {
            return;
        }
        let Some((begin, opened, check)) = self.opened.pop_front() else {
            return;
        };
        // What is not open any more is not of interest.
        let Some(entry) = opened.upgrade() else {
            return;
        };
        match check_some(&entry, check) {
            Ok(Some(next)) => self.opened.push_front((begin, opened, Check::From(next))),
            Ok(None) => {}
            Err(error) => self
                .failures
                .note("a file of the cache cannot be checked", &error),
        }
    }
}

/// Lets memory forget all files of the cache, but for what is still to be written.
///
/// # Errors
/// Some are not forgotten that others may read.
fn forget_files(directory: &Directory) -> io::Result<()> {
    for place in directory.places()? {
        let files = match fs::read_dir(&place) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::NotFound) =>
            {
                continue;
            }
            files => files?,
        };
        for file in files {
            let file = file?;
            if !file.file_type()?.is_file() {
                continue;
            }
            match open_to_read(&file.path()) {
                Ok(file) => fadvise(&file, 0, None, Advice::DontNeed)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Reads the next blocks that nobody has read yet, of an entry that is complete. Returns where to go
/// on, if that is of use.
fn check_some(entry: &Entry, check: Check) -> io::Result<Option<u64>> {
    if entry.proof().is_whole() {
        return Ok(None);
    }
    let mut next = match check {
        Check::Begin if !entry.notes().is_complete()? => return Ok(None),
        Check::Begin => 0,
        Check::From(next) => next,
    };
    let mut buffer = vec![0; BLOCKS_AT_A_TIME * block_len()];
    let end = entry.size().div_ceil(BLOCK);
    for _ in 0..READS_AT_A_TIME {
        next = match entry.proof().next_unseen(next) {
            Some(block) if block < end => block,
            _ => return Ok(None),
        };
        let rest = usize::try_from(entry.size() - next * BLOCK).unwrap_or(usize::MAX);
        let len = buffer.len().min(rest);
        match entry.read(next, &mut buffer[..len])? {
            (_, Found::Good) => next += len.div_ceil(block_len()) as u64,
            // Whoever needs the block fetches it.
            (_, Found::Missing | Found::Bad) => return Ok(None),
        }
    }
    Ok(Some(next))
}

/// How long what becomes whole is gathered.
const GATHER: Duration = Duration::from_millis(500);

/// How long whoever has opened a file is let read it himself.
const LET_READ: Duration = Duration::from_secs(2);

/// How long no other synchronization begins, as a multiple of how long one took.
const PAUSE: u32 = 4;

/// News that are heard in a row.
const MOST_NEWS: usize = 1 << 16;

/// Entries that wait; more are looked at when they are opened again.
const MOST_OPENED: usize = 1 << 16;

/// Blocks that are read at a time: 1 MiB.
const BLOCKS_AT_A_TIME: usize = 8;

/// Reads between which nothing else is done: 64 MiB.
const READS_AT_A_TIME: usize = 64;
