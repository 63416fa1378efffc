//! What is known of names beyond this mount.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Core;
use super::error::Error;
use super::expiry::Moment;
use super::inode::{Found, InodeNo};
use crate::s3::Key;

/// What others have known of the names of a bucket before, and what others are to know later. Methods
/// may be called from any thread, and do not wait for long.
pub trait Memory: Debug + Send + Sync + 'static {
    /// What `key`, which may be that of a directory without its `/`, led to when S3 was asked last,
    /// and how long ago that was. Not what [`Self::note`] was told, nor what it has made void.
    fn recall(&self, key: &Key) -> Option<(Found, Duration)>;

    /// Takes note of what `key` led to when S3 was asked at `asked`; `None` when what was known of it
    /// counts no more.
    fn note(&self, key: &Key, found: Option<Found>, asked: Instant);
}

impl Core {
    /// What `name` in `parent`, which is `key`, was known to lead to before this mount, and when S3 was
    /// asked for that, if it still counts at `now`.
    pub(super) fn recall_from_before(
        &self,
        parent: InodeNo,
        name: &Arc<str>,
        key: &Key,
        now: Moment,
    ) -> Result<Option<(Found, Moment)>, Error> {
        let Some(memory) = &self.memory else {
            return Ok(None);
        };
        // What is known here is newer, and too old.
        if self.table().child(parent, name)?.is_some() {
            return Ok(None);
        }
        let Some((found, age)) = memory.recall(key) else {
            return Ok(None);
        };
        let asked = now.before(age);
        let is_fresh = asked.remaining(self.ttl_of_found(&found), now).is_some();
        let counts = is_fresh && !self.table().is_outdated(parent, name, asked);
        Ok(counts.then_some((found, asked)))
    }

    /// Lets others know what S3 has said of `key` when it was asked at `asked`; `None` when what was
    /// known of it counts no more.
    pub(super) fn remember(&self, key: &Key, found: Option<Found>, asked: Moment) {
        if let Some(memory) = &self.memory {
            memory.note(key, found, self.clock.instant(asked));
        }
    }

    /// Lets others know that the name of `ino` leads elsewhere by now, or nowhere.
    pub(super) fn forget_for_others(&self, ino: InodeNo) {
        if self.memory.is_some() {
            let key = self.object_key(&self.table(), ino);
            if let Ok(key) = key {
                self.remember(&key, None, self.clock.now());
            }
        }
    }
}
