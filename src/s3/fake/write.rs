//! What changes a bucket: puts, uploads in parts, deletions, copies and renames.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

use super::{Content, FakeStore, Kept, Op, error};
use crate::s3::{
    CopyRequest, ETag, Error, ErrorKind, Key, PutCondition, PutRequest, RenameRequest, Stored,
    Upload,
};

/// What uploads did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct UploadCounters {
    /// Uploads that are neither completed nor aborted.
    pub(crate) in_flight: usize,
    /// Uploads that were dropped, or failed at their end.
    pub(crate) aborted: usize,
    /// Bytes of parts that S3 has not confirmed, at most so far.
    pub(crate) most_held: u64,
    /// What [`Upload::set_buffer`] was told last.
    pub(crate) buffer: u64,
}

impl FakeStore {
    /// Sets how many bytes a part of an upload has; 8 MiB at first.
    pub(crate) fn set_upload_part_size(&self, bytes: usize) {
        assert!(bytes > 0, "a part has a byte");
        self.0.state().upload_part_size = bytes;
    }

    /// What uploads did so far.
    pub(crate) fn uploads(&self) -> UploadCounters {
        self.0.state().uploads
    }

    /// The bytes of an object, if there is one.
    pub(crate) fn body(&self, key: &str) -> Option<Bytes> {
        let state = self.0.state();
        let object = state.objects.get(key)?;
        Some(object.content.slice(0..object.info.size))
    }

    /// Lets a copy have the ETag of its source, as S3 does with objects that were put at once, and
    /// not encrypted with keys of KMS.
    pub(crate) fn let_copies_keep_etags(&self) {
        self.0.state().copies_keep_etags = true;
    }

    /// Creates or replaces an object that has user metadata.
    pub(crate) fn put_with_metadata(
        &self,
        key: &str,
        body: impl Into<Bytes>,
        metadata: &[(&str, &str)],
    ) -> ETag {
        let metadata = metadata.iter();
        let metadata = metadata.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let kept = Kept {
            content_type: Some("text/plain".to_owned()),
            metadata: metadata.collect(),
        };
        self.insert(key, Content::Bytes(body.into()), kept)
    }

    /// The user metadata of an object, if there is one.
    pub(crate) fn metadata(&self, key: &str) -> Option<BTreeMap<String, String>> {
        Some(self.0.state().objects.get(key)?.kept.metadata.clone())
    }

    /// The content type that an object was stored with.
    pub(crate) fn content_type(&self, key: &str) -> Option<String> {
        self.0.state().objects.get(key)?.kept.content_type.clone()
    }

    /// Every key, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.0.state().objects.keys().cloned().collect()
    }

    pub(super) async fn store(
        &self,
        op: Op,
        request: &PutRequest,
        body: Bytes,
    ) -> Result<Stored, Error> {
        let key = request.key.as_str();
        self.arrive(op, key).await?;
        self.check(op, key, &request.condition)?;
        let body = match request.append_at {
            None => body,
            Some(offset) => {
                let mut whole = BytesMut::new();
                let before = self.body(key);
                whole
                    .extend_from_slice(&before.ok_or_else(|| error(op, key, ErrorKind::NotFound))?);
                if whole.len() as u64 != offset {
                    return Err(error(op, key, ErrorKind::Other));
                }
                whole.extend_from_slice(&body);
                whole.freeze()
            }
        };
        let size = body.len() as u64;
        let kept = Kept {
            content_type: request.content_type.clone(),
            metadata: request.metadata.clone(),
        };
        let etag = self.insert(key, Content::Bytes(body), kept);
        Ok(Stored { etag, size })
    }

    pub(super) async fn delete_object(&self, key: &Key) -> Result<(), Error> {
        self.arrive(Op::Delete, key.as_str()).await?;
        self.remove(key.as_str());
        Ok(())
    }

    pub(super) async fn copy_object(&self, request: CopyRequest) -> Result<Stored, Error> {
        let from = request.from.as_str();
        self.arrive(Op::Copy, from).await?;
        self.check(Op::Copy, request.to.as_str(), &request.condition)?;
        let source = self.0.state().objects.get(from).cloned();
        let source = source.ok_or_else(|| error(Op::Copy, from, ErrorKind::NotFound))?;
        if source.info.etag != request.version {
            return Err(error(Op::Copy, from, ErrorKind::Precondition));
        }
        let size = source.info.size;
        let kept = match request.metadata {
            None => source.kept,
            Some(metadata) => Kept {
                metadata,
                ..source.kept
            },
        };
        let to = request.to.as_str();
        let mut etag = self.insert(to, source.content, kept);
        let mut state = self.0.state();
        if state.copies_keep_etags
            && let Some(object) = state.objects.get_mut(to)
        {
            etag = source.info.etag;
            object.info.etag.clone_from(&etag);
        }
        Ok(Stored { etag, size })
    }

    pub(super) async fn rename_object(&self, request: RenameRequest) -> Result<(), Error> {
        let (from, to) = (request.from.as_str(), request.to.as_str());
        self.arrive(Op::Rename, from).await?;
        let mut state = self.0.state();
        let object = state.objects.get(from);
        let object = object.ok_or_else(|| error(Op::Rename, from, ErrorKind::NotFound))?;
        let is_other = request
            .version
            .is_some_and(|version| version != object.info.etag);
        if is_other || (!request.replace && state.objects.contains_key(to)) {
            return Err(error(Op::Rename, from, ErrorKind::Precondition));
        }
        if let Some(object) = state.objects.remove(from) {
            state.objects.insert(to.to_owned(), object);
        }
        Ok(())
    }

    pub(super) fn start_upload(&self, request: PutRequest, buffer: u64) -> FakeUpload {
        let part_size = {
            let mut state = self.0.state();
            state.uploads.in_flight += 1;
            state.uploads.buffer = buffer;
            state.upload_part_size
        };
        FakeUpload {
            store: self.clone(),
            request,
            part_size,
            created: false,
            body: BytesMut::new(),
            sent: 0,
            held: 0,
            parts: FuturesUnordered::new(),
            failed: None,
            completed: false,
        }
    }

    fn check(&self, op: Op, key: &str, condition: &PutCondition) -> Result<(), Error> {
        let state = self.0.state();
        let there = state.objects.get(key).map(|object| &object.info.etag);
        let holds = match condition {
            PutCondition::Any => true,
            PutCondition::Absent => there.is_none(),
            PutCondition::Version(etag) => there == Some(etag),
        };
        if holds {
            Ok(())
        } else {
            Err(error(op, key, ErrorKind::Precondition))
        }
    }
}

/// An upload under way. A part that is held ([`FakeStore::hold_next`]) counts as not confirmed.
pub(super) struct FakeUpload {
    store: FakeStore,
    request: PutRequest,
    part_size: usize,
    created: bool,
    body: BytesMut,
    /// Bytes of `body` that went out in parts.
    sent: usize,
    /// Bytes of parts that are not confirmed.
    held: u64,
    parts: FuturesUnordered<BoxFuture<'static, Result<u64, Error>>>,
    failed: Option<Error>,
    completed: bool,
}

impl FakeUpload {
    async fn take(&mut self, bytes: Bytes) -> Result<(), Error> {
        if !self.created {
            self.store
                .arrive(Op::Upload, self.request.key.as_str())
                .await?;
            self.created = true;
        }
        self.body.extend_from_slice(&bytes);
        while self.body.len() - self.sent >= self.part_size {
            self.send(self.part_size).await?;
        }
        Ok(())
    }

    async fn send(&mut self, bytes: usize) -> Result<(), Error> {
        let size = bytes as u64;
        let most = self.store.uploads().buffer.max(size);
        while self.held + size > most {
            self.confirm().await?;
        }
        self.held += size;
        self.sent += bytes;
        let (store, key) = (self.store.clone(), self.request.key.clone());
        let mut part = async move {
            store.arrive(Op::Part, key.as_str()).await?;
            Ok(size)
        }
        .boxed();
        {
            let uploads = &mut self.store.0.state().uploads;
            uploads.most_held = uploads.most_held.max(self.held);
        }
        match (&mut part).now_or_never() {
            Some(Ok(size)) => self.held -= size,
            Some(Err(error)) => return Err(error),
            None => self.parts.push(part),
        }
        Ok(())
    }

    async fn confirm(&mut self) -> Result<(), Error> {
        if let Some(part) = self.parts.next().await {
            self.held -= part?;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<Stored, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.take(Bytes::new()).await?;
        let rest = self.body.len() - self.sent;
        if rest > 0 {
            self.send(rest).await?;
        }
        while !self.parts.is_empty() {
            self.confirm().await?;
        }
        let body = std::mem::take(&mut self.body).freeze();
        self.store.store(Op::Complete, &self.request, body).await
    }
}

impl Upload for FakeUpload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            let result = self.take(bytes).await;
            self.failed = result.clone().err();
            result
        }
        .boxed()
    }

    fn copy(&mut self, version: ETag, range: Range<u64>) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let key = self.request.key.clone();
            self.store.arrive(Op::PartCopy, key.as_str()).await?;
            let source = self.store.0.state().objects.get(key.as_str()).cloned();
            let source = source.filter(|source| source.info.etag == version);
            let source =
                source.ok_or_else(|| error(Op::PartCopy, key.as_str(), ErrorKind::Precondition))?;
            let bytes = source.content.slice(range);
            assert!(
                (self.body.len() - self.sent).is_multiple_of(self.part_size),
                "a copy follows whole parts"
            );
            self.body.extend_from_slice(&bytes);
            self.sent += bytes.len();
            self.created = true;
            Ok(())
        }
        .boxed()
    }

    fn write_now(&mut self, bytes: &[u8]) -> Option<Result<(), Error>> {
        if let Some(error) = &self.failed {
            return Some(Err(error.clone()));
        }
        let fits = self.created && self.body.len() - self.sent + bytes.len() < self.part_size;
        fits.then(|| {
            self.body.extend_from_slice(bytes);
            Ok(())
        })
    }

    fn set_buffer(&self, bytes: u64) {
        self.store.0.state().uploads.buffer = bytes;
    }

    fn delay(&self) -> Option<Duration> {
        Some(DELAY)
    }

    fn complete(mut self: Box<Self>) -> BoxFuture<'static, Result<Stored, Error>> {
        async move {
            let stored = self.end().await?;
            self.completed = true;
            Ok(stored)
        }
        .boxed()
    }
}

impl Drop for FakeUpload {
    fn drop(&mut self) {
        let uploads = &mut self.store.0.state().uploads;
        uploads.in_flight -= 1;
        if !self.completed {
            uploads.aborted += 1;
        }
    }
}

impl fmt::Debug for FakeUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeUpload")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

/// What parts are said to take.
const DELAY: Duration = Duration::from_millis(1);

/// The methods of [`Store`](crate::s3::Store) that write, for stores of tests that only read.
macro_rules! nothing_is_written {
    () => {
        fn put(
            &self,
            _request: $crate::s3::PutRequest,
            _body: bytes::Bytes,
        ) -> futures::future::BoxFuture<'_, Result<$crate::s3::Stored, $crate::s3::Error>> {
            unreachable!("nothing is put")
        }

        fn upload(
            &self,
            _request: $crate::s3::PutRequest,
            _buffer: u64,
        ) -> Result<Box<dyn $crate::s3::Upload>, $crate::s3::Error> {
            unreachable!("nothing is uploaded")
        }

        fn delete<'a>(
            &'a self,
            _key: &'a $crate::s3::Key,
        ) -> futures::future::BoxFuture<'a, Result<(), $crate::s3::Error>> {
            unreachable!("nothing is deleted")
        }

        fn copy(
            &self,
            _request: $crate::s3::CopyRequest,
        ) -> futures::future::BoxFuture<'_, Result<$crate::s3::Stored, $crate::s3::Error>> {
            unreachable!("nothing is copied")
        }

        fn rename(
            &self,
            _request: $crate::s3::RenameRequest,
        ) -> futures::future::BoxFuture<'_, Result<(), $crate::s3::Error>> {
            unreachable!("nothing is renamed")
        }
    };
}
pub(crate) use nothing_is_written;
