//! The received parts of one fetch, in order, and the readers that wait for them.
//!
//! Every method takes the queue's lock for a short time and calls nothing foreign under it: wakers
//! are woken and buffers are freed after it is released.

mod retries;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::failure::{short_body, unexpected_bytes};
use super::funds::Funds;
use super::gather::Pieces;
use super::window::Window;
use crate::s3::Error;
use retries::Retries;

/// Parts and waiting readers of one fetch.
#[derive(Debug)]
pub(super) struct Queue {
    range: Range<u64>,
    /// Bytes kept behind the furthest reader, for those that come late or go back.
    tail: u64,
    inner: Mutex<Inner>,
}

/// Names a reader that joined a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReaderId(u64);

/// What a queue holds and will hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first byte still held, or to come.
    pub(super) kept: u64,
    /// Everything from `kept` to here has arrived.
    pub(super) received: u64,
    /// The furthest byte asked for.
    pub(super) asked: u64,
    /// See [`Window::near`].
    pub(super) near: u64,
    /// See [`Window::soon`].
    pub(super) soon: u64,
    /// See [`Window::leeway`].
    pub(super) leeway: u64,
    /// Whether readers wait.
    pub(super) busy: bool,
}

/// What became of a wish to join the readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// The first bytes are gone already, or lie outside of the range.
    Gone,
    /// The first bytes have not been asked of the store, and there is no memory for them.
    Short,
    /// The reader waits for the bytes before `end`, which may be fewer than it asked for.
    Joined {
        id: ReaderId,
        end: u64,
        /// The store may deliver more than before.
        grown: bool,
    },
}

/// What to do about a failed fetch.
#[derive(Debug)]
pub(super) enum Revival {
    /// Nothing: it does not stand failed any more.
    Running,
    /// Give up; the readers get the error.
    Refused,
    /// Fetch the rest anew.
    Restart(Remaining),
}

/// What is left for a GET to fetch.
#[derive(Debug)]
pub(super) struct Remaining {
    /// The bytes not yet received.
    pub(super) range: Range<u64>,
    /// End of the granted bytes.
    pub(super) granted: u64,
    /// The GET that may deliver them; what earlier ones still deliver is ignored.
    pub(super) generation: u64,
}

#[derive(Debug)]
struct Inner {
    parts: VecDeque<Part>,
    received: u64,
    generation: u64,
    window: Window,
    funds: Funds,
    readers: Vec<Reader>,
    next_reader: u64,
    ending: Ending,
    retries: Retries,
}

#[derive(Debug)]
struct Part {
    offset: u64,
    bytes: Bytes,
}

impl Part {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

#[derive(Debug)]
struct Reader {
    id: u64,
    need: Range<u64>,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Ending {
    Open,
    Complete,
    Failed(Error),
}

impl Queue {
    /// An empty queue for `range`, which keeps `tail` bytes behind the furthest reader. What
    /// `window` grants now is paid for by `funds`.
    pub(super) fn new(range: Range<u64>, window: Window, funds: Funds, tail: u64) -> Self {
        let inner = Inner {
            parts: VecDeque::new(),
            received: range.start,
            generation: 0,
            window,
            funds,
            readers: Vec::new(),
            next_reader: 0,
            ending: Ending::Open,
            retries: Retries::new(),
        };
        Self {
            range,
            tail,
            inner: Mutex::new(inner),
        }
    }

    /// The bytes that this queue is for.
    pub(super) fn range(&self) -> &Range<u64> {
        &self.range
    }

    /// What is held now.
    pub(super) fn extent(&self) -> Extent {
        let inner = self.lock();
        Extent {
            kept: inner.kept(),
            received: inner.received,
            asked: inner.window.asked(),
            near: inner.window.near(),
            soon: inner.window.soon(inner.received),
            leeway: inner.window.leeway(),
            busy: !inner.readers.is_empty(),
        }
    }

    /// Whether it stands failed.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.lock().ending, Ending::Failed(_))
    }

    /// Adds a reader of `need`, or of as much of its beginning as there is memory for. Its bytes
    /// are kept until it leaves.
    pub(super) fn join(&self, need: Range<u64>, now: Instant) -> Join {
        let mut inner = self.lock();
        if need.start < inner.kept() || need.end > self.range.end {
            return Join::Gone;
        }
        let mut freed = Vec::new();
        let end = inner.afford(&need, &mut freed);
        let joined = if end <= need.start {
            Join::Short
        } else {
            inner.join(need.start..end, now)
        };
        drop(inner);
        drop(freed);
        joined
    }

    /// Adds a reader of everything to a queue that grants everything and has not started.
    pub(super) fn join_all(&self, now: Instant) -> ReaderId {
        let mut inner = self.lock();
        let room = inner.funds.room();
        let need = self.range.clone();
        _ = inner.window.ask(&need, need.start, room, now);
        inner.add_reader(need)
    }

    /// Bytes of memory held.
    pub(super) fn held(&self) -> u64 {
        self.lock().funds.held()
    }

    /// Serves a reader, or remembers whom to wake.
    pub(super) fn poll(
        &self,
        id: ReaderId,
        context: &Context<'_>,
        reply: &mut Pieces,
    ) -> Poll<Result<(), Error>> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let Some(reader) = inner.readers.iter_mut().find(|reader| reader.id == id.0) else {
            return Poll::Ready(Ok(()));
        };
        if reader.need.end <= inner.received {
            slice(&inner.parts, &reader.need, reply);
            return Poll::Ready(Ok(()));
        }
        if let Ending::Failed(error) = &inner.ending {
            return Poll::Ready(Err(error.clone()));
        }
        match &mut reader.waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Removes a reader. Parts that nobody needs any more are freed.
    pub(super) fn leave(&self, id: ReaderId) {
        let mut inner = self.lock();
        inner.readers.retain(|reader| reader.id != id.0);
        let freed = inner.trim(self.tail);
        drop(inner);
        drop(freed);
    }

    /// What is left to fetch.
    pub(super) fn remaining(&self) -> Remaining {
        self.lock().remaining(&self.range)
    }

    /// Decides whether a failed fetch starts again from the byte it reached, and if so makes
    /// the queue ready for that.
    pub(super) fn revive(&self) -> Revival {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let Ending::Failed(error) = &inner.ending else {
            return Revival::Running;
        };
        if !inner.retries.take(error.kind()) {
            return Revival::Refused;
        }
        inner.ending = Ending::Open;
        inner.generation += 1;
        inner.rebase();
        Revival::Restart(inner.remaining(&self.range))
    }

    /// Notes how long the store took for the first part.
    pub(super) fn note_delay(&self, generation: u64, delay: Duration) {
        let mut inner = self.lock();
        if inner.awaits(generation) {
            let room = inner.funds.room();
            inner.window.note_delay(delay, room);
        }
    }

    /// Takes the next bytes from the store. If they are not the next, the fetch has failed.
    pub(super) fn push(&self, generation: u64, offset: u64, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let mut inner = self.lock();
        if !inner.awaits(generation) {
            return;
        }
        let end = offset.saturating_add(bytes.len() as u64);
        if offset != inner.received || end > self.range.end {
            let due = inner.received..self.range.end;
            inner.ending = Ending::Failed(unexpected_bytes(&(offset..end), &due));
        } else {
            inner.received = end;
            inner.retries.note_progress();
            inner.parts.push_back(Part { offset, bytes });
        }
        let freed = inner.trim(self.tail);
        let ready = inner.ready();
        drop(inner);
        drop(freed);
        ready.into_iter().for_each(Waker::wake);
    }

    /// Ends the fetch.
    pub(super) fn finish(&self, generation: u64, result: Result<(), Error>) {
        let mut inner = self.lock();
        if !inner.awaits(generation) {
            return;
        }
        inner.ending = match result {
            // Readers have all they can ask for, so an error changes nothing for them.
            _ if inner.received == self.range.end => Ending::Complete,
            Err(error) => Ending::Failed(error),
            Ok(()) => Ending::Failed(short_body(inner.received, self.range.end)),
        };
        let ready = inner.ready();
        drop(inner);
        ready.into_iter().for_each(Waker::wake);
    }

    /// Gives up everything, as nobody can read it any more. What a request still delivers is
    /// ignored: a store may let go of its end of the queue much later.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.generation += 1;
        let freed = std::mem::take(&mut inner.parts);
        let funds = std::mem::replace(&mut inner.funds, Funds::whole(None));
        drop(inner);
        drop(freed);
        drop(funds);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn kept(&self) -> u64 {
        self.parts.front().map_or(self.received, |part| part.offset)
    }

    fn awaits(&self, generation: u64) -> bool {
        self.generation == generation && matches!(self.ending, Ending::Open)
    }

    fn remaining(&self, range: &Range<u64>) -> Remaining {
        Remaining {
            range: self.received..range.end,
            granted: self.window.granted(),
            generation: self.generation,
        }
    }

    /// How much of `need` can be waited for: all of it, if it can be paid for. When memory is
    /// short, what lies behind goes first.
    fn afford(&mut self, need: &Range<u64>, freed: &mut Vec<Part>) -> u64 {
        if need.end <= self.window.granted() || self.funds.pay(need.end) {
            return need.end;
        }
        freed.extend(self.free_before(need.start));
        if self.funds.pay(need.end) {
            return need.end;
        }
        need.end.min(self.window.granted().max(self.funds.paid()))
    }

    /// Adds a reader of bytes that were paid for.
    fn join(&mut self, need: Range<u64>, now: Instant) -> Join {
        if let Ending::Failed(_) = self.ending
            && need.end > self.received
            && self.readers.is_empty()
        {
            self.retries.note_unseen();
        }
        let room = self.funds.room();
        let target = self.window.ask(&need, self.received, room, now);
        let grown = target.is_some_and(|target| {
            let affordable = if self.funds.pay(target) {
                target
            } else {
                target.min(self.funds.paid())
            };
            self.window.grant(affordable)
        });
        let end = need.end;
        Join::Joined {
            id: self.add_reader(need),
            end,
            grown,
        }
    }

    fn add_reader(&mut self, need: Range<u64>) -> ReaderId {
        let id = self.next_reader;
        self.next_reader += 1;
        self.readers.push(Reader {
            id,
            need,
            waker: None,
        });
        ReaderId(id)
    }

    /// Prepares for a request that starts with the first byte not yet received: its parts begin
    /// there, so that those that were paid for may end earlier than before.
    fn rebase(&mut self) {
        let needed = self.readers.iter().map(|reader| reader.need.end).max();
        let paid = self.funds.paid_from(self.received);
        self.window
            .retract(paid.max(needed.unwrap_or(self.received)));
        self.funds.rebase(self.received, self.window.granted());
    }

    /// Takes out the parts that lie behind the tail and before every reader.
    fn trim(&mut self, tail: u64) -> Vec<Part> {
        let tail = if self.funds.room().over {
            tail.min(self.window.reorder())
        } else {
            tail
        };
        self.free_before(self.window.asked().saturating_sub(tail))
    }

    /// Takes out the parts before `offset` that no reader needs.
    fn free_before(&mut self, offset: u64) -> Vec<Part> {
        let first_needed = self.readers.iter().map(|reader| reader.need.start).min();
        let keep_from = first_needed.map_or(offset, |first| first.min(offset));
        let count = self.parts.partition_point(|part| part.end() <= keep_from);
        let parts: Vec<_> = self.parts.drain(..count).collect();
        let bytes = parts.iter().map(|part| part.bytes.len() as u64).sum();
        self.funds.freed(bytes);
        parts
    }

    /// The wakers of the readers that need not wait any longer.
    fn ready(&mut self) -> Vec<Waker> {
        let failed = matches!(self.ending, Ending::Failed(_));
        let received = self.received;
        self.readers
            .iter_mut()
            .filter(|reader| failed || reader.need.end <= received)
            .filter_map(|reader| reader.waker.take())
            .collect()
    }
}

/// Appends the bytes of `need`, all of which are in `parts`.
fn slice(parts: &VecDeque<Part>, need: &Range<u64>, reply: &mut Pieces) {
    let first = parts.partition_point(|part| part.end() <= need.start);
    for part in parts.range(first..) {
        if part.offset >= need.end {
            break;
        }
        let from = need.start.saturating_sub(part.offset);
        let to = (need.end - part.offset).min(part.bytes.len() as u64);
        reply.push(part.bytes.slice(to_usize(from)..to_usize(to)));
    }
}

/// An offset inside a buffer, which fits by that.
fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
