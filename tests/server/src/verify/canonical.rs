//! The form of a request that is signed.

use std::borrow::Cow;

use http::{HeaderMap, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::Refused;
use super::authorization::Authorization;

/// The canonical form of `request`. Everything that S3 wants signed has to be.
///
/// Of bodies only the marks of those that are not signed are known, and the hash of none.
pub(super) fn request<B>(
    request: &Request<B>,
    authorization: &Authorization<'_>,
) -> Result<String, Refused> {
    let headers = request.headers();
    let payload = headers
        .get("x-amz-content-sha256")
        .and_then(|payload| payload.to_str().ok())
        .filter(|payload| PAYLOADS.contains(payload))
        .ok_or("InvalidRequest")?;
    if (payload == STREAMED) != headers.contains_key("x-amz-trailer") {
        return Err("InvalidRequest");
    }
    let names: Vec<&str> = authorization.signed_headers.split(';').collect();
    let must_be_signed = |name: &str| name == "host" || name.starts_with("x-amz-");
    let unsigned = headers
        .keys()
        .any(|name| must_be_signed(name.as_str()) && !names.contains(&name.as_str()));
    if unsigned || !names.is_sorted() {
        return Err("AccessDenied");
    }
    let mut text = format!(
        "{}\n{}\n{}\n",
        request.method(),
        encoded(request.uri().path(), PATH)?,
        query(request.uri().query().unwrap_or_default())?,
    );
    for name in &names {
        text.push_str(&format!("{name}:{}\n", header(headers, name)?));
    }
    text.push_str(&format!("\n{}\n{payload}", authorization.signed_headers));
    Ok(text)
}

/// The values of a header, with single spaces inside and a comma between.
fn header(headers: &HeaderMap, name: &str) -> Result<String, Refused> {
    let values = headers.get_all(name).iter().map(|value| {
        let words = value.to_str().map_err(|_| "InvalidRequest")?;
        Ok(words
            .split(' ')
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" "))
    });
    let values: Vec<String> = values.collect::<Result<_, Refused>>()?;
    if values.is_empty() {
        return Err("SignatureDoesNotMatch");
    }
    Ok(values.join(","))
}

fn query(text: &str) -> Result<String, Refused> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((encoded(name, UNRESERVED)?, encoded(value, UNRESERVED)?))
    });
    let mut pairs: Vec<(String, String)> = pairs.collect::<Result<_, Refused>>()?;
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Ok(pairs.join("&"))
}

/// The text with everything encoded that is to be, however it was before.
fn encoded(text: &str, set: &'static AsciiSet) -> Result<String, Refused> {
    let decoded: Cow<'_, str> = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| "InvalidURI")?;
    Ok(utf8_percent_encode(&decoded, set).to_string())
}

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

const STREAMED: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const PAYLOADS: [&str; 3] = [
    "UNSIGNED-PAYLOAD",
    STREAMED,
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];
