//! What is done about a disk that fails: reads go on from the store, and nothing that was seen of it before
//! counts any more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::proof::Proven;
use crate::metrics::CacheMetrics;

/// Takes note of failures of the disk. Any thread may use it.
#[derive(Debug)]
pub(super) struct Failures {
    metrics: Arc<CacheMetrics>,
    proven: Arc<Proven>,
    /// Whether one was told, which is enough.
    is_told: AtomicBool,
}

impl Failures {
    /// None yet. They are counted in `metrics`, and what is in `proven` has to be proven anew.
    pub(super) fn new(metrics: Arc<CacheMetrics>, proven: Arc<Proven>) -> Self {
        Self {
            metrics,
            proven,
            is_told: AtomicBool::new(false),
        }
    }

    /// Takes note of a failure; `what` says what cannot be done.
    pub(super) fn note(&self, what: &str, error: &io::Error) {
        self.metrics.errors.add(1);
        if is_of_disk(error) {
            self.proven.begin_era();
        }
        if !self.is_told.swap(true, Ordering::Relaxed) {
            log::warn!("{what}: {error}; more of this is logged as debug");
        } else {
            log::debug!("{what}: {error}");
        }
    }
}

/// Whether the disk takes no more, as it has no room, or allows this user none.
pub(super) fn is_full(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOSPC | Errno::DQUOT))
}

/// Whether the disk may not give what it has any more, rather than take no more, or the system have no
/// more files or memory.
fn is_of_disk(error: &io::Error) -> bool {
    let others = [Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    let is_other = Errno::from_io_error(error).is_some_and(|errno| others.contains(&errno));
    !is_other && !is_full(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::name::Name;
    use crate::cache::proof::Stamp;

    #[test]
    fn what_was_proven_counts_until_the_disk_fails() {
        let proven = Arc::<Proven>::default();
        let failures = Failures::new(Arc::default(), Arc::clone(&proven));
        let name = Name::new("s", "b", "k", "e", 5).short();
        let file = tempfile::tempfile().expect("a file");
        let stamp = Stamp::of(&file.metadata().expect("there"));
        let first = proven.era();
        for (errno, is_left) in [
            (Errno::NOSPC, true),
            (Errno::DQUOT, true),
            (Errno::NOMEM, true),
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::IO, false),
            (Errno::NODATA, false),
            (Errno::ROFS, false),
        ] {
            proven.insert(name, stamp, proven.era());
            assert!(proven.get(&name).is_some());
            failures.note("", &errno.into());
            assert_eq!(proven.get(&name).is_some(), is_left, "{errno}");
        }
        assert_ne!(proven.era(), first);
        proven.insert(name, stamp, first);
        assert_eq!(proven.get(&name), None, "it was seen before");
        assert_eq!(failures.metrics.errors.get(), 8);
    }
}
