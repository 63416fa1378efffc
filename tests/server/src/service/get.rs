//! GetObject and HeadObject.

use std::ops::Range as ByteRange;

use http::{HeaderMap, HeaderValue, header};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::{Service, length, timestamp};
use crate::context::{BodyRange, RequestContext};
use crate::errors::other_error;
use crate::object::{Object, Restore};
use crate::store::matches;

pub(super) async fn get_object(
    service: &Service,
    request: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let input = request.input;
    let object = service.store.get(&input.bucket, &input.key)?;
    Conditions {
        if_match: input.if_match.as_ref(),
        if_none_match: input.if_none_match.as_ref(),
        if_modified_since: input.if_modified_since,
        if_unmodified_since: input.if_unmodified_since,
    }
    .check(&object)?;
    if object.is_archived() {
        return Err(s3_error!(InvalidObjectState));
    }
    let part = Selection::new(&object, input.range, input.part_number)?;
    let checksum = part.checksum(&object, input.checksum_mode.as_ref());
    let context = request
        .extensions
        .get::<RequestContext>()
        .ok_or_else(|| s3_error!(InternalError))?;
    context.set_body(BodyRange {
        blob: object.blob(),
        range: part.range.clone(),
    });
    let meta = object.meta.as_deref().cloned().unwrap_or_default();
    let Checksum {
        checksum_crc32,
        checksum_crc32c,
        checksum_crc64nvme,
        checksum_sha1,
        checksum_sha256,
        checksum_type,
        ..
    } = checksum;
    Ok(S3Response::new(GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: Some(length(part.range.end - part.range.start)),
        content_range: part.content_range(&object),
        parts_count: part.parts_count,
        e_tag: Some(ETag::Strong(object.etag())),
        last_modified: Some(timestamp(object.modified)),
        storage_class: meta.storage_class.map(StorageClass::from),
        restore: restore_header(object.restore()),
        content_type: Some(
            meta.content_type
                .unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned()),
        ),
        cache_control: meta.cache_control,
        content_disposition: meta.content_disposition,
        content_encoding: meta.content_encoding,
        content_language: meta.content_language,
        metadata: Some(meta.user),
        checksum_crc32,
        checksum_crc32c,
        checksum_crc64nvme,
        checksum_sha1,
        checksum_sha256,
        checksum_type,
        ..Default::default()
    }))
}

pub(super) async fn head_object(
    service: &Service,
    request: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let input = request.input;
    let object = service.store.get(&input.bucket, &input.key)?;
    Conditions {
        if_match: input.if_match.as_ref(),
        if_none_match: input.if_none_match.as_ref(),
        if_modified_since: input.if_modified_since,
        if_unmodified_since: input.if_unmodified_since,
    }
    .check(&object)?;
    let part = Selection::new(&object, input.range, input.part_number)?;
    let checksum = part.checksum(&object, input.checksum_mode.as_ref());
    let meta = object.meta.as_deref().cloned().unwrap_or_default();
    let (server_side_encryption, ssekms_key_id) = meta.encryption();
    let Checksum {
        checksum_crc32,
        checksum_crc32c,
        checksum_crc64nvme,
        checksum_sha1,
        checksum_sha256,
        checksum_type,
        ..
    } = checksum;
    Ok(S3Response::new(HeadObjectOutput {
        server_side_encryption,
        ssekms_key_id,
        accept_ranges: Some("bytes".to_owned()),
        content_length: Some(length(part.range.end - part.range.start)),
        content_range: part.content_range(&object),
        parts_count: part.parts_count,
        e_tag: Some(ETag::Strong(object.etag())),
        last_modified: Some(timestamp(object.modified)),
        storage_class: meta.storage_class.map(StorageClass::from),
        restore: restore_header(object.restore()),
        content_type: Some(
            meta.content_type
                .unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned()),
        ),
        cache_control: meta.cache_control,
        content_disposition: meta.content_disposition,
        content_encoding: meta.content_encoding,
        content_language: meta.content_language,
        metadata: Some(meta.user),
        checksum_crc32,
        checksum_crc32c,
        checksum_crc64nvme,
        checksum_sha1,
        checksum_sha256,
        checksum_type,
        ..Default::default()
    }))
}

/// The conditions of a read, in the order of precedence of RFC 9110, section 13.2.2.
pub(super) struct Conditions<'a> {
    pub(super) if_match: Option<&'a ETagCondition>,
    pub(super) if_none_match: Option<&'a ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

impl Conditions<'_> {
    /// 412 or 304 unless all hold of `object`.
    pub(super) fn check(self, object: &Object) -> S3Result<()> {
        let etag = object.etag();
        let modified = timestamp(object.modified);
        let fails = match (self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) => !matches(condition, &etag),
            (None, Some(limit)) => modified > *limit,
            (None, None) => false,
        };
        if fails {
            return Err(s3_error!(PreconditionFailed));
        }
        let unchanged = match (self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => matches(condition, &etag),
            (None, Some(limit)) => modified <= *limit,
            (None, None) => false,
        };
        if unchanged {
            return Err(not_modified(&etag));
        }
        Ok(())
    }

    /// 412 unless all hold of the source of a copy.
    pub(super) fn check_source(self, object: &Object) -> S3Result<()> {
        self.check(object)
            .map_err(|_| s3_error!(PreconditionFailed))
    }
}

/// Bytes of an object that a request selects.
struct Selection {
    range: ByteRange<u64>,
    partial: bool,
    part_number: Option<usize>,
    parts_count: Option<i32>,
}

impl Selection {
    fn new(object: &Object, range: Option<Range>, part_number: Option<i32>) -> S3Result<Self> {
        let size = object.size();
        let whole = Self {
            range: 0..size,
            partial: false,
            part_number: None,
            parts_count: None,
        };
        match (range, part_number) {
            (Some(_), Some(_)) => Err(s3_error!(
                InvalidRequest,
                "Cannot specify both Range header and partNumber query parameter"
            )),
            (None, None) => Ok(whole),
            (Some(range), None) => {
                let selected = range
                    .check(size)
                    .ok()
                    .filter(|selected| !selected.is_empty());
                let range = selected.ok_or_else(|| not_satisfiable(size))?;
                Ok(Self {
                    range,
                    partial: true,
                    ..whole
                })
            }
            (None, Some(number)) => {
                let parts = object.parts();
                let number = usize::try_from(number)
                    .ok()
                    .filter(|number| (1..=parts.len().max(1)).contains(number));
                let number = number.ok_or_else(|| {
                    other_error("InvalidPartNumber", http::StatusCode::RANGE_NOT_SATISFIABLE)
                })?;
                if parts.is_empty() {
                    return Ok(Self {
                        partial: size > 0,
                        ..whole
                    });
                }
                let start = parts[..number - 1].iter().map(|part| part.size).sum();
                Ok(Self {
                    range: start..start + parts[number - 1].size,
                    partial: size > 0,
                    part_number: Some(number),
                    parts_count: i32::try_from(parts.len()).ok(),
                })
            }
        }
    }

    fn content_range(&self, object: &Object) -> Option<String> {
        let ByteRange { start, end } = self.range;
        (self.partial && start < end)
            .then(|| format!("bytes {start}-{}/{}", end - 1, object.size()))
    }

    /// The checksum of exactly the selected bytes, if there is one and it was asked for.
    fn checksum(&self, object: &Object, mode: Option<&ChecksumMode>) -> Checksum {
        if mode.is_none_or(|mode| mode.as_str() != ChecksumMode::ENABLED) {
            return Checksum::default();
        }
        if let Some(number) = self.part_number {
            return object.parts()[number - 1].checksum.clone();
        }
        let whole = self.range == (0..object.size());
        object
            .checksum()
            .filter(|_| whole)
            .cloned()
            .unwrap_or_default()
    }
}

fn restore_header(restore: Restore) -> Option<String> {
    match restore {
        Restore::None => None,
        Restore::InProgress => Some("ongoing-request=\"true\"".to_owned()),
        Restore::Until(expiry) => {
            let mut date = Vec::new();
            timestamp(expiry)
                .format(TimestampFormat::HttpDate, &mut date)
                .ok()?;
            let date = String::from_utf8(date).ok()?;
            Some(format!("ongoing-request=\"false\", expiry-date=\"{date}\""))
        }
    }
}

fn not_satisfiable(size: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    error.set_headers(headers);
    error
}

fn not_modified(etag: &str) -> S3Error {
    let mut error = s3_error!(NotModified);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        headers.insert(header::ETAG, value);
    }
    error.set_headers(headers);
    error
}

const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";
