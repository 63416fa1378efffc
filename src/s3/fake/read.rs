//! Reads from a store as callers do, and checks that it keeps to its contract.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;

use crate::s3::{BodySink, ETag, Error, GetRequest, InFlight, Key, Store};
use crate::wait::LONG;

/// Receives a body, and says when it has ended.
struct Body(Sender<Event>);

enum Event {
    Part(u64, Bytes),
    End(Result<(), Error>),
}

impl BodySink for Body {
    fn part(&self, offset: u64, bytes: Bytes) {
        // Nobody hears it after a test has failed.
        _ = self.0.send(Event::Part(offset, bytes));
    }

    fn finish(&self, result: Result<(), Error>) {
        _ = self.0.send(Event::End(result));
    }
}

/// Reads a range, `window` bytes at a time, and checks that it comes in order and without gaps.
pub(crate) fn read(
    store: &dyn Store,
    key: &str,
    etag: &ETag,
    size: u64,
    range: Range<u64>,
    window: u64,
) -> Result<Vec<u8>, Error> {
    read_and_keep(store, key, etag, size, range, window).map(|(body, _request)| body)
}

/// As [`read`]; the request is not dropped.
pub(crate) fn read_and_keep(
    store: &dyn Store,
    key: &str,
    etag: &ETag,
    size: u64,
    range: Range<u64>,
    window: u64,
) -> Result<(Vec<u8>, Box<dyn InFlight>), Error> {
    let request = GetRequest {
        key: Key::new(key).expect("valid"),
        if_match: etag.clone(),
        size,
        range,
        window,
        is_hedge: false,
    };
    receive(store, request)
}

/// As [`read_and_keep`], of what `request` asks for.
pub(crate) fn receive(
    store: &dyn Store,
    request: GetRequest,
) -> Result<(Vec<u8>, Box<dyn InFlight>), Error> {
    let (sender, events): (_, Receiver<Event>) = channel();
    let range = request.range.clone();
    let under_way = store.get(request, Arc::new(Body(sender)))?;
    let mut body = Vec::new();
    loop {
        match events.recv_timeout(LONG).expect("it ends") {
            Event::Part(offset, bytes) => {
                assert_eq!(offset, range.start + body.len() as u64);
                assert!(!bytes.is_empty());
                body.extend_from_slice(&bytes);
                under_way.extend_window(bytes.len() as u64);
            }
            Event::End(Ok(())) => {
                assert_eq!(body.len() as u64, range.end - range.start);
                return Ok((body, under_way));
            }
            Event::End(Err(error)) => return Err(error),
        }
    }
}
