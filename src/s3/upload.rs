//! An object whose length is not known before its end, in parts that are sent while it is written.
//!
//! Parts are sent as soon as they are full, each by a request of its own with the checksum of the
//! bytes as they were given: S3 refuses a part that arrives otherwise. Bytes are copied once, into
//! the part that is being filled, and not at all if they are a whole part that is owned.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, poll_fn};
use futures::stream::{FuturesUnordered, StreamExt};

use super::buffers::{Buffer, Buffers};
use super::call::Sending;
use super::checksum::{Sum, Whole};
use super::classify::{CREATE_UPLOAD, Subject};
use super::client::Shared;
use super::copy::source;
use super::multipart::{MAX_PARTS, Part, Session};
use super::put::describe;
use super::{CopyRequest, ETag, Error, ErrorKind, PutCondition, PutRequest, Stored, Upload};
use crate::metrics::UnderWay;

/// Starts an upload.
pub(super) fn start(
    shared: &Arc<Shared>,
    request: PutRequest,
    buffer: u64,
) -> Result<PartUpload, Error> {
    let subject = shared.subject(CREATE_UPLOAD, request.key.as_str());
    if request.append_at.is_some() {
        return Err(subject.error(ErrorKind::Invalid, "an upload cannot append"));
    }
    let mut headers = describe(&request.content_type, &request.metadata, &subject)?;
    headers.extend(shared.common.stored_as());
    if let Some((algorithm, kind)) = shared.common.checksums.names() {
        headers.push(("x-amz-checksum-algorithm".into(), algorithm.to_owned()));
        headers.push(("x-amz-checksum-type".into(), kind.to_owned()));
    }
    let under_way = shared.metrics.uploads.enter();
    let (session, created) = Session::create(shared, request.key, headers)?;
    let active = Active {
        subject: subject.clone(),
        condition: request.condition,
        session,
        created: Some(created),
        part_bytes: shared.write_part_bytes,
        buffers: shared.buffers.clone(),
        sum: shared.common.checksums.sum(),
        filling: None,
        waiting: VecDeque::new(),
        sending: FuturesUnordered::new(),
        sent: Vec::new(),
        copied: None,
        parts: 0,
        unconfirmed: 0,
        written: 0,
        whole: Whole::default(),
        _under_way: under_way,
    };
    Ok(PartUpload {
        subject,
        buffer: AtomicU64::new(buffer),
        state: Ok(active),
    })
}

/// An upload as its caller holds it.
pub(super) struct PartUpload {
    subject: Subject,
    /// Bytes that may be held.
    buffer: AtomicU64,
    /// Or why it has failed; then nothing of it is left but its abort.
    state: Result<Active, Error>,
}

impl Upload for PartUpload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let active = self.state.as_mut().map_err(|error| error.clone())?;
            let written = active.write(bytes, &self.buffer).await;
            if let Err(error) = &written {
                self.state = Err(error.clone());
            }
            written
        }
        .boxed()
    }

    fn copy(&mut self, version: ETag, range: Range<u64>) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let active = self.state.as_mut().map_err(|error| error.clone())?;
            let copied = active.copy(version, range).await;
            if let Err(error) = &copied {
                self.state = Err(error.clone());
            }
            copied
        }
        .boxed()
    }

    fn write_now(&mut self, bytes: &[u8]) -> Option<Result<(), Error>> {
        let active = match &mut self.state {
            Ok(active) => active,
            Err(error) => return Some(Err(error.clone())),
        };
        let written = active.write_now(bytes, self.buffer.load(Ordering::Relaxed))?;
        if let Err(error) = &written {
            self.state = Err(error.clone());
        }
        Some(written)
    }

    fn set_buffer(&self, bytes: u64) {
        self.buffer.store(bytes, Ordering::Relaxed);
    }

    fn delay(&self) -> Option<Duration> {
        self.state.as_ref().ok()?.session.delay()
    }

    fn complete(self: Box<Self>) -> BoxFuture<'static, Result<Stored, Error>> {
        async move { self.state?.complete().await }.boxed()
    }
}

impl fmt::Debug for PartUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartUpload")
            .field("subject", &self.subject)
            .field("buffer", &self.buffer)
            .field("error", &self.state.as_ref().err())
            .finish_non_exhaustive()
    }
}

/// An upload that has not failed. Dropping it cancels its requests, whose session then aborts.
struct Active {
    subject: Subject,
    condition: PutCondition,
    session: Arc<Session>,
    /// The answer to CreateMultipartUpload, until it has come.
    created: Option<Sending<()>>,
    part_bytes: usize,
    buffers: Buffers,
    /// The part that is being filled: never empty, never full. With its checksum, so far.
    filling: Option<Buffer>,
    sum: Sum,
    /// Full parts that wait for the upload's id.
    waiting: VecDeque<Cut>,
    sending: FuturesUnordered<Confirmed>,
    sent: Vec<Part>,
    /// The last of those that were copied.
    copied: Option<CopyRequest>,
    /// Parts cut so far.
    parts: u16,
    /// Bytes of the parts cut that S3 has not confirmed.
    unconfirmed: u64,
    /// Bytes of all parts cut.
    written: u64,
    whole: Whole,
    _under_way: UnderWay,
}

/// A part that is ready to be sent.
struct Cut {
    number: u16,
    source: Source,
}

/// Where the bytes of a part come from.
enum Source {
    Here { body: Bytes, sum: Sum },
    Copy(CopyRequest, RangeInclusive<u64>),
}

/// A part that is being sent and the number of its bytes.
type Confirmed = BoxFuture<'static, Result<(Part, u64), Error>>;

impl Active {
    async fn write(&mut self, mut bytes: Bytes, buffer: &AtomicU64) -> Result<(), Error> {
        self.catch_up()?;
        while !bytes.is_empty() {
            if self.filling.is_none() {
                self.room_for_a_part(buffer).await?;
                if bytes.len() >= self.part_bytes {
                    let part = bytes.split_to(self.part_bytes);
                    self.sum.update(&part);
                    self.cut(part)?;
                    continue;
                }
            }
            let piece = bytes.split_to(self.left_of_part().min(bytes.len()));
            self.fill(&piece)?;
        }
        Ok(())
    }

    fn write_now(&mut self, bytes: &[u8], buffer: u64) -> Option<Result<(), Error>> {
        let begun = self.filling.is_some();
        let left = if begun { self.left_of_part() } else { 0 };
        if bytes.len() > left {
            if let Err(error) = self.catch_up() {
                return Some(Err(error));
            }
            let parts = (bytes.len() - left).div_ceil(self.part_bytes) + usize::from(begun);
            let held = self.unconfirmed + (parts * self.part_bytes) as u64;
            if held > buffer && (parts > 1 || self.unconfirmed > 0) {
                return None;
            }
        }
        Some(self.fill_all(bytes))
    }

    fn fill_all(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(self.left_of_part().min(bytes.len()));
            self.fill(piece)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Bytes that fit into the part that is being filled, or into the next one.
    fn left_of_part(&self) -> usize {
        let filled = self.filling.as_ref().map_or(0, Buffer::len);
        self.part_bytes - filled
    }

    /// Adds `bytes`, which fit, to the part that is being filled, or begins one.
    fn fill(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let filling = self.filling.get_or_insert_with(|| self.buffers.take());
        for block in bytes.chunks(BLOCK) {
            // Before the copy, so that a copy gone wrong is found.
            self.sum.update(block);
            filling.extend(block);
        }
        if filling.len() == self.part_bytes {
            self.cut_filling()?;
        }
        Ok(())
    }

    /// Takes note of what has been confirmed, which makes room, or has failed, which ends the
    /// upload.
    fn catch_up(&mut self) -> Result<(), Error> {
        while let Some(progress) = self.progress().now_or_never() {
            if !progress? {
                break;
            }
        }
        Ok(())
    }

    async fn copy(&mut self, version: ETag, range: Range<u64>) -> Result<(), Error> {
        self.cut_filling()?;
        while self.sending.len() + self.waiting.len() >= COPIES_AT_A_TIME && self.progress().await?
        {
        }
        let length = range.end - range.start;
        let request = self.session.copy_of(version);
        self.copied = Some(request.clone());
        self.written += length;
        self.whole.append_unknown();
        self.cut_from(Source::Copy(request, range.start..=range.end - 1))
    }

    async fn complete(mut self) -> Result<Stored, Error> {
        self.cut_filling()?;
        if self.parts == 0 {
            // An object has at least one part.
            self.cut(Bytes::new())?;
        }
        while self.progress().await? {}
        if let Some(copied) = &self.copied {
            // Ceph RGW copies a part of whatever version is there.
            source(self.session.shared(), copied).await?;
        }
        self.sent.sort_unstable_by_key(|part| part.number);
        let session = Arc::clone(&self.session);
        let etag = session
            .complete(
                &self.sent,
                self.written,
                self.whole.checksum(),
                &self.condition,
            )
            .await?;
        Ok(Stored {
            etag,
            size: self.written,
        })
    }

    /// Waits until another part may be held beside those that are not confirmed; one may always.
    async fn room_for_a_part(&mut self, buffer: &AtomicU64) -> Result<(), Error> {
        let part = self.part_bytes as u64;
        while self.unconfirmed > 0
            && self.unconfirmed + part > buffer.load(Ordering::Relaxed)
            && self.progress().await?
        {}
        Ok(())
    }

    fn cut_filling(&mut self) -> Result<(), Error> {
        match self.filling.take() {
            Some(filling) => self.cut(Bytes::from_owner(filling)),
            None => Ok(()),
        }
    }

    /// Sends `body`, of which `self.sum` is the checksum, as the next part.
    fn cut(&mut self, body: Bytes) -> Result<(), Error> {
        let length = body.len() as u64;
        let sum = self.sum.take();
        self.whole.append(sum, length);
        self.written += length;
        self.unconfirmed += length;
        self.cut_from(Source::Here { body, sum })
    }

    fn cut_from(&mut self, source: Source) -> Result<(), Error> {
        if self.parts == MAX_PARTS {
            let text = format!(
                "the object is larger than {MAX_PARTS} parts of {} bytes: use larger parts",
                self.part_bytes
            );
            return Err(self.subject.error(ErrorKind::TooLarge, text));
        }
        self.parts += 1;
        self.waiting.push_back(Cut {
            number: self.parts,
            source,
        });
        self.send_waiting()
    }

    fn send_waiting(&mut self) -> Result<(), Error> {
        if self.created.is_some() {
            return Ok(());
        }
        while let Some(Cut { number, source }) = self.waiting.pop_front() {
            let (length, sending) = match source {
                Source::Here { body, sum } => {
                    let length = body.len() as u64;
                    let sending = self.session.upload_part(number, body, sum.checksum());
                    (length, sending?)
                }
                // It holds no memory.
                Source::Copy(request, range) => {
                    (0, self.session.copy_part(number, &request, &range)?)
                }
            };
            let confirmed = async move { Ok((sending.await?, length)) };
            self.sending.push(confirmed.boxed());
        }
        Ok(())
    }

    /// Waits until something is confirmed; false if nothing is under way.
    async fn progress(&mut self) -> Result<bool, Error> {
        poll_fn(|context| self.poll_progress(context)).await
    }

    fn poll_progress(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        if let Some(created) = &mut self.created {
            let created = std::task::ready!(created.poll_unpin(context));
            self.created = None;
            return Poll::Ready(created.and_then(|()| self.send_waiting()).map(|()| true));
        }
        self.sending.poll_next_unpin(context).map(|confirmed| {
            let Some(confirmed) = confirmed else {
                return Ok(false);
            };
            let (part, length) = confirmed?;
            self.sent.push(part);
            self.unconfirmed -= length;
            Ok(true)
        })
    }
}

/// Parts that are copied at the same time.
const COPIES_AT_A_TIME: usize = 16;

/// Bytes are summed and copied in blocks that stay in the nearest cache between the two.
const BLOCK: usize = 16 << 10;
