//! GetObject: delivers a body in parts, as far as the window allows.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::faults::{Effect, Fault};
use super::{Inner, Op, error};
use crate::s3::{BodySink, Error, ErrorKind, GetRequest, InFlight};

/// A GET under way.
#[derive(Clone)]
pub(super) struct FakeBody(Arc<Transfer>);

/// A GET as its caller holds it: dropping it cancels.
pub(super) struct CancelOnDrop(FakeBody);

/// Starts a GET.
pub(super) fn start(
    store: Arc<Inner>,
    request: GetRequest,
    sink: Arc<dyn BodySink>,
    fault: Option<Fault>,
) -> CancelOnDrop {
    let body = FakeBody(Arc::new(Transfer {
        progress: Mutex::new(Progress {
            delivered: 0,
            allowed: request.window,
            fault,
            phase: Phase::Idle,
        }),
        store,
        request,
        sink,
    }));
    body.resume();
    CancelOnDrop(body)
}

/// The bytes `range` of a synthetic object: each is a pure function of the seed and its offset.
pub(crate) fn synthetic(seed: u64, range: Range<u64>) -> Bytes {
    const WORD: u64 = 8;
    let mut bytes = Vec::new();
    for index in range.start / WORD..range.end.div_ceil(WORD) {
        let word = mix(seed.wrapping_add(mix(index))).to_le_bytes();
        let start = index * WORD;
        let inside = |offset: u64| usize::try_from(offset.saturating_sub(start).min(WORD));
        if let (Ok(from), Ok(to)) = (inside(range.start), inside(range.end)) {
            bytes.extend_from_slice(&word[from..to]);
        }
    }
    bytes.into()
}

impl FakeBody {
    /// Ends the stall of a GET that stalls.
    pub(super) fn release(&self) {
        {
            let mut progress = self.0.progress();
            if progress.phase == Phase::Stalled {
                progress.phase = Phase::Idle;
            }
        }
        self.resume();
    }

    /// Delivers what may be delivered, on the pool's threads if the store has any.
    fn resume(&self) {
        match &self.0.store.pool {
            None => self.0.deliver(),
            Some(pool) => {
                let transfer = Arc::clone(&self.0);
                pool.spawn_ok(async move { transfer.deliver() });
            }
        }
    }
}

impl InFlight for CancelOnDrop {
    fn extend_window(&self, bytes: u64) {
        {
            let mut progress = self.0.0.progress();
            progress.allowed = progress.allowed.saturating_add(bytes);
        }
        self.0.resume();
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let was = std::mem::replace(&mut self.0.0.progress().phase, Phase::Over);
        if was != Phase::Over {
            let mut state = self.0.0.store.state();
            state.bodies.in_flight -= 1;
            state.bodies.dropped += 1;
        }
    }
}

impl fmt::Debug for CancelOnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelOnDrop")
            .field(&self.0.0.request)
            .finish()
    }
}

struct Transfer {
    store: Arc<Inner>,
    request: GetRequest,
    sink: Arc<dyn BodySink>,
    progress: Mutex<Progress>,
}

struct Progress {
    delivered: u64,
    /// Bytes that may be delivered in all; a part is started while fewer were.
    allowed: u64,
    fault: Option<Fault>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    /// A thread is in [`Transfer::deliver`]; it will see what others change meanwhile.
    Delivering,
    /// Delivers nothing until it is released.
    Stalled,
    /// Finished or dropped.
    Over,
}

enum Step {
    Part(u64, Bytes),
    Finish(Result<(), Error>),
    Stall,
    Wait,
}

impl Transfer {
    fn deliver(self: &Arc<Self>) {
        {
            let mut progress = self.progress();
            if progress.phase != Phase::Idle {
                return;
            }
            progress.phase = Phase::Delivering;
        }
        loop {
            let step = {
                let mut progress = self.progress();
                if progress.phase == Phase::Over {
                    return;
                }
                let step = self.next(&mut progress);
                match &step {
                    Step::Part(_, bytes) => progress.delivered += bytes.len() as u64,
                    Step::Finish(_) => {
                        progress.phase = Phase::Over;
                        self.store.state().bodies.in_flight -= 1;
                    }
                    Step::Wait => progress.phase = Phase::Idle,
                    Step::Stall => {
                        progress.phase = Phase::Stalled;
                        let body = FakeBody(Arc::clone(self));
                        self.store.state().stalled.push(body);
                    }
                }
                step
            };
            match step {
                Step::Part(offset, bytes) => {
                    self.store.state().bodies.delivered_bytes += bytes.len() as u64;
                    self.sink.part(offset, bytes);
                }
                Step::Finish(result) => return self.sink.finish(result),
                Step::Stall | Step::Wait => return,
            }
        }
    }

    fn next(&self, progress: &mut Progress) -> Step {
        let range = &self.request.range;
        let offset = range.start + progress.delivered;
        let mut end = range.end;
        if let Some(fault) = &progress.fault {
            if progress.delivered >= fault.after {
                let effect = fault.effect;
                progress.fault = None;
                return match effect {
                    Effect::Fail(kind) => Step::Finish(Err(self.error(kind))),
                    Effect::Hold => Step::Stall,
                };
            }
            end = end.min(range.start + fault.after);
        }
        if offset == range.end {
            return Step::Finish(Ok(()));
        }
        let state = self.store.state();
        let Some(object) = state.objects.get(self.request.key.as_str()) else {
            return Step::Finish(Err(self.error(ErrorKind::NotFound)));
        };
        // Every part is a request of its own with an If-Match, as the CRT makes them.
        if object.info.etag != self.request.if_match {
            return Step::Finish(Err(self.error(ErrorKind::Precondition)));
        }
        if !object.info.is_readable() {
            return Step::Finish(Err(self.error(ErrorKind::Archived)));
        }
        if range.end > object.info.size || range.is_empty() {
            return Step::Finish(Err(self.error(ErrorKind::InvalidRange)));
        }
        if progress.delivered >= progress.allowed {
            return Step::Wait;
        }
        let end = end.min(offset + state.part_size);
        Step::Part(offset, object.content.slice(offset..end))
    }

    fn error(&self, kind: ErrorKind) -> Error {
        error(Op::Get, self.request.key.as_str(), kind)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The finalizer of SplitMix64: neighbours become unlike each other.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
