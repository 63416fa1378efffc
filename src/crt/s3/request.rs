//! A request under way.

use std::mem;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use crt_sys as sys;

use super::events::{self, State};
use super::signing::Signing;
use crate::crt::bytes::{EMPTY, cursor};
use crate::crt::error::Error;
use crate::crt::handle::{Handle, ThreadSafe, ref_counted};
use crate::crt::http::Message;
use crate::crt::live::{Keep, Kind};
use crate::crt::uri::Uri;

/// What to ask for, beside the message.
#[derive(Debug, Clone)]
pub struct RequestOptions<'a> {
    /// How the CRT treats the request.
    pub kind: RequestKind<'a>,
    /// Scheme, host and port to connect to. The message's `Host` header, if it has one, must be
    /// its authority.
    pub endpoint: &'a Uri,
    /// Bytes of a part of a split GET; default the client's.
    pub part_bytes: Option<u64>,
    /// The object's size, or a guess: a GET without a range of an object that fits in one part is
    /// then one HTTP request.
    pub object_size_hint: Option<u64>,
    /// Whether to ask for checksums and compare them with the bytes that arrive; a mismatch is an
    /// error of kind [`ErrorKind::Checksum`](crate::crt::ErrorKind::Checksum).
    pub validate_checksum: bool,
    /// Bytes of the body that a GET may deliver before [`Request::extend_window`], if the client
    /// has [`backpressure`](super::ClientConfig::backpressure). Counted in parts: one is fetched
    /// and delivered whole as soon as any byte of it fits, and the first always is.
    pub read_window: u64,
    /// The body to send, without a copy; for [`RequestKind::Default`]. It is held until the request,
    /// with all its retries, needs it no more.
    pub body: Bytes,
    /// How the request is signed; default as the client says.
    pub signing: Option<Signing<'a>>,
    /// Whether the request may be started while the runtime shuts down, which then waits for it and
    /// does not cancel it: for what tidies up behind requests that the shutdown has ended.
    pub tidies_up: bool,
}

/// How the CRT treats a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestKind<'a> {
    /// GetObject, split into ranged requests that run in parallel.
    GetObject,
    /// One HTTP request, sent as it is; the body of the answer comes whole.
    Default {
        /// The operation, as S3 names it: `HeadObject`. Drives how answers are checked for errors.
        operation: &'a str,
    },
}

/// A request under way. Dropping it cancels the request; its
/// [`finish`](super::RequestEvents::finish) still comes.
#[derive(Debug)]
pub struct Request {
    handle: Handle<sys::aws_s3_meta_request>,
    finished: Arc<AtomicBool>,
    detached: bool,
    // After `handle`: its release may still need the allocator.
    _keep: Keep,
}

impl<'a> RequestOptions<'a> {
    /// A request to `endpoint`, with defaults for everything else.
    pub fn new(kind: RequestKind<'a>, endpoint: &'a Uri) -> Self {
        Self {
            kind,
            endpoint,
            part_bytes: None,
            object_size_hint: None,
            validate_checksum: false,
            read_window: 0,
            body: Bytes::new(),
            signing: None,
            tidies_up: false,
        }
    }
}

impl Request {
    /// Cancels the request: it ends soon with an error of kind
    /// [`ErrorKind::Canceled`](crate::crt::ErrorKind::Canceled), unless it has ended. A body part
    /// that is being delivered may still arrive. Wraps `aws_s3_meta_request_cancel`.
    pub fn cancel(&self) {
        // SAFETY: live by the handle; may be called on any thread at any time, more than once
        // (s3_meta_request.c: takes the request's lock).
        unsafe { sys::aws_s3_meta_request_cancel(self.handle.as_ptr()) };
    }

    /// Gives up the request without cancelling it; its events still come.
    pub fn detach(mut self) {
        self.detached = true;
    }

    /// Lets the body go on for `bytes` more; without effect if the client has no back-pressure.
    /// Wraps `aws_s3_meta_request_increment_read_window`.
    pub fn extend_window(&self, bytes: u64) {
        // SAFETY: live by the handle; takes the request's lock (s3_meta_request.c).
        unsafe { sys::aws_s3_meta_request_increment_read_window(self.handle.as_ptr(), bytes) };
    }

    /// Starts the request of `message`; `state` belongs to C from then on, until the request's
    /// shutdown callback.
    pub(super) fn start(
        message: &Message,
        options: &RequestOptions<'_>,
        state: Box<State>,
    ) -> Result<Self, Error> {
        let finished = Arc::clone(state.finished());
        let keep = state.shared().keep(Kind::Wrapper);
        let client = state.client().clone();
        let checksum = options.validate_checksum.then(validating);
        // Without credentials of its own: those of the client count.
        let signing = options.signing.map(|signing| signing.raw(ptr::null_mut()));
        // SAFETY: a C struct that C itself starts from zero (aws/s3/s3_client.h).
        let mut raw: sys::aws_s3_meta_request_options = unsafe { mem::zeroed() };
        (raw.type_, raw.operation_name) = match options.kind {
            RequestKind::GetObject => (sys::AWS_S3_META_REQUEST_TYPE_GET_OBJECT, EMPTY),
            RequestKind::Default { operation } => (
                sys::AWS_S3_META_REQUEST_TYPE_DEFAULT,
                cursor(operation.as_bytes()),
            ),
        };
        if !state.body().is_empty() {
            raw.request_body = cursor(state.body());
        }
        raw.message = message.as_ptr();
        raw.endpoint = options.endpoint.as_ptr();
        raw.part_size = options.part_bytes.unwrap_or(0);
        raw.object_size_hint = options
            .object_size_hint
            .as_ref()
            .map_or(ptr::null(), ptr::from_ref);
        raw.checksum_config = checksum.as_ref().map_or(ptr::null(), ptr::from_ref);
        raw.signing_config = signing.as_ref().map_or(ptr::null(), ptr::from_ref);
        let state = Box::into_raw(state);
        events::register(&mut raw, state);
        // SAFETY: a live client; everything that the options point to is copied or acquired during
        // the call, but for the user data and the body that it holds, which live until the
        // shutdown callback (aws/s3/s3_client.h).
        let request =
            unsafe { sys::aws_s3_client_make_meta_request(client.as_ptr(), &raw const raw) };
        // SAFETY: a new reference, or NULL.
        let handle = unsafe { Handle::adopt(request) };
        if handle.is_err() {
            // SAFETY: a request that was not made calls nobody (s3_client.c: the shutdown callback
            // is set last), so the state is still ours.
            drop(unsafe { Box::from_raw(state) });
        }
        Ok(Self {
            handle: handle?,
            finished,
            detached: false,
            _keep: keep,
        })
    }

    pub(super) fn handle(&self) -> &Handle<sys::aws_s3_meta_request> {
        &self.handle
    }

    /// Whether the finish callback has begun.
    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // Only to spare the client a look for work: cancelling what has finished does nothing.
        if !self.detached && !self.is_finished() {
            self.cancel();
        }
    }
}

fn validating() -> sys::aws_s3_checksum_config {
    // SAFETY: a C struct that C itself starts from zero (aws/s3/s3_client.h).
    let mut config: sys::aws_s3_checksum_config = unsafe { mem::zeroed() };
    config.validate_response_checksum = true;
    config
}

ref_counted!(
    aws_s3_meta_request,
    aws_s3_meta_request_acquire,
    aws_s3_meta_request_release
);

// SAFETY: all entry points that this module calls take the request's lock (s3_meta_request.c).
unsafe impl ThreadSafe for sys::aws_s3_meta_request {}

const _: () = {
    static_assertions::assert_impl_all!(Request: Send, Sync);
};
