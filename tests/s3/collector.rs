//! A sink that keeps what it gets. Shared with the unit tests of the fake store.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::api::{BodySink, Error, ErrorKind};

/// Collects a body and how it ended.
#[derive(Default)]
pub(crate) struct Collector {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    parts: Vec<(u64, Bytes)>,
    received: u64,
    result: Option<Result<(), Error>>,
}

impl Collector {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The bytes so far.
    pub(crate) fn body(&self) -> Vec<u8> {
        let state = self.state();
        let parts = state.parts.iter();
        parts.flat_map(|(_, bytes)| bytes.to_vec()).collect()
    }

    /// How many bytes came so far.
    pub(crate) fn received(&self) -> u64 {
        self.state().received
    }

    /// How the body ended, if it has.
    pub(crate) fn result(&self) -> Option<Result<(), ErrorKind>> {
        let result = self.state().result.clone();
        result.map(|result| result.map_err(|error| error.kind()))
    }

    /// Waits for the end.
    pub(crate) fn wait(&self) -> Result<(), ErrorKind> {
        self.wait_for("the end", |state| state.result.is_some());
        self.result().expect("it has ended")
    }

    /// Waits until `bytes` have come, or the end has.
    pub(crate) fn wait_received(&self, bytes: u64) {
        self.wait_for("bytes", |state| {
            state.received >= bytes || state.result.is_some()
        });
    }

    fn wait_for(&self, what: &str, done: impl Fn(&State) -> bool) {
        let start = Instant::now();
        let state = self.state();
        let (_state, timeout) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !done(state))
            .expect("no test panicked in a sink");
        let waited = start.elapsed();
        assert!(!timeout.timed_out(), "no {what} after {waited:?}");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panicked in a sink")
    }
}

impl BodySink for Collector {
    fn part(&self, offset: u64, bytes: Bytes) {
        let mut state = self.state();
        assert!(state.result.is_none(), "a part came after the end");
        if let Some((start, last)) = state.parts.last() {
            assert_eq!(offset, start + last.len() as u64, "a gap in the body");
        }
        state.received += bytes.len() as u64;
        state.parts.push((offset, bytes));
        drop(state);
        self.changed.notify_all();
    }

    fn finish(&self, result: Result<(), Error>) {
        let before = self.state().result.replace(result);
        assert!(before.is_none(), "the body ended twice");
        self.changed.notify_all();
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
