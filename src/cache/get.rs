//! A GET under way: from files as long as they have the bytes, then from the store.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use super::claim::Claim;
use super::entry::{Entry, Found, block_len};
use super::fill::Filling;
use super::name::Name;
use super::{BLOCK, Shared};
use crate::s3::{BodySink, GetRequest, InFlight, Store};

/// A GET of which one thread at a time delivers what is allowed.
pub(super) struct Get {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    name: Name,
    request: GetRequest,
    sink: Arc<dyn BodySink>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Everything before this offset was delivered.
    next: u64,
    /// Bytes before this offset may be delivered.
    allowed: u64,
    /// A thread delivers, or will.
    running: bool,
    /// The store delivers the rest.
    handed_over: Option<HandedOver>,
    /// What the store was told may be delivered, as an offset.
    told: u64,
    /// All was delivered, or nobody waits any more.
    ended: bool,
}

/// The rest of a GET, which the store delivers.
struct HandedOver {
    request: Arc<dyn InFlight>,
    /// What others do not fetch meanwhile.
    claim: Weak<Claim>,
    /// Where what is fetched ends, as an offset.
    end: u64,
}

/// A GET as its caller holds it.
struct CancelOnDrop(Arc<Get>);

impl InFlight for CancelOnDrop {
    fn extend_window(&self, bytes: u64) {
        self.0.allow(bytes);
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.ended = true;
        let request = state.handed_over.take();
        drop(state);
        drop(request);
    }
}

impl fmt::Debug for CancelOnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedGet")
            .field("key", &self.0.request.key)
            .field("range", &self.0.request.range)
            .finish_non_exhaustive()
    }
}

/// What comes next.
enum Step {
    /// Nothing may be delivered now, or ever.
    Wait,
    /// These bytes are to be delivered.
    Deliver(Range<u64>),
    Finish,
}

impl Get {
    /// Starts a GET of the version `name`. All that comes reaches `sink`, from other threads.
    pub(super) fn start(
        shared: &Arc<Shared>,
        store: &Arc<dyn Store>,
        name: Name,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Box<dyn InFlight> {
        let (start, window) = (request.range.start, request.window);
        let get = Arc::new(Self {
            shared: Arc::clone(shared),
            store: Arc::clone(store),
            name,
            request,
            sink,
            state: Mutex::new(State {
                next: start,
                allowed: start,
                ..State::default()
            }),
        });
        get.allow(window);
        Box::new(CancelOnDrop(get))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn allow(self: &Arc<Self>, bytes: u64) {
        let mut state = self.state();
        state.allowed = state.allowed.saturating_add(bytes);
        if let Some(news) = state.news() {
            drop(state);
            news.tell();
        } else if !state.running && !state.ended {
            state.running = true;
            drop(state);
            let get = Arc::clone(self);
            self.shared.readers.spawn_ok(async move { get.run() });
        }
    }

    /// Whether nobody waits for anything any more.
    pub(super) fn has_ended(&self) -> bool {
        self.state().ended
    }

    fn run(self: &Arc<Self>) {
        let entry = match self.shared.entries.get(&self.name, self.request.size) {
            Ok(entry) => entry,
            Err(error) => {
                self.shared.failed("opened", &error);
                None
            }
        };
        // What a hedge is for is what others fetch, by a request that is late.
        self.deliver(entry, !self.request.is_hedge);
    }

    /// Lets another thread deliver what is allowed: see [`Self::deliver`].
    pub(super) fn go_on(self: Arc<Self>, entry: Arc<Entry>, is_patient: bool) {
        let shared = Arc::clone(&self.shared);
        let go_on = async move { self.deliver(Some(entry), is_patient) };
        shared.readers.spawn_ok(go_on);
    }

    /// Delivers what is allowed. With `is_patient`, what somebody else fetches just now is waited for.
    fn deliver(self: &Arc<Self>, entry: Option<Arc<Entry>>, is_patient: bool) {
        loop {
            let step = self.state().step(self.request.range.end);
            let range = match step {
                Step::Wait => return,
                Step::Finish => return self.sink.finish(Ok(())),
                Step::Deliver(range) => range,
            };
            let read = match &entry {
                Some(entry) => self.read(entry, &range),
                None => Ok((Bytes::new(), Found::Missing)),
            };
            let is_read = read.is_ok();
            let (bytes, found) = read.unwrap_or_else(|error| {
                self.shared.failed("read", &error);
                (Bytes::new(), Found::Missing)
            });
            if found == Found::Bad {
                self.shared.metrics.bad_blocks.add(1);
                log::warn!(
                    "a block of {} in the cache is not what was written; it is fetched again",
                    self.request.key
                );
            }
            let len = bytes.len() as u64;
            self.shared.metrics.hits.add(len);
            if len > 0 {
                self.state().next += len;
                self.sink.part(range.start, bytes);
            }
            let next = range.start + len;
            if next == range.end {
                continue;
            }
            let Some(entry) = &entry else {
                return self.hand_over(None, next);
            };
            let block = next / BLOCK;
            let claim = self.claim(entry, next);
            match claim {
                // Somebody has written it just now.
                Some(_) if is_read && entry.has(block) => {}
                None if is_read && is_patient && entry.is_claimed(block) => {
                    let (get, entry) = (Arc::clone(self), Arc::clone(entry));
                    return self.shared.followers.wait(get, entry, block);
                }
                claim => return self.hand_over(Some((entry, claim)), next),
            }
        }
    }

    /// Claims what may be delivered from `next` on. `None` when others have claimed some of it.
    fn claim(&self, entry: &Entry, next: u64) -> Option<Claim> {
        let allowed = self.state().allowed;
        let end = self.request.range.end.next_multiple_of(BLOCK);
        let end = allowed.min(end).min(self.request.size);
        entry.claim(next / BLOCK..end.div_ceil(BLOCK))
    }

    /// Reads the bytes `range` of an object, as far as they are there and good; of what is not good
    /// first, why.
    fn read(&self, entry: &Entry, range: &Range<u64>) -> io::Result<(Bytes, Found)> {
        let first = range.start / BLOCK;
        let start = first * BLOCK;
        let end = range.end.next_multiple_of(BLOCK).min(entry.size());
        let in_memory = |place: u64| usize::try_from(place - start).unwrap_or(usize::MAX);
        let len = in_memory(end);
        let mut buffer = self.shared.buffers.take(len)?;
        let (good, found) = entry.read(first, buffer.as_mut())?;
        let wanted = in_memory(range.end).min(good * block_len());
        let bytes = Bytes::from_owner(buffer);
        Ok((
            bytes.slice(in_memory(range.start).min(wanted)..wanted),
            found,
        ))
    }

    /// Lets the store deliver all from `next` on, for `entry` to keep it, with what is claimed of that.
    fn hand_over(&self, entry: Option<(&Arc<Entry>, Option<Claim>)>, next: u64) {
        let GetRequest { range, size, .. } = &self.request;
        let wanted = next..range.end;
        self.shared.metrics.misses.add(wanted.end - wanted.start);
        let allowed = self.state().allowed;
        let (fetched, sink, claim) = match entry {
            Some((entry, claim)) => {
                let start = next / BLOCK * BLOCK;
                let end = range.end.next_multiple_of(BLOCK).min(*size);
                let claim = claim.map(Arc::new);
                let held = claim.as_ref().map(Arc::downgrade).unwrap_or_default();
                let sink = Arc::clone(&self.sink);
                let filling = Filling::new(
                    &self.shared,
                    self.name,
                    entry,
                    start,
                    wanted.clone(),
                    sink,
                    claim,
                );
                (start..end, Arc::new(filling) as Arc<dyn BodySink>, held)
            }
            None => (wanted.clone(), Arc::clone(&self.sink), Weak::new()),
        };
        // What lies around the wanted bytes is not for who allows.
        let around = (wanted.start - fetched.start) + (fetched.end - wanted.end);
        let end = fetched.end;
        let request = GetRequest {
            range: fetched,
            window: (allowed - next).saturating_add(around),
            ..self.request.clone()
        };
        match self.store.get(request, Arc::clone(&sink)) {
            Ok(request) => {
                let mut state = self.state();
                if state.ended {
                    drop(state);
                    return drop(request);
                }
                state.handed_over = Some(HandedOver {
                    request: Arc::from(request),
                    claim,
                    end,
                });
                state.told = allowed;
                let news = state.news();
                drop(state);
                if let Some(news) = news {
                    news.tell();
                }
            }
            Err(error) => sink.finish(Err(error)),
        }
    }
}

impl State {
    fn step(&mut self, end: u64) -> Step {
        if self.ended {
            return Step::Wait;
        }
        if self.next >= end {
            self.ended = true;
            return Step::Finish;
        }
        // Up to the end of a block, so that none is read twice.
        let piece = self.next.saturating_add(PIECE) / BLOCK * BLOCK;
        let until = end.min(self.allowed).min(piece);
        if until <= self.next {
            self.running = false;
            return Step::Wait;
        }
        Step::Deliver(self.next..until)
    }

    /// What the store was not told of what is allowed.
    fn news(&mut self) -> Option<News> {
        let HandedOver {
            request,
            claim,
            end,
        } = self.handed_over.as_ref()?;
        let (request, claim) = (Arc::clone(request), Weak::clone(claim));
        let until = self.allowed.min(*end);
        let more = self.allowed - self.told;
        self.told = self.allowed;
        Some(News {
            request,
            claim,
            more,
            until,
        })
    }
}

/// What the store is to be told, under no lock: it may deliver at once.
struct News {
    request: Arc<dyn InFlight>,
    claim: Weak<Claim>,
    more: u64,
    /// The offset up to which it may deliver.
    until: u64,
}

impl News {
    fn tell(self) {
        if self.more > 0 {
            if let Some(claim) = self.claim.upgrade() {
                // Others may have claimed it: then both fetch it.
                _ = claim.extend(self.until.div_ceil(BLOCK));
            }
            self.request.extend_window(self.more);
        }
    }
}

/// Bytes that are read at a time: a huge page of memory, so that the disk has few places to put them,
/// and few enough for the first ones to be there soon.
const PIECE: u64 = 2 << 20;
