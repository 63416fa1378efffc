//! CopyObject, or for a large object a multipart upload of UploadPartCopy.

use std::ops::RangeInclusive;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::call::{self, Reply};
use super::classify::{COPY, HEAD, Subject};
use super::client::Shared;
use super::message::Header;
use super::multipart::{MAX_PARTS, Part, Session};
use super::put::describe;
use super::xml::{self, Answered, etag};
use super::{CopyRequest, Error, ErrorKind, Stored};

/// Copies an object.
///
/// # Cancel safety
/// Dropping the future cancels what is under way; an upload that it began is aborted.
pub(super) async fn copy(shared: &Arc<Shared>, request: CopyRequest) -> Result<Stored, Error> {
    let subject = shared.subject(COPY, request.from.as_str());
    let in_parts = request.size > LARGEST_AT_ONCE;
    // S3 takes them from the source only if nothing is to change and it copies at once.
    let described = if in_parts || request.metadata.is_some() {
        let kept = kept_headers(shared, &request).await?;
        Some(described(kept, &request, &subject)?)
    } else {
        None
    };
    if in_parts {
        return copy_parts(shared, &request, described.unwrap_or_default()).await;
    }
    let mut draft = shared.common.copy(&shared.bucket, &request);
    draft.headers.extend(stored_as(shared, &request));
    if let Some(described) = described {
        draft.header("x-amz-metadata-directive", "REPLACE");
        draft.headers.extend(described);
    }
    let reply = call::send(shared, &subject, &draft).await?;
    if let Some(encryption) = &shared.common.encryption {
        encryption.check(&reply, &subject)?;
    }
    let tag = xml::answer(&reply.body, Answered::CopyETag)
        .map_err(|reason| subject.protocol(&reason.to_string()))?;
    Ok(Stored {
        etag: etag(&tag),
        size: request.size,
    })
}

async fn copy_parts(
    shared: &Arc<Shared>,
    request: &CopyRequest,
    described: Vec<Header>,
) -> Result<Stored, Error> {
    let mut headers = stored_as(shared, request);
    headers.extend(described);
    let (session, created) = Session::create(shared, request.to.clone(), headers)?;
    created.await?;
    let copied = stream::iter((1..).zip(ranges(request.size)))
        .map(|(number, range)| {
            let session = &session;
            async move {
                // The upload was begun without checksums, so that its end has none, either.
                let part = session.copy_part(number, request, &range)?.await?;
                Ok(Part {
                    checksum: None,
                    ..part
                })
            }
        })
        .buffered(PARTS_AT_A_TIME);
    let parts: Vec<_> = copied.try_collect().await?;
    // Ceph RGW copies a part of whatever version is there.
    source(shared, request).await?;
    let etag = session
        .complete(&parts, request.size, None, &request.condition)
        .await?;
    Ok(Stored {
        etag,
        size: request.size,
    })
}

/// The parts to copy an object of `size` bytes in.
fn ranges(size: u64) -> impl Iterator<Item = RangeInclusive<u64>> {
    let part = size.div_ceil(MAX_PARTS.into()).max(PART_BYTES);
    let count = size.div_ceil(part);
    (0..count).map(move |index| index * part..=((index + 1) * part).min(size) - 1)
}

/// What the store says of the source, as long as it is the version asked for.
pub(super) async fn source(shared: &Shared, request: &CopyRequest) -> Result<Reply, Error> {
    let subject = shared.subject(HEAD, request.from.as_str());
    let reply = call::send(shared, &subject, &shared.common.head(&request.from)).await?;
    let tag = reply.headers.get("ETag").map(etag);
    if tag.as_ref() != Some(&etag(&request.version.text())) {
        let text = "the source of the copy was replaced";
        return Err(subject.error(ErrorKind::Precondition, text));
    }
    Ok(reply)
}

/// What the source says of itself beside its bytes.
async fn kept_headers(shared: &Shared, request: &CopyRequest) -> Result<Vec<Header>, Error> {
    let reply = source(shared, request).await?;
    let is_encrypted_anew = shared.common.encryption.is_some();
    let kept = reply.headers.iter().filter_map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        let is_kept = KEPT.contains(&name.as_str())
            || name.starts_with(METADATA)
            || is_in_place(request)
                && (KEPT_IN_PLACE.contains(&name.as_str())
                    || name.starts_with(ENCRYPTION) && !is_encrypted_anew);
        is_kept.then(|| (name.into(), value.to_owned()))
    });
    Ok(kept.collect())
}

/// Whether an object is copied onto itself, to be described otherwise.
fn is_in_place(request: &CopyRequest) -> bool {
    request.from == request.to
}

/// The headers that say how the target is stored. An object that is copied onto itself stays in
/// its class.
fn stored_as(shared: &Shared, request: &CopyRequest) -> Vec<Header> {
    let mut headers = shared.common.stored_as();
    headers.retain(|(name, _)| name != STORAGE_CLASS || !is_in_place(request));
    headers
}

/// What the target says of itself.
fn described(
    mut kept: Vec<Header>,
    request: &CopyRequest,
    subject: &Subject,
) -> Result<Vec<Header>, Error> {
    if let Some(metadata) = &request.metadata {
        kept.retain(|(name, _)| !name.starts_with(METADATA));
        kept.extend(describe(&None, metadata, subject)?);
    }
    Ok(kept)
}

/// S3 copies up to 5 GiB at once, but at the speed of one stream, and its answer takes as long.
const LARGEST_AT_ONCE: u64 = 1 << 30;
const PART_BYTES: u64 = 128 << 20;
const PARTS_AT_A_TIME: usize = 16;

/// Headers of an object that a copy has, too.
const KEPT: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];
const METADATA: &str = "x-amz-meta-";

/// Headers of an object that it keeps when it is copied onto itself, beside those of its
/// encryption.
const KEPT_IN_PLACE: [&str; 2] = [STORAGE_CLASS, "x-amz-website-redirect-location"];
const STORAGE_CLASS: &str = "x-amz-storage-class";
const ENCRYPTION: &str = "x-amz-server-side-encryption";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MAX_PARTS, ranges};

    proptest! {
        #[test]
        fn prop_ranges_cover_the_object_once(size in 1u64..=50 << 40) {
            let mut next = 0;
            let mut count = 0;
            for range in ranges(size) {
                prop_assert_eq!(*range.start(), next);
                prop_assert!(range.end() >= range.start());
                next = range.end() + 1;
                count += 1;
            }
            prop_assert_eq!(next, size);
            prop_assert!(count <= MAX_PARTS);
        }
    }
}
