//! An in-memory [`Store`] for unit tests, with S3's listing semantics and faults on demand: each
//! step of a request or an upload is an [`Op`] that can be made to fail or to wait.
//!
//! [`FakeStore::new`] delivers bodies from threads of its own, so that concurrency is real.
//! [`FakeStore::deterministic`] delivers them inside the calls of [`Store::get`] and
//! [`InFlight::extend_window`]; then a sink may itself call `extend_window`, but callers must not
//! hold a lock that their sink takes.

mod body;
mod faults;
mod listing;
mod read;
mod tests;
mod write;

pub(crate) use body::synthetic;
pub(crate) use listing::Order;
pub(crate) use read::{read, read_and_keep, receive};
pub(crate) use write::{UploadCounters, nothing_is_written};

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::executor::ThreadPool;
use futures::future::BoxFuture;

use super::{
    BodySink, Context, CopyRequest, ETag, Error, ErrorKind, Fetch, Fetched, GetRequest, InFlight,
    Key, ListPage, ListRequest, ObjectDetails, ObjectInfo, PutRequest, RenameRequest, Restore,
    StorageClass, Store, Stored, Upload,
};
use faults::Fault;

/// An in-memory bucket. Clones share the bucket.
#[derive(Clone)]
pub(crate) struct FakeStore(Arc<Inner>);

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// [`Store::head`].
    Head,
    /// [`Store::list`].
    List,
    /// [`Store::get`].
    Get,
    /// [`Fetch::fetch`].
    Fetch,
    /// [`Store::put`].
    Put,
    /// The start of a [`Store::upload`], which the first write of the upload meets.
    Upload,
    /// One part of an upload.
    Part,
    /// One part of an upload that is copied.
    PartCopy,
    /// The end of an upload.
    Complete,
    /// [`Store::delete`].
    Delete,
    /// [`Store::copy`].
    Copy,
    /// [`Store::rename`].
    Rename,
}

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    /// Its kind.
    pub(crate) op: Op,
    /// The key, or the prefix of a listing.
    pub(crate) key: String,
    /// The range of a GET.
    pub(crate) range: Option<Range<u64>>,
}

/// What bodies did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BodyCounters {
    /// Bytes handed to sinks.
    pub(crate) delivered_bytes: u64,
    /// GETs that are neither finished nor dropped.
    pub(crate) in_flight: usize,
    /// GETs dropped before they had finished.
    pub(crate) dropped: usize,
}

impl FakeStore {
    /// An empty bucket whose bodies come from other threads.
    pub(crate) fn new() -> Self {
        let pool = ThreadPool::builder()
            .pool_size(2)
            .name_prefix("fake-store-")
            .create()
            .expect("threads can be started");
        Self::with_pool(Some(pool))
    }

    /// An empty bucket whose bodies come from the caller's thread.
    pub(crate) fn deterministic() -> Self {
        Self::with_pool(None)
    }

    fn with_pool(pool: Option<ThreadPool>) -> Self {
        Self(Arc::new(Inner {
            pool,
            state: Mutex::new(State {
                objects: BTreeMap::new(),
                versions: 0,
                page_size: 1000,
                part_size: 8 << 20,
                upload_part_size: 8 << 20,
                copies_keep_etags: false,
                order: Order::Utf8,
                faults: Vec::new(),
                held: Vec::new(),
                stalled: Vec::new(),
                log: Vec::new(),
                bodies: BodyCounters::default(),
                uploads: UploadCounters::default(),
            }),
        }))
    }

    /// Creates or replaces an object. Every call gives a new ETag, even for the same bytes.
    pub(crate) fn put(&self, key: &str, body: impl Into<Bytes>) -> ETag {
        self.insert(key, Content::Bytes(body.into()), Kept::default())
    }

    /// Creates or replaces an object of `size` bytes that takes no memory; its bytes are
    /// [`synthetic`] of the same seed.
    pub(crate) fn put_synthetic(&self, key: &str, size: u64, seed: u64) -> ETag {
        self.insert(key, Content::Synthetic { size, seed }, Kept::default())
    }

    /// Removes an object and says whether there was one.
    pub(crate) fn remove(&self, key: &str) -> bool {
        self.0.state().objects.remove(key).is_some()
    }

    /// Changes how an existing object is stored; its ETag stays.
    pub(crate) fn set_storage(&self, key: &str, class: StorageClass, restore: Restore) {
        let mut state = self.0.state();
        let object = state.objects.get_mut(key).expect("the object exists");
        object.info.storage_class = class;
        object.info.restore = restore;
    }

    /// Limits the entries of a page of a listing; 1000 at first.
    pub(crate) fn set_page_size(&self, entries: usize) {
        assert!(entries > 0, "a page has an entry");
        self.0.state().page_size = entries;
    }

    /// Sets the order of listings; [`Order::Utf8`] at first.
    pub(crate) fn set_order(&self, order: Order) {
        self.0.state().order = order;
    }

    /// Sets how many bytes one [`BodySink::part`] has; 8 MiB at first.
    pub(crate) fn set_part_size(&self, bytes: u64) {
        assert!(bytes > 0, "a part has a byte");
        self.0.state().part_size = bytes;
    }

    /// The requests so far, in the order of their arrival.
    pub(crate) fn log(&self) -> Vec<Logged> {
        self.0.state().log.clone()
    }

    /// Forgets the requests so far.
    pub(crate) fn clear_log(&self) {
        self.0.state().log.clear();
    }

    /// How many requests of kind `op` came since the log was cleared.
    pub(crate) fn count(&self, op: Op) -> usize {
        let state = self.0.state();
        state.log.iter().filter(|logged| logged.op == op).count()
    }

    /// What bodies did so far.
    pub(crate) fn bodies(&self) -> BodyCounters {
        self.0.state().bodies
    }

    fn insert(&self, key: &str, content: Content, kept: Kept) -> ETag {
        let mut state = self.0.state();
        state.versions += 1;
        let etag = ETag::new(format!("\"{:032x}\"", state.versions));
        let info = ObjectInfo {
            etag: etag.clone(),
            size: content.size(),
            last_modified: SystemTime::UNIX_EPOCH
                + Duration::from_secs(FIRST_VERSION_SECONDS + state.versions),
            storage_class: StorageClass::Readable,
            restore: Restore::None,
            details: None,
        };
        let object = Object {
            info,
            content,
            kept,
        };
        state.objects.insert(key.to_owned(), object);
        etag
    }
}

impl Store for FakeStore {
    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<ObjectInfo, Error>> {
        async move {
            self.arrive(Op::Head, key.as_str()).await?;
            let state = self.0.state();
            let object = state.objects.get(key.as_str());
            object
                .map(Object::described)
                .ok_or_else(|| error(Op::Head, key.as_str(), ErrorKind::NotFound))
        }
        .boxed()
    }

    fn list<'a>(&'a self, request: &'a ListRequest) -> BoxFuture<'a, Result<ListPage, Error>> {
        async move {
            self.arrive(Op::List, &request.prefix).await?;
            let state = self.0.state();
            Ok(listing::page(
                &state.objects,
                request,
                state.order,
                state.page_size,
            ))
        }
        .boxed()
    }

    fn get(
        &self,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Result<Box<dyn InFlight>, Error> {
        let fault = {
            let mut state = self.0.state();
            state.bodies.in_flight += 1;
            let range = Some(request.range.clone());
            state.arrive(Op::Get, request.key.as_str(), range)
        };
        Ok(Box::new(body::start(
            Arc::clone(&self.0),
            request,
            sink,
            fault,
        )))
    }

    fn put(&self, request: PutRequest, body: Bytes) -> BoxFuture<'_, Result<Stored, Error>> {
        async move { self.store(Op::Put, &request, body).await }.boxed()
    }

    fn upload(&self, request: PutRequest, buffer: u64) -> Result<Box<dyn Upload>, Error> {
        Ok(Box::new(self.start_upload(request, buffer)))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), Error>> {
        self.delete_object(key).boxed()
    }

    fn copy(&self, request: CopyRequest) -> BoxFuture<'_, Result<Stored, Error>> {
        self.copy_object(request).boxed()
    }

    fn rename(&self, request: RenameRequest) -> BoxFuture<'_, Result<(), Error>> {
        self.rename_object(request).boxed()
    }
}

impl Fetch for FakeStore {
    fn fetch<'a>(
        &'a self,
        key: &'a Key,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        async move {
            self.arrive(Op::Fetch, key.as_str()).await?;
            let failed = |kind| error(Op::Fetch, key.as_str(), kind);
            let state = self.0.state();
            let object = state.objects.get(key.as_str());
            let object = object.ok_or_else(|| failed(ErrorKind::NotFound))?;
            if range.start >= object.info.size {
                return Err(failed(ErrorKind::InvalidRange));
            }
            if range.end > object.info.size {
                return Err(failed(ErrorKind::Protocol));
            }
            Ok(Fetched {
                bytes: object.content.slice(range),
                metadata: object.kept.metadata.clone(),
            })
        }
        .boxed()
    }
}

impl fmt::Debug for FakeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeStore").finish_non_exhaustive()
    }
}

struct Inner {
    /// Absent when bodies are delivered by the caller's thread.
    pool: Option<ThreadPool>,
    state: Mutex<State>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct State {
    objects: BTreeMap<String, Object>,
    versions: u64,
    page_size: usize,
    part_size: u64,
    upload_part_size: usize,
    copies_keep_etags: bool,
    order: Order,
    faults: Vec<Fault>,
    held: Vec<oneshot::Sender<()>>,
    stalled: Vec<body::FakeBody>,
    log: Vec<Logged>,
    bodies: BodyCounters,
    uploads: UploadCounters,
}

#[derive(Clone)]
struct Object {
    info: ObjectInfo,
    content: Content,
    kept: Kept,
}

impl Object {
    /// What a HEAD says.
    fn described(&self) -> ObjectInfo {
        let details = ObjectDetails {
            content_type: self.kept.content_type.clone(),
            storage_class: None,
            version_id: None,
            metadata: self.kept.metadata.clone(),
        };
        ObjectInfo {
            details: Some(Arc::new(details)),
            ..self.info.clone()
        }
    }
}

/// What is kept of an object that only a HEAD shows.
#[derive(Clone, Default)]
struct Kept {
    content_type: Option<String>,
    metadata: BTreeMap<String, String>,
}

#[derive(Clone)]
enum Content {
    Bytes(Bytes),
    Synthetic { size: u64, seed: u64 },
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Synthetic { size, .. } => *size,
        }
    }

    fn slice(&self, range: Range<u64>) -> Bytes {
        match self {
            Self::Bytes(bytes) => {
                let index = |offset| usize::try_from(offset).expect("it lies inside the bytes");
                bytes.slice(index(range.start)..index(range.end))
            }
            Self::Synthetic { seed, .. } => synthetic(*seed, range),
        }
    }
}

fn error(op: Op, key: &str, kind: ErrorKind) -> Error {
    let context = Context {
        operation: match op {
            Op::Head => "HeadObject",
            Op::List => "ListObjectsV2",
            Op::Get | Op::Fetch => "GetObject",
            Op::Put => "PutObject",
            Op::Upload => "CreateMultipartUpload",
            Op::Part => "UploadPart",
            Op::PartCopy => "UploadPartCopy",
            Op::Complete => "CompleteMultipartUpload",
            Op::Delete => "DeleteObject",
            Op::Copy => "CopyObject",
            Op::Rename => "RenameObject",
        },
        bucket: "fake".to_owned(),
        key: key.to_owned(),
        ..Context::default()
    };
    Error::new(kind, context)
}

/// When the objects of a fake bucket were written; each is a second younger than the one before.
const FIRST_VERSION_SECONDS: u64 = 1_700_000_000;
