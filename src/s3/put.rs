//! PutObject: an object whose bytes are all there, by one request.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::call::{self, Reply};
use super::classify::{PUT, Subject};
use super::client::Shared;
use super::message::{Header, condition};
use super::xml::etag;
use super::{ETag, Error, ErrorKind, PutRequest, Stored};
use super::{metadata, proof};

/// Stores `body`.
///
/// # Cancel safety
/// Dropping the future cancels the request.
pub(super) async fn put(
    shared: &Shared,
    request: PutRequest,
    body: Bytes,
) -> Result<Stored, Error> {
    let subject = shared.subject(PUT, request.key.as_str());
    let before = request.append_at.unwrap_or(0);
    let size = before + body.len() as u64;
    let mut sum = shared.common.checksums.sum();
    sum.update(&body);
    let checksum = sum.checksum();
    let described = describe(&request.content_type, &request.metadata, &subject)?;
    if request.append_at.is_some() {
        proof::of_appending(shared, &request.key).await?;
    }

    let mut draft = shared.common.put(&request.key, body);
    draft.headers.extend(shared.common.stored_as());
    draft.headers.extend(described);
    condition(&mut draft, &request.condition);
    if let Some(offset) = request.append_at {
        draft.header("x-amz-write-offset-bytes", offset.to_string());
    }
    if let Some(checksum) = &checksum {
        draft.header(checksum.header, checksum.value.as_str());
    }
    let reply = call::send(shared, &subject, &draft).await?;

    if request.append_at.is_some() && object_size(&reply) != Some(size) {
        // There are stores that take the bytes for a whole object.
        let text = "the store does not say that it has appended";
        return Err(subject.error(ErrorKind::Integrity, text));
    }
    if let Some(checksum) = &checksum {
        checksum.check(&reply, &subject)?;
    }
    if let Some(encryption) = &shared.common.encryption {
        encryption.check(&reply, &subject)?;
    }
    let etag = tag(&reply, &subject)?;
    Ok(Stored { etag, size })
}

/// The headers that describe an object; a text that HTTP cannot carry is an error.
pub(super) fn describe(
    content_type: &Option<String>,
    metadata: &BTreeMap<String, String>,
    subject: &Subject,
) -> Result<Vec<Header>, Error> {
    let content_type = content_type.as_deref().map(metadata::content_type);
    let headers = content_type
        .transpose()
        .and_then(|content_type| {
            let mut headers = metadata::headers(metadata)?;
            headers.extend(content_type);
            Ok(headers)
        })
        .map_err(|unsendable| subject.error(ErrorKind::Invalid, unsendable.to_string()))?;
    Ok(headers)
}

/// The length of an object that was appended to, as S3 answers it.
fn object_size(reply: &Reply) -> Option<u64> {
    let size = reply.headers.get("x-amz-object-size")?;
    size.parse().ok()
}

fn tag(reply: &Reply, subject: &Subject) -> Result<ETag, Error> {
    let tag = reply.headers.get("ETag").map(etag);
    tag.ok_or_else(|| subject.protocol("the answer has no ETag"))
}
