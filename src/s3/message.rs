//! What requests say: method, path, query and headers. Pure text; signing comes later.

use std::fmt::Write as _;
use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{ETag, Key, ListRequest};

/// A request without a body, before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    /// `GET` or `HEAD`.
    pub(super) method: &'static str,
    /// The percent-encoded path and the query.
    pub(super) path_and_query: String,
    /// Headers beside `Host`, which follows from the endpoint.
    pub(super) headers: Vec<(&'static str, String)>,
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
}

impl Common {
    /// HeadObject.
    pub(super) fn head(&self, key: &Key) -> Draft {
        self.draft("HEAD", self.object_path(key))
    }

    /// GetObject of a range, which must not be empty, of one version.
    pub(super) fn get(&self, key: &Key, range: &Range<u64>, if_match: &ETag) -> Draft {
        let mut draft = self.draft("GET", self.object_path(key));
        let last = range.end.saturating_sub(1);
        let range = format!("bytes={}-{last}", range.start);
        draft.headers.push(("Range", range));
        let tag = if_match.as_str().to_owned();
        draft.headers.push(("If-Match", tag));
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
        if let Some(token) = &request.continuation {
            path.push_str("&continuation-token=");
            path.extend(utf8_percent_encode(token, QUERY));
        }
        let mut draft = self.draft("GET", path);
        let restore = "RestoreStatus".to_owned();
        draft
            .headers
            .push(("x-amz-optional-object-attributes", restore));
        draft
    }

    fn object_path(&self, key: &Key) -> String {
        let key = utf8_percent_encode(key.as_str(), PATH);
        format!("{}/{key}", self.path)
    }

    fn draft(&self, method: &'static str, path_and_query: String) -> Draft {
        let mut headers = vec![("User-Agent", self.user_agent.clone())];
        if self.requester_pays {
            headers.push(("x-amz-request-payer", "requester".to_owned()));
        }
        if let Some(owner) = &self.expected_bucket_owner {
            headers.push(("x-amz-expected-bucket-owner", owner.clone()));
        }
        Draft {
            method,
            path_and_query,
            headers,
        }
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
