//! One HTTP request over a connection of its own, for what is not S3; through the proxy of the
//! environment, if it names one.
//!
//! An exchange belongs to C from its start until its connection has shut down, which is the last
//! that C calls back. Whoever waits holds a share of it: enough to take the answer, or to close the
//! connection when nobody wants the answer any more.

use std::ffi::{c_int, c_void};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use crt_sys as sys;
use futures::channel::oneshot;

use super::bytes::{bytes, cursor, text};
use super::callback::{guard, guard_or_log};
use super::error::{Error, check, check_ptr};
use super::handle::{Handle, ref_counted};
use super::http::{Headers, Message};
use super::live::{Keep, Kind};
use super::proxy;
use super::runtime::Runtime;
use super::tls::{ConnectionOptions, TlsContext};
use super::uri::Uri;

/// Sends HTTP requests. Hold it no longer than the runtime: a shutdown waits for it.
#[derive(Debug)]
pub struct HttpClient {
    bootstrap: Handle<sys::aws_client_bootstrap>,
    tls: Option<TlsContext>,
    timeout: Duration,
    // Last: the shutdown waits for this before it gives up the bootstrap.
    keep: Keep,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers, without those of informational answers.
    pub headers: Headers,
    /// The first [`LARGEST_BODY`] bytes of the body.
    pub body: Vec<u8>,
}

/// An exchange under way. Dropping it closes the connection.
#[derive(Debug)]
pub struct Exchange {
    answer: oneshot::Receiver<Result<HttpResponse, Error>>,
    connection: Arc<Mutex<Connection>>,
}

impl HttpClient {
    /// A client that gives up what takes longer than `timeout` to connect, or to be answered once it
    /// was sent. `https` needs `tls`.
    ///
    /// # Errors
    /// None, but for a runtime that is shutting down.
    pub fn new(
        runtime: &Runtime,
        tls: Option<TlsContext>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let bootstrap = runtime.bootstrap_handle();
        Ok(Self {
            bootstrap: bootstrap
                .ok_or_else(|| Error::from_constant(sys::AWS_ERROR_INVALID_STATE))?,
            tls,
            timeout,
            keep: runtime.shared().keep(Kind::Client),
        })
    }

    /// Sends `body` to `uri` by `method` with these headers; `Host` and `Content-Length` are added.
    /// Wraps `aws_http_client_connect` and `aws_http_connection_make_request`.
    ///
    /// # Errors
    /// A scheme other than `http` and `https`, a header that HTTP forbids, or `https` without TLS.
    /// What fails later is the outcome of the [`Exchange`].
    ///
    /// # Cancel safety
    /// Dropping the exchange closes its connection; the server may have seen the request.
    pub fn send(
        &self,
        method: &str,
        uri: &Uri,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Exchange, Error> {
        let is_tls = match uri.scheme().to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(Error::from_constant(sys::AWS_ERROR_INVALID_ARGUMENT)),
        };
        let tls = self.tls.as_ref().filter(|_| is_tls);
        if is_tls && tls.is_none() {
            return Err(Error::from_constant(sys::AWS_ERROR_INVALID_ARGUMENT));
        }
        let message = self.message(method, uri, headers, &body)?;
        let (sender, answer) = oneshot::channel();
        let connection = Arc::new(Mutex::new(Connection::Pending));
        let state = Box::into_raw(Box::new(State {
            message,
            connection: Arc::clone(&connection),
            received: Mutex::new(Received {
                answer: Some(sender),
                headers: Vec::new(),
                body: Vec::new(),
            }),
            _body: body,
            _keep: self.keep.clone(),
        }));
        let host = uri.host();
        // An IPv6 address is in brackets in a URI only.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port().unwrap_or(if is_tls { 443 } else { 80 });
        if let Err(error) = self.connect(host, port, tls, state) {
            // SAFETY: a connection that was not begun calls nobody back (connection.c), so the
            // state is still ours.
            drop(unsafe { Box::from_raw(state) });
            return Err(error);
        }
        Ok(Exchange { answer, connection })
    }

    fn message(
        &self,
        method: &str,
        uri: &Uri,
        headers: &[(&str, &str)],
        body: &Bytes,
    ) -> Result<Message, Error> {
        let path = match uri.path_and_query() {
            path if path.is_empty() => "/".to_owned(),
            path => path,
        };
        let mut message = Message::build(self.wrapper(), method, &path)?;
        message.header("Host", &uri.authority())?;
        message.header("Content-Length", &body.len().to_string())?;
        for (name, value) in headers {
            message.header(name, value)?;
        }
        let allocator = self.keep.shared().allocator();
        let body = cursor(body);
        // SAFETY: a live allocator; the cursor is copied, and what it spans lives in the exchange's
        // state, which outlives the connection that reads it (aws/io/stream.h).
        let stream = unsafe { sys::aws_input_stream_new_from_cursor(allocator, &raw const body) };
        let stream = check_ptr(stream)?.as_ptr();
        // SAFETY: live message and stream; the message takes a reference (request_response.c).
        unsafe { sys::aws_http_message_set_body_stream(message.as_ptr(), stream) };
        // SAFETY: our reference, not used again (aws/io/stream.h).
        unsafe { sys::aws_input_stream_release(stream) };
        Ok(message)
    }

    fn connect(
        &self,
        host: &str,
        port: u32,
        tls: Option<&TlsContext>,
        state: *mut State,
    ) -> Result<(), Error> {
        let mut tls = tls.map(ConnectionOptions::new);
        if let Some(tls) = &mut tls {
            tls.set_server_name(self.keep.shared(), host)?;
        }
        let proxy = proxy::of_environment();
        let millis = u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX);
        // SAFETY: a C struct that C itself starts from zero (aws/io/socket.h).
        let mut socket: sys::aws_socket_options = unsafe { mem::zeroed() };
        socket.type_ = sys::AWS_SOCKET_STREAM;
        socket.domain = sys::AWS_SOCKET_IPV4;
        socket.connect_timeout_ms = millis.max(1);
        // A server that takes a request or sends an answer byte by byte is given up as well.
        let monitoring = sys::aws_http_connection_monitoring_options {
            minimum_throughput_bytes_per_second: 1024,
            allowable_throughput_failure_interval_seconds: (millis / 1000).max(1),
            statistics_observer_fn: None,
            statistics_observer_user_data: std::ptr::null_mut(),
        };
        // SAFETY: a C struct that C itself starts from zero (aws/http/connection.h).
        let mut raw: sys::aws_http_client_connection_options = unsafe { mem::zeroed() };
        raw.self_size = size_of::<sys::aws_http_client_connection_options>();
        raw.allocator = self.keep.shared().allocator();
        raw.bootstrap = self.bootstrap.as_ptr();
        raw.host_name = cursor(host.as_bytes());
        raw.port = port;
        raw.socket_options = &raw const socket;
        if let Some(tls) = &tls {
            raw.tls_options = tls.as_ptr();
        }
        raw.proxy_ev_settings = &raw const proxy;
        raw.monitoring_options = &raw const monitoring;
        raw.response_first_byte_timeout_ms = millis.into();
        raw.initial_window_size = usize::MAX;
        raw.user_data = state.cast();
        raw.on_setup = Some(on_setup);
        raw.on_shutdown = Some(on_shutdown);
        // SAFETY: everything that the options point to is copied or acquired during the call, but
        // for the user data, which lives until the last callback (aws/http/connection.h).
        check(unsafe { sys::aws_http_client_connect(&raw const raw) })
    }

    fn wrapper(&self) -> Keep {
        self.keep.shared().keep(Kind::Wrapper)
    }
}

impl Future for Exchange {
    type Output = Result<HttpResponse, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let closed = || Error::from_constant(sys::AWS_ERROR_HTTP_CONNECTION_CLOSED);
        Pin::new(&mut self.answer)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|oneshot::Canceled| Err(closed())))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        lock(&self.connection).give_up();
    }
}

/// What C holds of one exchange, as user data, until its last callback.
struct State {
    message: Message,
    connection: Arc<Mutex<Connection>>,
    received: Mutex<Received>,
    /// What the message's body stream reads.
    _body: Bytes,
    // Last: the count includes the rest of this.
    _keep: Keep,
}

struct Received {
    /// `None` once the answer was given.
    answer: Option<oneshot::Sender<Result<HttpResponse, Error>>>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// The connection of an exchange.
#[derive(Debug)]
enum Connection {
    Pending,
    /// Nobody waits for the answer.
    GivenUp,
    /// It is set up.
    Open {
        _reference: OpenConnection,
    },
    Closed,
}

/// A reference to a connection, which is shut down when this is dropped.
#[derive(Debug)]
struct OpenConnection(NonNull<sys::aws_http_connection>);

impl Connection {
    /// Closes the connection, or sees to it that it is closed as soon as it is there.
    fn give_up(&mut self) {
        let closed = match self {
            Self::Pending => Self::GivenUp,
            Self::GivenUp => return,
            Self::Open { .. } | Self::Closed => Self::Closed,
        };
        *self = closed;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        // A request under way holds a reference, too.
        // SAFETY: live by our reference; from any thread, in any state (aws/http/connection.h).
        unsafe { sys::aws_http_connection_close(self.0.as_ptr()) };
        // SAFETY: our reference, not used again; from any thread (aws/http/connection.h).
        unsafe { sys::aws_http_connection_release(self.0.as_ptr()) };
    }
}

// SAFETY: a connection may be closed and released on any thread, which is all that is done with it
// outside of its own callbacks (connection.c, h1_connection.c).
unsafe impl Send for OpenConnection {}

impl State {
    /// Borrows the user data of a callback.
    ///
    /// # Safety
    /// `user_data` comes from [`HttpClient::send`], and the last callback has not ended.
    unsafe fn of<'a>(user_data: *mut c_void) -> &'a Self {
        // SAFETY: this function's contract; only shared references exist until it is dropped.
        unsafe { &*user_data.cast::<Self>() }
    }

    fn received(&self) -> MutexGuard<'_, Received> {
        lock(&self.received)
    }

    /// Gives the answer, if it was not given yet.
    fn answer(&self, outcome: Result<u16, Error>) {
        let mut received = self.received();
        let Some(answer) = received.answer.take() else {
            return;
        };
        let response = outcome.map(|status| HttpResponse {
            status,
            headers: mem::take(&mut received.headers).into_iter().collect(),
            body: mem::take(&mut received.body),
        });
        drop(received);
        // Nobody waits any more when the exchange was dropped.
        let _unheard = answer.send(response);
    }

    /// Sends the request over a connection that was just set up.
    fn request(&self, connection: &OpenConnection, user_data: *mut c_void) -> Result<(), Error> {
        // SAFETY: a C struct that C itself starts from zero (aws/http/request_response.h).
        let mut raw: sys::aws_http_make_request_options = unsafe { mem::zeroed() };
        raw.self_size = size_of::<sys::aws_http_make_request_options>();
        raw.request = self.message.as_ptr();
        raw.user_data = user_data;
        raw.on_response_headers = Some(on_headers);
        raw.on_response_body = Some(on_body);
        raw.on_complete = Some(on_complete);
        // SAFETY: a live connection; the options are copied, the message is acquired, and the user
        // data lives until the connection has shut down, after the stream's last callback
        // (aws/http/request_response.h, h1_connection.c).
        let stream =
            unsafe { sys::aws_http_connection_make_request(connection.0.as_ptr(), &raw const raw) };
        // SAFETY: a new reference, or NULL.
        let stream = unsafe { Handle::adopt(stream) }?;
        // SAFETY: a live stream that is not active yet. To give up the reference does not cancel it
        // (aws/http/request_response.h).
        check(unsafe { sys::aws_http_stream_activate(stream.as_ptr()) })
    }
}

unsafe extern "C" fn on_setup(
    connection: *mut sys::aws_http_connection,
    error_code: c_int,
    user_data: *mut c_void,
) {
    guard_or_log("the setup of a connection", || {
        let Some(open) = NonNull::new(connection).map(OpenConnection) else {
            // SAFETY: the box of `send`; a failed setup is the last callback
            // (aws/http/connection.h).
            let state = unsafe { Box::from_raw(user_data.cast::<State>()) };
            state.answer(Err(Error::from_code(error_code)));
            return;
        };
        // SAFETY: the user data of `send`; the connection has not shut down.
        let state = unsafe { State::of(user_data) };
        let mut slot = lock(&state.connection);
        if matches!(*slot, Connection::GivenUp) {
            return;
        }
        match state.request(&open, user_data) {
            Ok(()) => *slot = Connection::Open { _reference: open },
            Err(error) => {
                *slot = Connection::Closed;
                drop(slot);
                state.answer(Err(error));
            }
        }
    });
}

unsafe extern "C" fn on_headers(
    _stream: *mut sys::aws_http_stream,
    block: sys::aws_http_header_block,
    headers: *const sys::aws_http_header,
    count: usize,
    user_data: *mut c_void,
) -> c_int {
    let taken = guard(|| {
        if block != sys::AWS_HTTP_HEADER_BLOCK_MAIN || headers.is_null() {
            return;
        }
        // SAFETY: C lends that many headers for this call (aws/http/request_response.h).
        let headers = unsafe { std::slice::from_raw_parts(headers, count) };
        // SAFETY: the user data of `send`; the connection has not shut down.
        let state = unsafe { State::of(user_data) };
        let mut received = state.received();
        for header in headers {
            if received.headers.len() == MOST_HEADERS {
                return;
            }
            // SAFETY: points into memory that is lent for this call.
            let name = unsafe { text(header.name) }.into_owned();
            // SAFETY: as above.
            let value = unsafe { text(header.value) }.into_owned();
            received.headers.push((name, value));
        }
    });
    flow(&taken)
}

unsafe extern "C" fn on_body(
    _stream: *mut sys::aws_http_stream,
    data: *const sys::aws_byte_cursor,
    user_data: *mut c_void,
) -> c_int {
    let taken = guard(|| {
        // SAFETY: C lends the cursor for this call, or gives NULL.
        let Some(data) = (unsafe { data.as_ref() }) else {
            return;
        };
        // SAFETY: spans memory that is lent for this call (aws/http/request_response.h).
        let data = unsafe { bytes(*data) };
        // SAFETY: the user data of `send`; the connection has not shut down.
        let state = unsafe { State::of(user_data) };
        let mut received = state.received();
        let room = LARGEST_BODY - received.body.len();
        received
            .body
            .extend_from_slice(&data[..room.min(data.len())]);
    });
    flow(&taken)
}

unsafe extern "C" fn on_complete(
    stream: *mut sys::aws_http_stream,
    error_code: c_int,
    user_data: *mut c_void,
) {
    guard_or_log("the end of an HTTP request", || {
        // SAFETY: the user data of `send`; the connection has not shut down.
        let state = unsafe { State::of(user_data) };
        let mut status = 0;
        let outcome = if error_code == 0 {
            // SAFETY: a live stream of a request; writes one number
            // (aws/http/request_response.h).
            check(unsafe {
                sys::aws_http_stream_get_incoming_response_status(stream, &raw mut status)
            })
            .map(|()| u16::try_from(status).unwrap_or_default())
        } else {
            Err(Error::from_code(error_code))
        };
        lock(&state.connection).give_up();
        state.answer(outcome);
    });
}

unsafe extern "C" fn on_shutdown(
    _connection: *mut sys::aws_http_connection,
    error_code: c_int,
    user_data: *mut c_void,
) {
    guard_or_log("the shutdown of a connection", || {
        // SAFETY: the box of `send`; the last callback of a connection that was set up
        // (aws/http/connection.h).
        let state = unsafe { Box::from_raw(user_data.cast::<State>()) };
        lock(&state.connection).give_up();
        state.answer(Err(Error::from_code(error_code)));
    });
}

/// What a callback returns that may end its stream.
fn flow(taken: &Result<(), String>) -> c_int {
    if taken.is_ok() {
        return sys::AWS_OP_SUCCESS as c_int;
    }
    // SAFETY: no preconditions; writes a thread-local (aws/common/error.h).
    unsafe { sys::aws_raise_error_private(sys::AWS_ERROR_HTTP_CALLBACK_FAILURE as c_int) };
    sys::AWS_OP_ERR as c_int
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

ref_counted!(
    aws_http_stream,
    aws_http_stream_acquire,
    aws_http_stream_release
);

/// What is kept of the body of an answer: enough for what it says of a failure.
pub const LARGEST_BODY: usize = 64 << 10;

const MOST_HEADERS: usize = 100;

const _: () = {
    static_assertions::assert_impl_all!(HttpClient: Send, Sync);
    static_assertions::assert_impl_all!(Exchange: Send);
};
