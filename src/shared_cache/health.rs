//! Whether the bucket of the cache is of any use at the moment.
//!
//! A bucket that fails, or does not answer, is left alone for a while, so that what it costs to find
//! that out is not paid by every read. Then one request tries it; the others follow if that goes well.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How it has gone with requests of one kind.
#[derive(Debug)]
pub(super) struct Health {
    /// What the requests do: `read` or `written`.
    what: &'static str,
    rest: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Failures since it went well.
    failures: u32,
    /// Nothing is tried before this.
    until: Option<Instant>,
    /// When it went well last.
    well: Option<Instant>,
}

impl Health {
    /// All is well. After some failures nothing is tried for `rest`.
    pub(super) fn new(what: &'static str, rest: Duration) -> Self {
        Self {
            what,
            rest,
            state: Mutex::default(),
        }
    }

    /// Whether a request may be tried now.
    pub(super) fn may_try(&self) -> bool {
        let mut state = self.state();
        let Some(until) = state.until else {
            return true;
        };
        let now = Instant::now();
        if now < until {
            return false;
        }
        // This one tries; the others wait for what comes of it.
        state.until = Some(now + self.rest);
        true
    }

    /// Whether requests go well, as far as is known.
    pub(super) fn is_well(&self) -> bool {
        self.state().until.is_none()
    }

    /// Whether a request would be tried now: as [`Self::may_try`], of which this is no use.
    pub(super) fn would_try(&self) -> bool {
        let until = self.state().until;
        until.is_none_or(|until| until <= Instant::now())
    }

    /// Takes note that a request was answered.
    pub(super) fn went_well(&self) {
        let mut state = self.state();
        state.failures = 0;
        state.well = Some(Instant::now());
        if state.until.take().is_some() {
            drop(state);
            log::info!("the shared cache can be {} again", self.what);
        }
    }

    /// Whether any request was answered after `since`.
    pub(super) fn was_well_after(&self, since: Instant) -> bool {
        self.state().well.is_some_and(|well| well > since)
    }

    /// Takes note that a request has failed, and why.
    pub(super) fn failed(&self, why: &dyn Display) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let begins_to_rest = state.failures >= MOST_FAILURES && state.until.is_none();
        if begins_to_rest {
            state.until = Some(Instant::now() + self.rest);
        }
        drop(state);
        let (what, rest) = (self.what, self.rest.as_secs());
        if begins_to_rest {
            log::warn!(
                "the shared cache cannot be {what}: {why}; it is tried again every {rest} s, and \
                 reads go on without it"
            );
        } else {
            log::debug!("a block of the shared cache cannot be {what}: {why}");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In a row, after which it is no chance.
const MOST_FAILURES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_after_failures_in_a_row_and_one_tries_first() {
        let rest = Duration::from_secs(3600);
        let health = Health::new("read", rest);
        // Nobody can tell how much of a rest that is waited for is over by the next line.
        let end_rest = || {
            let mut state = health.state();
            let until = state.until.expect("it rests");
            assert!(until <= Instant::now() + rest);
            state.until = Some(Instant::now());
        };
        for _ in 0..MOST_FAILURES - 1 {
            health.failed(&"no");
            assert!(health.may_try());
        }
        let before = Instant::now();
        assert!(!health.was_well_after(before));
        health.went_well();
        assert!(health.was_well_after(before));
        for _ in 0..MOST_FAILURES {
            assert!(health.may_try());
            health.failed(&"no");
        }
        assert!(!health.is_well());
        for _ in 0..2 {
            assert!(!health.would_try() && !health.may_try());
            end_rest();
            assert!(health.would_try() && health.may_try());
            assert!(!health.would_try() && !health.may_try());
            health.failed(&"no");
        }
        end_rest();
        assert!(health.may_try());
        health.went_well();
        assert!(health.may_try() && health.may_try() && health.is_well());
    }
}
