//! Requests without a signature, to stores that allow them everything: how tests plant objects.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub(crate) fn create_bucket(endpoint: &str, bucket: &str) {
    let answer = ureq::put(format!("{endpoint}/{bucket}")).send_empty();
    answer.unwrap_or_else(|error| panic!("CreateBucket {bucket}: {error}"));
}

pub(crate) fn put(endpoint: &str, bucket: &str, key: &str, body: &[u8]) {
    let answer = ureq::put(url(endpoint, bucket, key)).send(body);
    answer.unwrap_or_else(|error| panic!("PutObject {bucket}/{key}: {error}"));
}

pub(crate) fn delete(endpoint: &str, bucket: &str, key: &str) {
    let answer = ureq::delete(url(endpoint, bucket, key)).call();
    answer.unwrap_or_else(|error| panic!("DeleteObject {bucket}/{key}: {error}"));
}

fn url(endpoint: &str, bucket: &str, key: &str) -> String {
    format!("{endpoint}/{bucket}/{}", utf8_percent_encode(key, KEY))
}

/// What a key's path may hold as it is.
const KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');
