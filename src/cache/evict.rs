//! What somebody has asked to be removed.

use std::collections::HashSet;
use std::io;
use std::time::SystemTime;

use super::holdings::Holdings;
use super::keeper::{Candidate, look_through, order};
use super::name::{object_of, object_stem};
use super::names;

/// What to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eviction {
    /// All there is.
    All,
    /// What was not used since.
    UnusedSince(SystemTime),
    /// What is least likely to be read again, until the rest takes no more bytes of the disk than this.
    ToBytes(u64),
    /// All versions of these objects.
    Objects(ObjectSet),
}

/// Objects, whatever their versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectSet(HashSet<String>);

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evicted {
    /// Entries that are gone.
    pub entries: u64,
    /// Bytes that they took on the disk. What has one of them open keeps its bytes until it closes it.
    pub bytes: u64,
    /// Entries that are left, as the kernel reads their files by itself for somebody.
    pub in_use: u64,
    /// Entries that could not be removed, and what could not be looked at.
    pub stuck: u64,
    /// Bytes of the disk that the rest takes.
    pub left: u64,
}

impl ObjectSet {
    /// Adds the object `key` of `bucket`, where `origin` tells stores apart that have buckets of the
    /// same name: as for a [`CachedStore`](super::CachedStore).
    pub fn add(&mut self, origin: &str, bucket: &str, key: &str) {
        self.0.insert(object_stem(origin, bucket, key));
    }

    fn has(&self, candidate: &Candidate) -> bool {
        self.0.contains(object_of(candidate.place.stem()))
    }
}

impl Holdings {
    /// Removes entries. Who has one of them open goes on reading it.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn evict(&self, what: &Eviction) -> io::Result<Evicted> {
        let mut evicted = Evicted::default();
        let mut found = look_through(&self.directory, |path, error| {
            log::warn!("{}: {error}", path.display());
            evicted.stuck += 1;
        })?;
        evicted.left = found.iter().map(|candidate| candidate.bytes).sum();
        match what {
            Eviction::All => {
                if let Err(error) = names::remove(&self.directory) {
                    log::warn!("what is known of names: {error}");
                    evicted.stuck += 1;
                }
            }
            Eviction::UnusedSince(time) => found.retain(|candidate| candidate.last_use < *time),
            Eviction::ToBytes(_) => order(&mut found),
            Eviction::Objects(objects) => found.retain(|candidate| objects.has(candidate)),
        }
        for candidate in found {
            if matches!(what, Eviction::ToBytes(most) if evicted.left <= *most) {
                break;
            }
            match candidate.place.remove_unused() {
                Ok(false) => evicted.in_use += 1,
                Ok(true) => {
                    evicted.entries += 1;
                    evicted.bytes += candidate.bytes;
                    evicted.left = evicted.left.saturating_sub(candidate.bytes);
                }
                Err(error) => {
                    log::warn!("{}: {error}", candidate.place);
                    evicted.stuck += 1;
                }
            }
        }
        Ok(evicted)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;
    use crate::cache::tests::{Fixture, MIB, read};
    use crate::s3::{ETag, Key};

    /// Ten objects of a MiB, used one second after the other.
    fn fixture() -> (Fixture, Vec<ETag>, SystemTime) {
        let fixture = Fixture::new();
        let begin = SystemTime::now() - Duration::from_secs(1000);
        let mut etags = Vec::new();
        for n in 0..10 {
            let known = fixture.files("map");
            let etag = fixture.fake.put_synthetic(&format!("k{n}"), MIB, n);
            fetch(&fixture, n, &etag);
            let map = fixture
                .files("map")
                .into_iter()
                .find(|map| !known.contains(map));
            let map = File::options()
                .write(true)
                .open(map.expect("new"))
                .expect("there");
            map.set_modified(begin + Duration::from_secs(n))
                .expect("set");
            etags.push(etag);
        }
        (fixture, etags, begin)
    }

    fn fetch(fixture: &Fixture, n: u64, etag: &ETag) {
        let key = format!("k{n}");
        read(fixture.store.as_ref(), &key, etag, MIB, 0..MIB, u64::MAX).expect("read");
        fixture.settle();
    }

    /// Evicts, and says which of the objects are gone.
    fn gone(fixture: &Fixture, etags: &[ETag], what: &Eviction) -> Vec<u64> {
        let holdings = fixture.holdings();
        let before = fixture.files("data").len() as u64;
        let evicted = holdings.evict(what).expect("read");
        let after = fixture.files("data").len() as u64;
        assert_eq!((evicted.entries, evicted.stuck), (before - after, 0));
        assert!(evicted.bytes >= evicted.entries * MIB, "{evicted:?}");
        let left = (evicted.left / MIB, evicted.left % MIB < 100 * 4096);
        assert_eq!(left, (after, true), "{evicted:?}");
        let is_gone = |n: &u64| {
            let etag = &etags[usize::try_from(*n).expect("small")];
            let name = fixture
                .store
                .name(&Key::new(format!("k{n}")).expect("valid"), etag, MIB);
            !fixture.cache.0.entries.place(&name, MIB).notes().exists()
        };
        (0..10).filter(is_gone).collect()
    }

    #[test]
    fn what_was_asked_for_is_removed_and_nothing_else() {
        let (fixture, etags, begin) = fixture();
        let old = Eviction::UnusedSince(begin + Duration::from_secs(2));
        assert_eq!(gone(&fixture, &etags, &old), [0, 1]);
        let mut objects = ObjectSet::default();
        for (origin, bucket, key) in [
            ("origin", "bucket", "k5"),
            ("origin", "bucket", "none"),
            ("other", "bucket", "k6"),
            ("origin", "other", "k6"),
        ] {
            objects.add(origin, bucket, key);
        }
        assert_eq!(
            gone(&fixture, &etags, &Eviction::Objects(objects)),
            [0, 1, 5]
        );
        let most = Eviction::ToBytes(5 * MIB + MIB / 2);
        assert_eq!(gone(&fixture, &etags, &most), [0, 1, 2, 3, 5]);
        assert_eq!(gone(&fixture, &etags, &most).len(), 5, "that is so already");
        assert_eq!(gone(&fixture, &etags, &Eviction::All).len(), 10);
    }

    #[test]
    fn what_the_kernel_reads_by_itself_stays() {
        let (fixture, _, _) = fixture();
        let data = File::open(&fixture.files("data")[3]).expect("there");
        data.try_lock_shared().expect("locked");
        let holdings = fixture.holdings();
        let evicted = holdings.evict(&Eviction::All).expect("read");
        assert_eq!((evicted.entries, evicted.in_use, evicted.stuck), (9, 1, 0));
        // A process that another test is just starting may have a copy of it.
        data.unlock().expect("unlocked");
        let evicted = holdings.evict(&Eviction::All).expect("read");
        assert_eq!((evicted.entries, evicted.in_use, evicted.left), (1, 0, 0));
    }

    #[test]
    fn all_versions_of_an_object_go() {
        let (fixture, etags, _) = fixture();
        let etag = fixture.fake.put_synthetic("k3", MIB, 77);
        fetch(&fixture, 3, &etag);
        let mut objects = ObjectSet::default();
        objects.add("origin", "bucket", "k3");
        assert_eq!(gone(&fixture, &etags, &Eviction::Objects(objects)), [3]);
        assert_eq!(fixture.files("map").len(), 9);
    }
}
