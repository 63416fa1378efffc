//! A GET under way: from blocks as long as they are there, then from the store.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesOrdered, StreamExt};

use super::Shared;
use super::block::Block;
use super::fill::Filling;
use crate::cache::Name;
use crate::s3::{BodySink, ErrorKind, GetRequest, InFlight, Store};

/// A GET, of which one task delivers what is allowed.
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
    /// Bytes before this offset may be delivered.
    allowed: u64,
    /// The task, when it waits.
    waker: Option<Waker>,
    /// The store delivers the rest.
    handed_over: Option<HandedOver>,
    /// What the store was told may be delivered, as an offset.
    told: u64,
    /// Nobody waits any more.
    ended: bool,
}

/// The rest of a GET, which the store delivers.
struct HandedOver {
    request: Arc<dyn InFlight>,
    filling: Arc<Filling>,
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
        let (waker, handed_over) = (state.waker.take(), state.handed_over.take());
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(HandedOver { request, filling }) = handed_over {
            filling.go_on(request);
        }
    }
}

impl fmt::Debug for CancelOnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCacheGet")
            .field("key", &self.0.request.key)
            .field("range", &self.0.request.range)
            .finish_non_exhaustive()
    }
}

/// Blocks that were asked for, in order.
type UnderWay = FuturesOrdered<BoxFuture<'static, Option<Bytes>>>;

/// What the task has waited for.
enum Event {
    /// The bytes that are due; `None` if the cache does not have them.
    Arrived(Option<Bytes>),
    /// They have not come for as long as there is patience.
    Late,
    /// More is allowed, up to here.
    Allowed(u64),
    /// Nobody waits any more.
    Ended,
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
        let allowed = request.range.start.saturating_add(request.window);
        let get = Arc::new(Self {
            shared: Arc::clone(shared),
            store: Arc::clone(store),
            name,
            request,
            sink,
            state: Mutex::new(State {
                allowed,
                ..State::default()
            }),
        });
        let task = Arc::clone(&get);
        shared.pool.spawn_ok(async move { task.run().await });
        Box::new(CancelOnDrop(get))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn allow(&self, bytes: u64) {
        let mut state = self.state();
        state.allowed = state.allowed.saturating_add(bytes);
        let (waker, news) = (state.waker.take(), state.news());
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(news) = news {
            news.tell();
        }
    }

    /// Delivers what is allowed.
    async fn run(self: Arc<Self>) {
        let end = self.request.range.end;
        let mut next = self.request.range.start;
        let (mut asked, mut allowed) = (next, next);
        let mut under_way = UnderWay::new();
        let mut late = None;
        let mut since = Instant::now();
        let lacking = &self.shared.lacking;
        // Most often all of an object is there, or nothing of it.
        let mut most = match lacking.has(&self.name) {
            true => 1,
            false => MOST_UNDER_WAY,
        };
        while next < end {
            // Blocks come whole: more than is allowed by less than a block.
            while asked < allowed.min(end) && under_way.len() < most {
                let block = Block::holding(self.name, self.request.size, asked);
                let wanted = asked..end.min(block.range().end);
                asked = wanted.end;
                let shared = Arc::clone(&self.shared);
                under_way.push_back(async move { shared.fetch(block, wanted).await }.boxed());
            }
            if late.is_none() && !under_way.is_empty() {
                late = Some(self.shared.clock.wait());
                since = Instant::now();
            }
            match self.wait(&mut under_way, &mut late, allowed).await {
                Event::Ended => return,
                Event::Allowed(offset) => allowed = offset,
                Event::Arrived(Some(bytes)) => {
                    late = None;
                    most = MOST_UNDER_WAY;
                    lacking.forget(&self.name);
                    let offset = next;
                    next += bytes.len() as u64;
                    self.shared.metrics.hits.add(bytes.len() as u64);
                    self.sink.part(offset, bytes);
                }
                Event::Arrived(None) => {
                    lacking.note(self.name);
                    return self.hand_over(next);
                }
                // The bucket is busy with what others have asked for.
                Event::Late if self.shared.reads.was_well_after(since) => late = None,
                Event::Late => {
                    self.shared.metrics.errors.add(1);
                    let patience = self.shared.clock.patience();
                    let why = format!("no answer within {patience:?}");
                    self.shared.reads.failed(&why);
                    return self.hand_over(next);
                }
            }
        }
        self.sink.finish(Ok(()));
    }

    /// Waits until there is something to do.
    async fn wait(
        &self,
        under_way: &mut UnderWay,
        late: &mut Option<oneshot::Receiver<()>>,
        allowed: u64,
    ) -> Event {
        std::future::poll_fn(|context| self.poll(context, under_way, late, allowed)).await
    }

    fn poll(
        &self,
        context: &mut Context<'_>,
        under_way: &mut UnderWay,
        late: &mut Option<oneshot::Receiver<()>>,
        allowed: u64,
    ) -> Poll<Event> {
        {
            let mut state = self.state();
            if state.ended {
                return Poll::Ready(Event::Ended);
            }
            if state.allowed > allowed {
                return Poll::Ready(Event::Allowed(state.allowed));
            }
            state.waker = Some(context.waker().clone());
        }
        if let Poll::Ready(Some(arrived)) = under_way.poll_next_unpin(context) {
            return Poll::Ready(Event::Arrived(arrived));
        }
        match late.as_mut().map(|late| late.poll_unpin(context)) {
            Some(Poll::Ready(_)) => Poll::Ready(Event::Late),
            _ => Poll::Pending,
        }
    }

    /// Lets the store deliver all from `next` on.
    fn hand_over(&self, next: u64) {
        let GetRequest { range, size, .. } = &self.request;
        let wanted = next..range.end;
        self.shared.metrics.misses.add(wanted.end - wanted.start);
        let sink = Arc::clone(&self.sink);
        let filling = Filling::new(&self.shared, self.name, *size, wanted.clone(), sink);
        let (fetched, filling) = (filling.range(), Arc::new(filling));
        let allowed = self.state().allowed.max(next);
        // What lies around the wanted bytes is not for who allows.
        let around = (wanted.start - fetched.start) + (fetched.end - wanted.end);
        let request = GetRequest {
            range: fetched,
            window: (allowed - next).saturating_add(around),
            ..self.request.clone()
        };
        match self.store.get(request, Arc::clone(&filling) as _) {
            Ok(request) => {
                let mut state = self.state();
                if state.ended {
                    drop(state);
                    return filling.go_on(Arc::from(request));
                }
                state.handed_over = Some(HandedOver {
                    request: Arc::from(request),
                    filling,
                });
                state.told = allowed;
                let news = state.news();
                drop(state);
                if let Some(news) = news {
                    news.tell();
                }
            }
            Err(error) => filling.finish(Err(error)),
        }
    }
}

impl State {
    /// What the store was not told of what is allowed.
    fn news(&mut self) -> Option<News> {
        let request = Arc::clone(&self.handed_over.as_ref()?.request);
        let more = self.allowed.saturating_sub(self.told);
        self.told += more;
        (more > 0).then_some(News { request, more })
    }
}

/// What the store is to be told, under no lock: it may deliver at once.
struct News {
    request: Arc<dyn InFlight>,
    more: u64,
}

impl News {
    fn tell(self) {
        self.request.extend_window(self.more);
    }
}

impl Shared {
    /// The bytes `wanted` of an object, which lie in `block`; `None` if the cache does not have them.
    async fn fetch(&self, block: Block, wanted: Range<u64>) -> Option<Bytes> {
        let pieces = block.pieces(&wanted);
        let key = block.key()?;
        match self.bucket.fetch(&key, pieces.clone()).await {
            Ok(fetched) if block.is_of(&pieces, &fetched) => {
                self.reads.went_well();
                let skipped = wanted.start - (block.range().start + pieces.start);
                let start = usize::try_from(skipped).ok()?;
                let len = usize::try_from(wanted.end - wanted.start).ok()?;
                Some(fetched.bytes.slice(start..start + len))
            }
            Ok(_) => {
                self.reads.went_well();
                self.bad(&key);
                None
            }
            Err(error) => {
                match error.kind() {
                    ErrorKind::NotFound => self.reads.went_well(),
                    // It is too short.
                    ErrorKind::InvalidRange | ErrorKind::Protocol => self.bad(&key),
                    ErrorKind::Canceled => {}
                    _ => {
                        self.metrics.errors.add(1);
                        self.reads.failed(&error);
                    }
                }
                None
            }
        }
    }
}

/// Requests of one GET, so that a large one reaches the speed of several connections, and a small one
/// wastes little when the cache does not have it.
const MOST_UNDER_WAY: usize = 16;
