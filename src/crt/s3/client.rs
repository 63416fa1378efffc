//! The S3 client.

use std::ffi::c_void;
use std::fmt;
use std::mem;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crt_sys as sys;

use super::events::{RequestEvents, State};
use super::pool::{Pool, PoolUsage};
use super::request::{Request, RequestOptions};
use super::response::{self, ResponseFuture};
use super::signing::{Signing, SigningAlgorithm};
use crate::crt::auth::CredentialsProvider;
use crate::crt::bytes::cursor;
use crate::crt::callback::guard_or_log;
use crate::crt::error::Error;
use crate::crt::handle::{Handle, ThreadSafe, ref_counted};
use crate::crt::http::Message;
use crate::crt::live::{Keep, Kind, Shared};
use crate::crt::runtime::Runtime;
use crate::crt::tls::{ConnectionOptions, FailedHandshakes, TlsContext};

/// How to make a [`Client`]. `None` leaves a value to the CRT.
#[derive(Debug, Clone)]
pub struct ClientConfig<'a> {
    /// How requests are signed that do not say it themselves.
    pub signing: Signing<'a>,
    /// Where credentials come from; asked once a request, so it should cache.
    pub credentials: &'a CredentialsProvider,
    /// For `https` endpoints. Without it, requests to them are refused.
    pub tls: Option<&'a TlsContext>,
    /// Who wants to know of failed TLS handshakes before their requests end.
    pub failed_handshakes: Option<FailedHandshakes>,
    /// Bytes that one HTTP request of a split GET fetches; default 8 MiB.
    pub part_bytes: Option<u64>,
    /// Speed to aim at, in gigabits per second: sets the number of connections; default 10.
    pub throughput_target_gbps: Option<f64>,
    /// Connections, at most; default by the throughput target.
    pub max_connections: Option<u32>,
    /// Bytes of part buffers, at most; at least one part. A request for which there is no memory
    /// waits until earlier ones have given some back. Default by the throughput target, at least
    /// 1 GiB.
    pub memory_limit_bytes: Option<u64>,
    /// How often a failed HTTP request is sent again; default 5.
    pub max_retries: Option<NonZeroU32>,
    /// Longest delay before the first retry, doubled for each further one; default 500 ms. Whole
    /// milliseconds.
    pub backoff_base: Option<Duration>,
    /// Longest delay before any retry; default 20 s. Whole seconds.
    pub backoff_limit: Option<Duration>,
    /// When a slow connection is closed and its request retried; default 1 byte/s over 30 s.
    pub stall: Option<Stall>,
    /// How long a connection may take to come up; default 3 s. Whole milliseconds.
    pub connect_timeout: Option<Duration>,
    /// Names of network interfaces that connections are made over, one after the other; none leaves
    /// it to the system's routes. Linux, SO_BINDTODEVICE: needs Linux 5.7 or root.
    pub network_interfaces: &'a [String],
    /// Whether GET requests keep to a read window: [`RequestOptions::read_window`] and
    /// [`Request::extend_window`].
    pub backpressure: bool,
}

/// A connection that transfers less than `bytes_per_second` over `interval` while there is work
/// for it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// The least speed.
    pub bytes_per_second: u64,
    /// For how long it may be missed; whole seconds, at least 1.
    pub interval: Duration,
}

/// An S3 client. Clones share it.
///
/// The CRT keeps one pool of connections a host *name*: a client must not be used for two ports, or
/// two schemes, of one host.
#[derive(Clone)]
pub struct Client {
    handle: Handle<sys::aws_s3_client>,
    tls: bool,
    backpressure: bool,
    pool: Arc<Pool>,
    // Last: what the others need is kept by it.
    keep: Keep,
}

/// What C holds for a client, as user data, until its shutdown callback.
struct UserData {
    failed: Option<FailedHandshakes>,
    // Last: the count of clients includes the rest of this.
    _keep: Keep,
}

impl<'a> ClientConfig<'a> {
    /// A client for `region`; everything else is left to the CRT.
    pub fn new(region: &'a str, credentials: &'a CredentialsProvider) -> Self {
        Self {
            signing: Signing::s3(region),
            credentials,
            tls: None,
            failed_handshakes: None,
            part_bytes: None,
            throughput_target_gbps: None,
            max_connections: None,
            memory_limit_bytes: None,
            max_retries: None,
            backoff_base: None,
            backoff_limit: None,
            stall: None,
            connect_timeout: None,
            network_interfaces: &[],
            backpressure: false,
        }
    }
}

impl Client {
    /// Makes a client. Nothing is connected yet. Wraps `aws_s3_client_new`.
    ///
    /// # Errors
    /// A memory limit that is smaller than a part; a network interface that does not exist.
    pub fn new(runtime: &Runtime, config: &ClientConfig<'_>) -> Result<Self, Error> {
        let shared = runtime.shared();
        let signing = config.signing.raw(config.credentials.as_ptr());
        let mut tls = config.tls.map(ConnectionOptions::new);
        let user_data = UserData {
            failed: config.failed_handshakes.clone(),
            _keep: shared.keep(Kind::Client),
        };
        let user_data = Box::into_raw(Box::new(user_data));
        // SAFETY: the box just made; only shared references to it exist until it is dropped.
        let failed = unsafe { &*user_data }.failed.as_ref();
        if let (Some(tls), Some(failed)) = (&mut tls, failed) {
            // SAFETY: the user data is dropped after the client's last connection has ended, see
            // `on_shutdown`; without a client no connection is made.
            unsafe { tls.report_to(failed) };
        }
        let monitoring = config.stall.map(monitoring_options);
        // SAFETY: a C struct that C itself starts from zero (aws/s3/s3_client.h).
        let mut raw: sys::aws_s3_client_config = unsafe { mem::zeroed() };
        raw.region = cursor(config.signing.region.as_bytes());
        raw.client_bootstrap = runtime.bootstrap();
        raw.signing_config = &raw const signing;
        raw.enable_s3express = config.signing.algorithm == SigningAlgorithm::V4S3Express;
        raw.tls_mode = sys::AWS_MR_TLS_DISABLED;
        if let Some(tls) = &tls {
            raw.tls_mode = sys::AWS_MR_TLS_ENABLED;
            raw.tls_connection_options = tls.as_ptr();
        }
        if let Some(monitoring) = &monitoring {
            raw.monitoring_options = monitoring;
        }
        raw.part_size = config.part_bytes.unwrap_or(0);
        raw.throughput_target_gbps = config.throughput_target_gbps.unwrap_or(0.0);
        raw.max_active_connections_override = config.max_connections.unwrap_or(0);
        raw.memory_limit_in_bytes = config.memory_limit_bytes.unwrap_or(0);
        raw.retry_config.max_retries = config.max_retries.map_or(0, |retries| {
            usize::try_from(retries.get()).unwrap_or(usize::MAX)
        });
        raw.retry_config.backoff_scale_factor_ms = config.backoff_base.map_or(0, whole_millis);
        raw.retry_config.max_backoff_secs = config.backoff_limit.map_or(0, whole_seconds);
        raw.connect_timeout_ms = config.connect_timeout.map_or(0, whole_millis);
        raw.enable_read_backpressure = config.backpressure;
        raw.initial_read_window = if config.backpressure {
            INITIAL_WINDOW
        } else {
            0
        };
        let interfaces: Vec<_> = config
            .network_interfaces
            .iter()
            .map(|name| cursor(name.as_bytes()))
            .collect();
        raw.network_interface_names_array = interfaces.as_ptr();
        raw.num_network_interface_names = interfaces.len();
        raw.shutdown_callback = Some(on_shutdown);
        raw.shutdown_callback_user_data = user_data.cast();
        let mut pool = None;
        // SAFETY: `pool` is not used before the call below has ended.
        unsafe { Pool::register(&mut raw, &raw mut pool) };
        // SAFETY: everything that `raw` points to is copied or acquired during the call
        // (s3_client.c), which may write to `raw`, hence the mutable pointer.
        let client = unsafe { sys::aws_s3_client_new(shared.allocator(), &raw mut raw) };
        // SAFETY: a new reference, or NULL.
        let handle = unsafe { Handle::adopt(client) };
        if handle.is_err() {
            // SAFETY: a client that was not made calls nobody (s3_client.c), so this is still ours.
            drop(unsafe { Box::from_raw(user_data) });
        }
        let handle = handle?;
        Ok(Self {
            handle,
            tls: config.tls.is_some(),
            backpressure: config.backpressure,
            // C makes the pool first of all (s3_client.c).
            pool: pool.ok_or_else(|| Error::from_constant(sys::AWS_ERROR_UNKNOWN))?,
            keep: shared.keep(Kind::Wrapper),
        })
    }

    /// A message for this client's requests; see [`Message::new`].
    ///
    /// # Errors
    /// `AWS_ERROR_OOM`.
    pub fn message(&self, method: &str, path_and_query: &str) -> Result<Message, Error> {
        let keep = self.shared().keep(Kind::Wrapper);
        Message::build(keep, method, path_and_query)
    }

    /// Starts a request; `events` receives what comes of it, possibly before this returns.
    /// Wraps `aws_s3_client_make_meta_request`.
    ///
    /// # Errors
    /// A message or options that the CRT refuses, `https` without TLS, or a runtime that is
    /// shutting down. Then `events` was dropped, and none of its methods was called.
    pub fn start(
        &self,
        message: Message,
        options: &RequestOptions<'_>,
        events: impl RequestEvents,
    ) -> Result<Request, Error> {
        if !self.tls && !options.endpoint.scheme().eq_ignore_ascii_case("http") {
            // The CRT would connect without TLS.
            return Err(Error::from_constant(sys::AWS_ERROR_INVALID_ARGUMENT));
        }
        let id = self
            .shared()
            .next_request(options.tidies_up)
            .ok_or_else(|| Error::from_constant(sys::AWS_ERROR_INVALID_STATE))?;
        let state = State::new(Box::new(events), options.body.clone(), id, self);
        let request = Request::start(&message, options, state)?;
        let canceled_at_shutdown = !options.tidies_up;
        if canceled_at_shutdown
            && !self
                .shared()
                .request_started(id, request.handle(), || request.is_finished())
        {
            request.cancel();
        }
        if self.backpressure {
            request.extend_window(options.read_window.saturating_sub(INITIAL_WINDOW_BYTES));
        }
        Ok(request)
    }

    /// Starts a request and collects its answer; for [`RequestKind::Default`].
    ///
    /// [`RequestKind::Default`]: super::RequestKind::Default
    ///
    /// # Errors
    /// As [`Self::start`].
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request.
    pub fn send(
        &self,
        message: Message,
        options: &RequestOptions<'_>,
    ) -> Result<ResponseFuture, Error> {
        let (collector, receiver) = response::collector();
        let request = self.start(message, options, collector)?;
        Ok(ResponseFuture::new(receiver, request))
    }

    /// The memory of its part buffers now.
    pub fn pool_usage(&self) -> PoolUsage {
        self.pool.usage()
    }

    pub(super) fn handle(&self) -> &Handle<sys::aws_s3_client> {
        &self.handle
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.keep.shared()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.handle).finish()
    }
}

/// The shutdown callback. It comes when all connections have ended: the client waits for its
/// endpoints, these for their connection managers, and these for every connection that they have or
/// are about to have (s3_client.c, s3_endpoint.c, connection_manager.c).
unsafe extern "C" fn on_shutdown(user_data: *mut c_void) {
    guard_or_log("a client's shutdown callback", || {
        // SAFETY: the box of `Client::new`; C calls this once, as the last use of it (s3_client.c).
        drop(unsafe { Box::from_raw(user_data.cast::<UserData>()) });
    });
}

fn monitoring_options(stall: Stall) -> sys::aws_http_connection_monitoring_options {
    sys::aws_http_connection_monitoring_options {
        minimum_throughput_bytes_per_second: stall.bytes_per_second,
        allowable_throughput_failure_interval_seconds: whole_seconds(stall.interval).max(1),
        statistics_observer_fn: None,
        statistics_observer_user_data: std::ptr::null_mut(),
    }
}

/// Milliseconds for a field in which 0 means "default".
fn whole_millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis())
        .unwrap_or(u32::MAX)
        .max(1)
}

/// Seconds for a field in which 0 means "default".
fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1)
}

ref_counted!(aws_s3_client, aws_s3_client_acquire, aws_s3_client_release);

// SAFETY: all entry points that this module calls take the client's lock (s3_client.c).
unsafe impl ThreadSafe for sys::aws_s3_client {}

/// The CRT knows one initial window a client; the smallest that is not warned of lets each request
/// have its own.
const INITIAL_WINDOW: usize = 1;
const INITIAL_WINDOW_BYTES: u64 = INITIAL_WINDOW as u64;

const _: () = {
    static_assertions::assert_impl_all!(Client: Send, Sync);
    static_assertions::assert_impl_all!(UserData: Send, Sync);
};
