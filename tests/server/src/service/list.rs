//! ListObjectsV2 and ListObjects.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::{Service, bucket::owner, length, timestamp};
use crate::listing::{Query, list};
use crate::object::{self, Restore};

pub(super) async fn list_objects_v2(
    service: &Service,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = request.input;
    let max_keys = max_keys(input.max_keys)?;
    let decoded = input
        .continuation_token
        .as_deref()
        .map(decode_token)
        .transpose()?;
    let start_after = input.start_after.unwrap_or_default();
    let asked = Asked {
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref().unwrap_or_default(),
        after: decoded.as_deref().unwrap_or(&start_after),
        max_keys,
        url: is_url(input.encoding_type.as_ref())?,
        owner: input.fetch_owner == Some(true),
        restore: wants_restore(input.optional_object_attributes.as_deref()),
    };
    let answer = asked.answer(service, &input.bucket)?;
    let count = answer.contents.len() + answer.prefixes.len();
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(asked.encode(asked.prefix)),
        max_keys: input.max_keys.map_or(Some(1000), |max| Some(max.min(1000))),
        key_count: i32::try_from(count).ok(),
        is_truncated: Some(answer.next.is_some()),
        next_continuation_token: answer.next.as_deref().map(encode_token),
        contents: Some(answer.contents),
        common_prefixes: Some(answer.prefixes),
        delimiter: input.delimiter.as_deref().map(|text| asked.encode(text)),
        start_after: Some(start_after.as_str())
            .filter(|text| !text.is_empty())
            .map(|text| asked.encode(text)),
        continuation_token: input.continuation_token,
        encoding_type: input.encoding_type,
        ..Default::default()
    }))
}

pub(super) async fn list_objects(
    service: &Service,
    request: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = request.input;
    let asked = Asked {
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref().unwrap_or_default(),
        after: input.marker.as_deref().unwrap_or_default(),
        max_keys: max_keys(input.max_keys)?,
        url: is_url(input.encoding_type.as_ref())?,
        owner: true,
        restore: wants_restore(input.optional_object_attributes.as_deref()),
    };
    let answer = asked.answer(service, &input.bucket)?;
    // Without a delimiter the last key serves as the marker.
    let next_marker = answer
        .next
        .as_deref()
        .filter(|_| !asked.delimiter.is_empty());
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(asked.encode(asked.prefix)),
        marker: Some(asked.encode(asked.after)),
        max_keys: input.max_keys.map_or(Some(1000), |max| Some(max.min(1000))),
        is_truncated: Some(answer.next.is_some()),
        next_marker: next_marker.map(|text| asked.encode(text)),
        contents: Some(answer.contents),
        common_prefixes: Some(answer.prefixes),
        delimiter: input.delimiter.as_deref().map(|text| asked.encode(text)),
        encoding_type: input.encoding_type,
        ..Default::default()
    }))
}

/// What both operations ask for.
struct Asked<'a> {
    prefix: &'a str,
    delimiter: &'a str,
    after: &'a str,
    max_keys: usize,
    url: bool,
    owner: bool,
    restore: bool,
}

struct Answer {
    contents: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
    next: Option<String>,
}

impl Asked<'_> {
    fn answer(&self, service: &Service, bucket: &str) -> S3Result<Answer> {
        let query = Query {
            prefix: self.prefix,
            delimiter: self.delimiter,
            after: self.after,
            max: self.max_keys,
        };
        service.store.with_bucket(bucket, |bucket| {
            let page = list(&bucket.objects, query);
            let prefixes = page.prefixes.iter();
            Answer {
                contents: page
                    .objects
                    .into_iter()
                    .map(|(key, object)| self.entry(key, object))
                    .collect(),
                prefixes: prefixes
                    .map(|prefix| CommonPrefix {
                        prefix: Some(self.encode(prefix)),
                    })
                    .collect(),
                next: page.next,
            }
        })
    }

    fn entry(&self, key: &str, object: &object::Object) -> Object {
        let restore_status = match object.restore() {
            _ if !self.restore => None,
            Restore::None => None,
            Restore::InProgress => Some(RestoreStatus {
                is_restore_in_progress: Some(true),
                restore_expiry_date: None,
            }),
            Restore::Until(expiry) => Some(RestoreStatus {
                is_restore_in_progress: Some(false),
                restore_expiry_date: Some(timestamp(expiry)),
            }),
        };
        let checksum = object.checksum();
        Object {
            key: Some(self.encode(key)),
            size: Some(length(object.size())),
            e_tag: Some(ETag::Strong(object.etag())),
            last_modified: Some(timestamp(object.modified)),
            storage_class: Some(
                object
                    .storage_class()
                    .unwrap_or("STANDARD")
                    .to_owned()
                    .into(),
            ),
            owner: self.owner.then(owner),
            restore_status,
            checksum_algorithm: checksum
                .and_then(super::checksum::algorithm_of)
                .map(|name| vec![name]),
            checksum_type: checksum.and_then(|checksum| checksum.checksum_type.clone()),
        }
    }

    fn encode(&self, text: &str) -> String {
        if self.url {
            url_encode(text)
        } else {
            text.to_owned()
        }
    }
}

/// Percent-encoding as S3 does it in lists: a space becomes `+`, slashes stay.
pub(super) fn url_encode(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// Whether an encoding type asks for URL encoding; there is no other.
pub(super) fn is_url(encoding_type: Option<&EncodingType>) -> S3Result<bool> {
    match encoding_type.map(EncodingType::as_str) {
        None => Ok(false),
        Some("url") => Ok(true),
        Some(_) => Err(s3_error!(
            InvalidArgument,
            "Invalid Encoding Method specified in Request"
        )),
    }
}

fn max_keys(asked: Option<i32>) -> S3Result<usize> {
    usize::try_from(asked.unwrap_or(1000).min(1000)).map_err(|_| {
        s3_error!(
            InvalidArgument,
            "Argument maxKeys must be an integer between 0 and 2147483647"
        )
    })
}

fn wants_restore(attributes: Option<&[OptionalObjectAttributes]>) -> bool {
    attributes.is_some_and(|wanted| {
        wanted
            .iter()
            .any(|name| name.as_str().contains("RestoreStatus"))
    })
}

fn encode_token(after: &str) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(format!("{TOKEN_MARK}{after}"))
}

fn decode_token(token: &str) -> S3Result<String> {
    let wrong = || {
        s3_error!(
            InvalidArgument,
            "The continuation token provided is incorrect"
        )
    };
    let bytes = base64_simd::URL_SAFE_NO_PAD
        .decode_to_vec(token)
        .map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    text.strip_prefix(TOKEN_MARK)
        .map(str::to_owned)
        .ok_or_else(wrong)
}

const TOKEN_MARK: &str = "after:";
