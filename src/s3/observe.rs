//! The one place that telemetry passes: a log line for each HTTP request, and the metrics.
//!
//! Lines are at `debug`: the CRT tries again what fails, and what fails for good is logged, or
//! told, by whoever asked for it.
//!
//! They never hold a query (a signature may be in it), a header that authorizes, or a body.

use std::sync::Arc;

use super::classify::{GET, Subject};
use super::client::Shared;
use super::credentials::reconsider;
use crate::crt::s3::{RequestError, RequestMetrics};
use crate::crt::{CredentialsProvider, Error, ErrorKind};
use crate::metrics::{Ended, Failure, S3Metrics};

/// Hears how the HTTP requests go that are made for one request.
#[derive(Debug)]
pub(super) struct Observer {
    metrics: Arc<S3Metrics>,
    credentials: Arc<CredentialsProvider>,
    subject: Subject,
    /// Bytes of the body that each of them sends.
    body_bytes: u64,
}

impl Observer {
    /// An observer of a request for `subject`, with a body of so many bytes.
    pub(super) fn new(shared: &Shared, subject: &Subject, body_bytes: usize) -> Self {
        Self {
            metrics: Arc::clone(&shared.metrics),
            credentials: Arc::clone(&shared.credentials),
            subject: subject.clone(),
            body_bytes: body_bytes as u64,
        }
    }

    /// What the request is about.
    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The error of a request that ended without success.
    pub(super) fn failed(&self, error: &RequestError) -> super::Error {
        let error = self.subject.ended(error);
        reconsider(&self.credentials, &error);
        error
    }

    /// Counts bytes of a body that have arrived.
    pub(super) fn received(&self, bytes: usize) {
        self.metrics.note_received(self.subject.operation, bytes);
    }

    /// Counts and logs an HTTP request that has ended, well or not.
    pub(super) fn http_request(&self, metrics: &RequestMetrics<'_>) {
        if let Some(ended) = self.ended(metrics) {
            self.metrics.note_ended(self.subject.operation, &ended);
        }
        if log::log_enabled!(log::Level::Debug) {
            log(&self.subject, metrics);
        }
    }

    /// What is counted of a request; `None` if it was given up before it was sent.
    fn ended(&self, metrics: &RequestMetrics<'_>) -> Option<Ended> {
        let (status, error) = (metrics.status(), metrics.error());
        let is_canceled = error.is_some_and(|error| error.kind() == ErrorKind::Canceled);
        if is_canceled && !metrics.was_sent() {
            return None;
        }
        let failure = match (status, error) {
            (Some(status), _) if status >= 300 => Some(Failure::Status(status)),
            (_, Some(error)) if !is_canceled => Some(Failure::NoAnswer(word(error))),
            _ => None,
        };
        Some(Ended {
            is_retry: metrics.retry_attempt() > 0,
            is_canceled,
            failure,
            total: metrics.total(),
            first_byte: metrics.time_to_first_byte(),
            sent: if status.is_some() { self.body_bytes } else { 0 },
        })
    }
}

/// What failed a request that has no status which says so.
fn word(error: Error) -> &'static str {
    match error.kind() {
        ErrorKind::Timeout => "timeout",
        ErrorKind::Dns => "dns",
        ErrorKind::Tls => "tls",
        ErrorKind::Connection => "connection",
        ErrorKind::Credentials => "credentials",
        ErrorKind::Checksum => "checksum",
        ErrorKind::Protocol => "protocol",
        ErrorKind::Throttled => "throttled",
        ErrorKind::OutOfMemory => "memory",
        _ => "other",
    }
}

fn log(subject: &Subject, metrics: &RequestMetrics<'_>) {
    let Subject {
        operation,
        bucket,
        key,
        ..
    } = subject;
    let range = if *operation == GET {
        let range = metrics.part_range();
        format!(" bytes {}-{}", range.start(), range.end())
    } else {
        String::new()
    };
    let outcome = match (metrics.status(), metrics.error()) {
        (Some(status), _) => format!("HTTP {status}"),
        (None, Some(error)) => error.to_string(),
        (None, None) => "no answer".to_owned(),
    };
    log::debug!(
        "{operation} s3://{bucket}/{}{range}: {outcome}, attempt {}, id {}, {:?} in all, first byte {:?}",
        key.escape_debug(),
        metrics.retry_attempt() + 1,
        metrics.request_id().unwrap_or_else(|| "-".to_owned()),
        metrics.total(),
        metrics.time_to_first_byte().unwrap_or_default(),
    );
}
