//! Error documents as S3 words them.

use std::fmt::Write;

use bytes::Bytes;
use http::StatusCode;
use s3s::{S3Error, S3ErrorCode};

use crate::context::Target;

/// Adds to an error document what the service behind it does not know: S3's message, the resource
/// and the request's ids.
pub(crate) fn complete(
    document: &[u8],
    target: Option<&Target>,
    request_id: &str,
    host_id: &str,
) -> Bytes {
    let document = String::from_utf8_lossy(document);
    let code = element(&document, "Code").unwrap_or("InternalError");
    let message =
        element(&document, "Message").map_or_else(|| escape(message_of(code)), str::to_owned);
    let mut details = String::new();
    let add = |details: &mut String, name: &str, value: &str| {
        let _ = write!(details, "<{name}>{}</{name}>", escape(value));
    };
    if let Some(target) = target {
        match code {
            "NoSuchKey" => add(&mut details, "Key", &target.key),
            "NoSuchBucket" | "BucketAlreadyOwnedByYou" | "BucketNotEmpty" => {
                add(&mut details, "BucketName", &target.bucket);
            }
            _ => {}
        }
    }
    error_document(code, &message, &details, request_id, host_id)
}

/// An error of any code, known to the service or not.
pub(crate) fn other_error(code: &str, status: StatusCode) -> S3Error {
    let mut error = S3Error::new(
        S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError),
    );
    error.set_status_code(status);
    error
}

/// The answer to a signature made for another region.
pub(crate) fn wrong_region(sent: &str, expected: &str, request_id: &str, host_id: &str) -> Bytes {
    let message = escape(&format!(
        "The authorization header is malformed; the region '{sent}' is wrong; expecting '{expected}'"
    ));
    let details = format!("<Region>{}</Region>", escape(expected));
    error_document(
        "AuthorizationHeaderMalformed",
        &message,
        &details,
        request_id,
        host_id,
    )
}

/// The answer to a request that is refused before it comes to the service.
pub(crate) fn refused(code: &str, request_id: &str, host_id: &str) -> Bytes {
    error_document(code, &escape(message_of(code)), "", request_id, host_id)
}

fn error_document(
    code: &str,
    message: &str,
    details: &str,
    request_id: &str,
    host_id: &str,
) -> Bytes {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
         {details}<RequestId>{request_id}</RequestId><HostId>{host_id}</HostId></Error>"
    )
    .into()
}

fn element<'d>(document: &'d str, name: &str) -> Option<&'d str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() => {
                let _ = write!(escaped, "&#x{:x};", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

fn message_of(code: &str) -> &'static str {
    match code {
        "AccessDenied" => "Access Denied",
        "BadDigest" => {
            "The Content-MD5 or checksum value that you specified did not match what the server received."
        }
        "BucketAlreadyOwnedByYou" => {
            "Your previous request to create the named bucket succeeded and you already own it."
        }
        "BucketNotEmpty" => "The bucket you tried to delete is not empty",
        "EntityTooLarge" => "Your proposed upload exceeds the maximum allowed size",
        "EntityTooSmall" => "Your proposed upload is smaller than the minimum allowed size",
        "IncompleteBody" => "The request body terminated unexpectedly",
        "InternalError" => "We encountered an internal error. Please try again.",
        "AuthorizationHeaderMalformed" => "The authorization header is malformed.",
        "InvalidToken" => "The provided token is malformed or otherwise invalid.",
        "InvalidAccessKeyId" => "The AWS Access Key Id you provided does not exist in our records.",
        "InvalidBucketName" => "The specified bucket is not valid.",
        "InvalidDigest" => "The Content-MD5 you specified was invalid.",
        "InvalidObjectState" => "The operation is not valid for the object's storage class",
        "InvalidPart" => {
            "One or more of the specified parts could not be found.  The part may not have been uploaded, \
             or the specified entity tag may not match the part's entity tag."
        }
        "InvalidPartOrder" => {
            "The list of parts was not in ascending order. Parts must be ordered by part number."
        }
        "InvalidRange" => "The requested range is not satisfiable",
        "KeyTooLongError" => "Your key is too long",
        "MalformedXML" => {
            "The XML you provided was not well-formed or did not validate against our published schema"
        }
        "MethodNotAllowed" => "The specified method is not allowed against this resource.",
        "MissingContentLength" => "You must provide the Content-Length HTTP header.",
        "NoSuchBucket" => "The specified bucket does not exist",
        "NoSuchKey" => "The specified key does not exist.",
        "NoSuchUpload" => {
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
             aborted or completed."
        }
        "NotImplemented" => "A header you provided implies functionality that is not implemented",
        "PreconditionFailed" => "At least one of the pre-conditions you specified did not hold",
        "RequestTimeTooSkewed" => {
            "The difference between the request time and the current time is too large."
        }
        "RequestTimeout" => {
            "Your socket connection to the server was not read from or written to within the timeout period."
        }
        "ServiceUnavailable" => "Service is unable to handle request.",
        "SignatureDoesNotMatch" => {
            "The request signature we calculated does not match the signature you provided. Check your key and \
             signing method."
        }
        "SlowDown" => "Please reduce your request rate.",
        "XAmzContentSHA256Mismatch" => {
            "The provided 'x-amz-content-sha256' header does not match what was computed."
        }
        _ => "The request could not be fulfilled.",
    }
}
