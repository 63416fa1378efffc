//! The read path: from `read(offset, length)` to GETs, and their bytes back.
//!
//! One read, from top to bottom:
//!
//! 1. [`ReadHandle::read_at`] cuts the read into pieces that one GET each can serve.
//! 2. `plan` looks at the reads before and says for each piece which running GET to wait for or
//!    which range to fetch, and whether to stream ahead.
//! 3. `stream` sends a GET to the [`Store`], whose body arrives in a `queue`: parts in order,
//!    and the readers that wait for them.
//! 4. `window` says how far ahead of the readers the store may deliver.
//! 5. `gather` makes the reply: a slice of the part, or a copy when it lies in several.
//!
//! # Locks
//! A handle's state, then a stream's request, then its queue; each is held for a short time, never
//! across an `await`, and the store is called under none that a [`BodySink`](s3::BodySink) takes.

mod gather;
mod plan;
mod queue;
mod stream;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use crate::s3::{self, ETag, ErrorKind, Key, Store};
use gather::Pieces;
use plan::{Intent, Limits, Planner, Serve, View};
use queue::{Queue, ReaderId};
use stream::{Source, Stream};
use window::{Spare, Window};

/// How much a [`ReadHandle`] may fetch ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadConfig {
    /// Size in bytes of the parts that the store splits a GET into; values below 1 count as 1.
    pub part_size: u64,
    /// The most bytes by which one handle fetches ahead of its readers. It is reached only while
    /// a larger window still makes reading faster. Two parts for each stream are always allowed.
    pub max_window: u64,
}

impl ReadConfig {
    /// The configuration for a throughput of `gbps` gigabits per second: the window holds what
    /// arrives in 0.2 s, but no less than 64 MiB and no more than 2 GiB.
    pub fn for_throughput(part_size: u64, gbps: f64) -> Self {
        let mib = (gbps * 1e9 / 8.0 * WINDOW_SECONDS / f64::from(1 << 20)).clamp(64.0, 2048.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was clamped to 64..=2048; NaN becomes 0, which part windows make up for"
        )]
        let mib = mib as u64;
        Self {
            part_size,
            max_window: mib << 20,
        }
    }

    fn limits(&self) -> Limits {
        let part_size = self.part_size.max(1);
        let window = (2 * part_size).min(self.max_window).max(part_size);
        Limits {
            part_size,
            whole: WHOLE_OBJECT,
            head: HEAD,
            patience: PATIENCE,
            reorder: REORDER,
            tail: part_size.clamp(2 * REORDER, 4 * REORDER),
            window,
            growth: self.max_window.saturating_sub(window),
            streams: STREAMS,
            kept: KEPT,
        }
    }
}

impl Default for ReadConfig {
    /// Parts of 8 MiB, 10 Gbit/s.
    fn default() -> Self {
        Self::for_throughput(8 << 20, 10.0)
    }
}

/// One open file: reads of one version of one object.
///
/// Holds at most [`ReadConfig::max_window`], and for each of up to 8 streams two parts of window,
/// a tail of at most 4 MiB and the part that its oldest byte lies in; and up to 16 shorter fetches
/// of at most 2 MiB and a read each. Dropping the handle cancels what it fetches.
pub struct ReadHandle {
    source: Arc<Source>,
    size: u64,
    limits: Limits,
    spare: Arc<Spare>,
    state: Mutex<State>,
}

struct State {
    planner: Planner,
    /// The most recently used last.
    fetches: Vec<Fetch>,
    /// Set when the version is gone: nothing more can be fetched.
    gone: Option<s3::Error>,
}

struct Fetch {
    stream: Arc<Stream>,
    role: Role,
}

/// What a fetch is for, which decides how long it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// One read: until its readers are served.
    Read,
    /// A bounded piece of a run, or a whole object: among the last few.
    Piece,
    /// Everything up to the object's end, behind a window: among the last few.
    Stream,
}

impl ReadHandle {
    /// Opens version `etag` of the object `key`, which is `size` bytes long. Fetches nothing.
    pub fn new(store: Arc<dyn Store>, key: Key, etag: ETag, size: u64, config: ReadConfig) -> Self {
        Self::with_limits(store, key, etag, size, config.limits())
    }

    fn with_limits(store: Arc<dyn Store>, key: Key, etag: ETag, size: u64, limits: Limits) -> Self {
        Self {
            source: Arc::new(Source { store, key, etag }),
            size,
            spare: Spare::new(limits.growth),
            state: Mutex::new(State {
                planner: Planner::new(size, limits.clone()),
                fetches: Vec::new(),
                gone: None,
            }),
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
        let intent = self.lock().planner.observe(&(offset..end));
        let mut reply = Pieces::default();
        let mut position = offset;
        while position < end {
            let ticket = self.begin(position..end, intent)?;
            if let Err(error) = ticket.stream.wait(ticket.id, &mut reply).await {
                self.note_failure(&ticket.stream, &error);
                return Err(error);
            }
            position = ticket.end;
        }
        Ok(reply.join())
    }

    /// Finds or starts the GET that serves the first bytes of `read`, and joins its readers.
    fn begin(&self, read: Range<u64>, intent: Intent) -> Result<Ticket<'_>, s3::Error> {
        let mut work = Work::default();
        let ticket = self.join(&mut self.lock(), &read, intent, &mut work);
        // The store and the drops of requests are called without the lock.
        work.finish();
        ticket
    }

    fn join(
        &self,
        state: &mut State,
        read: &Range<u64>,
        intent: Intent,
        work: &mut Work,
    ) -> Result<Ticket<'_>, s3::Error> {
        let now = Instant::now();
        let intent = match intent {
            Intent::Stream if !self.has_room(state, Role::Stream) => {
                Intent::Ahead(self.limits.head)
            }
            intent => intent,
        };
        loop {
            let views: Vec<View> = state.fetches.iter().map(|fetch| self.view(fetch)).collect();
            let plan = state.planner.plan(read, intent, &views);
            let (stream, end) = match plan.serve {
                Serve::Join(index, end) => {
                    let fetch = state.fetches.remove(index);
                    let stream = Arc::clone(&fetch.stream);
                    state.fetches.push(fetch);
                    (stream, end)
                }
                Serve::Fetch(_) if let Some(error) = &state.gone => return Err(error.clone()),
                Serve::Fetch(range) => {
                    let role = self.role(&range, read, intent);
                    let end = range.end;
                    (self.add(state, range, role, now, work), end)
                }
            };
            let end = read.end.min(end);
            let Some((id, grown)) = stream.queue().join(read.start..end, now) else {
                // Its oldest part was freed since the view was taken, so the next view differs.
                continue;
            };
            if grown {
                work.extended = Some(Arc::clone(&stream));
            }
            if let Some(range) = plan.ahead
                && state.gone.is_none()
                && self.has_room(state, Role::Stream)
            {
                self.add(state, range, Role::Stream, now, work);
            }
            return Ok(Ticket {
                handle: self,
                stream,
                id,
                end,
            });
        }
    }

    /// Adds a fetch, which `work` will start.
    fn add(
        &self,
        state: &mut State,
        range: Range<u64>,
        role: Role,
        now: Instant,
        work: &mut Work,
    ) -> Arc<Stream> {
        let (window, tail) = match role {
            Role::Stream => (
                Window::sliding(
                    &range,
                    self.limits.window,
                    self.limits.part_size,
                    self.limits.reorder,
                    Arc::clone(&self.spare),
                    now,
                ),
                self.limits.tail,
            ),
            Role::Read | Role::Piece => (Window::whole(&range, now), self.size),
        };
        let queue = Queue::new(range, window, tail);
        let stream = Arc::new(Stream::new(Arc::clone(&self.source), queue));
        self.make_room(state, role, work);
        state.fetches.push(Fetch {
            stream: Arc::clone(&stream),
            role,
        });
        work.started.push(Arc::clone(&stream));
        stream
    }

    fn role(&self, range: &Range<u64>, read: &Range<u64>, intent: Intent) -> Role {
        if self.size <= self.limits.whole {
            Role::Piece
        } else if range.end <= read.end {
            Role::Read
        } else if intent == Intent::Stream {
            Role::Stream
        } else {
            Role::Piece
        }
    }

    fn most(&self, role: Role) -> usize {
        match role {
            // As many as there are reads; they go when those end.
            Role::Read => usize::MAX,
            Role::Piece => self.limits.kept,
            Role::Stream => self.limits.streams,
        }
    }

    /// Whether one more fetch of this role can be added.
    fn has_room(&self, state: &State, role: Role) -> bool {
        let busy = |fetch: &&Fetch| fetch.role == role && self.view(fetch).extent.busy;
        state.fetches.iter().filter(busy).count() < self.most(role)
    }

    /// Gives up the least recently used fetches of this role until one more is allowed. Those
    /// with readers stay.
    fn make_room(&self, state: &mut State, role: Role, work: &mut Work) {
        let count = state
            .fetches
            .iter()
            .filter(|fetch| fetch.role == role)
            .count();
        for _ in self.most(role)..=count {
            let idle = |fetch: &Fetch| fetch.role == role && !self.view(fetch).extent.busy;
            let Some(index) = state.fetches.iter().position(idle) else {
                return;
            };
            let fetch = state.fetches.remove(index);
            let View { range, extent } = self.view(&fetch);
            state
                .planner
                .note_dropped(extent.received - range.start, extent.asked - range.start);
            work.dropped.push(fetch);
        }
    }

    fn view(&self, fetch: &Fetch) -> View {
        let queue = fetch.stream.queue();
        View {
            range: queue.range().clone(),
            extent: queue.extent(),
        }
    }

    /// Forgets a failed fetch, so that the next read tries anew; unless the version is gone, when
    /// what has arrived is all that can be read.
    fn note_failure(&self, stream: &Arc<Stream>, error: &s3::Error) {
        let mut state = self.lock();
        if matches!(error.kind(), ErrorKind::Precondition | ErrorKind::NotFound) {
            state.gone = Some(error.clone());
            return;
        }
        let failed = state.take(stream);
        drop(state);
        drop(failed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

impl State {
    fn take(&mut self, stream: &Arc<Stream>) -> Option<Fetch> {
        let index = self
            .fetches
            .iter()
            .position(|fetch| Arc::ptr_eq(&fetch.stream, stream))?;
        Some(self.fetches.remove(index))
    }
}

/// A reader's place in the queue of a stream, given back when dropped.
struct Ticket<'a> {
    handle: &'a ReadHandle,
    stream: Arc<Stream>,
    id: ReaderId,
    /// End of the bytes that this stream serves.
    end: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.stream.queue().leave(self.id);
        let mut state = self.handle.lock();
        let spent = state.fetches.iter().position(|fetch| {
            fetch.role == Role::Read
                && Arc::ptr_eq(&fetch.stream, &self.stream)
                && !self.handle.view(fetch).extent.busy
        });
        let spent = spent.map(|index| state.fetches.remove(index));
        drop(state);
        drop(spent);
    }
}

/// What is left to do after the state's lock is released.
#[derive(Default)]
struct Work {
    started: Vec<Arc<Stream>>,
    extended: Option<Arc<Stream>>,
    dropped: Vec<Fetch>,
}

impl Work {
    fn finish(self) {
        drop(self.dropped);
        for stream in &self.started {
            stream.start();
        }
        if let Some(stream) = &self.extended {
            stream.extend();
        }
    }
}

/// Time that a window covers: a round trip, and the transfer of a part over one connection.
const WINDOW_SECONDS: f64 = 0.2;

/// Objects of at most this size are fetched whole, by the first read wherever it is.
const WHOLE_OBJECT: u64 = 1 << 20;

/// Fetched for a read at offset 0, which is most often the first of a run.
const HEAD: u64 = 1 << 20;

/// What a run elsewhere must have read before it becomes a stream.
const PATIENCE: u64 = 2 << 20;

/// The kernel has up to this many bytes of read-ahead under way, in any order.
const REORDER: u64 = 1 << 20;

/// Streams of one handle.
const STREAMS: usize = 8;

/// Bounded pieces of runs that one handle keeps.
const KEPT: usize = 2 * STREAMS;
