//! The fetches of one handle: which there may be, which are kept, which are given up.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::plan::{Limits, Planner, View};
use super::queue::ReaderId;
use super::stream::Stream;
use crate::memory::{Holder, Permit};
use crate::s3;

/// The fetches of one handle, and what it remembers of its reads.
pub(super) struct Fetches {
    limits: Limits,
    state: Mutex<State>,
}

/// What the lock of [`Fetches`] guards.
pub(super) struct State {
    pub(super) planner: Planner,
    /// The most recently used last.
    list: Vec<Fetch>,
    /// Set when the version is gone: nothing more can be fetched.
    pub(super) gone: Option<s3::Error>,
}

/// One GET, its parts and its readers.
pub(super) struct Fetch {
    pub(super) stream: Arc<Stream>,
    pub(super) role: Role,
    /// When it was last read from.
    pub(super) used: Instant,
    /// What pays for it, if its stream does not.
    pub(super) _permit: Option<Permit>,
}

/// What a fetch is for, which decides how long it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// One read: until its readers are served.
    Read,
    /// A bounded piece of a run, or a whole object: among the last few.
    Piece,
    /// Everything up to the object's end, behind a window: among the last few.
    Stream,
}

impl Fetches {
    /// No fetches, of an object of `size` bytes.
    pub(super) fn new(size: u64, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                planner: Planner::new(size, limits.clone()),
                list: Vec::new(),
                gone: None,
            }),
            limits,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more fetch of this role can be added.
    pub(super) fn has_room(&self, state: &State, role: Role) -> bool {
        let busy = |fetch: &&Fetch| fetch.role == role && fetch.is_busy();
        state.list.iter().filter(busy).count() < self.most(role)
    }

    /// Adds a fetch. The least recently used ones of its role that have no readers are given up
    /// for it if there are too many; they are returned, to be dropped without the lock.
    pub(super) fn add(&self, state: &mut State, fetch: Fetch) -> Vec<Fetch> {
        let role = fetch.role;
        let count = state.list.iter().filter(|kept| kept.role == role).count();
        let mut dropped = Vec::new();
        for _ in self.most(role)..=count {
            let idle = |fetch: &Fetch| fetch.role == role && !fetch.is_busy();
            let Some(index) = state.list.iter().position(idle) else {
                break;
            };
            let fetch = state.list.remove(index);
            let View { range, extent } = fetch.view();
            state
                .planner
                .note_dropped(extent.received - range.start, extent.asked - range.start);
            dropped.push(fetch);
        }
        state.list.push(fetch);
        dropped
    }

    /// Removes the fetch of `stream`, to be dropped without the lock.
    pub(super) fn take(&self, stream: &Arc<Stream>) -> Option<Fetch> {
        let list = &mut self.lock().list;
        let index = list
            .iter()
            .position(|fetch| Arc::ptr_eq(&fetch.stream, stream))?;
        Some(list.remove(index))
    }

    /// Removes the fetch of `stream` if it was for readers who have all left.
    fn take_spent(&self, stream: &Arc<Stream>) -> Option<Fetch> {
        let list = &mut self.lock().list;
        let index = list.iter().position(|fetch| {
            fetch.role == Role::Read && Arc::ptr_eq(&fetch.stream, stream) && !fetch.is_busy()
        })?;
        Some(list.remove(index))
    }

    fn most(&self, role: Role) -> usize {
        match role {
            // As many as there are reads; they go when those end.
            Role::Read => usize::MAX,
            Role::Piece => self.limits.kept,
            Role::Stream => self.limits.streams,
        }
    }
}

impl State {
    pub(super) fn views(&self) -> Vec<View> {
        self.list.iter().map(Fetch::view).collect()
    }

    /// Notes that the fetch with this index is read from.
    pub(super) fn touch(&mut self, index: usize, now: Instant) -> Arc<Stream> {
        let mut fetch = self.list.remove(index);
        fetch.used = now;
        let stream = Arc::clone(&fetch.stream);
        self.list.push(fetch);
        stream
    }
}

impl Fetch {
    fn view(&self) -> View {
        let queue = self.stream.queue();
        View {
            range: queue.range().clone(),
            extent: queue.extent(),
        }
    }

    fn is_busy(&self) -> bool {
        self.stream.queue().extent().busy
    }
}

impl Holder for Fetches {
    fn last_used(&self) -> Option<Instant> {
        self.lock().list.iter().map(|fetch| fetch.used).max()
    }

    fn give_back(&self, bytes: u64, idle_since: Instant) -> u64 {
        let mut given = 0;
        let mut dropped = Vec::new();
        let mut state = self.lock();
        while given < bytes {
            let idle = |fetch: &Fetch| fetch.used <= idle_since && !fetch.is_busy();
            let Some(index) = state.list.iter().position(idle) else {
                break;
            };
            let fetch = state.list.remove(index);
            given += fetch.stream.queue().held();
            dropped.push(fetch);
        }
        drop(state);
        drop(dropped);
        given
    }
}

impl fmt::Debug for Fetches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetches")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A reader's place in the queue of a stream, given back when dropped.
pub(super) struct Ticket<'a> {
    pub(super) fetches: &'a Fetches,
    pub(super) stream: Arc<Stream>,
    pub(super) id: ReaderId,
    /// End of the bytes that this stream serves.
    pub(super) end: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.stream.queue().leave(self.id);
        drop(self.fetches.take_spent(&self.stream));
    }
}

/// What is left to do after the lock is released: the store and the drops of requests are called
/// without it.
#[derive(Default)]
pub(super) struct Work {
    pub(super) started: Vec<Arc<Stream>>,
    pub(super) extended: Option<Arc<Stream>>,
    pub(super) dropped: Vec<Fetch>,
}

impl Work {
    pub(super) fn finish(self) {
        drop(self.dropped);
        for stream in &self.started {
            stream.start();
        }
        if let Some(stream) = &self.extended {
            stream.extend();
        }
    }
}
