//! What is asked of a bucket first, to see that it can be reached.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::channel::oneshot;

use super::classify::{GET, LIST};
use super::client::S3Store;
use super::{
    BodySink, ETag, Error, ErrorKind, GetRequest, Key, ListRequest, ListedObject, Prefix, Store,
};

/// What is asked first.
#[derive(Debug)]
pub(super) enum Probe {
    /// One key below the prefix is listed.
    List(Prefix),
    /// The first byte of the first of these objects is fetched that may be; nothing without any.
    Get(Vec<ListedObject>),
}

impl Probe {
    /// The operation, and the key or the prefix.
    pub(super) fn subject(&self) -> (&'static str, &str) {
        match self {
            Self::List(prefix) => (LIST, prefix.as_str()),
            Self::Get(known) => (GET, known.first().map_or("", |object| &object.key)),
        }
    }

    /// Asks. `Some` is an answer that shows that the bucket can be reached, and that what is known
    /// of an object is not true any more.
    pub(super) async fn ask(&self, store: &S3Store) -> Result<Option<Error>, Error> {
        match self {
            Self::List(prefix) => {
                let request = ListRequest {
                    prefix: prefix.as_str().to_owned(),
                    max_keys: Some(1),
                    ..ListRequest::default()
                };
                store.list(&request).await.map(|_page| None)
            }
            Self::Get(known) => ask_for_any(store, known).await,
        }
    }
}

/// Who may not list is told of an object that is gone what is told of one that may not be read. So
/// only when all are refused it is the permission.
async fn ask_for_any(store: &S3Store, known: &[ListedObject]) -> Result<Option<Error>, Error> {
    let mut refused = None;
    for ListedObject { key, info } in known {
        let Ok(key) = Key::new(&**key) else { continue };
        match store.read_a_byte(&key, info.etag.clone(), info.size).await {
            Ok(()) => return Ok(refused),
            Err(error) => match error.kind() {
                ErrorKind::Denied => refused = refused.or(Some(error)),
                ErrorKind::Precondition
                | ErrorKind::NotFound
                | ErrorKind::InvalidRange
                | ErrorKind::Archived => return Ok(Some(error)),
                _ => return Err(error),
            },
        }
    }
    refused.map_or(Ok(None), Err)
}

impl S3Store {
    /// Fetches the first byte of the version `etag` of an object, `size` bytes long and not empty, to
    /// see whether it may be read.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request.
    pub async fn read_a_byte(&self, key: &Key, etag: ETag, size: u64) -> Result<(), Error> {
        let (sender, receiver) = oneshot::channel();
        let request = GetRequest {
            key: key.clone(),
            if_match: etag,
            size,
            range: 0..1,
            window: 1,
            is_hedge: false,
        };
        let end = Arc::new(End(Mutex::new(Some(sender))));
        let _request = self.get(request, end)?;
        receiver.await.unwrap_or_else(|oneshot::Canceled| {
            let subject = self.shared().subject(GET, key.as_str());
            Err(subject.error(ErrorKind::Canceled, "the client was shut down"))
        })
    }
}

/// Hears of the end of a body.
struct End(Mutex<Option<oneshot::Sender<Result<(), Error>>>>);

impl BodySink for End {
    fn part(&self, _offset: u64, _bytes: Bytes) {}

    fn finish(&self, result: Result<(), Error>) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // Nobody may be waiting any more.
            let _unheard = sender.send(result);
        }
    }
}
