//! Mounts on a machine that stands still for a while.

use std::time::{Duration, Instant};

use super::wait::once_in_five;

/// What `start` gives, which starts a mount and waits until it answers. One that has given up, as it got no
/// answer in time, is started again; panics when one fails sooner, with what `start` says of it.
pub(crate) fn unless_given_up<T>(mut start: impl FnMut() -> Result<T, String>) -> T {
    let mut mounted = None;
    once_in_five(|_| {
        let begun = Instant::now();
        let started = start();
        if let Err(failure) = &started {
            assert!(begun.elapsed() >= GIVEN_UP, "{failure}");
        }
        mounted = Some(started?);
        Ok(())
    });
    mounted.expect("mounted")
}

/// After how long without an answer a mount gives up, at the earliest.
const GIVEN_UP: Duration = Duration::from_secs(9);
