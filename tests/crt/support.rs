//! What the tests share: a runtime a test, and a recorder of a request's events.

use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mount_s3::crt::s3::{
    BodyPart, Client, ClientConfig, Finished, Flow, Request, RequestError, RequestEvents,
    RequestKind, RequestMetrics, RequestOptions,
};
use mount_s3::crt::{
    CredentialsProvider, Headers, HeadersView, Message, Runtime, RuntimeConfig, TlsContext, Uri,
};

use crate::server::{Server, byte_at};
use crate::wait::LONG;

pub(crate) const MIB: u64 = 1 << 20;

/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = LONG;

/// A runtime, alone in the process.
pub(crate) struct Fixture {
    runtime: Option<Runtime>,
    _alone: MutexGuard<'static, ()>,
}

impl Fixture {
    pub(crate) fn start() -> Self {
        crate::logging::install();
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = Runtime::start_traced(RuntimeConfig::default()).expect("start the runtime");
        Self {
            runtime: Some(runtime),
            _alone: alone,
        }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("not ended")
    }

    pub(crate) fn uri(&self, text: &str) -> Uri {
        Uri::parse(self.runtime(), text).expect("a valid URI")
    }

    /// An unsigned client with parts of 1 MiB and quick retries.
    pub(crate) fn client(&self, adjust: impl FnOnce(&mut ClientConfig<'_>)) -> Client {
        self.client_with_tls(None, adjust)
    }

    pub(crate) fn client_with_tls(
        &self,
        tls: Option<&TlsContext>,
        adjust: impl FnOnce(&mut ClientConfig<'_>),
    ) -> Client {
        let anonymous = CredentialsProvider::anonymous(self.runtime()).expect("anonymous");
        let mut config = ClientConfig::new("us-east-1", &anonymous);
        config.tls = tls;
        config.part_bytes = Some(MIB);
        config.throughput_target_gbps = Some(10.0);
        config.backoff_base = Some(Duration::from_millis(1));
        adjust(&mut config);
        Client::new(self.runtime(), &config).expect("make a client")
    }

    /// A client and a started GET of `range` of the server's object.
    pub(crate) fn get(
        &self,
        server: &Server,
        range: std::ops::Range<u64>,
        events: impl RequestEvents,
    ) -> (Client, Request) {
        let client = self.client(|_| ());
        let request = start_get(&client, &self.uri(&server.endpoint()), range, 0, events);
        (client, request)
    }

    /// Ends the runtime; everything must be gone, to the byte.
    pub(crate) fn end(mut self) {
        let runtime = self.runtime.take().expect("ended once");
        runtime.shutdown(PATIENCE).expect("an orderly shutdown");
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // A test that fails must not make all others fail.
        if let Some(runtime) = self.runtime.take() {
            let _ = runtime.shutdown(Duration::from_secs(10));
        }
    }
}

pub(crate) fn get_message(client: &Client, range: std::ops::Range<u64>) -> Message {
    let mut message = client.message("GET", "/bucket/key").expect("a message");
    let bytes = format!("bytes={}-{}", range.start, range.end - 1);
    message.header("Range", &bytes).expect("a header");
    message
}

pub(crate) fn start_get(
    client: &Client,
    endpoint: &Uri,
    range: std::ops::Range<u64>,
    window: u64,
    events: impl RequestEvents,
) -> Request {
    let mut options = RequestOptions::new(RequestKind::GetObject, endpoint);
    options.read_window = window;
    client
        .start(get_message(client, range), &options, events)
        .expect("start a request")
}

/// The event that a hook of a [`Recorder`] sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Headers,
    Body,
    Telemetry,
    Finish,
}

/// Records what comes of a request. Clones share the record.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Inner>);

struct Inner {
    hook: Box<dyn Fn(Event) -> Flow + Send + Sync>,
    record: Mutex<Record>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Record {
    pub(crate) events: Vec<Event>,
    pub(crate) status: Option<u16>,
    pub(crate) headers: Headers,
    pub(crate) start: Option<u64>,
    pub(crate) body: Vec<u8>,
    pub(crate) statuses: Vec<Option<u16>>,
    pub(crate) request_ids: Vec<Option<String>>,
    pub(crate) retries: u32,
    pub(crate) outcome: Option<Result<Finished, RequestError>>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self::with_hook(|_| Flow::Continue)
    }

    /// `hook` runs at the start of each callback; it may panic.
    pub(crate) fn with_hook(hook: impl Fn(Event) -> Flow + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            hook: Box::new(hook),
            record: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    pub(crate) fn record(&self) -> Record {
        self.lock().clone()
    }

    /// Waits until the record is as wanted.
    pub(crate) fn wait_until(&self, what: &str, wanted: impl Fn(&Record) -> bool) -> Record {
        let deadline = Instant::now() + PATIENCE;
        let mut record = self.lock();
        while !wanted(&record) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "timed out waiting for {what}");
            record = self.0.changed.wait_timeout(record, left).unwrap().0;
        }
        record.clone()
    }

    pub(crate) fn outcome(&self) -> Result<Finished, RequestError> {
        self.wait_until("the end of a request", |record| record.outcome.is_some())
            .outcome
            .expect("waited for")
    }

    /// Asserts success, and the object's bytes from `range`.
    pub(crate) fn expect_bytes(&self, range: std::ops::Range<u64>) {
        let outcome = self.outcome();
        assert!(outcome.is_ok(), "{outcome:?}");
        let record = self.record();
        assert_eq!(record.start, Some(range.start));
        assert_eq!(record.body.len() as u64, range.end - range.start);
        let wrong = (range.start..range.end)
            .zip(&record.body)
            .find(|(offset, byte)| byte_at(*offset) != **byte);
        assert_eq!(wrong, None, "a wrong byte");
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, event: Event) -> Flow {
        self.lock().events.push(event);
        // The hook may not return.
        self.changed();
        (self.0.hook)(event)
    }

    fn changed(&self) {
        self.0.changed.notify_all();
    }
}

impl RequestEvents for Recorder {
    fn headers(&self, status: u16, headers: &HeadersView<'_>) -> Flow {
        let flow = self.enter(Event::Headers);
        let mut record = self.lock();
        record.status = Some(status);
        record.headers = headers.to_headers();
        drop(record);
        self.changed();
        flow
    }

    fn body(&self, offset: u64, part: BodyPart) -> Flow {
        let flow = self.enter(Event::Body);
        let mut record = self.lock();
        let start = *record.start.get_or_insert(offset);
        assert_eq!(offset, start + record.body.len() as u64, "a gap");
        record.body.extend_from_slice(&part);
        drop(record);
        self.changed();
        flow
    }

    fn telemetry(&self, metrics: &RequestMetrics<'_>) {
        let _ = self.enter(Event::Telemetry);
        let mut record = self.lock();
        record.statuses.push(metrics.status());
        record.request_ids.push(metrics.request_id());
        record.retries = record.retries.max(metrics.retry_attempt());
        drop(record);
        self.changed();
    }

    fn finish(&self, outcome: Result<Finished, RequestError>) {
        let _ = self.enter(Event::Finish);
        self.lock().outcome = Some(outcome);
        self.changed();
    }
}

/// Runs the test of this name in a process of its own, where [`in_subprocess`] holds, with the
/// variables given and no other of AWS.
pub(crate) fn run_in_subprocess(test: &str, environment: &[(&str, &str)]) {
    if let Err(output) = try_in_subprocess(test, environment) {
        panic!("{output}");
    }
}

/// As [`run_in_subprocess`]; if the test fails it is an error with what it has written.
pub(crate) fn try_in_subprocess(test: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command
        .args(["--exact", test, "--nocapture"])
        .env(SUBPROCESS, "1");
    // Whoever runs the tests may have credentials.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.envs(environment.iter().copied());
    let output = command.output().expect("run this binary");
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.contains("1 passed") {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{text}\n{stderr}"))
}

pub(crate) fn in_subprocess() -> bool {
    std::env::var_os(SUBPROCESS).is_some()
}

const SUBPROCESS: &str = "CRT_TEST_SUBPROCESS";

static ALONE: Mutex<()> = Mutex::new(());
