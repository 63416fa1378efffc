//! What is counted of requests to S3.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::counter::{Counter, Gauge};
use super::histogram::Histogram;
use super::names;
use super::snapshot::{Label, Snapshot};

/// Counts requests to S3. Every method may be called from any thread.
#[derive(Debug, Default)]
pub struct S3Metrics {
    /// Multipart uploads under way.
    pub uploads: Arc<Gauge>,
    operations: RwLock<BTreeMap<&'static str, Arc<Operation>>>,
}

/// What is counted of one operation.
#[derive(Debug, Default)]
struct Operation {
    requests: Counter,
    retries: Counter,
    canceled: Counter,
    received: Counter,
    sent: Counter,
    latencies: Histogram,
    first_bytes: Histogram,
    failures: Mutex<BTreeMap<Failure, u64>>,
}

/// An HTTP request that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whether it repeated one that failed.
    pub is_retry: bool,
    /// Whether it was given up, by whoever wanted it.
    pub is_canceled: bool,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// From its preparation to its end.
    pub total: Duration,
    /// From sending it to the first byte of the answer, if one came.
    pub first_byte: Option<Duration>,
    /// Bytes of its body, if there was an answer.
    pub sent: u64,
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The HTTP status of the answer.
    Status(u16),
    /// What happened instead of an answer, in a word.
    NoAnswer(&'static str),
}

impl S3Metrics {
    /// Counts an HTTP request of `operation`, as S3 names it.
    pub fn note_ended(&self, operation: &'static str, ended: &Ended) {
        let counts = self.operation(operation);
        counts.requests.add(1);
        counts.retries.add(ended.is_retry.into());
        counts.canceled.add(ended.is_canceled.into());
        counts.sent.add(ended.sent);
        if let Some(failure) = ended.failure {
            let failures = counts.failures.lock();
            let mut failures = failures.unwrap_or_else(PoisonError::into_inner);
            *failures.entry(failure).or_default() += 1;
        }
        if !ended.is_canceled {
            counts.latencies.observe_time(ended.total);
        }
        if let Some(first_byte) = ended.first_byte {
            counts.first_bytes.observe_time(first_byte);
        }
    }

    /// Notes that bytes of the body of an answer were accepted.
    pub fn note_received(&self, operation: &'static str, bytes: usize) {
        self.operation(operation).received.add(bytes as u64);
    }

    /// Adds all that was counted to `snapshot`.
    pub fn report(&self, snapshot: &mut Snapshot) {
        let operations = self.operations.read();
        let operations = operations.unwrap_or_else(PoisonError::into_inner).clone();
        let label = |operation: &'static str| Label::new("s3_request", operation);
        for (metric, counter) in COUNTERS {
            for (operation, counts) in &operations {
                snapshot.counter(metric, [label(operation)], counter(counts).get());
            }
        }
        for (operation, counts) in &operations {
            let failures = counts.failures.lock();
            for (failure, count) in &*failures.unwrap_or_else(PoisonError::into_inner) {
                let status = Label::new("http_status", failure.text());
                let labels = [label(operation), status];
                snapshot.counter(&names::S3_REQUEST_ERRORS, labels, *count);
            }
        }
        for (metric, histogram) in HISTOGRAMS {
            for (operation, counts) in &operations {
                snapshot.histogram(metric, [label(operation)], histogram(counts));
            }
        }
        snapshot.gauge(&names::S3_UPLOADS, [], self.uploads.get());
    }

    fn operation(&self, name: &'static str) -> Arc<Operation> {
        let known = self.operations.read();
        let known = known
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        known.unwrap_or_else(|| {
            let all = self.operations.write();
            let mut all = all.unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(name).or_default())
        })
    }
}

impl Failure {
    fn text(self) -> Cow<'static, str> {
        match self {
            Self::Status(status) => status.to_string().into(),
            Self::NoAnswer(what) => what.into(),
        }
    }
}

type Of<T> = (&'static names::Metric, fn(&Operation) -> &T);

const COUNTERS: [Of<Counter>; 5] = [
    (&names::S3_REQUEST_COUNT, |counts| &counts.requests),
    (&names::S3_REQUEST_RETRIES, |counts| &counts.retries),
    (&names::S3_REQUEST_CANCELED, |counts| &counts.canceled),
    (&names::S3_RECEIVED_BYTES, |counts| &counts.received),
    (&names::S3_SENT_BYTES, |counts| &counts.sent),
];

const HISTOGRAMS: [Of<Histogram>; 2] = [
    (&names::S3_REQUEST_TOTAL_LATENCY, |counts| &counts.latencies),
    (&names::S3_REQUEST_FIRST_BYTE_LATENCY, |counts| {
        &counts.first_bytes
    }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Value;

    const WELL: Ended = Ended {
        is_retry: false,
        is_canceled: false,
        failure: None,
        total: Duration::from_millis(2),
        first_byte: Some(Duration::from_millis(1)),
        sent: 0,
    };

    #[test]
    fn report_sorts_requests_by_operation_and_failure() {
        let metrics = S3Metrics::default();
        metrics.note_ended("GetObject", &WELL);
        metrics.note_received("GetObject", 100);
        let failed = Ended {
            failure: Some(Failure::Status(503)),
            ..WELL
        };
        metrics.note_ended("GetObject", &failed);
        let again = Ended {
            is_retry: true,
            failure: Some(Failure::NoAnswer("timeout")),
            first_byte: None,
            ..WELL
        };
        metrics.note_ended("GetObject", &again);
        metrics.note_ended("PutObject", &Ended { sent: 7, ..WELL });
        let mut snapshot = Snapshot::default();
        metrics.report(&mut snapshot);
        for (text, count) in [
            ("s3.request_count{s3_request=GetObject}", 3),
            ("s3.request_count{s3_request=PutObject}", 1),
            ("s3.request_retries{s3_request=GetObject}", 1),
            ("s3.received_bytes{s3_request=GetObject}", 100),
            ("s3.sent_bytes{s3_request=PutObject}", 7),
            ("s3.request_errors{s3_request=GetObject,http_status=503}", 1),
            (
                "s3.request_errors{s3_request=GetObject,http_status=timeout}",
                1,
            ),
            ("s3.uploads", 0),
        ] {
            let found = snapshot
                .samples
                .iter()
                .find(|sample| sample.to_string() == text);
            let found = found.unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found.value, Value::Number(count), "{text}");
        }
    }

    #[test]
    fn latencies_leave_out_what_was_canceled() {
        let metrics = S3Metrics::default();
        let canceled = Ended {
            is_canceled: true,
            first_byte: None,
            ..WELL
        };
        metrics.note_ended("GetObject", &canceled);
        let mut snapshot = Snapshot::default();
        metrics.report(&mut snapshot);
        let mut samples = snapshot.samples.iter();
        assert!(!samples.any(|sample| sample.metric.kind == names::Kind::Histogram));
    }
}
