//! Sorts failed requests by what the caller can do about them.

use super::xml::{ErrorBody, error_body};
use super::{Context, Error, ErrorKind};

/// What a request was about, for its errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    /// The S3 operation.
    pub(super) operation: &'static str,
    /// The bucket.
    pub(super) bucket: String,
    /// The key or the prefix.
    pub(super) key: String,
}

/// An answer that is an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    /// HTTP status.
    pub(super) status: u16,
    /// `x-amz-request-id`.
    pub(super) request_id: Option<&'a str>,
    /// `x-amz-bucket-region`.
    pub(super) region: Option<&'a str>,
    /// The body; empty after a HEAD.
    pub(super) body: &'a [u8],
}

impl Subject {
    /// An error of this request that no answer explains.
    pub(super) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        let context = Context {
            message: Some(message.into()),
            ..self.context()
        };
        Error::new(kind, context)
    }

    /// The error that `answer` is. `region` is where the request was signed for.
    pub(super) fn answered(&self, answer: &Answer<'_>, region: &str) -> Error {
        let body = error_body(answer.body);
        let right_region = answer
            .region
            .map(printable)
            .or_else(|| body.region.as_deref().map(printable));
        let elsewhere = right_region.as_deref().is_some_and(|right| right != region);
        let kind = kind(self.operation, answer.status, &body, elsewhere);
        let request_id = answer.request_id.or(body.request_id.as_deref());
        let context = Context {
            status: Some(answer.status),
            code: body.code.as_deref().map(printable),
            message: body.message.as_deref().map(printable),
            request_id: request_id.map(printable),
            region: right_region,
            ..self.context()
        };
        Error::new(kind, context)
    }

    /// The context of an error that nothing more is known of.
    pub(super) fn context(&self) -> Context {
        Context {
            operation: self.operation,
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            ..Context::default()
        }
    }
}

/// S3's code says more than the status; a HEAD has only the status.
/// S3: [error responses](https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
fn kind(operation: &str, status: u16, body: &ErrorBody, elsewhere: bool) -> ErrorKind {
    match body.code.as_deref() {
        Some("NoSuchKey") => return ErrorKind::NotFound,
        Some("NoSuchBucket") => return ErrorKind::NoSuchBucket,
        Some("AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "InvalidPayer") => {
            return ErrorKind::Denied;
        }
        Some(
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "RequestTimeTooSkewed"
            | "InvalidSecurity"
            | "NotSignedUp",
        ) => return ErrorKind::BadCredentials,
        Some("AuthorizationHeaderMalformed") if !elsewhere => return ErrorKind::BadCredentials,
        Some(
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "Redirect"
            | "IllegalLocationConstraintException",
        ) => return ErrorKind::WrongRegion,
        Some("InvalidObjectState") => return ErrorKind::Archived,
        Some("PreconditionFailed") => return ErrorKind::Precondition,
        Some("InvalidRange") => return ErrorKind::InvalidRange,
        Some("SlowDown" | "ServiceUnavailable" | "Throttling" | "TooManyRequests") => {
            return ErrorKind::Throttled;
        }
        Some("RequestTimeout") => return ErrorKind::Timeout,
        _ => {}
    }
    match status {
        301 | 302 | 307 | 308 => ErrorKind::WrongRegion,
        400 if elsewhere => ErrorKind::WrongRegion,
        401 | 403 => ErrorKind::Denied,
        404 if operation == LIST => ErrorKind::NoSuchBucket,
        404 => ErrorKind::NotFound,
        408 => ErrorKind::Timeout,
        412 => ErrorKind::Precondition,
        416 => ErrorKind::InvalidRange,
        429 | 503 => ErrorKind::Throttled,
        _ => ErrorKind::Other,
    }
}

/// What a server says goes to logs and terminals: without control characters, and not too long.
fn printable(text: &str) -> String {
    const LONGEST: usize = 500;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().take(LONGEST).map(clean).collect()
}

pub(super) const HEAD: &str = "HeadObject";
pub(super) const GET: &str = "GetObject";
pub(super) const LIST: &str = "ListObjectsV2";

#[cfg(test)]
mod tests;
