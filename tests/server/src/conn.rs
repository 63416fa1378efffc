//! One connection: a byte stream that counts what passes and can be reset.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use crate::stats::Counters;

/// What the answers to a connection's requests know of it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    /// The peer takes no more bytes for now: something sent is still buffered here.
    blocked: AtomicBool,
    reset: AtomicBool,
    /// When the bandwidth lets each direction carry its next byte.
    out_free: Mutex<Option<Instant>>,
    in_free: Mutex<Option<Instant>>,
}

/// Direction of a transfer, seen from the server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    In,
    Out,
}

impl Connection {
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// The connection ends with a TCP reset when it is dropped.
    pub(crate) fn reset_when_dropped(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    /// Accounts for `bytes` at `bandwidth` bytes a second; returns when the next ones may follow.
    pub(crate) fn pace(&self, direction: Direction, bytes: usize, bandwidth: u64) -> Instant {
        let free = match direction {
            Direction::In => &self.in_free,
            Direction::Out => &self.out_free,
        };
        let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let start = free.map_or(now, |free| {
            free.max(now.checked_sub(PACE_SLACK).unwrap_or(now))
        });
        let nanos = u128::try_from(bytes).unwrap_or(u128::MAX) * 1_000_000_000
            / u128::from(bandwidth.max(1));
        let next = start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        *free = Some(next);
        next
    }
}

/// The stream under a connection.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The stream that HTTP runs on.
#[derive(Debug)]
pub(crate) struct ConnectionIo {
    transport: Transport,
    connection: Arc<Connection>,
    counters: Arc<Counters>,
}

impl ConnectionIo {
    pub(crate) fn new(transport: Transport, counters: Arc<Counters>) -> Self {
        let connection = Arc::new(Connection {
            number: counters.open_connection(),
            blocked: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            out_free: Mutex::new(None),
            in_free: Mutex::new(None),
        });
        Self {
            transport,
            connection,
            counters,
        }
    }

    pub(crate) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }

    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.connection
            .blocked
            .store(result.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(bytes)) = &result {
            self.counters.add_sent(*bytes);
        }
        result
    }
}

impl AsyncRead for ConnectionIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        this.counters.add_received(buf.filled().len() - before);
        result
    }
}

impl AsyncWrite for ConnectionIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        this.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Drop for ConnectionIo {
    fn drop(&mut self) {
        if self.connection.reset.load(Ordering::Relaxed) {
            let stream = match &self.transport {
                Transport::Plain(stream) => stream,
                Transport::Tls(stream) => stream.get_ref().0,
            };
            // Only ever fails when the peer is gone, which is what the reset is to achieve.
            let _ = stream.set_zero_linger();
        }
        self.counters.close_connection();
    }
}

/// How long a connection that was idle may exceed its bandwidth, so that late timers do not slow it.
const PACE_SLACK: Duration = Duration::from_millis(5);
