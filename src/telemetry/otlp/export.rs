//! Sends messages, and tries again what may succeed later.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::task::{ArcWake, waker};
use prost::Message;

use super::encode::{Taken, request};
use super::message::ExportMetricsServiceResponse;
use super::{OtlpConfig, Temporality};
use crate::crt::{Error, HttpClient, HttpResponse, Uri};
use crate::metrics::{Label, Snapshot};
use crate::telemetry::Source;

/// Sends the figures of a mount to a receiver, and once more when it is dropped, which takes a few
/// seconds at most. Drop it before the runtime of its client is shut down.
#[derive(Debug)]
pub struct OtlpExporter {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl OtlpExporter {
    /// The time that the receiver has for an answer.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// Begins to send the figures of `source` by `client` to `uri`, which is the endpoint of
    /// `config`, completed by [`Self::url`].
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        config: OtlpConfig,
        source: Source,
        client: HttpClient,
        uri: Uri,
    ) -> io::Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let beginning = Taken {
            at: SystemTime::now(),
            snapshot: Snapshot::default(),
        };
        let export = Export {
            resource: resource(&config, &source.labels),
            config,
            source,
            client,
            uri,
            since: beginning,
            ends: Arc::clone(&ends),
            fails: false,
        };
        let thread = thread::Builder::new()
            .name("metrics-otlp".into())
            .spawn(move || export.run())?;
        Ok(Self {
            ends,
            thread: Some(thread),
        })
    }

    /// Where metrics go, at a receiver with this endpoint.
    pub fn url(endpoint: &str) -> String {
        let endpoint = endpoint.trim_end_matches('/');
        if endpoint.ends_with(PATH) {
            endpoint.to_owned()
        } else {
            format!("{endpoint}{PATH}")
        }
    }
}

impl Drop for OtlpExporter {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else {
            return;
        };
        thread.thread().unpark();
        if let Err(_panic) = thread.join() {
            log::error!("the thread that exports metrics has panicked");
        }
    }
}

struct Export {
    config: OtlpConfig,
    resource: Vec<Label>,
    source: Source,
    client: HttpClient,
    uri: Uri,
    /// What the next message counts from.
    since: Taken,
    ends: Arc<AtomicBool>,
    /// Whether the last message did not arrive, which is logged when it changes.
    fails: bool,
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    /// It will never be; the text says why.
    Refused(String),
    /// It may be later, but not before this time has passed, if it is told.
    Later(String, Option<Duration>),
}

impl Export {
    fn run(mut self) {
        let mut regular = Instant::now() + self.config.interval;
        let mut retry = None;
        let mut backoff = FIRST_BACKOFF;
        loop {
            self.sleep(retry.unwrap_or(regular));
            let is_last = self.is_over();
            let outcome = self.export();
            let now = Instant::now();
            while regular <= now {
                regular += self.config.interval;
            }
            retry = match &outcome {
                Outcome::Later(_, told) => Some(now + told.unwrap_or(backoff)),
                Outcome::Accepted | Outcome::Refused(_) => None,
            };
            backoff = match retry {
                Some(_) => (backoff * 2).min(MOST_BACKOFF),
                None => FIRST_BACKOFF,
            };
            self.tell(&outcome);
            if is_last {
                return;
            }
        }
    }

    /// Sends what was counted since the last message that arrived.
    fn export(&mut self) -> Outcome {
        let now = Taken {
            at: SystemTime::now(),
            snapshot: self.source.snapshot(),
        };
        let message = request(&self.resource, &self.since, &now, self.config.temporality);
        let body = Bytes::from(message.encode_to_vec());
        let headers = [("Content-Type", MEDIA_TYPE), ("User-Agent", USER_AGENT)];
        let outcome = match self.client.send("POST", &self.uri, &headers, body) {
            Ok(exchange) => match self.wait(exchange) {
                Some(Ok(response)) => judge(&response),
                Some(Err(error)) => failed(error),
                None => Outcome::Later("no answer in time".to_owned(), None),
            },
            Err(error) => failed(error),
        };
        // What was refused is not sent again.
        let is_done = !matches!(outcome, Outcome::Later(..));
        if is_done && self.config.temporality == Temporality::Delta {
            self.since = now;
        }
        outcome
    }

    /// Logs how it goes, when that has changed.
    fn tell(&mut self, outcome: &Outcome) {
        let url = OtlpExporter::url(&self.config.endpoint);
        let fails = match outcome {
            Outcome::Accepted => false,
            Outcome::Refused(reason) | Outcome::Later(reason, _) => {
                if !self.fails {
                    log::warn!("metrics cannot be sent to {url}: {reason}");
                }
                true
            }
        };
        if self.fails && !fails {
            log::info!("metrics are sent to {url} again");
        }
        self.fails = fails;
    }

    fn is_over(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    /// Waits until then, or until this is to end.
    fn sleep(&self, until: Instant) {
        while !self.is_over()
            && let Some(left) = until.checked_duration_since(Instant::now())
            && !left.is_zero()
        {
            thread::park_timeout(left);
        }
    }

    /// Waits for an answer; `None` when there is no more time for it.
    fn wait<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = pin!(answer);
        let waker = waker(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut deadline = Instant::now() + OtlpExporter::TIMEOUT;
        let mut is_short = false;
        loop {
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
                return Some(answer);
            }
            if !is_short && self.is_over() {
                deadline = deadline.min(Instant::now() + LAST_TIMEOUT);
                is_short = true;
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            thread::park_timeout(left);
        }
    }
}

struct Unpark(thread::Thread);

impl ArcWake for Unpark {
    fn wake_by_ref(this: &Arc<Self>) {
        this.0.unpark();
    }
}

/// What the figures are of.
fn resource(config: &OtlpConfig, labels: &[Label]) -> Vec<Label> {
    let is_given = |label: &Label| {
        config
            .attributes
            .iter()
            .any(|given| given.name == label.name)
    };
    let own = [
        Label::new("service.name", "mount-s3"),
        Label::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let own = own.iter().chain(labels).filter(|label| !is_given(label));
    own.chain(&config.attributes).cloned().collect()
}

/// What an answer means.
/// OTLP: [response](https://opentelemetry.io/docs/specs/otlp/#otlphttp-response).
fn judge(response: &HttpResponse) -> Outcome {
    let status = response.status;
    match status {
        200..=299 => {
            let answer = ExportMetricsServiceResponse::decode(&*response.body);
            match answer.ok().and_then(|answer| answer.partial_success) {
                Some(partial) if partial.rejected_data_points > 0 => Outcome::Refused(format!(
                    "{} data points were rejected: {}",
                    partial.rejected_data_points,
                    printable(&partial.error_message)
                )),
                _ => Outcome::Accepted,
            }
        }
        429 | 502 | 503 | 504 => {
            let told = response.headers.get("Retry-After");
            let told = told.and_then(|seconds| seconds.trim().parse().ok());
            let told = told.map(|seconds| Duration::from_secs(seconds).min(MOST_BACKOFF));
            Outcome::Later(format!("HTTP {status}"), told)
        }
        _ => Outcome::Refused(format!("HTTP {status}")),
    }
}

fn failed(error: Error) -> Outcome {
    Outcome::Later(error.to_string(), None)
}

/// What a server says goes to logs: without control characters, and not too long.
fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(200).map(clean).collect()
}

const PATH: &str = "/v1/metrics";
const MEDIA_TYPE: &str = "application/x-protobuf";
const USER_AGENT: &str = concat!("mount-s3/", env!("CARGO_PKG_VERSION"));

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MOST_BACKOFF: Duration = Duration::from_secs(60);

/// For an answer, when somebody waits for the end.
const LAST_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_ends_in_the_path_of_metrics_once() {
        for (endpoint, url) in [
            ("http://h:4318", "http://h:4318/v1/metrics"),
            ("http://h:4318/", "http://h:4318/v1/metrics"),
            ("http://h/otlp", "http://h/otlp/v1/metrics"),
            ("http://h/v1/metrics", "http://h/v1/metrics"),
        ] {
            assert_eq!(OtlpExporter::url(endpoint), url);
        }
    }

    #[test]
    fn judge_tries_again_what_the_protocol_says() {
        let response = |status, headers: &[(&str, &str)]| HttpResponse {
            status,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: Vec::new(),
        };
        assert_eq!(judge(&response(200, &[])), Outcome::Accepted);
        for status in [429, 502, 503, 504] {
            let found = judge(&response(status, &[("retry-after", "7")]));
            let told = Some(Duration::from_secs(7));
            assert_eq!(found, Outcome::Later(format!("HTTP {status}"), told));
        }
        let date = [("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT")];
        assert_eq!(
            judge(&response(503, &date)),
            Outcome::Later("HTTP 503".into(), None)
        );
        for status in [400, 401, 404, 500] {
            assert_eq!(
                judge(&response(status, &[])),
                Outcome::Refused(format!("HTTP {status}"))
            );
        }
    }

    #[test]
    fn resource_attributes_that_are_given_win() {
        let config = OtlpConfig {
            endpoint: String::new(),
            interval: Duration::ZERO,
            temporality: Temporality::Delta,
            attributes: vec![Label::new("service.name", "mine"), Label::new("team", "x")],
        };
        let resource = resource(&config, &[Label::new("bucket", "b")]);
        let texts: Vec<_> = resource.iter().map(ToString::to_string).collect();
        assert_eq!(texts[1..], ["bucket=b", "service.name=mine", "team=x"]);
    }
}
