//! What comes of a request: the trait that receives it, and the callbacks that C calls.

use std::ffi::{c_int, c_void};
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crt_sys as sys;

use super::client::Client;
use super::response::{ErrorResponse, FailedAttempt, RequestError};
use super::telemetry::RequestMetrics;
use crate::crt::bytes::bytes;
use crate::crt::callback::{guard, guard_or_log};
use crate::crt::error::Error;
use crate::crt::handle::{Handle, ThreadSafe, ref_counted};
use crate::crt::http::HeadersView;
use crate::crt::live::{Keep, Kind, Shared};

/// Receives what comes of one request.
///
/// The methods are called on threads of the CRT, possibly before [`Client::start`] has returned,
/// but not two at a time of those that return [`Flow`]. Implementations enqueue and wake; whoever
/// blocks here blocks other requests, too. A panic ends the request with an error of kind
/// [`ErrorKind::Panic`](crate::crt::ErrorKind::Panic): after it only [`Self::finish`] is called.
pub trait RequestEvents: Send + Sync + 'static {
    /// The answer begins: at most once a request, also if it is one that fails the request. Of a
    /// split GET the headers are those of the whole answer.
    fn headers(&self, _status: u16, _headers: &HeadersView<'_>) -> Flow {
        Flow::Continue
    }

    /// The next bytes of the body, in order and without gaps. `offset` is that of the part in the
    /// object, or in the answer, if the CRT does not split the request.
    fn body(&self, offset: u64, part: BodyPart) -> Flow;

    /// One HTTP request of this request has ended, well or not.
    fn telemetry(&self, _metrics: &RequestMetrics<'_>) {}

    /// The request has ended: exactly once, after everything else.
    fn finish(&self, outcome: Result<Finished, RequestError>);
}

/// Whether a request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Continue,
    /// It ends with an error of kind [`ErrorKind::Canceled`](crate::crt::ErrorKind::Canceled).
    Cancel,
}

/// A request that ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// HTTP status.
    pub status: u16,
    /// Whether every byte was compared with a checksum of the server's.
    pub checksum_validated: bool,
}

/// Bytes of a body, in the buffer that the CRT received them into: it is lent until this is
/// dropped, and counts against the client's memory limit.
pub struct BodyPart {
    // Declared, and so dropped, first: a ticket goes back to the client's pool.
    bytes: Bytes,
    _client: Handle<sys::aws_s3_client>,
    _keep: Keep,
}

/// Where a [`BodyPart`] lies.
enum Bytes {
    /// In a buffer of the pool.
    Lent {
        start: NonNull<u8>,
        length: usize,
        _ticket: Handle<sys::aws_s3_buffer_ticket>,
    },
    /// In memory that the CRT frees after the callback, so it was copied.
    Copied(Box<[u8]>),
}

/// What the callbacks of one request share. C owns it, as user data, until the shutdown callback.
pub(super) struct State {
    events: Box<dyn RequestEvents>,
    panic: Mutex<Option<String>>,
    panicked: AtomicBool,
    failed: Mutex<Option<FailedAttempt>>,
    finished: Arc<AtomicBool>,
    /// What C sends, and reads again for each retry.
    body: bytes::Bytes,
    id: u64,
    client: Handle<sys::aws_s3_client>,
    // Last: the count of requests includes the rest of this.
    keep: Keep,
}

impl BodyPart {
    /// Takes what a body callback lends.
    ///
    /// # Safety
    /// `body` spans initialised memory for this call; if `ticket` is not NULL, it is live, and
    /// `body` lies in its buffer, which nobody writes to while the ticket is held.
    unsafe fn new(
        body: sys::aws_byte_cursor,
        ticket: *mut sys::aws_s3_buffer_ticket,
        state: &State,
    ) -> Self {
        let bytes = match (NonNull::new(ticket), NonNull::new(body.ptr)) {
            (Some(ticket), Some(start)) => Bytes::Lent {
                start,
                length: body.len,
                // SAFETY: live, by this function's contract.
                _ticket: unsafe { Handle::retain(ticket) },
            },
            // SAFETY: initialised for this call, by this function's contract.
            _ => Bytes::Copied(unsafe { bytes(body) }.into()),
        };
        Self {
            bytes,
            _client: state.client.clone(),
            _keep: state.shared().keep(Kind::Buffer),
        }
    }
}

impl AsRef<[u8]> for BodyPart {
    fn as_ref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Lent { start, length, .. } => {
                // SAFETY: the ticket keeps the buffer; the CRT wrote it before the callback, and
                // does not write to it again (s3_meta_request.c: delivery is a request's last use
                // of it).
                unsafe { std::slice::from_raw_parts(start.as_ptr(), *length) }
            }
            Bytes::Copied(bytes) => bytes,
        }
    }
}

impl Deref for BodyPart {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

impl fmt::Debug for BodyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyPart({} bytes)", self.len())
    }
}

// SAFETY: the bytes are only read; ticket and client may be released on any thread.
unsafe impl Send for BodyPart {}
// SAFETY: `&BodyPart` gives nothing but the bytes, which nobody writes to.
unsafe impl Sync for BodyPart {}

impl State {
    pub(super) fn new(
        events: Box<dyn RequestEvents>,
        body: bytes::Bytes,
        id: u64,
        client: &Client,
    ) -> Box<Self> {
        Box::new(Self {
            events,
            panic: Mutex::new(None),
            panicked: AtomicBool::new(false),
            failed: Mutex::new(None),
            finished: Arc::new(AtomicBool::new(false)),
            body,
            id,
            client: client.handle().clone(),
            keep: client.shared().keep(Kind::Request),
        })
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.keep.shared()
    }

    pub(super) fn client(&self) -> &Handle<sys::aws_s3_client> {
        &self.client
    }

    /// The body to send: it lies where it lies until the state is dropped.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Set when the finish callback begins.
    pub(super) fn finished(&self) -> &Arc<AtomicBool> {
        &self.finished
    }

    /// Runs user code, unless some has panicked before: then, and after a panic, C should cancel.
    fn run(&self, body: impl FnOnce(&dyn RequestEvents) -> Flow) -> Flow {
        if self.panicked.load(Ordering::Acquire) {
            return Flow::Cancel;
        }
        guard(|| body(&*self.events)).unwrap_or_else(|text| {
            lock(&self.panic).get_or_insert(text);
            self.panicked.store(true, Ordering::Release);
            Flow::Cancel
        })
    }
}

/// Enters the callbacks into the options of a request.
pub(super) fn register(options: &mut sys::aws_s3_meta_request_options, state: *mut State) {
    options.user_data = state.cast();
    options.headers_callback = Some(on_headers);
    options.body_callback_ex = Some(on_body);
    options.telemetry_callback = Some(on_telemetry);
    options.finish_callback = Some(on_finish);
    options.shutdown_callback = Some(on_shutdown);
}

unsafe extern "C" fn on_headers(
    _request: *mut sys::aws_s3_meta_request,
    headers: *const sys::aws_http_headers,
    status: c_int,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: C hands back the user data of `register`.
    let state = unsafe { state(user_data) };
    to_c(state.run(|events| {
        let Some(headers) = NonNull::new(headers.cast_mut()) else {
            return Flow::Continue;
        };
        // SAFETY: live and unchanged during the callback (aws/s3/s3_client.h).
        let headers = unsafe { HeadersView::new(headers) };
        events.headers(http_status(status), &headers)
    }))
}

unsafe extern "C" fn on_body(
    _request: *mut sys::aws_s3_meta_request,
    body: *const sys::aws_byte_cursor,
    info: sys::aws_s3_meta_request_receive_body_extra_info,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: C hands back the user data of `register`.
    let state = unsafe { state(user_data) };
    to_c(state.run(|events| {
        // SAFETY: not NULL, and live during the callback (aws/s3/s3_client.h).
        let body = unsafe { *body };
        // SAFETY: the cursor is valid during the callback; a ticket owns the buffer that it points
        // into (s3_meta_request.c).
        let part = unsafe { BodyPart::new(body, info.ticket, state) };
        events.body(info.range_start, part)
    }))
}

unsafe extern "C" fn on_telemetry(
    _request: *mut sys::aws_s3_meta_request,
    metrics: *mut sys::aws_s3_request_metrics,
    user_data: *mut c_void,
) {
    // SAFETY: C hands back the user data of `register`.
    let state = unsafe { state(user_data) };
    // There is no way to cancel from here. The next callback that has one does, and `finish` tells.
    let _ = state.run(|events| {
        if let Some(metrics) = NonNull::new(metrics) {
            // SAFETY: live and unchanged during the callback (aws/s3/s3_client.h).
            let metrics = unsafe { RequestMetrics::new(metrics) };
            if metrics.error().is_some() {
                *lock(&state.failed) = Some(FailedAttempt {
                    status: metrics.status(),
                    request_id: metrics.request_id(),
                });
            }
            events.telemetry(&metrics);
        }
        Flow::Continue
    });
}

unsafe extern "C" fn on_finish(
    _request: *mut sys::aws_s3_meta_request,
    result: *const sys::aws_s3_meta_request_result,
    user_data: *mut c_void,
) {
    // SAFETY: C hands back the user data of `register`.
    let state = unsafe { state(user_data) };
    // Before the look at the running requests: see `Shared::request_started`.
    state.finished.store(true, Ordering::Release);
    guard_or_log("a request's finish callback", || {
        // SAFETY: not NULL, and live and unchanged during the callback (aws/s3/s3_client.h).
        let result = unsafe { &*result };
        // SAFETY: as above, for what it points to.
        let outcome = unsafe { outcome(result, state) };
        state.events.finish(outcome);
    });
    state.shared().request_finished(state.id);
}

unsafe extern "C" fn on_shutdown(user_data: *mut c_void) {
    guard_or_log("the drop of a request's events", || {
        // SAFETY: the box of `Request::start`; C calls this once, and nothing after it
        // (s3_meta_request.c).
        drop(unsafe { Box::from_raw(user_data.cast::<State>()) });
    });
}

/// # Safety
/// `user_data` was entered by [`register`], and the request's shutdown callback has not run.
unsafe fn state<'a>(user_data: *mut c_void) -> &'a State {
    // SAFETY: this function's contract; all callbacks get shared references only.
    unsafe { &*user_data.cast::<State>() }
}

/// # Safety
/// What `result` points to is live and unchanged for this call.
unsafe fn outcome(
    result: &sys::aws_s3_meta_request_result,
    state: &State,
) -> Result<Finished, RequestError> {
    let panic = lock(&state.panic).take();
    let status = http_status(result.response_status);
    if result.error_code == 0 && panic.is_none() {
        return Ok(Finished {
            status,
            checksum_validated: result.did_validate,
        });
    }
    let error = match result.error_code {
        0 => Error::from_constant(sys::AWS_ERROR_S3_CANCELED),
        code => Error::from_code(code),
    };
    let headers = NonNull::new(result.error_response_headers)
        // SAFETY: live and unchanged, by this function's contract.
        .map(|headers| unsafe { HeadersView::new(headers) }.to_headers());
    let body = NonNull::new(result.error_response_body)
        // SAFETY: as above.
        .map(|body| unsafe { *body.as_ptr() })
        .map(|body| sys::aws_byte_cursor {
            len: body.len,
            ptr: body.buffer,
        })
        // SAFETY: as above; a buffer is initialised up to its length.
        .map(|body| unsafe { bytes(body) }.to_vec());
    let response = headers.map(|headers| ErrorResponse {
        status,
        headers,
        body: body.unwrap_or_default(),
    });
    Err(RequestError {
        error,
        response,
        attempt: lock(&state.failed).take(),
        panic,
    })
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A status that no server may send becomes 0.
fn http_status(status: c_int) -> u16 {
    u16::try_from(status).unwrap_or(0)
}

fn to_c(flow: Flow) -> c_int {
    match flow {
        Flow::Continue => sys::AWS_OP_SUCCESS as c_int,
        Flow::Cancel => {
            // SAFETY: no preconditions; writes a thread-local (aws/common/error.h).
            unsafe { sys::aws_raise_error_private(sys::AWS_ERROR_S3_CANCELED as c_int) };
            sys::AWS_OP_ERR as c_int
        }
    }
}

ref_counted!(
    aws_s3_buffer_ticket,
    aws_s3_buffer_ticket_acquire,
    aws_s3_buffer_ticket_release
);

// SAFETY: the count is atomic, and the pool that the last release goes to locks inside
// (s3_buffer_pool.c, `Pool`).
unsafe impl ThreadSafe for sys::aws_s3_buffer_ticket {}

const _: () = {
    static_assertions::assert_impl_all!(State: Send, Sync);
    static_assertions::assert_impl_all!(BodyPart: Send, Sync);
    static_assertions::assert_obj_safe!(RequestEvents);
};
