//! What requests say: method, path, query and headers. Pure text; signing comes later.

mod write;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub(super) use write::condition;

use super::{ETag, Encryption, Key, ListFrom, ListRequest, UploadChecksums};

/// The name and the value of a header.
pub(super) type Header = (Cow<'static, str>, String);

/// A request, before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    /// `GET`, `HEAD`, `PUT`, `POST` or `DELETE`.
    pub(super) method: &'static str,
    /// The percent-encoded path and the query.
    pub(super) path_and_query: String,
    /// Headers beside `Host`, which follows from the endpoint.
    pub(super) headers: Vec<Header>,
    /// The body.
    pub(super) body: Bytes,
}

/// What all requests of a bucket have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Common {
    /// What the path has before the `/` of the key.
    pub(super) path: String,
    /// The `User-Agent`.
    pub(super) user_agent: String,
    /// Whether the requester pays for requests and transfer.
    pub(super) requester_pays: bool,
    /// The account that has to own the bucket.
    pub(super) expected_bucket_owner: Option<String>,
    /// The class of what is stored, as S3 names it; `None` leaves it to S3.
    pub(super) storage_class: Option<String>,
    /// How what is stored is encrypted; `None` leaves it to the bucket.
    pub(super) encryption: Option<Encryption>,
    /// Which checksums uploads have.
    pub(super) checksums: UploadChecksums,
    /// Whether objects may be archived and restored, which listings are then asked about.
    pub(super) has_archive: bool,
    /// Whether a listing can start after a key. One that cannot starts anew, in an order of its own.
    pub(super) has_order: bool,
}

impl Draft {
    /// Adds a header.
    pub(super) fn header(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.headers.push((name.into(), value.into()));
    }
}

impl Common {
    /// HeadObject.
    pub(super) fn head(&self, key: &Key) -> Draft {
        self.draft("HEAD", self.object_path(key))
    }

    /// GetObject of a range, which must not be empty, of one version.
    pub(super) fn get(&self, key: &Key, range: &Range<u64>, if_match: &ETag) -> Draft {
        let mut draft = self.fetch(key, range);
        draft.header("If-Match", if_match.text());
        draft
    }

    /// GetObject of a range, which must not be empty, of whatever version is there.
    pub(super) fn fetch(&self, key: &Key, range: &Range<u64>) -> Draft {
        let mut draft = self.draft("GET", self.object_path(key));
        let last = range.end.saturating_sub(1);
        draft.header("Range", format!("bytes={}-{last}", range.start));
        draft
    }

    /// ListObjectsV2.
    pub(super) fn list(&self, request: &ListRequest) -> Draft {
        let mut path = format!("{}/?list-type=2&encoding-type=url", self.path);
        if request.delimited {
            path.push_str("&delimiter=%2F");
        }
        if let Some(max_keys) = request.max_keys {
            // Writing to a String cannot fail.
            let _written = write!(path, "&max-keys={max_keys}");
        }
        if !request.prefix.is_empty() {
            path.push_str("&prefix=");
            path.extend(utf8_percent_encode(&request.prefix, QUERY));
        }
        let from = match &request.from {
            ListFrom::Start => None,
            ListFrom::After(text) => self.has_order.then_some(("&start-after=", &**text)),
            ListFrom::Page(token) => Some(("&continuation-token=", token.as_str())),
        };
        if let Some((parameter, text)) = from {
            path.push_str(parameter);
            path.extend(utf8_percent_encode(text, QUERY));
        }
        let mut draft = self.draft("GET", path);
        if self.has_archive {
            draft.header("x-amz-optional-object-attributes", "RestoreStatus");
        }
        draft
    }

    /// CreateSession.
    pub(super) fn create_session(&self) -> Draft {
        self.draft("GET", format!("{}/?session=", self.path))
    }

    fn object_path(&self, key: &Key) -> String {
        let key = utf8_percent_encode(key.as_str(), PATH);
        format!("{}/{key}", self.path)
    }

    fn draft(&self, method: &'static str, path_and_query: String) -> Draft {
        let mut draft = Draft {
            method,
            path_and_query,
            headers: Vec::new(),
            body: Bytes::new(),
        };
        draft.header("User-Agent", self.user_agent.as_str());
        if self.requester_pays {
            draft.header("x-amz-request-payer", "requester");
        }
        if let Some(owner) = &self.expected_bucket_owner {
            draft.header("x-amz-expected-bucket-owner", owner.as_str());
        }
        draft
    }
}

/// Everything but RFC 3986's unreserved characters, as S3's signatures want it.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

#[cfg(test)]
mod tests;
