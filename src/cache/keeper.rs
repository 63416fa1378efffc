//! Makes room: removes what is least likely to be read again.
//!
//! There is no list of what the cache has: the directory is one, and it is right in every process
//! and after every crash. It is looked through when the cache opens and when room is needed.

use std::fs::{self, DirEntry, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::amount::Amount;
use super::directory::Directory;
use super::failures::Failures;
use super::name::object_of;
use super::place::{Layout, Place, is_new, shard_of};
use super::usage::Usage;
use super::uses::Uses;
use crate::metrics::CacheMetrics;

/// A thread that makes room, until this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    wishes: Mutex<Option<SyncSender<()>>>,
}

impl Keeper {
    /// Starts the thread, which counts all files first.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn start(
        directory: Arc<Directory>,
        usage: Arc<Usage>,
        metrics: Arc<CacheMetrics>,
        failures: Arc<Failures>,
    ) -> io::Result<Self> {
        let (wishes, wanted) = sync_channel(1);
        let work = Work {
            directory,
            usage,
            metrics,
            failures,
        };
        thread::Builder::new()
            .name("cache-keeper".into())
            .spawn(move || work.run(&wanted))?;
        Ok(Self {
            wishes: Mutex::new(Some(wishes)),
        })
    }

    /// Asks for a look at how much room there is, and for more if [`Usage`] was asked for it. Does not wait
    /// for that.
    pub(super) fn make_room(&self) {
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(TrySendError::Disconnected(()))) =
            wishes.as_ref().map(|wishes| wishes.try_send(()))
        {
            log::warn!("nothing makes room in the cache any more");
        }
    }
}

struct Work {
    directory: Arc<Directory>,
    usage: Arc<Usage>,
    metrics: Arc<CacheMetrics>,
    failures: Arc<Failures>,
}

/// An entry as the directory shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) place: Place,
    /// Bytes on the disk.
    pub(super) bytes: u64,
    pub(super) last_use: SystemTime,
    /// Whether it was used more than once.
    is_proven: bool,
    /// Whether there is a later version of the object.
    is_replaced: bool,
}

impl Candidate {
    /// What its files take.
    pub(super) fn amount(&self) -> Amount {
        Amount {
            bytes: self.bytes,
            files: self.place.layout().files(),
        }
    }
}

impl Work {
    fn run(&self, wanted: &Receiver<()>) {
        loop {
            let began = Instant::now();
            match self.make_room() {
                Ok(()) => {}
                // The directory was deleted: the next GET makes it again.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    _ = self.usage.counted(Amount::default(), self.directory.root());
                }
                // Its files are still there.
                Err(error) => {
                    self.unreadable(self.directory.root(), &error);
                    self.usage.cannot_count(error);
                }
            }
            // A cache that is full all the time is not looked through all the time.
            let ended = Instant::now();
            let pause = ((ended - began) * PAUSE).min(LONGEST_PAUSE);
            if wanted.recv().is_err() {
                return;
            }
            thread::sleep(pause.saturating_sub(ended.elapsed()));
            // One look is for all who have asked by now.
            while wanted.try_recv().is_ok() {}
        }
    }

    fn unreadable(&self, path: &Path, error: &io::Error) {
        let text = format!("{} cannot be read", path.display());
        self.failures.note(&text, error);
    }

    fn make_room(&self) -> io::Result<()> {
        self.usage.begin_count();
        let mut candidates = Vec::new();
        for place in self.directory.places()? {
            if let Some(shard) = shard_of(&place) {
                self.usage.count_shard(shard);
            }
            let mut unreadable = |path: &Path, error: &io::Error| self.unreadable(path, error);
            candidates.extend(look_into(&place, &mut unreadable));
        }
        let held = candidates.iter().map(Candidate::amount).sum();
        let mut excess = self.usage.counted(held, self.directory.root());
        if excess == Amount::default() {
            return Ok(());
        }
        order(&mut candidates);
        let (mut count, mut bytes) = (0u64, 0u64);
        for found in candidates {
            if excess == Amount::default() {
                break;
            }
            match found.place.remove_unused() {
                Ok(false) => {}
                Ok(true) => {
                    excess = excess.saturating_sub(found.amount());
                    self.usage.removed(found.bytes, found.place.shard());
                    count += 1;
                    bytes += found.bytes;
                }
                Err(error) => log::warn!("{}: {error}", found.place),
            }
        }
        self.metrics.removed.add(bytes);
        log::debug!("{count} objects of {bytes} bytes were removed from the cache");
        Ok(())
    }
}

/// All entries in the directory. What is half there, and old, is removed. `unreadable` gets to know what
/// the disk does not give.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn look_through(
    directory: &Directory,
    mut unreadable: impl FnMut(&Path, &io::Error),
) -> io::Result<Vec<Candidate>> {
    let places = directory.places()?.into_iter();
    Ok(places
        .flat_map(|place| look_into(&place, &mut unreadable))
        .collect())
}

/// The same, in one of the directories: all versions of an object are in the same one.
fn look_into(place: &Path, unreadable: &mut impl FnMut(&Path, &io::Error)) -> Vec<Candidate> {
    let mut found = Vec::new();
    let files = match fs::read_dir(place) {
        Ok(files) => files,
        Err(error) => {
            // Somebody else has put it there, or removed it.
            if !matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::NotFound) {
                unreadable(place, &error);
            }
            return found;
        }
    };
    for file in files {
        let file = match file {
            Ok(file) => file,
            Err(error) => {
                unreadable(place, &error);
                // There may be no end of it.
                break;
            }
        };
        match look_at(&file) {
            Ok(candidate) => found.extend(candidate),
            // Somebody else removes things, too.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => unreadable(&file.path(), &error),
        }
    }
    mark_replaced(&mut found);
    found
}

fn look_at(file: &DirEntry) -> io::Result<Option<Candidate>> {
    let path = file.path();
    let Some(place) = Place::of_file(&path) else {
        let is_left = match Place::of_data(&path) {
            // Its notes are made just after it.
            Some(place) => !place.notes().try_exists()?,
            None => is_new(&path),
        };
        if is_left && is_old(&file.metadata()?)? {
            fs::remove_file(path)?;
        }
        return Ok(None);
    };
    let metadata = file.metadata()?;
    let mut blocks = metadata.blocks();
    match place.layout() {
        Layout::Map => blocks += fs::metadata(place.data()).map_or(0, |data| data.blocks()),
        // It is made before it is filled.
        Layout::Attribute if metadata.len() == 0 => {
            if is_old(&metadata)? {
                fs::remove_file(path)?;
            }
            return Ok(None);
        }
        Layout::Attribute => {}
    }
    let uses = Uses::of(place.layout(), &metadata)?;
    Ok(Some(Candidate {
        place,
        bytes: blocks * 512,
        last_use: uses.last,
        is_proven: uses.is_repeated,
        is_replaced: false,
    }))
}

/// Whether nobody completes a file any more that is not complete.
fn is_old(metadata: &Metadata) -> io::Result<bool> {
    let age = SystemTime::now().duration_since(metadata.modified()?);
    Ok(age.is_ok_and(|age| age > ABANDONED))
}

/// Marks all versions of an object but the one that was used last.
fn mark_replaced(found: &mut [Candidate]) {
    let object = |found: &Candidate| object_of(found.place.stem()).to_owned();
    found.sort_by_cached_key(|one| (object(one), one.last_use));
    for index in 1..found.len() {
        found[index - 1].is_replaced = object(&found[index - 1]) == object(&found[index]);
    }
}

/// Puts first what is to go first: versions that were replaced; then, as long as they are more than
/// a tenth, what was used once, so that one pass through many objects does not push out those that
/// are used again and again; each in the order of their last use.
pub(super) fn order(found: &mut Vec<Candidate>) {
    let rank = |one: &Candidate| (!one.is_replaced, one.last_use);
    found.sort_by_key(rank);
    let (once, proven): (Vec<_>, Vec<_>) = found
        .drain(..)
        .partition(|one| one.is_replaced || !one.is_proven);
    let sum = |of: &[Candidate]| of.iter().map(|one| one.bytes).sum::<u64>();
    let kept = (sum(&once) + sum(&proven)) / 10;
    let mut left = sum(&once);
    let mut rest = proven;
    for one in once {
        if one.is_replaced || left > kept {
            left = left.saturating_sub(one.bytes);
            found.push(one);
        } else {
            rest.push(one);
        }
    }
    rest.sort_by_key(rank);
    found.append(&mut rest);
}

/// How long nothing is done, as a multiple of how long it took.
const PAUSE: u32 = 10;

const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// After that nobody completes what was begun.
const ABANDONED: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::directory::Surroundings;
    use crate::cache::place;

    fn candidate(place: &str, second: u64, is_proven: bool, bytes: u64) -> Candidate {
        Candidate {
            place: Place::new(Path::new("/c"), place, Layout::Map),
            bytes,
            last_use: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            is_proven,
            is_replaced: false,
        }
    }

    fn names(found: &[Candidate]) -> Vec<String> {
        let name = |one: &Candidate| one.place.stem().to_owned();
        found.iter().map(name).collect()
    }

    #[test]
    fn versions_that_were_replaced_go_first() {
        let mut found = vec![
            candidate("a-2", 5, false, 1),
            candidate("a-1", 4, true, 1),
            candidate("b-1", 1, false, 1),
            candidate("a-0", 3, false, 1),
        ];
        mark_replaced(&mut found);
        order(&mut found);
        assert_eq!(names(&found), ["a-0", "a-1", "b-1", "a-2"]);
    }

    #[test]
    fn what_was_read_once_does_not_push_out_what_is_read_again() {
        let mut found = vec![
            candidate("kept-1", 1, true, 40),
            candidate("kept-2", 2, true, 40),
            candidate("scan-3", 3, false, 10),
            candidate("scan-4", 4, false, 10),
        ];
        order(&mut found);
        assert_eq!(names(&found), ["scan-3", "kept-1", "kept-2", "scan-4"]);
    }

    #[test]
    fn file_that_nobody_fills_goes_after_a_while() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(parent.path(), Surroundings::Machine).expect("opened");
        let place = |stem| Place::new(&directory.root().join("ab"), stem, Layout::Attribute);
        let [new, old, filled] = ["ab-1", "ab-2", "ab-3"].map(place);
        directory.make_place(&new).expect("made");
        let long_ago = SystemTime::now() - ABANDONED - Duration::from_secs(1);
        for (place, content, is_old) in [(&new, "", false), (&old, "", true), (&filled, "x", true)]
        {
            fs::write(place.data(), content).expect("written");
            if is_old {
                let file = place::open(&place.data()).expect("there");
                file.set_modified(long_ago).expect("set");
            }
        }
        let found =
            look_through(&directory, |path, error| panic!("{path:?}: {error}")).expect("read");
        assert_eq!(names(&found), ["ab-3"]);
        let exists = [&new, &old, &filled].map(|place| place.data().exists());
        assert_eq!(exists, [true, false, true]);
    }
}
