//! A [`Store`] over the CRT: one bucket, one client.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::buffers::Buffers;
use super::call::Reply;
use super::classify::{COPY, CREATE_SESSION, GET, HEAD, LIST, Subject, UPLOAD_PART_COPY};
use super::endpoint::Scheme;
use super::message::{Common, Draft};
use super::proof::Proofs;
use super::{
    BodySink, CopyRequest, Error, Fetch, Fetched, GetRequest, InFlight, Key, ListPage, ListRequest,
    ObjectInfo, PutRequest, RenameRequest, Store, Stored, Upload, call, copy, delete, fetch, get,
    head, list, put, rename, upload,
};
use crate::crt::s3::{Client, RequestKind, RequestOptions, SigningAlgorithm};
use crate::crt::{CredentialsProvider, Message, Uri};
use crate::metrics::S3Metrics;

/// One bucket, reached over the CRT. Clones share the connections.
///
/// Everything made from it (requests under way and the bytes they delivered too) has to be dropped
/// before the [`Runtime`](crate::crt::Runtime) that it was made with is shut down.
#[derive(Clone)]
pub struct S3Store(Arc<Shared>);

/// What all requests of a store use.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) credentials: Arc<CredentialsProvider>,
    pub(super) endpoint: Uri,
    pub(super) common: Common,
    pub(super) bucket: String,
    pub(super) region: String,
    pub(super) scheme: Scheme,
    pub(super) part_bytes: u64,
    pub(super) write_part_bytes: usize,
    /// Of `write_part_bytes` each.
    pub(super) buffers: Buffers,
    pub(super) proofs: Proofs,
    pub(super) metrics: Arc<S3Metrics>,
}

impl S3Store {
    pub(super) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// What its requests use.
    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.0.bucket
    }

    /// The bucket's region, as far as it is known.
    pub fn region(&self) -> &str {
        &self.0.region
    }
}

impl Store for S3Store {
    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<ObjectInfo, Error>> {
        async move {
            let subject = self.0.subject(HEAD, key.as_str());
            let reply = call::send(&self.0, &subject, &self.0.common.head(key)).await?;
            head::object_info(&reply.headers, &subject)
        }
        .boxed()
    }

    fn list<'a>(&'a self, request: &'a ListRequest) -> BoxFuture<'a, Result<ListPage, Error>> {
        async move {
            let subject = self.0.subject(LIST, &request.prefix);
            let draft = self.0.common.list(request);
            let (asked, of) = (request.clone(), subject.clone());
            // A page that was asked for ahead is read when it comes, not when somebody waits for it.
            let read = move |reply: Result<Reply, Error>| list::page(&reply?.body, &asked, &of);
            call::start(&self.0, &subject, &draft, read)?.await
        }
        .boxed()
    }

    fn get(
        &self,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Result<Box<dyn InFlight>, Error> {
        let subject = self.0.subject(GET, request.key.as_str());
        Ok(Box::new(get::start(&self.0, subject, request, sink)?))
    }

    fn put(&self, request: PutRequest, body: Bytes) -> BoxFuture<'_, Result<Stored, Error>> {
        put::put(&self.0, request, body).boxed()
    }

    fn upload(&self, request: PutRequest, buffer: u64) -> Result<Box<dyn Upload>, Error> {
        Ok(Box::new(upload::start(&self.0, request, buffer)?))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), Error>> {
        delete::delete(&self.0, key).boxed()
    }

    fn copy(&self, request: CopyRequest) -> BoxFuture<'_, Result<Stored, Error>> {
        copy::copy(&self.0, request).boxed()
    }

    fn rename(&self, request: RenameRequest) -> BoxFuture<'_, Result<(), Error>> {
        rename::rename(&self.0, request).boxed()
    }
}

impl Fetch for S3Store {
    fn fetch<'a>(
        &'a self,
        key: &'a Key,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        fetch::fetch(&self.0, key, range).boxed()
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("bucket", &self.0.bucket)
            .field("region", &self.0.region)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// What a request is about.
    pub(super) fn subject(&self, operation: &'static str, key: &str) -> Subject {
        Subject {
            operation,
            bucket: self.bucket.clone(),
            key: key.to_owned(),
            region: self.scheme.region.clone(),
        }
    }

    /// Makes a message of a draft.
    pub(super) fn message(&self, draft: &Draft) -> Result<Message, crate::crt::Error> {
        let mut message = self.client.message(draft.method, &draft.path_and_query)?;
        for (name, value) in &draft.headers {
            message.header(name, value)?;
        }
        Ok(message)
    }

    /// The options of a request of `kind` to this bucket.
    pub(super) fn options<'a>(&'a self, kind: RequestKind<'a>) -> RequestOptions<'a> {
        let mut options = RequestOptions::new(kind, &self.endpoint);
        if let RequestKind::Default { operation } = kind
            && self.scheme.algorithm == SigningAlgorithm::V4S3Express
            && WITHOUT_SESSION.contains(&operation)
        {
            options.signing = Some(self.scheme.signing().without_session());
        }
        options
    }
}

/// What a directory bucket wants to be signed with the credentials themselves.
const WITHOUT_SESSION: [&str; 3] = [CREATE_SESSION, COPY, UPLOAD_PART_COPY];
