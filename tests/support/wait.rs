//! Waiting for a condition, with a limit.

use std::time::{Duration, Instant};

/// How long what must happen may take on a machine that stands still for a while.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// Runs `round`, which gets the number of the try, until it gives `Ok`, at most five times; panics with
/// what each one gave. For claims of speed and of economy: a machine that stands still for a while
/// spoils a try, a defect spoils all.
pub(crate) fn once_in_five(mut round: impl FnMut(usize) -> Result<(), String>) {
    let mut failures = Vec::new();
    while let Err(failure) = round(failures.len()) {
        failures.push(failure);
        assert!(failures.len() < 5, "{failures:#?}");
    }
}

/// Whether what `took` so long took less than `limit`.
pub(crate) fn within(took: Duration, limit: Duration) -> Result<(), String> {
    if took < limit {
        Ok(())
    } else {
        Err(format!("{took:?} instead of {limit:?}"))
    }
}

/// Asks `condition` every 10 ms until it gives a value; panics after `limit`, naming `what`.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
