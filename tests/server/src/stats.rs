//! Counters and a log of what was asked on the wire.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// A snapshot of the counters since the start or the last reset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests by S3 operation, for example `GetObject`; `Unknown` for those refused before that was known.
    pub operations: BTreeMap<String, OperationStats>,
    /// Requests by HTTP status; 0 for those ended by a reset before any answer.
    pub statuses: BTreeMap<u16, u64>,
    /// Bytes received from all connections, headers included, before TLS.
    pub bytes_received: u64,
    /// Bytes sent to all connections, headers included, before TLS.
    pub bytes_sent: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Connections accepted.
    pub connections_total: u64,
    /// Requests being answered now.
    pub requests_open: u64,
    /// The most requests that were being answered at one time.
    pub requests_open_peak: u64,
    /// User and system CPU time of the server's process, in seconds. Of an in-process server this
    /// includes its client.
    pub cpu_seconds: f64,
    /// The last requests, oldest first.
    pub log: Vec<LogEntry>,
}

/// Counters of one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationStats {
    /// Requests.
    pub count: u64,
    /// Bytes of the answers' bodies sent.
    pub body_bytes_sent: u64,
}

/// One request, logged when its answer's headers are ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// S3 operation.
    pub operation: String,
    /// Bucket, or empty.
    pub bucket: String,
    /// Key, or of a list its prefix, or empty.
    pub key: String,
    /// Query string as sent.
    pub query: String,
    /// Range header as sent, or empty.
    pub range: String,
    /// If-Match header as sent, or empty.
    pub if_match: String,
    /// All headers as sent, if they are to be logged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// HTTP status; 0 when the connection was reset instead.
    pub status: u16,
    /// Number of the connection, counted from 1.
    pub connection: u64,
}

impl Stats {
    /// Number of requests of `operation`.
    #[must_use]
    pub fn count(&self, operation: &str) -> u64 {
        self.operations
            .get(operation)
            .map_or(0, |stats| stats.count)
    }

    /// Number of all requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.operations.values().map(|stats| stats.count).sum()
    }

    /// The logged requests of `operation`.
    pub fn logged<'a>(&'a self, operation: &'a str) -> impl Iterator<Item = &'a LogEntry> {
        self.log
            .iter()
            .filter(move |entry| entry.operation == operation)
    }
}

/// The counters in force.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    received: AtomicU64,
    sent: AtomicU64,
    connections_open: AtomicU64,
    connections_total: AtomicU64,
    requests_open: AtomicU64,
    requests_open_peak: AtomicU64,
    requests: Mutex<Requests>,
}

#[derive(Debug, Default)]
struct Requests {
    operations: BTreeMap<String, OperationStats>,
    statuses: BTreeMap<u16, u64>,
    log: VecDeque<LogEntry>,
    cpu_at_reset: f64,
    connections_at_reset: u64,
}

impl Counters {
    pub(crate) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a new connection and numbers it.
    pub(crate) fn open_connection(&self) -> u64 {
        self.connections_open.fetch_add(1, Ordering::Relaxed);
        self.connections_total.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn close_connection(&self) {
        self.connections_open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn open_request(&self) {
        let open = self.requests_open.fetch_add(1, Ordering::Relaxed) + 1;
        self.requests_open_peak.fetch_max(open, Ordering::Relaxed);
    }

    pub(crate) fn close_request(&self, operation: &str, body_bytes_sent: u64) {
        self.requests_open.fetch_sub(1, Ordering::Relaxed);
        if let Some(stats) = self.lock().operations.get_mut(operation) {
            stats.body_bytes_sent += body_bytes_sent;
        }
    }

    pub(crate) fn answer(&self, entry: LogEntry) {
        let mut requests = self.lock();
        requests
            .operations
            .entry(entry.operation.clone())
            .or_default()
            .count += 1;
        *requests.statuses.entry(entry.status).or_default() += 1;
        if requests.log.len() == LOG_LENGTH {
            requests.log.pop_front();
        }
        requests.log.push_back(entry);
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let requests = self.lock();
        Stats {
            operations: requests.operations.clone(),
            statuses: requests.statuses.clone(),
            bytes_received: self.received.load(Ordering::Relaxed),
            bytes_sent: self.sent.load(Ordering::Relaxed),
            connections_open: self.connections_open.load(Ordering::Relaxed),
            connections_total: self.connections_total.load(Ordering::Relaxed)
                - requests.connections_at_reset,
            requests_open: self.requests_open.load(Ordering::Relaxed),
            requests_open_peak: self.requests_open_peak.load(Ordering::Relaxed),
            cpu_seconds: cpu_seconds() - requests.cpu_at_reset,
            log: requests.log.iter().cloned().collect(),
        }
    }

    /// Sets every counter to 0 but those of what is open now.
    pub(crate) fn reset(&self) {
        let mut requests = self.lock();
        *requests = Requests {
            cpu_at_reset: cpu_seconds(),
            connections_at_reset: self.connections_total.load(Ordering::Relaxed),
            ..Requests::default()
        };
        self.received.store(0, Ordering::Relaxed);
        self.sent.store(0, Ordering::Relaxed);
        let open = self.requests_open.load(Ordering::Relaxed);
        self.requests_open_peak.store(open, Ordering::Relaxed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LOG_LENGTH: usize = 10_000;

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanos = i32::try_from(time.tv_nsec).unwrap_or_default();
    let seconds = i32::try_from(time.tv_sec).unwrap_or(i32::MAX);
    f64::from(seconds) + f64::from(nanos) / 1e9
}
