//! Answers: a failed request's, and a collected one.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use crt_sys as sys;
use futures::channel::oneshot;

use super::events::{BodyPart, Finished, Flow, RequestEvents};
use super::request::Request;
use crate::crt::error::{Error, ErrorKind};
use crate::crt::http::{Headers, HeadersView};

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestError {
    /// What the CRT says.
    pub error: Error,
    /// The server's answer, if that is what failed the request. Not after retries of 500, 503 and
    /// the like: then there is only [`Self::attempt`].
    pub response: Option<ErrorResponse>,
    /// The last HTTP request that failed.
    pub attempt: Option<FailedAttempt>,
    /// The text of a panic in a callback of this request, if that is what failed it.
    pub panic: Option<String>,
}

/// An HTTP request that failed, whether or not it was retried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedAttempt {
    /// HTTP status, if an answer began.
    pub status: Option<u16>,
    /// S3's id of the request.
    pub request_id: Option<String>,
}

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Headers,
    /// The body; empty for HEAD.
    pub body: Vec<u8>,
}

/// An answer that was collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

/// The answer of [`Client::send`](super::Client::send).
///
/// # Cancel safety
/// Dropping it cancels the request.
#[derive(Debug)]
#[must_use = "dropping it cancels the request"]
pub struct ResponseFuture {
    receiver: oneshot::Receiver<Result<Response, RequestError>>,
    _request: Request,
}

impl RequestError {
    /// What the error means to a caller.
    pub fn kind(&self) -> ErrorKind {
        if self.panic.is_some() {
            ErrorKind::Panic
        } else if self.response.is_some() {
            ErrorKind::ResponseStatus
        } else {
            self.error.kind()
        }
    }

    fn canceled() -> Self {
        Self {
            error: Error::from_constant(sys::AWS_ERROR_S3_CANCELED),
            response: None,
            attempt: None,
            panic: None,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.panic {
            return write!(f, "a callback panicked: {text}");
        }
        write!(f, "{}", self.error)?;
        let status = (self.response.as_ref().map(|response| response.status))
            .or_else(|| self.attempt.as_ref().and_then(|attempt| attempt.status));
        if let Some(status) = status {
            write!(f, " (HTTP status {status})")?;
        }
        Ok(())
    }
}

impl StdError for RequestError {}

impl ResponseFuture {
    pub(super) fn new(
        receiver: oneshot::Receiver<Result<Response, RequestError>>,
        request: Request,
    ) -> Self {
        Self {
            receiver,
            _request: request,
        }
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response, RequestError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|oneshot::Canceled| Err(RequestError::canceled())))
    }
}

/// Collects an answer, and who waits for it.
pub(super) fn collector() -> (Collector, oneshot::Receiver<Result<Response, RequestError>>) {
    let (sender, receiver) = oneshot::channel();
    let collected = Collected {
        headers: Headers::default(),
        body: Vec::new(),
        sender: Some(sender),
    };
    (Collector(Mutex::new(collected)), receiver)
}

pub(super) struct Collector(Mutex<Collected>);

struct Collected {
    headers: Headers,
    body: Vec<u8>,
    sender: Option<oneshot::Sender<Result<Response, RequestError>>>,
}

impl RequestEvents for Collector {
    fn headers(&self, _status: u16, headers: &HeadersView<'_>) -> Flow {
        self.lock().headers = headers.to_headers();
        Flow::Continue
    }

    fn body(&self, _offset: u64, part: BodyPart) -> Flow {
        self.lock().body.extend_from_slice(&part);
        Flow::Continue
    }

    fn finish(&self, outcome: Result<Finished, RequestError>) {
        let (sender, answer) = {
            let mut collected = self.lock();
            let headers = mem::take(&mut collected.headers);
            let body = mem::take(&mut collected.body);
            let answer = outcome.map(|Finished { status, .. }| Response {
                status,
                headers,
                body,
            });
            (collected.sender.take(), answer)
        };
        if let Some(sender) = sender {
            // Nobody may be waiting any more.
            let _ = sender.send(answer);
        }
    }
}

impl Collector {
    fn lock(&self) -> std::sync::MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const _: () = {
    static_assertions::assert_impl_all!(ResponseFuture: Send, Unpin);
};
