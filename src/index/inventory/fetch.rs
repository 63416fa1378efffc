//! An object as a stream of bytes.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};

use crate::s3::{BodySink, Error, GetRequest, InFlight, Key, Store};

/// Reads an object from its beginning to its end; dropping it cancels what is under way. It holds
/// some MiB that were fetched ahead. Reading waits for bytes: not for threads of the store.
#[derive(Debug)]
pub struct ObjectReader {
    /// `None` for an empty object.
    request: Option<Box<dyn InFlight>>,
    arrivals: Receiver<Arrival>,
    part: Bytes,
    is_complete: bool,
}

enum Arrival {
    Part(Bytes),
    End(Result<(), Error>),
}

impl ObjectReader {
    /// Asks for the newest version of `key`, and begins to fetch it.
    ///
    /// # Errors
    /// As the store answers.
    pub async fn open(store: &Arc<dyn Store>, key: &Key) -> Result<Self, Error> {
        let info = store.head(key).await?;
        let (sender, arrivals) = channel();
        let request = match info.size {
            0 => None,
            size => {
                let request = GetRequest {
                    key: key.clone(),
                    if_match: info.etag,
                    size,
                    range: 0..size,
                    window: WINDOW_BYTES,
                    is_hedge: false,
                };
                let sink = Queue(Mutex::new(sender));
                Some(store.get(request, Arc::new(sink))?)
            }
        };
        Ok(Self {
            is_complete: request.is_none(),
            request,
            arrivals,
            part: Bytes::new(),
        })
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() && !self.is_complete {
            match self.arrivals.recv() {
                Ok(Arrival::Part(part)) => {
                    if let Some(request) = &self.request {
                        request.extend_window(part.len() as u64);
                    }
                    self.part = part;
                }
                Ok(Arrival::End(Ok(()))) => self.is_complete = true,
                Ok(Arrival::End(Err(error))) => return Err(io::Error::other(error)),
                Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let count = buffer.len().min(self.part.len());
        self.part.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Hands on what the store delivers.
struct Queue(Mutex<Sender<Arrival>>);

impl Queue {
    fn send(&self, arrival: Arrival) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody reads any more when the reader was dropped.
        _ = sender.send(arrival);
    }
}

impl BodySink for Queue {
    fn part(&self, _offset: u64, bytes: Bytes) {
        self.send(Arrival::Part(bytes));
    }

    fn finish(&self, result: Result<(), Error>) {
        self.send(Arrival::End(result));
    }
}

/// What may be fetched ahead.
const WINDOW_BYTES: u64 = 16 << 20;
