//! S3's XML documents: the results of requests and the body of an error.
//!
//! Documents come from servers that are not trusted. Unknown elements and another order of
//! elements are fine; what is missing or malformed is an error, never a guess.

use std::borrow::Cow;
use std::time::SystemTime;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::checksum::Checksum;
use super::{ETag, ListPage, ListedObject, ObjectInfo, PageToken, Restore, StorageClass};

/// A document that is not what S3 sends.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadDocument {
    #[error("the answer is not UTF-8")]
    Utf8(#[from] std::str::Utf8Error),
    #[error("the answer is not the XML document expected: {0}")]
    Xml(#[from] quick_xml::DeError),
    #[error("the answer holds another document than was expected")]
    NotExpected,
    #[error("an entry of the listing has no {0}")]
    Missing(&'static str),
    #[error("an entry of the listing has a key that is not UTF-8")]
    Key,
    #[error("an entry of the listing has a date that cannot be read")]
    Date,
    #[error("the listing goes on, but does not say where")]
    NoToken,
    #[error("the answer does not say what was asked for")]
    NoAnswer,
}

/// The one thing that is of interest in the result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// The id of the upload that CreateMultipartUpload began.
    UploadId,
    /// The ETag of the object that CompleteMultipartUpload made.
    ObjectETag,
    /// The ETag of the object that CopyObject made.
    CopyETag,
}

/// What the body of an error says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ErrorBody {
    /// S3's error code.
    pub(super) code: Option<String>,
    /// S3's text for people.
    pub(super) message: Option<String>,
    /// The request's id.
    pub(super) request_id: Option<String>,
    /// The region that the bucket is in.
    pub(super) region: Option<String>,
}

/// Reads the result of ListObjectsV2.
pub(super) fn list_page(document: &[u8]) -> Result<ListPage, BadDocument> {
    let Document::ListBucketResult(result) = parse(document)? else {
        return Err(BadDocument::NotExpected);
    };
    let mut page = ListPage::default();
    let mut truncated = None;
    let mut token = None;
    let mut entries = Vec::new();
    let mut prefixes = Vec::new();
    let mut url_encoded = false;
    for element in result.elements {
        match element {
            ListElement::Contents(contents) => entries.push(contents),
            ListElement::CommonPrefixes(group) => prefixes.extend(group.prefixes),
            ListElement::IsTruncated(flag) => truncated = Some(flag),
            ListElement::NextContinuationToken(text) => token = Some(text),
            ListElement::EncodingType(text) => url_encoded = text == "url",
            ListElement::Other => {}
        }
    }
    for contents in entries {
        page.objects.push(contents.listed(url_encoded)?);
    }
    for prefix in prefixes {
        page.common_prefixes.push(decode(prefix, url_encoded)?);
    }
    let token = token.filter(|token| !token.is_empty());
    page.next = match (truncated, token) {
        (Some(true), None) => return Err(BadDocument::NoToken),
        (Some(false), _) => None,
        (_, token) => token.map(PageToken::new),
    };
    Ok(page)
}

/// Reads the result of a request that writes; what it says is never empty.
pub(super) fn answer(document: &[u8], wanted: Answered) -> Result<String, BadDocument> {
    let answer = match (parse(document)?, wanted) {
        (Document::InitiateMultipartUploadResult(result), Answered::UploadId) => result.upload_id,
        (Document::CompleteMultipartUploadResult(result), Answered::ObjectETag)
        | (Document::CopyObjectResult(result), Answered::CopyETag) => result.etag,
        _ => return Err(BadDocument::NotExpected),
    };
    let answer = answer.filter(|answer| !answer.is_empty());
    answer.ok_or(BadDocument::NoAnswer)
}

/// What UploadPartCopy made.
#[derive(Debug)]
pub(super) struct CopiedPart {
    /// As S3 spells it.
    pub(super) etag: String,
    /// If S3 has computed one.
    pub(super) checksum: Option<Checksum>,
}

/// Reads the result of UploadPartCopy.
pub(super) fn copied_part(document: &[u8]) -> Result<CopiedPart, BadDocument> {
    let Document::CopyPartResult(copied) = parse(document)? else {
        return Err(BadDocument::NotExpected);
    };
    let etag = copied.etag.filter(|etag| !etag.is_empty());
    let crc32c = copied.crc32c.map(Checksum::crc32c);
    let crc64nvme = copied.crc64nvme.map(Checksum::crc64nvme);
    Ok(CopiedPart {
        etag: etag.ok_or(BadDocument::NoAnswer)?,
        checksum: crc32c.or(crc64nvme),
    })
}

/// Reads the body of an error as far as it can be read: servers and proxies send many things.
pub(super) fn error_body(document: &[u8]) -> ErrorBody {
    let mut body = ErrorBody::default();
    let Ok(Document::Error(error)) = parse(document) else {
        return body;
    };
    for element in error.elements {
        match element {
            ErrorElement::Code(text) => body.code = Some(text),
            ErrorElement::Message(text) => body.message = Some(text),
            ErrorElement::RequestId(text) => body.request_id = Some(text),
            ErrorElement::Region(text) => body.region = Some(text),
            ErrorElement::Other => {}
        }
    }
    body
}

/// Makes an ETag of how a server spells it: some leave out the quotes in listings, and two
/// spellings of one version must be equal.
pub(super) fn etag(text: &str) -> ETag {
    if text.starts_with('"') || text.starts_with("W/") {
        ETag::new(text)
    } else {
        ETag::new(format!("\"{text}\""))
    }
}

fn parse(document: &[u8]) -> Result<Document, BadDocument> {
    Ok(quick_xml::de::from_str(std::str::from_utf8(document)?)?)
}

fn decode(text: String, url_encoded: bool) -> Result<String, BadDocument> {
    if !url_encoded {
        return Ok(text);
    }
    // S3 encodes like a form: a space becomes a plus, a plus becomes %2B.
    let text = text.replace('+', " ");
    match percent_decode_str(&text).decode_utf8() {
        Ok(Cow::Borrowed(_)) => Ok(text),
        Ok(Cow::Owned(decoded)) => Ok(decoded),
        Err(_) => Err(BadDocument::Key),
    }
}

fn date(text: &str) -> Result<SystemTime, BadDocument> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(SystemTime::from)
        .map_err(|_| BadDocument::Date)
}

/// The root, told apart by its name.
#[derive(Deserialize)]
enum Document {
    ListBucketResult(ListBucketResult),
    InitiateMultipartUploadResult(Initiated),
    CopyPartResult(CopyPartResult),
    CompleteMultipartUploadResult(Made),
    CopyObjectResult(Made),
    Error(ErrorResult),
}

#[derive(Deserialize)]
struct Initiated {
    #[serde(rename = "UploadId")]
    upload_id: Option<String>,
}

#[derive(Deserialize)]
struct Made {
    #[serde(rename = "ETag")]
    etag: Option<String>,
}

#[derive(Deserialize)]
struct CopyPartResult {
    #[serde(rename = "ETag")]
    etag: Option<String>,
    #[serde(rename = "ChecksumCRC32C")]
    crc32c: Option<String>,
    #[serde(rename = "ChecksumCRC64NVME")]
    crc64nvme: Option<String>,
}

/// A list of elements in any order: servers mix `Contents` and `CommonPrefixes`.
#[derive(Deserialize)]
struct ListBucketResult {
    #[serde(rename = "$value", default)]
    elements: Vec<ListElement>,
}

#[derive(Deserialize)]
enum ListElement {
    Contents(Contents),
    CommonPrefixes(CommonPrefixes),
    IsTruncated(bool),
    NextContinuationToken(String),
    EncodingType(String),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct CommonPrefixes {
    #[serde(rename = "Prefix", default)]
    prefixes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Contents {
    key: Option<String>,
    last_modified: Option<String>,
    #[serde(rename = "ETag")]
    etag: Option<String>,
    size: Option<u64>,
    storage_class: Option<String>,
    restore_status: Option<RestoreStatus>,
}

impl Contents {
    fn listed(self, url_encoded: bool) -> Result<ListedObject, BadDocument> {
        let tag = self.etag.ok_or(BadDocument::Missing("ETag"))?;
        let modified = self
            .last_modified
            .ok_or(BadDocument::Missing("LastModified"))?;
        let info = ObjectInfo {
            etag: etag(&tag),
            size: self.size.ok_or(BadDocument::Missing("Size"))?,
            last_modified: date(&modified)?,
            storage_class: StorageClass::from_name(self.storage_class.as_deref()),
            restore: self
                .restore_status
                .map_or(Restore::None, RestoreStatus::restore),
            details: None,
        };
        let key = decode(self.key.ok_or(BadDocument::Missing("Key"))?, url_encoded)?;
        Ok(ListedObject { key, info })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RestoreStatus {
    is_restore_in_progress: Option<bool>,
    restore_expiry_date: Option<String>,
}

impl RestoreStatus {
    fn restore(self) -> Restore {
        if self.is_restore_in_progress == Some(true) {
            Restore::InProgress
        } else if self.restore_expiry_date.is_some() {
            Restore::Done
        } else {
            Restore::None
        }
    }
}

#[derive(Deserialize)]
struct ErrorResult {
    #[serde(rename = "$value", default)]
    elements: Vec<ErrorElement>,
}

#[derive(Deserialize)]
enum ErrorElement {
    Code(String),
    Message(String),
    RequestId(String),
    Region(String),
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests;
