//! One request with one small answer: everything but GET.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::channel::oneshot;

use super::classify::Subject;
use super::client::Shared;
use super::message::Draft;
use super::observe::Observer;
use super::{Error, ErrorKind};
use crate::crt::s3::{
    BodyPart, Finished, Flow, Request, RequestError, RequestEvents, RequestKind, RequestMetrics,
};
use crate::crt::{Headers, HeadersView};

/// A successful answer.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
}

/// A request under way. Dropping it cancels the request.
pub(super) struct Sending<T> {
    subject: Subject,
    answer: oneshot::Receiver<Result<T, Error>>,
    /// `None`: the request goes on by itself.
    request: Option<Request>,
}

/// Sends a request and waits for all of its answer.
///
/// # Cancel safety
/// Dropping the future cancels the request.
pub(super) async fn send(
    shared: &Shared,
    subject: &Subject,
    draft: &Draft,
) -> Result<Reply, Error> {
    start(shared, subject, draft, |reply| reply)?.await
}

/// Starts a request. `read` makes its result of the answer, on a thread of the CRT, also when
/// nobody waits for that any more; what it holds is dropped when the HTTP request has ended.
pub(super) fn start<T: Send + 'static>(
    shared: &Shared,
    subject: &Subject,
    draft: &Draft,
    read: impl FnOnce(Result<Reply, Error>) -> Result<T, Error> + Send + 'static,
) -> Result<Sending<T>, Error> {
    begin(shared, subject, draft, false, read)
}

/// Starts a request that goes on by itself, even through a shutdown of the runtime, and calls
/// `ended` with how it went.
pub(super) fn tidy_up(
    shared: &Shared,
    subject: &Subject,
    draft: &Draft,
    ended: impl FnOnce(Result<Reply, Error>) + Send + 'static,
) -> Result<(), Error> {
    let read = |reply| {
        ended(reply);
        Ok(())
    };
    begin(shared, subject, draft, true, read)?.detach();
    Ok(())
}

fn begin<T: Send + 'static>(
    shared: &Shared,
    subject: &Subject,
    draft: &Draft,
    tidies_up: bool,
    read: impl FnOnce(Result<Reply, Error>) -> Result<T, Error> + Send + 'static,
) -> Result<Sending<T>, Error> {
    let (done, answer) = oneshot::channel();
    let ended = move |reply| {
        // Nobody waits any more when the future was dropped.
        let _unheard = done.send(read(reply));
    };
    let call = Call {
        observer: Observer::new(shared, subject, draft.body.len()),
        state: Mutex::new(State {
            reply: Reply::default(),
            too_large: false,
            ended: Some(Box::new(ended)),
        }),
    };
    let mut options = shared.options(RequestKind::Default {
        operation: subject.operation,
    });
    options.body = draft.body.clone();
    options.tidies_up = tidies_up;
    let request = shared
        .message(draft)
        .and_then(|message| shared.client.start(message, &options, call))
        .map_err(|error| subject.failed(error))?;
    Ok(Sending {
        subject: subject.clone(),
        answer,
        request: Some(request),
    })
}

impl<T> Future for Sending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(answer.unwrap_or_else(|oneshot::Canceled| {
            let text = "the client was shut down";
            Err(self.subject.error(ErrorKind::Canceled, text))
        }))
    }
}

impl<T> Sending<T> {
    /// Lets the request go on by itself when this is dropped.
    pub(super) fn detach(&mut self) {
        if let Some(request) = self.request.take() {
            request.detach();
        }
    }
}

/// Hears how a request went.
type Ended = Box<dyn FnOnce(Result<Reply, Error>) + Send>;

struct Call {
    observer: Observer,
    state: Mutex<State>,
}

struct State {
    reply: Reply,
    too_large: bool,
    ended: Option<Ended>,
}

impl Call {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestEvents for Call {
    fn headers(&self, _status: u16, headers: &HeadersView<'_>) -> Flow {
        self.state().reply.headers = headers.to_headers();
        Flow::Continue
    }

    fn body(&self, _offset: u64, part: BodyPart) -> Flow {
        let mut state = self.state();
        if state.reply.body.len() + part.len() > LARGEST_BODY {
            state.too_large = true;
            return Flow::Cancel;
        }
        state.reply.body.extend_from_slice(&part);
        self.observer.received(part.len());
        Flow::Continue
    }

    fn telemetry(&self, metrics: &RequestMetrics<'_>) {
        self.observer.http_request(metrics);
    }

    fn finish(&self, outcome: Result<Finished, RequestError>) {
        let (reply, too_large, ended) = {
            let mut state = self.state();
            let reply = std::mem::take(&mut state.reply);
            (reply, state.too_large, state.ended.take())
        };
        let result = match outcome {
            _ if too_large => Err(self.observer.subject().protocol("the answer is too large")),
            Ok(_) => Ok(reply),
            Err(error) => Err(self.observer.failed(&error)),
        };
        if let Some(ended) = ended {
            ended(result);
        }
    }
}

/// Far above a page of 1000 keys of 1024 bytes, each byte of which may be three when encoded.
const LARGEST_BODY: usize = 64 << 20;
