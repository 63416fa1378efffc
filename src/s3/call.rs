//! One request with one small answer: HEAD and LIST.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::channel::oneshot;

use super::classify::Subject;
use super::client::Shared;
use super::message::Draft;
use super::{Error, ErrorKind, observe};
use crate::crt::s3::{
    BodyPart, Finished, Flow, RequestError, RequestEvents, RequestKind, RequestMetrics,
};
use crate::crt::{Headers, HeadersView};

/// A successful answer.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
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
    let (done, answer) = oneshot::channel();
    let call = Call {
        subject: subject.clone(),
        state: Mutex::new(State {
            reply: Reply::default(),
            too_large: false,
            done: Some(done),
        }),
    };
    let request = {
        let options = shared.options(RequestKind::Default {
            operation: subject.operation,
        });
        shared
            .message(draft)
            .and_then(|message| shared.client.start(message, &options, call))
            .map_err(|error| subject.failed(error))?
    };
    let result = answer.await;
    // Held until here, because dropping it cancels.
    drop(request);
    result.unwrap_or_else(|oneshot::Canceled| {
        Err(subject.error(ErrorKind::Canceled, "the client was shut down"))
    })
}

struct Call {
    subject: Subject,
    state: Mutex<State>,
}

struct State {
    reply: Reply,
    too_large: bool,
    done: Option<oneshot::Sender<Result<Reply, Error>>>,
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
        Flow::Continue
    }

    fn telemetry(&self, metrics: &RequestMetrics<'_>) {
        observe::http_request(&self.subject, metrics);
    }

    fn finish(&self, outcome: Result<Finished, RequestError>) {
        let (reply, too_large, done) = {
            let mut state = self.state();
            let reply = std::mem::take(&mut state.reply);
            (reply, state.too_large, state.done.take())
        };
        let result = match outcome {
            _ if too_large => Err(self.subject.protocol("the answer is too large")),
            Ok(_) => Ok(reply),
            Err(error) => Err(self.subject.ended(&error)),
        };
        if let Some(done) = done {
            // Nobody waits any more when the future was dropped.
            let _unheard = done.send(result);
        }
    }
}

/// Far above a page of 1000 keys of 1024 bytes, each byte of which may be three when encoded.
const LARGEST_BODY: usize = 64 << 20;
