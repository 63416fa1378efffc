//! One GET in flight, with the queue that its bytes arrive in.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use log::Level;

use super::ReadConfig;
use super::failure::canceled;
use super::gather::Pieces;
use super::parts::{self, Core};
use super::queue::{Queue, ReaderId, Remaining, Revival};
use crate::s3::{BodySink, ETag, Error, ErrorKind, GetRequest, InFlight, Key, Store};

/// Where a handle's bytes come from: one version of one object.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) store: Arc<dyn Store>,
    pub(super) key: Key,
    pub(super) etag: ETag,
    /// Length of the version in bytes.
    pub(super) size: u64,
    /// Fetches by parts, if slow ones are to be hedged; otherwise the store splits a GET.
    pub(super) parts: Option<Arc<Core>>,
}

impl Source {
    /// Version `etag` of the object `key`, fetched as `config` has it.
    pub(super) fn new(
        store: Arc<dyn Store>,
        key: Key,
        etag: ETag,
        size: u64,
        config: &ReadConfig,
    ) -> Self {
        Self {
            store,
            key,
            etag,
            size,
            parts: config.hedger.as_ref().map(|hedger| hedger.core().clone()),
        }
    }

    fn get(
        &self,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Result<Box<dyn InFlight>, Error> {
        match &self.parts {
            Some(core) => Ok(parts::start(core, &self.store, request, sink)),
            None => self.store.get(request, sink),
        }
    }
}

/// A GET and what it delivers. Dropping it cancels the GET.
///
/// The queue is shared with the sink that the store holds, the request is not, so a store that
/// keeps its sinks does not keep its requests alive.
#[derive(Debug)]
pub(super) struct Stream {
    source: Arc<Source>,
    queue: Arc<Queue>,
    flight: Mutex<Flight>,
}

/// The request's side. Its lock is taken before the queue's, never after; no callback takes it.
#[derive(Debug)]
struct Flight {
    request: Option<Box<dyn InFlight>>,
    /// End of the bytes that the store knows it may deliver.
    told: u64,
}

impl Stream {
    /// A stream that is not yet started, so that readers can join it first.
    pub(super) fn new(source: Arc<Source>, queue: Queue) -> Self {
        Self {
            source,
            queue: Arc::new(queue),
            flight: Mutex::new(Flight {
                request: None,
                told: 0,
            }),
        }
    }

    /// The parts that have arrived, and the readers.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Sends the GET. A failure to do so reaches the readers.
    pub(super) fn start(&self) {
        let mut flight = self.lock();
        self.send(&mut flight, self.queue.remaining());
    }

    /// Tells the store how far the window reaches by now.
    pub(super) fn extend(&self) {
        let mut flight = self.lock();
        let granted = self.queue.remaining().granted;
        if let Some(request) = &flight.request
            && granted > flight.told
        {
            request.extend_window(granted - flight.told);
            flight.told = granted;
        }
    }

    /// Waits until a reader's bytes are here and adds them to `reply`. A broken transfer is
    /// taken up again from the byte it reached, as long as that gets somewhere.
    ///
    /// Cancel safe: the reader stays in the queue until it leaves.
    pub(super) async fn wait(&self, id: ReaderId, reply: &mut Pieces) -> Result<(), Error> {
        loop {
            match poll_fn(|context| self.queue.poll(id, context, reply)).await {
                Ok(()) => return Ok(()),
                Err(error) if self.restart(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts a failed GET again. Returns whether waiting makes sense.
    fn restart(&self, error: &Error) -> bool {
        let mut flight = self.lock();
        match self.queue.revive() {
            Revival::Running => true,
            Revival::Refused => false,
            Revival::Restart(remaining) => {
                let Range { start, end } = remaining.range;
                // The end of the mount cancels what is under way.
                let level = match error.kind() {
                    ErrorKind::Canceled => Level::Debug,
                    _ => Level::Warn,
                };
                log::log!(
                    level,
                    "bytes {start}..{end} are fetched again after: {error}"
                );
                self.send(&mut flight, remaining);
                true
            }
        }
    }

    fn send(&self, flight: &mut Flight, remaining: Remaining) {
        let Remaining {
            range,
            granted,
            generation,
        } = remaining;
        let request = GetRequest {
            key: self.source.key.clone(),
            if_match: self.source.etag.clone(),
            size: self.source.size,
            window: granted.saturating_sub(range.start),
            range,
            is_hedge: false,
        };
        flight.request = None;
        flight.told = granted;
        let sink = Arc::new(Sink {
            queue: Arc::clone(&self.queue),
            generation,
            sent: Instant::now(),
            answered: AtomicBool::new(false),
            finished: AtomicBool::new(false),
        });
        // The store may deliver before `get` returns.
        match self.source.get(request, Arc::clone(&sink) as _) {
            Ok(request) => flight.request = Some(request),
            Err(error) => sink.finish(Err(error)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The store's end of a queue.
struct Sink {
    queue: Arc<Queue>,
    generation: u64,
    sent: Instant,
    /// Whether bytes have come.
    answered: AtomicBool,
    finished: AtomicBool,
}

impl BodySink for Sink {
    fn part(&self, offset: u64, bytes: Bytes) {
        if !self.answered.swap(true, Ordering::AcqRel) {
            self.queue.note_delay(self.generation, self.sent.elapsed());
        }
        self.queue.push(self.generation, offset, bytes);
    }

    fn finish(&self, result: Result<(), Error>) {
        if !self.finished.swap(true, Ordering::AcqRel) {
            self.queue.finish(self.generation, result);
        }
    }
}

impl Drop for Sink {
    /// A store that lets go of a request without a word must not leave readers waiting.
    fn drop(&mut self) {
        self.finish(Err(canceled()));
    }
}
