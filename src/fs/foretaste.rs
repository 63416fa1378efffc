//! Files whose first bytes were fetched by the lookup, for the open that follows.
//!
//! `open(2)` is a lookup and an open. Where the files of a directory are being read, and what a
//! listing said of a file is too old to be repeated, the lookup fetches the first bytes of just the
//! listed version: that proves that it is still there, and the open finds it proved and fetched.
//! One request serves both. What a thread looks up it opens next: so the bytes are for that thread
//! only, and for a moment.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::debug;

use super::Fs;
use super::attr::{Attr, Entry};
use super::errno::Error;
use super::process::Pid;
use crate::read::ReadHandle;
use crate::s3::ErrorKind;
use crate::tree::{FileVersion, InodeNo, Listed};

/// What was fetched and is not opened yet.
#[derive(Debug, Default)]
pub(super) struct Foretastes(Mutex<VecDeque<Foretaste>>);

#[derive(Debug)]
struct Foretaste {
    ino: InodeNo,
    by: Pid,
    version: FileVersion,
    reader: ReadHandle,
    asked: Instant,
}

impl Foretastes {
    fn insert(&self, foretaste: Foretaste) {
        let mut all = self.lock();
        let now = foretaste.asked;
        all.retain(|old| old.by != foretaste.by && old.is_fresh(now));
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(foretaste);
    }

    /// The handle of `version`, if the thread `by` has looked it up a moment ago. Whatever else
    /// the thread has looked up is dropped.
    pub(super) fn take(&self, ino: InodeNo, by: Pid, version: &FileVersion) -> Option<ReadHandle> {
        let mut all = self.lock();
        let at = all.iter().position(|foretaste| foretaste.by == by)?;
        let found = all.remove(at)?;
        let is_it = found.ino == ino
            && found.version.key == version.key
            && found.version.info.etag == version.info.etag;
        (is_it && found.is_fresh(Instant::now())).then_some(found.reader)
    }

    /// Drops what the thread `by` has looked up.
    fn drop_of(&self, by: Pid) {
        self.lock().retain(|foretaste| foretaste.by != by);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Foretaste>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Foretaste {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.asked) < FRESH
    }
}

impl Fs {
    /// Looks up `name` in `parent` by fetching the first bytes of the version that a listing had,
    /// if that pays. `None` when it is to be looked up as any other name.
    pub(super) async fn lookup_by_get(
        &self,
        parent: InodeNo,
        name: &OsStr,
        by: Pid,
    ) -> Result<Option<Entry>, Error> {
        self.foretastes.drop_of(by);
        if by == Pid::UNKNOWN {
            return Ok(None);
        }
        let Some(listed) = self.tree.listed(parent, name) else {
            return Ok(None);
        };
        let asked = Instant::now();
        let Some(reader) = self.fetch_listed(&listed).await else {
            return Ok(None);
        };
        let node = self.tree.learn_listed(&listed)?;
        let entry = Entry {
            attr: Attr::of_node(&node, &self.config),
            // Just until the open that may follow: the next one looks up for itself.
            valid_for: node.valid_for.min(UNTIL_OPENED),
        };
        self.foretastes.insert(Foretaste {
            ino: node.ino,
            by,
            version: listed.version,
            reader,
            asked,
        });
        Ok(Some(entry))
    }

    /// A handle that has the first bytes of the version `listed`, unless that is not the newest any
    /// more or cannot be fetched so.
    async fn fetch_listed(&self, listed: &Listed) -> Option<ReadHandle> {
        let FileVersion { key, info } = &listed.version;
        if !info.is_readable() {
            return None;
        }
        let (reader, _visit) = self.reader(key, info, false);
        match reader.fetch_head().await {
            Ok(true) => Some(reader),
            Ok(false) => None,
            Err(error) => {
                let gone = [
                    ErrorKind::Precondition,
                    ErrorKind::NotFound,
                    ErrorKind::InvalidRange,
                ];
                if gone.contains(&error.kind()) {
                    self.tree.doubt_listed(listed);
                }
                // Whoever opens the file hears of it.
                debug!("a file that was listed: {error}");
                None
            }
        }
    }
}

/// Threads that are between a lookup and an open at the same time, at most: as many as S3 is asked
/// for by at a time.
const MOST: usize = 128;

/// How long a lookup and the open after it may be apart, from the request on.
const FRESH: Duration = Duration::from_secs(1);

/// How long the kernel believes the answer: as short as it can count, but not nothing, or it would
/// ask for the attributes once more before it opens.
const UNTIL_OPENED: Duration = Duration::from_millis(1);
