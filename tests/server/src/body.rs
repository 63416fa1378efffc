//! Bodies: the answer's, sent at the modelled speed with the modelled faults, and the request's.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::conn::{Connection, Direction};
use crate::context::{BodyRange, RequestContext};
use crate::model::{Cut, Decision};
use crate::object::Blob;
use crate::stats::Counters;
use crate::synthetic::MAX_CHUNK;

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    blob: Blob,
    start: u64,
    size: u64,
    sent: u64,
    bandwidth: u64,
    cut: Option<Cut>,
    stall: Option<(u64, Duration)>,
    corrupt: Option<u64>,
    sleep: Option<Pin<Box<Sleep>>>,
    draining: bool,
    connection: Arc<Connection>,
    counters: Arc<Counters>,
    context: RequestContext,
}

impl ResponseBody {
    /// `source` as the answer to the request of `context`.
    pub(crate) fn new(
        source: BodyRange,
        context: &RequestContext,
        counters: Arc<Counters>,
    ) -> Self {
        let decision = context.decision().cloned().unwrap_or_default();
        let size = source.range.end - source.range.start;
        let Decision {
            bandwidth,
            cut,
            stall,
            corrupt,
            ..
        } = decision;
        Self {
            blob: source.blob,
            start: source.range.start,
            size,
            sent: 0,
            bandwidth,
            cut: cut.filter(|cut| cut.after < size),
            stall: stall.filter(|(after, _)| *after < size),
            corrupt,
            sleep: None,
            draining: false,
            connection: Arc::clone(context.connection()),
            counters,
            context: context.clone(),
        }
    }

    /// The most bytes to send next: up to where something happens.
    fn step(&self) -> usize {
        let mut end = self.size;
        for stop in [
            self.cut.map(|cut| cut.after),
            self.stall.map(|(after, _)| after),
        ] {
            end = end.min(stop.unwrap_or(u64::MAX));
        }
        let mut step = usize::try_from(end - self.sent)
            .unwrap_or(MAX_CHUNK)
            .min(MAX_CHUNK);
        if self.bandwidth > 0 {
            step = step.min(quantum(self.bandwidth));
        }
        step
    }

    fn next_chunk(&mut self) -> Bytes {
        let chunk = self.blob.chunk_at(self.start + self.sent, self.step());
        let begin = self.sent;
        self.sent += chunk.len() as u64;
        if self.bandwidth > 0 {
            let next = self
                .connection
                .pace(Direction::Out, chunk.len(), self.bandwidth);
            self.sleep = Some(Box::pin(sleep_until(next)));
        }
        match self.corrupt {
            Some(at) if (begin..self.sent).contains(&at) => {
                let mut bytes = chunk.to_vec();
                bytes[usize::try_from(at - begin).expect("within a chunk")] ^= 1;
                bytes.into()
            }
            _ => chunk,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        loop {
            if let Some(sleep) = &mut this.sleep {
                ready!(sleep.as_mut().poll(cx));
                this.sleep = None;
            }
            if let Some(cut) = this.cut.filter(|cut| cut.after == this.sent) {
                // What is promised before the cut must leave first.
                if !this.draining || this.connection.is_blocked() {
                    this.draining = true;
                    this.sleep = Some(Box::pin(sleep_until(Instant::now() + DRAIN_STEP)));
                    continue;
                }
                if cut.reset {
                    this.connection.reset_when_dropped();
                }
                return Poll::Ready(Some(Err(io::Error::other("cut as modelled"))));
            }
            if let Some((_, stop)) = this.stall.take_if(|(after, _)| *after == this.sent) {
                this.sleep = Some(Box::pin(tokio::time::sleep(stop)));
                continue;
            }
            if this.sent == this.size {
                return Poll::Ready(None);
            }
            return Poll::Ready(Some(Ok(Frame::data(this.next_chunk()))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.size && self.sleep.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.size - self.sent)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let operation = self
            .context
            .target()
            .map_or("Unknown", |target| &target.operation);
        self.counters.close_request(operation, self.sent);
    }
}

/// The body of a request, received at the modelled speed.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// `None` once this is dropped.
    inner: Option<Incoming>,
    bandwidth: u64,
    sleep: Option<Pin<Box<Sleep>>>,
    received: u64,
    context: RequestContext,
}

impl RequestBody {
    /// The body of the request of `context`.
    pub(crate) fn new(inner: Incoming, bandwidth: u64, context: RequestContext) -> Self {
        Self {
            inner: Some(inner),
            bandwidth,
            sleep: None,
            received: 0,
            context,
        }
    }

    /// What arrives of `data`, the next bytes.
    fn arrived(&mut self, data: Bytes) -> Bytes {
        let begin = self.received;
        self.received += data.len() as u64;
        let decision = self.context.decision();
        match decision.and_then(|decision| decision.corrupt_upload) {
            Some(at) if (begin..self.received).contains(&at) => {
                let mut bytes = data.to_vec();
                bytes[usize::try_from(at - begin).expect("within a frame")] ^= 1;
                bytes.into()
            }
            _ => data,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if let Some(sleep) = &mut this.sleep {
            ready!(sleep.as_mut().poll(cx));
            this.sleep = None;
        }
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && this.bandwidth > 0
        {
            let next = this
                .context
                .connection()
                .pace(Direction::In, data.len(), this.bandwidth);
            this.sleep = Some(Box::pin(sleep_until(next)));
        }
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|data| this.arrived(data)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

/// Takes in what nobody has read, as of a request that was refused: a connection that ends with
/// bytes unread is reset, and a client that is still sending would see that instead of the answer.
impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(mut rest) = self.inner.take().filter(|inner| !inner.is_end_stream()) else {
            return;
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { while let Some(Ok(_)) = rest.frame().await {} });
        }
    }
}

/// How often to look whether what was sent before a cut has left.
const DRAIN_STEP: Duration = Duration::from_millis(5);

/// Bytes to send at once at `bandwidth`: 4 ms' worth, as timers are good to 1 ms.
fn quantum(bandwidth: u64) -> usize {
    usize::try_from(bandwidth / 250)
        .unwrap_or(MAX_CHUNK)
        .clamp(1024, MAX_CHUNK)
}
