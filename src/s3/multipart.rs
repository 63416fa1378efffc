//! A multipart upload: its requests, and its abort unless it is completed.
//!
//! Every request of an upload shares its [`Session`] until it has ended. Whoever is the last to
//! give the session up, the owner or the CRT's thread that ends a cancelled part, aborts the
//! upload: no part can arrive after that.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quick_xml::escape::escape;

use super::call::{self, Reply, Sending};
use super::checksum::Checksum;
use super::classify::{
    ABORT_UPLOAD, COMPLETE_UPLOAD, CREATE_UPLOAD, UPLOAD_PART, UPLOAD_PART_COPY,
};
use super::client::Shared;
use super::confirm::{self, Expected};
use super::message::{Draft, Header};
use super::xml::{self, Answered};
use super::{CopyRequest, ETag, Error, Key, PutCondition};

/// One upload under way.
pub(super) struct Session {
    shared: Arc<Shared>,
    key: Key,
    /// Known when CreateMultipartUpload was answered.
    id: OnceLock<String>,
    completed: AtomicBool,
    /// Nanoseconds that the fastest part of full size took; the greatest number before there is one.
    fastest: AtomicU64,
}

/// A part that S3 has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// 1 to [`MAX_PARTS`].
    pub(super) number: u16,
    /// As S3 spells it.
    pub(super) etag: String,
    /// `None` unless S3 was told of it.
    pub(super) checksum: Option<Checksum>,
}

impl Session {
    /// Begins an upload to `key`; `headers` say how the object is stored and described. Nothing
    /// else may be called before the answer has come.
    ///
    /// The request goes on if the answer is dropped: its upload could not be aborted otherwise.
    pub(super) fn create(
        shared: &Arc<Shared>,
        key: Key,
        headers: Vec<Header>,
    ) -> Result<(Arc<Self>, Sending<()>), Error> {
        let subject = shared.subject(CREATE_UPLOAD, key.as_str());
        let mut draft = shared.common.create_upload(&key);
        draft.headers.extend(headers);
        let session = Arc::new(Self {
            shared: Arc::clone(shared),
            key,
            id: OnceLock::new(),
            completed: AtomicBool::new(false),
            fastest: AtomicU64::new(u64::MAX),
        });
        let created = {
            let session = Arc::clone(&session);
            let subject = subject.clone();
            move |reply: Result<Reply, Error>| {
                let reply = reply?;
                let id = xml::answer(&reply.body, Answered::UploadId)
                    .map_err(|reason| subject.protocol(&reason.to_string()))?;
                session.id.get_or_init(|| id);
                match &session.shared.common.encryption {
                    Some(encryption) => encryption.check(&reply, &subject),
                    None => Ok(()),
                }
            }
        };
        let mut answer = call::start(shared, &subject, &draft, created)?;
        answer.detach();
        Ok((session, answer))
    }

    /// Sends a part.
    pub(super) fn upload_part(
        self: &Arc<Self>,
        number: u16,
        body: Bytes,
        checksum: Option<Checksum>,
    ) -> Result<Sending<Part>, Error> {
        let subject = self.shared.subject(UPLOAD_PART, self.key.as_str());
        let is_full = body.len() == self.shared.write_part_bytes;
        let common = &self.shared.common;
        let mut draft = common.upload_part(&self.key, self.id(), number, body);
        if let Some(checksum) = &checksum {
            draft.header(checksum.header, checksum.value.as_str());
        }
        let (session, started) = (Arc::clone(self), Instant::now());
        call::start(&self.shared, &subject.clone(), &draft, move |reply| {
            // The session is given up when the answer has been read.
            let reply = reply?;
            if is_full {
                session.took(started.elapsed());
            }
            if let Some(checksum) = &checksum {
                checksum.check(&reply, &subject)?;
            }
            let etag = reply.headers.get("ETag").map(str::to_owned);
            Ok(Part {
                number,
                etag: etag.ok_or_else(|| subject.protocol("the answer has no ETag"))?,
                checksum,
            })
        })
    }

    /// The shortest time that a part of full size took, if there was one.
    pub(super) fn delay(&self) -> Option<Duration> {
        let fastest = self.fastest.load(Ordering::Relaxed);
        (fastest < u64::MAX).then(|| Duration::from_nanos(fastest))
    }

    fn took(&self, delay: Duration) {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.fastest.fetch_min(nanos, Ordering::Relaxed);
    }

    /// Makes a part of the bytes `range` of a copy's source.
    pub(super) fn copy_part(
        self: &Arc<Self>,
        number: u16,
        request: &CopyRequest,
        range: &RangeInclusive<u64>,
    ) -> Result<Sending<Part>, Error> {
        let subject = self.shared.subject(UPLOAD_PART_COPY, request.from.as_str());
        let common = &self.shared.common;
        let draft = common.copy_part(&self.shared.bucket, request, self.id(), number, range);
        let session = Arc::clone(self);
        call::start(&self.shared, &subject.clone(), &draft, move |reply| {
            let _session = session;
            let copied = xml::copied_part(&reply?.body)
                .map_err(|reason| subject.protocol(&reason.to_string()))?;
            Ok(Part {
                number,
                etag: copied.etag,
                checksum: copied.checksum,
            })
        })
    }

    /// What sends the upload's requests.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Says for [`Self::copy_part`] that the source is the version `version` of what has the key
    /// of the upload.
    pub(super) fn copy_of(&self, version: ETag) -> CopyRequest {
        CopyRequest {
            from: self.key.clone(),
            version,
            size: 0,
            to: self.key.clone(),
            condition: PutCondition::Any,
            metadata: None,
        }
    }

    /// Makes an object of `parts`, which are in order. `whole` is the checksum of the object, if it
    /// has one.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request.
    pub(super) async fn complete(
        self: Arc<Self>,
        parts: &[Part],
        size: u64,
        whole: Option<Checksum>,
        condition: &PutCondition,
    ) -> Result<ETag, Error> {
        let subject = self.shared.subject(COMPLETE_UPLOAD, self.key.as_str());
        let mut draft: Draft = self.shared.common.complete_upload(
            &self.key,
            self.id(),
            part_list(parts),
            size,
            condition,
        );
        if let Some(whole) = &whole {
            draft.header(whole.header, whole.value.as_str());
        }
        let session = Arc::clone(&self);
        let completed = {
            let subject = subject.clone();
            move |reply: Result<Reply, Error>| {
                let reply = reply?;
                session.completed.store(true, Ordering::Release);
                let etag = xml::answer(&reply.body, Answered::ObjectETag)
                    .map_err(|reason| subject.protocol(&reason.to_string()))?;
                Ok(xml::etag(&etag))
            }
        };
        let error = match call::start(&self.shared, &subject, &draft, completed)?.await {
            Err(error) if self.is_in_doubt(&error) => error,
            answered => return answered,
        };
        let whole = whole.as_ref();
        let expected = Expected { parts, size, whole };
        let stored = confirm::stored(&self.shared, &self.key, &expected).await;
        if stored.is_some() {
            self.completed.store(true, Ordering::Release);
        }
        stored.ok_or(error)
    }

    /// Whether the upload may have become the object although this is how its completion ended:
    /// the answer to an earlier try was lost, or the answer cannot be read.
    fn is_in_doubt(&self, error: &Error) -> bool {
        let is_gone = error.context().code.as_deref() == Some("NoSuchUpload");
        is_gone || self.completed.load(Ordering::Acquire)
    }

    /// Empty, which S3 refuses, before it is known.
    fn id(&self) -> &str {
        self.id.get().map_or("", String::as_str)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.completed.load(Ordering::Acquire) {
            return;
        }
        let Some(id) = self.id.get() else { return };
        let subject = self.shared.subject(ABORT_UPLOAD, self.key.as_str());
        let draft = self.shared.common.abort_upload(&self.key, id);
        let aborted = |reply: Result<Reply, Error>| match reply {
            // CompleteMultipartUpload may have succeeded although its answer was lost.
            Err(error) if error.context().code.as_deref() == Some("NoSuchUpload") => {}
            Err(error) => log::warn!("parts of an upload stay behind: {error}"),
            Ok(_) => {}
        };
        if let Err(error) = call::tidy_up(&self.shared, &subject, &draft, aborted) {
            log::warn!("parts of an upload stay behind: {error}");
        }
    }
}

/// The document that names the parts of an object.
fn part_list(parts: &[Part]) -> String {
    let mut document =
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
    for part in parts {
        let etag = escape(part.etag.as_str());
        // Writing to a String cannot fail.
        let _written = write!(document, "<Part><ETag>{etag}</ETag>");
        if let Some(Checksum { element, value, .. }) = &part.checksum {
            let _written = write!(document, "<{element}>{value}</{element}>");
        }
        let number = part.number;
        let _written = write!(document, "<PartNumber>{number}</PartNumber></Part>");
    }
    document.push_str("</CompleteMultipartUpload>");
    document
}

/// The most parts that an object may be made of.
/// S3: [multipart upload limits](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
pub(super) const MAX_PARTS: u16 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_list_escapes_what_the_store_said() {
        let checksum = Checksum {
            header: "x-amz-checksum-crc32c",
            element: "ChecksumCRC32C",
            value: "AAAAAA==".to_owned(),
        };
        let part = |number, etag: &str, checksum| Part {
            number,
            etag: etag.to_owned(),
            checksum,
        };
        let list = part_list(&[part(1, "\"e\"", Some(checksum)), part(2, "<&>", None)]);
        let parts = "<Part><ETag>&quot;e&quot;</ETag><ChecksumCRC32C>AAAAAA==</ChecksumCRC32C>\
                     <PartNumber>1</PartNumber></Part>\
                     <Part><ETag>&lt;&amp;&gt;</ETag><PartNumber>2</PartNumber></Part>";
        assert!(list.contains(parts), "{list}");
    }
}
