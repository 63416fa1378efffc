//! Looks at files that the kernel reads by itself.
//!
//! Of what fails then nothing is heard: a disk that has failed would be left to the kernel for as long as
//! programs open the files. So now and then a block of a file that somebody opens is read here.

use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::entry::block_len;
use super::name::Short;
use super::notes::Notes;
use super::place::{Place, open_to_read};
use super::{BLOCK, Shared};
use crate::crt::crc32c;

/// When blocks were read. Any thread may use it.
#[derive(Debug, Default)]
pub(super) struct Probes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the last one was begun.
    last: Option<Instant>,
    is_under_way: bool,
    begun: u64,
}

impl Probes {
    /// Begins one at `now`, if it is time for it. Gives its number.
    fn begin(&self, now: Instant) -> Option<u64> {
        let mut state = self.lock();
        let is_early = |last| now.saturating_duration_since(last) < PAUSE;
        // A disk that does not answer is asked once.
        if state.is_under_way || state.last.is_some_and(is_early) {
            return None;
        }
        (state.last, state.is_under_way) = (Some(now), true);
        state.begun += 1;
        Some(state.begun)
    }

    fn end(&self) {
        self.lock().is_under_way = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Lets a block of the files at `place`, of the version `name` of `size` bytes, be read and checked,
    /// if that is due.
    pub(super) fn probe(self: &Arc<Self>, place: Place, name: Short, size: u64) {
        let blocks = size.div_ceil(BLOCK);
        if blocks == 0 {
            return;
        }
        let Some(number) = self.probes.begin(Instant::now()) else {
            return;
        };
        let shared = Arc::clone(self);
        self.readers.spawn_ok(async move {
            match is_good(&place, scattered(number) % blocks, size) {
                Ok(true) => {}
                // Whoever opens it next reads it from here, and so finds out about the block.
                Ok(false) => shared.proven.remove(&name),
                // Somebody has removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => shared.failed("read", &error),
            }
            shared.probes.end();
        });
    }
}

/// Whether block `number` of the files at `place`, of an object of `size` bytes, is what was noted.
fn is_good(place: &Place, number: u64, size: u64) -> io::Result<bool> {
    let Some(notes) = Notes::open(place)? else {
        return Ok(false);
    };
    let sums = notes.sums(number, 1)?;
    let start = number * BLOCK;
    let len = usize::try_from(size - start).map_or(block_len(), |rest| rest.min(block_len()));
    let mut buffer = vec![0; len];
    match open_to_read(&place.data())?.read_exact_at(&mut buffer, start) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    Ok(sums == [Some(crc32c(0, &buffer))])
}

/// Numbers that follow each other, far from each other.
fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

/// Between two of them.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_is_read_at_a_time_and_in_a_second() {
        let (probes, begin) = (Probes::default(), Instant::now());
        assert_eq!(probes.begin(begin), Some(1));
        probes.end();
        assert_eq!(probes.begin(begin + PAUSE / 2), None);
        assert_eq!(probes.begin(begin + PAUSE), Some(2));
        assert_eq!(probes.begin(begin + 2 * PAUSE), None, "it is under way");
        probes.end();
        assert_eq!(probes.begin(begin + 2 * PAUSE), Some(3));
    }

    #[test]
    fn every_block_of_a_file_is_read_sooner_or_later() {
        for blocks in [1, 2, 7, 64, 1000] {
            let mut left: Vec<_> = (0..blocks).collect();
            for number in 0..blocks * 20 {
                left.retain(|block| *block != scattered(number) % blocks);
            }
            assert!(left.is_empty(), "{left:?} of {blocks}");
        }
    }
}
