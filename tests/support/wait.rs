//! Waiting for a condition, with a limit.

use std::time::{Duration, Instant};

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
