//! One GET as several: one for each part, which run in parallel and are delivered in order.
//!
//! The store could split a GET by itself. But it delivers in order as well, so that one slow part
//! holds back all that have arrived behind it, and nobody else can fetch that part alone. Here
//! every part is a GET of its own: when the part that is due next takes too long, it is *hedged*,
//! which means that it is asked for a second time, and whichever answer is complete first counts.
//!
//! | file | what it decides |
//! |---|---|
//! | `policy` | what is too long, and how many bytes may be asked for twice |
//! | `watch` | when to look: one thread of the mount |
//!
//! # Locks
//! A GET's, then the policy's, then the budget's. The store and the sink are called under none.

mod policy;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use super::failure::{canceled, short_body, unexpected_bytes};
use crate::memory::Permit;
use crate::s3::{BodySink, ETag, Error, GetRequest, InFlight, Key, Store};
pub(super) use watch::Core;
pub use watch::{HedgeConfig, HedgeCounters, Hedger};

/// Starts a GET in parts. Failures reach the sink.
pub(super) fn start(
    core: &Arc<Core>,
    store: &Arc<dyn Store>,
    request: GetRequest,
    sink: Arc<dyn BodySink>,
) -> Box<dyn InFlight> {
    let window = request.window;
    let get = Arc::new(Get::new(core, store, request, sink));
    get.allow(window);
    Box::new(CancelOnDrop(get))
}

/// A GET in parts as its owner holds it.
struct CancelOnDrop(Arc<Get>);

impl InFlight for CancelOnDrop {
    fn extend_window(&self, bytes: u64) {
        self.0.allow(bytes);
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let rest = {
            let mut inner = self.0.lock();
            (inner.end(), inner.spent.take())
        };
        drop(rest);
    }
}

impl fmt::Debug for CancelOnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("key", &self.0.key)
            .finish_non_exhaustive()
    }
}

/// A GET in parts.
struct Get {
    core: Arc<Core>,
    store: Arc<dyn Store>,
    key: Key,
    if_match: ETag,
    size: u64,
    sink: Arc<dyn BodySink>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// End of the whole range.
    end: u64,
    /// Everything before this offset was asked of the store.
    asked: u64,
    /// A part that begins before this offset may be asked for.
    allowed: u64,
    /// The parts that were asked for and not yet delivered. All but the object's last are equally
    /// long.
    parts: VecDeque<Part>,
    /// What brought the latest part. It ends by itself soon, and to cancel it before would only
    /// make work.
    spent: Option<Box<dyn InFlight>>,
    /// A thread is in [`Get::deliver`]; it will see what others change meanwhile.
    delivering: bool,
    /// Finished or dropped.
    ended: bool,
}

struct Part {
    range: Range<u64>,
    asked: Instant,
    progress: Progress,
    requests: [Option<Box<dyn InFlight>>; 2],
    /// Requests that may yet bring the part.
    running: u8,
    /// Why the first request failed, while the second one runs.
    failure: Option<Error>,
    hedged: bool,
    /// What pays for the second request's buffer.
    permit: Option<Permit>,
}

enum Progress {
    Waiting,
    Arrived(Vec<Bytes>),
    Failed(Error),
}

/// Which of the two requests for a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Hedge,
}

enum Step {
    Deliver(Part, Vec<Bytes>),
    Finish(Result<(), Error>, VecDeque<Part>),
    Wait,
}

impl Get {
    /// A GET that allows nothing yet.
    fn new(
        core: &Arc<Core>,
        store: &Arc<dyn Store>,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Self {
        let Range { start, end } = request.range;
        Self {
            core: Arc::clone(core),
            store: Arc::clone(store),
            key: request.key,
            if_match: request.if_match,
            size: request.size,
            sink,
            inner: Mutex::new(Inner {
                end,
                asked: start,
                allowed: start,
                parts: VecDeque::new(),
                spent: None,
                delivering: false,
                ended: false,
            }),
        }
    }

    /// Allows `bytes` more to be delivered, and asks for the parts that begin there.
    fn allow(self: &Arc<Self>, bytes: u64) {
        let mut more = bytes;
        loop {
            let now = Instant::now();
            let next = self
                .lock()
                .ask(std::mem::take(&mut more), self.core.part_size(), now);
            let Some(range) = next else { return };
            self.core.watch(self, range.start, now);
            self.send(range, Attempt::First);
        }
    }

    /// Asks for the part that begins at `start` once more, if it is time to and there are means.
    /// Returns whether it is worth to look again later.
    fn consider(self: &Arc<Self>, start: u64, now: Instant) -> bool {
        let range = {
            let mut inner = self.lock();
            // The others hold back nothing.
            let is_due = inner.front() == Some(start);
            let Some(part) = inner.waiting(start).filter(|part| !part.hedged) else {
                return false;
            };
            if !is_due {
                return true;
            }
            let age = now.saturating_duration_since(part.asked);
            let Some(permit) = self.core.afford(&part.range, age) else {
                return true;
            };
            part.permit = Some(permit);
            part.hedged = true;
            part.running += 1;
            part.range.clone()
        };
        let Range { start, end } = range;
        log::debug!("bytes {start}..{end} of {} are asked for again", self.key);
        self.send(range, Attempt::Hedge);
        false
    }

    fn send(self: &Arc<Self>, range: Range<u64>, attempt: Attempt) {
        let sink = Arc::new(PartSink {
            get: Arc::clone(self),
            range: range.clone(),
            attempt,
            body: Mutex::new(Body {
                bytes: Vec::new(),
                next: range.start,
                ended: false,
            }),
        });
        let start = range.start;
        let request = GetRequest {
            key: self.key.clone(),
            if_match: self.if_match.clone(),
            size: self.size,
            window: range.end - range.start,
            range,
            is_hedge: attempt == Attempt::Hedge,
        };
        // The store may deliver before `get` returns.
        match self.store.get(request, Arc::clone(&sink) as _) {
            Ok(request) => {
                let unneeded = match self.lock().waiting(start) {
                    Some(part) => part.requests[attempt as usize].replace(request),
                    None => Some(request),
                };
                drop(unneeded);
            }
            Err(error) => sink.finish(Err(error)),
        }
    }

    /// Takes a whole part from the request that was first, and cancels the other.
    fn arrived(&self, start: u64, attempt: Attempt, body: Vec<Bytes>) {
        let mut inner = self.lock();
        let Some(part) = inner.waiting(start) else {
            return;
        };
        part.progress = Progress::Arrived(body);
        let winner = part.requests[attempt as usize].take();
        let losers = std::mem::take(&mut part.requests);
        let permit = part.permit.take();
        let (range, asked) = (part.range.clone(), part.asked);
        let spent = std::mem::replace(&mut inner.spent, winner);
        drop(inner);
        drop((spent, losers, permit));
        self.core
            .note_arrival(&range, asked.elapsed(), attempt == Attempt::Hedge);
        self.deliver();
    }

    /// Notes that a request will not bring its part.
    fn failed(&self, start: u64, attempt: Attempt, error: Error) {
        let mut inner = self.lock();
        let Some(part) = inner.waiting(start) else {
            return;
        };
        let over = part.requests[attempt as usize].take();
        let permit = match attempt {
            Attempt::First => None,
            Attempt::Hedge => part.permit.take(),
        };
        part.running -= 1;
        if part.running > 0 {
            if attempt == Attempt::First {
                part.failure = Some(error);
            }
        } else {
            let error = part.failure.take().unwrap_or(error);
            part.progress = Progress::Failed(error);
        }
        drop(inner);
        drop((over, permit));
        self.deliver();
    }

    /// Hands on what is due, one thread at a time.
    fn deliver(&self) {
        let mut inner = self.lock();
        if inner.delivering {
            return;
        }
        inner.delivering = true;
        loop {
            let step = inner.next();
            inner.delivering = matches!(step, Step::Deliver(..));
            drop(inner);
            match step {
                Step::Deliver(part, body) => {
                    let mut offset = part.range.start;
                    for bytes in body {
                        let length = bytes.len() as u64;
                        self.sink.part(offset, bytes);
                        offset += length;
                    }
                }
                Step::Finish(result, rest) => {
                    drop(rest);
                    return self.sink.finish(result);
                }
                Step::Wait => return,
            }
            inner = self.lock();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Allows `bytes` more and says which part to ask for next, if any.
    fn ask(&mut self, bytes: u64, part_size: u64, now: Instant) -> Option<Range<u64>> {
        self.allowed = self.allowed.saturating_add(bytes).min(self.end);
        if self.ended || self.asked >= self.allowed {
            return None;
        }
        let range = self.asked..self.asked.saturating_add(part_size).min(self.end);
        self.asked = range.end;
        self.parts.push_back(Part {
            range: range.clone(),
            asked: now,
            progress: Progress::Waiting,
            requests: [None, None],
            running: 1,
            failure: None,
            hedged: false,
            permit: None,
        });
        Some(range)
    }

    /// Where the part begins that is due next.
    fn front(&self) -> Option<u64> {
        self.parts.front().map(|part| part.range.start)
    }

    /// The part that begins at `start`, if it has neither arrived nor failed.
    fn waiting(&mut self, start: u64) -> Option<&mut Part> {
        let index = self
            .parts
            .binary_search_by_key(&start, |part| part.range.start)
            .ok()?;
        let part = &mut self.parts[index];
        matches!(part.progress, Progress::Waiting).then_some(part)
    }

    fn next(&mut self) -> Step {
        if self.ended {
            return Step::Wait;
        }
        let Some(part) = self.parts.front_mut() else {
            return if self.asked == self.end {
                Step::Finish(Ok(()), self.end())
            } else {
                Step::Wait
            };
        };
        match std::mem::replace(&mut part.progress, Progress::Waiting) {
            Progress::Waiting => Step::Wait,
            Progress::Failed(error) => Step::Finish(Err(error), self.end()),
            Progress::Arrived(body) => match self.parts.pop_front() {
                Some(part) => Step::Deliver(part, body),
                None => Step::Wait,
            },
        }
    }

    /// Ends the GET; what is returned is to be dropped without the lock, which cancels it.
    fn end(&mut self) -> VecDeque<Part> {
        self.ended = true;
        std::mem::take(&mut self.parts)
    }
}

/// The store's end of one request for one part.
struct PartSink {
    get: Arc<Get>,
    range: Range<u64>,
    attempt: Attempt,
    body: Mutex<Body>,
}

/// What one request has brought.
struct Body {
    bytes: Vec<Bytes>,
    /// Where the next bytes begin.
    next: u64,
    /// Complete or failed.
    ended: bool,
}

impl PartSink {
    fn end(&self, outcome: Result<Vec<Bytes>, Error>) {
        let start = self.range.start;
        match outcome {
            Ok(bytes) => self.get.arrived(start, self.attempt, bytes),
            Err(error) => self.get.failed(start, self.attempt, error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BodySink for PartSink {
    fn part(&self, offset: u64, bytes: Bytes) {
        let outcome = self.lock().push(offset, bytes, self.range.end);
        if let Some(outcome) = outcome {
            self.end(outcome);
        }
    }

    fn finish(&self, result: Result<(), Error>) {
        let outcome = self.lock().finish(result, self.range.end);
        if let Some(error) = outcome {
            self.end(Err(error));
        }
    }
}

impl Drop for PartSink {
    /// A store that lets go of a request without a word must not leave readers waiting.
    fn drop(&mut self) {
        self.finish(Err(canceled()));
    }
}

impl Body {
    /// Takes bytes; says what came of the request once it is known.
    fn push(&mut self, offset: u64, bytes: Bytes, end: u64) -> Option<Result<Vec<Bytes>, Error>> {
        if self.ended || bytes.is_empty() {
            return None;
        }
        let next = offset.saturating_add(bytes.len() as u64);
        if offset != self.next || next > end {
            self.ended = true;
            return Some(Err(unexpected_bytes(&(offset..next), &(self.next..end))));
        }
        self.next = next;
        self.bytes.push(bytes);
        self.ended = next == end;
        self.ended.then(|| Ok(std::mem::take(&mut self.bytes)))
    }

    /// Says why the request brought too little, if it did.
    fn finish(&mut self, result: Result<(), Error>, end: u64) -> Option<Error> {
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        self.bytes.clear();
        Some(match result {
            Err(error) => error,
            Ok(()) => short_body(self.next, end),
        })
    }
}
