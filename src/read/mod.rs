//! The read path: from `read(offset, length)` to GETs, and their bytes back.
//!
//! One read, from top to bottom:
//!
//! 1. [`ReadHandle::read_at`] cuts the read into pieces that one GET each can serve.
//! 2. `plan` looks at the reads before and says for each piece which running GET to wait for or
//!    which range to fetch, and whether to stream ahead.
//! 3. `stream` sends a GET to the [`Store`], whose body arrives in a `queue`: parts in order,
//!    and the readers that wait for them.
//! 4. `parts` makes several GETs of it, one for each part, and hedges the slow ones.
//! 5. `window` says how far ahead of the readers the store may deliver.
//! 6. `gather` makes the reply: a slice of the part, or a copy when it lies in several.
//!
//! # Memory
//! What is fetched ahead is paid for from a [`Budget`] that all handles share (`funds`). When it
//! does not fit, and nothing idle can be given up for it (`fetches`), the read gets a permit for
//! exactly its bytes and nothing is fetched ahead. A read that waits holds no buffer besides those
//! that it has paid for, so that readers cannot wait for each other's buffers.
//!
//! # Locks
//! A handle's state, then a stream's request, then its queue; each is held for a short time, never
//! across an `await`, and the store is called under none that a [`BodySink`](s3::BodySink) takes.
//! Memory is reclaimed from other handles under none of them.

mod config;
mod failure;
mod fetches;
mod funds;
mod gather;
mod parts;
mod plan;
mod queue;
mod stream;
#[cfg(test)]
mod tests;
mod whole;
mod window;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;

use crate::memory::{Account, Budget, Holder, Permit};
use crate::s3::{self, ETag, ErrorKind, Key, Store};
pub use config::ReadConfig;
use fetches::{Fetch, Fetches, Role, State, Ticket, Work};
use funds::Funds;
use gather::Pieces;
pub use parts::{HedgeConfig, HedgeCounters, Hedger};
use plan::{Intent, Limits, Serve};
use queue::{Join, Queue};
use stream::{Source, Stream};
pub use whole::{Progress, WholeFetch};
use window::Window;

/// One open file: reads of one version of one object.
///
/// Holds at most [`ReadConfig::max_window`], and for each of up to 8 streams two parts of window,
/// a tail of at most 4 MiB and the part that its oldest byte lies in; and up to 16 shorter fetches
/// of at most 2 MiB and a read each, or an eighth of a part if that is more. It holds less when memory is short. Dropping the handle
/// cancels what it fetches.
pub struct ReadHandle {
    source: Arc<Source>,
    size: u64,
    limits: Limits,
    account: Arc<Account>,
    fetches: Arc<Fetches>,
}

/// What became of an attempt to find bytes.
enum Found<'a> {
    Ticket(Ticket<'a>),
    /// They have to be fetched by themselves, which takes a permit.
    Alone(Range<u64>),
    /// What was to be fetched does not fit into memory.
    Short,
}

impl ReadHandle {
    /// Opens version `etag` of the object `key`, which is `size` bytes long. Fetches nothing.
    pub fn new(store: Arc<dyn Store>, key: Key, etag: ETag, size: u64, config: ReadConfig) -> Self {
        let source = Source::new(store, key, etag, size, &config);
        Self::with_limits(source, size, config.limits(), &config.budget)
    }

    fn with_limits(
        source: impl Into<Arc<Source>>,
        size: u64,
        limits: Limits,
        budget: &Arc<Budget>,
    ) -> Self {
        let fetches = Fetches::new(size, limits.clone());
        let holder: Weak<dyn Holder> = Arc::downgrade(&fetches) as _;
        Self {
            source: source.into(),
            size,
            account: budget.open(holder),
            fetches,
            limits,
        }
    }

    /// Reads `len` bytes at `offset`: fewer only at the end of the object, none beyond it. May be
    /// called by many threads at once.
    ///
    /// # Errors
    /// What the store reports, after transfers that broke midway were taken up again.
    /// [`ErrorKind::Precondition`] or [`ErrorKind::NotFound`] when this version of the object is
    /// gone; then only bytes that have already arrived can be read.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the read and nothing else; what was fetched ahead is kept.
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, s3::Error> {
        let end = offset.saturating_add(len as u64).min(self.size);
        if offset >= end {
            return Ok(Bytes::new());
        }
        let intent = self.fetches.lock().planner.observe(&(offset..end));
        let mut reply = Pieces::default();
        let mut position = offset;
        while position < end {
            if position > offset {
                reply.detach(len);
            }
            let ticket = self.begin(position..end, intent).await?;
            self.wait(&ticket, &mut reply).await?;
            position = ticket.end;
        }
        Ok(reply.join())
    }

    /// Fetches the first bytes of an object of at most one part, before they are read, and waits
    /// for some of them: if they come, this version is still the object's. Returns whether the
    /// store was asked; it is not for an empty or a larger object, when memory is short, and where that
    /// [proves nothing](ReadConfig::gets_prove).
    ///
    /// # Errors
    /// As [`Self::read_at`].
    ///
    /// # Cancel safety
    /// Safe: dropping the future abandons the wait; the fetch ends with the handle.
    pub async fn fetch_head(&self) -> Result<bool, s3::Error> {
        let is_provable = self.limits.opening > 0 && self.size <= self.limits.part_size;
        if self.size == 0 || !is_provable {
            return Ok(false);
        }
        let now = Instant::now();
        self.account.budget().relieve(now);
        let length = if self.size <= self.limits.whole {
            self.size
        } else {
            self.size.min(self.limits.opening)
        };
        if self.account.room(self.limits.held).growth < self.price(length) {
            return Ok(false);
        }
        let mut work = Work::default();
        let stream = {
            let mut state = self.fetches.lock();
            self.fetch(&mut state, 0..length, Role::Piece, now, &mut work)
        };
        let Some(stream) = stream else {
            return Ok(false);
        };
        let joined = stream.queue().join(0..1, now);
        work.finish();
        let Join::Joined { id, end, .. } = joined else {
            return Ok(false);
        };
        let ticket = Ticket {
            fetches: &self.fetches,
            stream,
            id,
            end,
        };
        self.wait(&ticket, &mut Pieces::default()).await?;
        Ok(true)
    }

    /// Waits for the bytes of `ticket` and adds them to `reply`.
    async fn wait(&self, ticket: &Ticket<'_>, reply: &mut Pieces) -> Result<(), s3::Error> {
        let result = ticket.stream.wait(ticket.id, reply).await;
        if let Err(error) = &result {
            self.note_failure(&ticket.stream, error);
        }
        result
    }

    /// Finds or starts the GET that serves the first bytes of `read`, and joins its readers.
    async fn begin(&self, read: Range<u64>, intent: Intent) -> Result<Ticket<'_>, s3::Error> {
        let budget = self.account.budget();
        budget.relieve(Instant::now());
        let mut found = self.find(&read, intent)?;
        if let Found::Short = found
            && budget.reclaim(self.limits.window, Instant::now())
        {
            found = self.find(&read, intent)?;
        }
        let range = match found {
            Found::Ticket(ticket) => return Ok(ticket),
            Found::Alone(range) => range,
            Found::Short => read,
        };
        let permit = budget.permit(self.price(range.end - range.start)).await;
        let mut work = Work::default();
        let ticket = self.fetch_alone(&mut self.fetches.lock(), range, permit, &mut work);
        work.finish();
        ticket
    }

    fn find(&self, read: &Range<u64>, intent: Intent) -> Result<Found<'_>, s3::Error> {
        let mut work = Work::default();
        let found = self.join(&mut self.fetches.lock(), read, intent, &mut work);
        work.finish();
        found
    }

    fn join(
        &self,
        state: &mut State,
        read: &Range<u64>,
        intent: Intent,
        work: &mut Work,
    ) -> Result<Found<'_>, s3::Error> {
        let now = Instant::now();
        let intent = self.restrain(state, intent);
        loop {
            let plan = state.planner.plan(read, intent, &state.views());
            let (stream, end) = match plan.serve {
                Serve::Join(index, end) => (state.touch(index, now), end),
                Serve::Fetch(_) if let Some(error) = &state.gone => return Err(error.clone()),
                Serve::Fetch(range) => match self.role(&range, read, intent) {
                    Role::Read => {
                        let price = self.price(range.end - range.start);
                        return match self.account.budget().try_permit(price) {
                            None => Ok(Found::Alone(range)),
                            Some(permit) => self
                                .fetch_alone(state, range, permit, work)
                                .map(Found::Ticket),
                        };
                    }
                    role => {
                        let end = range.end;
                        match self.fetch(state, range, role, now, work) {
                            Some(stream) => (stream, end),
                            None => return Ok(Found::Short),
                        }
                    }
                },
            };
            let need = read.start..read.end.min(end);
            let (id, end, grown) = match stream.queue().join(need, now) {
                Join::Joined { id, end, grown } => (id, end, grown),
                Join::Short => return Ok(Found::Short),
                // Its oldest part was freed since the view was taken, so the next view differs.
                Join::Gone => continue,
            };
            if grown {
                work.extended = Some(Arc::clone(&stream));
            }
            for range in plan.ahead {
                let role = match intent {
                    Intent::Pieces => Role::Piece,
                    _ => Role::Stream,
                };
                let possible = state.gone.is_none() && self.fetches.has_room(state, role);
                // Without memory for it, the read that needs it will ask again.
                if !possible || self.fetch(state, range, role, now, work).is_none() {
                    break;
                }
            }
            return Ok(Found::Ticket(Ticket {
                fetches: &self.fetches,
                stream,
                id,
                end,
            }));
        }
    }

    /// What may be fetched of what the planner intends.
    fn restrain(&self, state: &State, intent: Intent) -> Intent {
        match intent {
            Intent::Stream if !self.fetches.has_room(state, Role::Stream) => {
                Intent::Ahead(self.limits.head)
            }
            intent => intent,
        }
    }

    /// What a fetch of `length` bytes costs that is not a stream: the store's buffers for it.
    fn price(&self, length: u64) -> u64 {
        s3::memory_for_get(length, self.limits.part_size)
    }

    /// Adds a fetch of more than what is read now, which `work` will start; `None` when there is
    /// no memory for it.
    fn fetch(
        &self,
        state: &mut State,
        range: Range<u64>,
        role: Role,
        now: Instant,
        work: &mut Work,
    ) -> Option<Arc<Stream>> {
        let Limits {
            part_size,
            window,
            held,
            ..
        } = self.limits;
        let (window, funds, tail) = if role == Role::Stream {
            let (one, all) = (part_size, window.next_multiple_of(part_size));
            let all = if self.account.room(held).over {
                one
            } else {
                all
            };
            let lease = self
                .account
                .lease(all)
                .or_else(|| self.account.lease(one))?;
            let window = Window::sliding(
                &range,
                window.min(lease.bytes()),
                window,
                part_size,
                self.limits.reorder,
                now,
            )
            .aiming_at(self.limits.rate / self.account.budget().sharers());
            let funds = Funds::in_parts(lease, range.start, part_size, held);
            (window, funds, self.limits.tail)
        } else {
            let lease = self.account.lease(self.price(range.end - range.start))?;
            let window = Window::whole(&range, now);
            (window, Funds::whole(Some(lease)), self.size)
        };
        let queue = Queue::new(range, window, funds, tail);
        Some(self.add(state, queue, role, now, None, work))
    }

    /// Adds a fetch of `range` alone, and its reader.
    fn fetch_alone(
        &self,
        state: &mut State,
        range: Range<u64>,
        permit: Permit,
        work: &mut Work,
    ) -> Result<Ticket<'_>, s3::Error> {
        if let Some(error) = &state.gone {
            return Err(error.clone());
        }
        let now = Instant::now();
        let window = Window::whole(&range, now);
        let queue = Queue::new(range.clone(), window, Funds::whole(None), self.size);
        let id = queue.join_all(now);
        Ok(Ticket {
            fetches: &self.fetches,
            stream: self.add(state, queue, Role::Read, now, Some(permit), work),
            id,
            end: range.end,
        })
    }

    fn add(
        &self,
        state: &mut State,
        queue: Queue,
        role: Role,
        used: Instant,
        permit: Option<Permit>,
        work: &mut Work,
    ) -> Arc<Stream> {
        let stream = Arc::new(Stream::new(Arc::clone(&self.source), queue));
        let fetch = Fetch {
            stream: Arc::clone(&stream),
            role,
            used,
            _permit: permit,
        };
        work.dropped.extend(self.fetches.add(state, fetch));
        work.started.push(Arc::clone(&stream));
        stream
    }

    fn role(&self, range: &Range<u64>, read: &Range<u64>, intent: Intent) -> Role {
        if self.size <= self.limits.whole || intent == Intent::Pieces {
            Role::Piece
        } else if range.end <= read.end {
            Role::Read
        } else if intent == Intent::Stream {
            Role::Stream
        } else {
            Role::Piece
        }
    }

    /// Forgets a failed fetch, so that the next read tries anew; unless the version is gone, when
    /// what has arrived is all that can be read.
    fn note_failure(&self, stream: &Arc<Stream>, error: &s3::Error) {
        if matches!(error.kind(), ErrorKind::Precondition | ErrorKind::NotFound) {
            self.fetches.lock().gone = Some(error.clone());
            return;
        }
        drop(self.fetches.take(stream));
    }
}

impl fmt::Debug for ReadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadHandle")
            .field("key", &self.source.key)
            .field("etag", &self.source.etag)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
