//! GetObject of a few bytes and what describes them, of whatever version is there.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::channel::oneshot;

use super::classify::GET;
use super::client::Shared;
use super::observe::Observer;
use super::{Error, ErrorKind, Fetched, Key, metadata};
use crate::crt::s3::{
    BodyPart, Finished, Flow, RequestError, RequestEvents, RequestKind, RequestMetrics,
};
use crate::crt::{Headers, HeadersView};

/// Fetches `range` of the object `key`.
///
/// # Cancel safety
/// Dropping the future cancels the request.
pub(super) async fn fetch(shared: &Shared, key: &Key, range: Range<u64>) -> Result<Fetched, Error> {
    let subject = shared.subject(GET, key.as_str());
    let wanted = range.end.saturating_sub(range.start);
    let mut options = shared.options(RequestKind::GetObject);
    options.part_bytes = Some(shared.part_bytes);
    options.read_window = wanted.next_multiple_of(shared.part_bytes.max(1));
    let (done, answer) = oneshot::channel();
    let events = Events {
        observer: Observer::new(shared, &subject, 0),
        wanted,
        state: Mutex::new(State {
            headers: Headers::default(),
            parts: Vec::new(),
            received: 0,
            done: Some(done),
        }),
    };
    let draft = shared.common.fetch(key, &range);
    let request = shared
        .message(&draft)
        .and_then(|message| shared.client.start(message, &options, events))
        .map_err(|error| subject.failed(error))?;
    let answer = answer.await.unwrap_or_else(|oneshot::Canceled| {
        let text = "the client was shut down";
        Err(subject.error(ErrorKind::Canceled, text))
    });
    drop(request);
    answer
}

/// Receives the answer.
struct Events {
    observer: Observer,
    wanted: u64,
    state: Mutex<State>,
}

struct State {
    headers: Headers,
    parts: Vec<Bytes>,
    received: u64,
    /// Hears of the end.
    done: Option<oneshot::Sender<Result<Fetched, Error>>>,
}

impl Events {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestEvents for Events {
    fn headers(&self, status: u16, headers: &HeadersView<'_>) -> Flow {
        if (200..300).contains(&status) {
            self.state().headers = headers.to_headers();
        }
        Flow::Continue
    }

    fn body(&self, _offset: u64, part: BodyPart) -> Flow {
        self.observer.received(part.len());
        let mut state = self.state();
        state.received += part.len() as u64;
        if state.received > self.wanted {
            return Flow::Cancel;
        }
        state.parts.push(Bytes::from_owner(part));
        Flow::Continue
    }

    fn telemetry(&self, metrics: &RequestMetrics<'_>) {
        self.observer.http_request(metrics);
    }

    fn finish(&self, outcome: Result<Finished, RequestError>) {
        let (headers, parts, received, done) = {
            let mut state = self.state();
            (
                std::mem::take(&mut state.headers),
                std::mem::take(&mut state.parts),
                state.received,
                state.done.take(),
            )
        };
        let subject = self.observer.subject();
        let result = match outcome {
            _ if received > self.wanted => Err(subject.protocol("the body is too long")),
            Err(error) => Err(self.observer.failed(&error)),
            Ok(_) if received < self.wanted => Err(subject.protocol("the body is too short")),
            Ok(_) => Ok(Fetched {
                bytes: join(parts),
                metadata: metadata::read(&headers),
            }),
        };
        if let Some(done) = done {
            // Nobody waits any more when the future was dropped.
            let _unheard = done.send(result);
        }
    }
}

/// The bytes in one buffer: that of the CRT, if they came in one.
fn join(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    let mut all = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| all.extend_from_slice(part));
    all.freeze()
}
