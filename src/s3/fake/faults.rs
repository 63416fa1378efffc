//! Requests that fail, wait or stall on demand.

use std::ops::Range;

use futures::channel::oneshot;

use super::{FakeStore, Logged, Op, State, error};
use crate::s3::{Error, ErrorKind};

impl FakeStore {
    /// Lets the next `times` requests of kind `op` (on `key`, if given) fail.
    pub(crate) fn fail_next(&self, op: Op, key: Option<&str>, kind: ErrorKind, times: usize) {
        self.add_fault(op, key, times, 0, Effect::Fail(kind));
    }

    /// Lets the next GET of `key` fail after it has delivered `bytes`.
    pub(crate) fn fail_get_after(&self, key: &str, bytes: u64, kind: ErrorKind) {
        self.add_fault(Op::Get, Some(key), 1, bytes, Effect::Fail(kind));
    }

    /// Lets the next GET of `key` stop after it has delivered `bytes`, until [`Self::release`].
    pub(crate) fn stall_get_after(&self, key: &str, bytes: u64) {
        self.add_fault(Op::Get, Some(key), 1, bytes, Effect::Hold);
    }

    /// Lets the next GET of `key` whose range begins at `start` deliver nothing until
    /// [`Self::release`].
    pub(crate) fn stall_get_of(&self, key: &str, start: u64) {
        self.add_fault(Op::Get, Some(key), 1, 0, Effect::Hold);
        let mut state = self.0.state();
        let fault = state.faults.last_mut().expect("just added");
        fault.start = Some(start);
    }

    /// Lets the next `times` requests of kind `op` (on `key`, if given), which is no GET, wait for
    /// [`Self::release`]; they see the bucket as it is then.
    pub(crate) fn hold_next(&self, op: Op, key: Option<&str>, times: usize) {
        self.add_fault(op, key, times, 0, Effect::Hold);
    }

    /// Lets everything that is held or stalled go on.
    pub(crate) fn release(&self) {
        let (held, stalled) = {
            let mut state = self.0.state();
            (
                std::mem::take(&mut state.held),
                std::mem::take(&mut state.stalled),
            )
        };
        drop(held);
        for body in stalled {
            body.release();
        }
    }

    /// Lets all go well that was to fail, to wait or to stall, and has not come yet.
    pub(crate) fn forget_faults(&self) {
        self.0.state().faults.clear();
    }

    /// How many requests are held or stalled at the moment.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.0.state();
        state.held.len() + state.stalled.len()
    }

    fn add_fault(&self, op: Op, key: Option<&str>, times: usize, after: u64, effect: Effect) {
        self.0.state().faults.push(Fault {
            op,
            key: key.map(str::to_owned),
            start: None,
            times,
            after,
            effect,
        });
    }

    /// Logs a request and lets it suffer the first fault that is meant for it.
    pub(super) async fn arrive(&self, op: Op, key: &str) -> Result<(), Error> {
        let gate = {
            let mut state = self.0.state();
            match state.arrive(op, key, None) {
                None => return Ok(()),
                Some(Fault {
                    effect: Effect::Fail(kind),
                    ..
                }) => return Err(error(op, key, kind)),
                Some(_) => {
                    let (held, gate) = oneshot::channel::<()>();
                    state.held.push(held);
                    gate
                }
            }
        };
        // The sender is dropped, never used: an error is the release.
        let _released = gate.await;
        Ok(())
    }
}

impl State {
    /// Logs a request, and gives the first fault that is meant for it.
    pub(super) fn arrive(&mut self, op: Op, key: &str, range: Option<Range<u64>>) -> Option<Fault> {
        let start = range.as_ref().map(|range| range.start);
        self.log.push(Logged {
            op,
            key: key.to_owned(),
            range,
        });
        let index = self.faults.iter().position(|fault| {
            fault.op == op
                && fault.key.as_deref().is_none_or(|wanted| wanted == key)
                && (fault.start.is_none() || fault.start == start)
        })?;
        self.faults[index].times -= 1;
        if self.faults[index].times == 0 {
            Some(self.faults.remove(index))
        } else {
            Some(self.faults[index].clone())
        }
    }
}

#[derive(Clone)]
pub(super) struct Fault {
    op: Op,
    /// Absent when it is meant for any key.
    key: Option<String>,
    /// First byte of the range of the GET; absent when it is meant for any.
    start: Option<u64>,
    /// Requests that still suffer it; never 0.
    times: usize,
    /// Bytes that a GET delivers before.
    pub(super) after: u64,
    pub(super) effect: Effect,
}

#[derive(Clone, Copy)]
pub(super) enum Effect {
    Fail(ErrorKind),
    Hold,
}
