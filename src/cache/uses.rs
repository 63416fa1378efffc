//! When an entry was used, as the times of its files tell.
//!
//! | notes | last use | used more than once |
//! |---|---|---|
//! | in a file | when it was modified | accessed after [`NEVER`] |
//! | in an attribute | when the file was accessed | accessed well after it was modified |
//!
//! When a file of bytes was modified also shows that it was written to, so that is left alone. Files
//! are opened so that reading them does not count as access.

use std::fs::{File, FileTimes, Metadata};
use std::io;
use std::time::{Duration, SystemTime};

use super::place::Layout;

/// The uses of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) last: SystemTime,
    /// Whether it was used more than once.
    pub(super) is_repeated: bool,
}

impl Uses {
    /// Those of the entry whose file of notes has this metadata.
    ///
    /// # Errors
    /// The file system has no times.
    pub(super) fn of(layout: Layout, notes: &Metadata) -> io::Result<Self> {
        let (modified, accessed) = (notes.modified()?, notes.accessed()?);
        Ok(match layout {
            Layout::Map => Self {
                last: modified,
                is_repeated: accessed > NEVER + Duration::from_secs(1),
            },
            Layout::Attribute => Self {
                last: modified.max(accessed),
                is_repeated: accessed > modified + ONE_USE,
            },
        })
    }
}

/// Notes that the entry is used whose notes are in `notes`, which has this metadata, unless the last use
/// was just now.
pub(super) fn note_use(layout: Layout, notes: &File, metadata: &Metadata) {
    let now = SystemTime::now();
    let is_later = |uses: Uses| now.duration_since(uses.last).is_ok_and(|age| age > ONE_USE);
    if Uses::of(layout, metadata).is_ok_and(is_later) {
        let times = FileTimes::new().set_accessed(now);
        let times = match layout {
            Layout::Map => times.set_modified(now),
            Layout::Attribute => times,
        };
        // Only the order in which entries are removed depends on it.
        _ = notes.set_times(times);
    }
}

/// Notes that the entry is used whose notes are in `notes`, which has this metadata, but not as one of
/// several uses.
///
/// # Errors
/// The file system does not take it.
pub(super) fn keep(layout: Layout, notes: &File, metadata: &Metadata) -> io::Result<()> {
    let now = SystemTime::now();
    let times = match layout {
        Layout::Map => FileTimes::new().set_modified(now),
        Layout::Attribute if Uses::of(layout, metadata)?.is_repeated => {
            FileTimes::new().set_accessed(now)
        }
        // Who has seen the file to be good looks again.
        Layout::Attribute => FileTimes::new().set_accessed(now).set_modified(now),
    };
    notes.set_times(times)
}

/// The times of a file of notes that was not used yet.
pub(super) fn unused() -> FileTimes {
    FileTimes::new().set_accessed(NEVER)
}

/// When an entry was used for a second time, if it never was.
pub(super) const NEVER: SystemTime = SystemTime::UNIX_EPOCH;

/// What is closer together is one use.
pub(super) const ONE_USE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Instant;

    use super::*;
    use crate::cache::place::Place;
    use crate::cache::tests::{Fixture, MIB};
    use crate::cache::{BLOCK, Version};
    use crate::s3::Key;
    use crate::wait::{LONG, wait_for};

    fn uses(fixture: &Fixture, ending: &str) -> Uses {
        let path = fixture.files(ending).remove(0);
        let layout = Place::of_file(&path).expect("an entry").layout();
        Uses::of(layout, &path.metadata().expect("there")).expect("times")
    }

    /// Moves all uses into the past.
    fn age(fixture: &Fixture, ending: &str) {
        let path = fixture.files(ending).remove(0);
        let found = path.metadata().expect("there");
        let earlier =
            |time: SystemTime| time.checked_sub(Duration::from_secs(100)).unwrap_or(NEVER);
        let times = FileTimes::new()
            .set_accessed(earlier(found.accessed().expect("known")))
            .set_modified(earlier(found.modified().expect("known")));
        let file = File::options().write(true).open(path).expect("there");
        file.set_times(times).expect("set");
        fixture.cache.0.entries.forget_all();
    }

    #[test]
    fn second_use_is_told_from_the_first_one_and_from_being_kept() {
        for (size, ending) in [(BLOCK, "block"), (MIB, "map")] {
            let (fixture, etag) = wait_for("three reads soon after each other", LONG, || {
                let (fixture, begun) = (Fixture::new(), Instant::now());
                let etag = fixture.fake.put_synthetic("k", size, 7);
                for _ in 0..3 {
                    fixture.read(&etag, size, 0..size).expect("read");
                    fixture.cache.0.entries.forget_all();
                }
                // What takes longer, on a machine that stands still, is more than one use.
                (begun.elapsed() < ONE_USE).then_some((fixture, etag))
            });
            let first = uses(&fixture, ending);
            assert!(!first.is_repeated, "{ending}: {first:?}");
            age(&fixture, ending);
            let key = Key::new("k").expect("valid");
            let version = Version {
                key,
                etag: etag.clone(),
                size,
            };
            assert_eq!(fixture.store.lacking(vec![version.clone()]).complete, 1);
            let kept = uses(&fixture, ending);
            assert!(
                !kept.is_repeated && kept.last >= first.last,
                "{ending}: {kept:?}"
            );
            age(&fixture, ending);
            fixture.read(&etag, size, 0..size).expect("read");
            let second = uses(&fixture, ending);
            assert!(
                second.is_repeated && second.last >= kept.last,
                "{ending}: {second:?}"
            );
            age(&fixture, ending);
            fixture.store.lacking(vec![version]);
            let kept = uses(&fixture, ending);
            assert!(
                kept.is_repeated && kept.last >= second.last,
                "{ending}: {kept:?}"
            );
            assert_eq!(fixture.gets(), 1);
        }
    }
}
