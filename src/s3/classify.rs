//! Sorts failed requests by what the caller can do about them.

use super::xml::{ErrorBody, error_body};
use super::{Context, Error, ErrorKind};
use crate::crt;
use crate::crt::s3::RequestError;

/// What a request was about, for its errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    /// The S3 operation.
    pub(super) operation: &'static str,
    /// The bucket.
    pub(super) bucket: String,
    /// The key or the prefix.
    pub(super) key: String,
    /// The region that requests are signed for, or [`EVERYWHERE`].
    pub(super) region: String,
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
    /// An error of this request that neither an answer nor the CRT explains.
    pub(super) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        let context = Context {
            message: Some(message.into()),
            ..self.context()
        };
        Error::new(kind, context)
    }

    /// An answer that cannot be understood, and why.
    pub(super) fn protocol(&self, reason: &str) -> Error {
        self.error(ErrorKind::Protocol, reason)
    }

    /// A request that could not be started or got no answer.
    pub(super) fn failed(&self, error: crt::Error) -> Error {
        let context = Context {
            message: Some(error.to_string()),
            ..self.context()
        };
        Error::with_source(kind_of_failure(error), context, error)
    }

    /// A request that ended without success.
    pub(super) fn ended(&self, error: &RequestError) -> Error {
        if let Some(text) = &error.panic {
            return self.error(ErrorKind::Other, format!("a callback panicked: {text}"));
        }
        match &error.response {
            Some(response) if response.status >= 300 => self.answered(&Answer {
                status: response.status,
                request_id: response.headers.get("x-amz-request-id"),
                region: response.headers.get("x-amz-bucket-region"),
                body: &response.body,
            }),
            _ => self.unanswered(error),
        }
    }

    /// A request whose answer the CRT did not hand over, as it does not after retries.
    fn unanswered(&self, error: &RequestError) -> Error {
        use crt::ErrorKind::{ClockSkew, ResponseStatus, Throttled};
        let failed = self.failed(error.error);
        // Of several HTTP requests the attempt may be another one than that which failed this one,
        // unless an answer is what failed it.
        let by_answer = [ResponseStatus, Throttled, ClockSkew].contains(&error.error.kind());
        let Some(attempt) = error.attempt.as_ref().filter(|_| by_answer) else {
            return failed;
        };
        let context = Context {
            status: attempt.status,
            request_id: attempt.request_id.as_deref().map(printable),
            ..failed.context().clone()
        };
        Error::with_source(failed.kind(), context, error.error)
    }

    /// The error that `answer` is.
    pub(super) fn answered(&self, answer: &Answer<'_>) -> Error {
        let body = error_body(answer.body);
        let right_region = answer
            .region
            .map(printable)
            .or_else(|| body.region.as_deref().map(printable));
        let elsewhere = right_region
            .as_deref()
            .is_some_and(|right| right != self.region && self.region != EVERYWHERE);
        let kind = kind_of_answer(self.operation, answer.status, &body, elsewhere);
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

    /// Any request of `operation`.
    #[cfg(test)]
    pub(super) fn test(operation: &'static str) -> Self {
        Self {
            operation,
            bucket: "bkt".to_owned(),
            key: "k".to_owned(),
            region: "us-east-1".to_owned(),
        }
    }
}

/// What the CRT says when there was no answer, or one that it could not accept.
fn kind_of_failure(error: crt::Error) -> ErrorKind {
    match error.kind() {
        crt::ErrorKind::Canceled => ErrorKind::Canceled,
        crt::ErrorKind::Timeout => ErrorKind::Timeout,
        crt::ErrorKind::Dns => ErrorKind::Dns,
        crt::ErrorKind::Tls => ErrorKind::Tls,
        crt::ErrorKind::Connection => ErrorKind::Connection,
        crt::ErrorKind::Credentials => ErrorKind::NoCredentials,
        crt::ErrorKind::Checksum => ErrorKind::Integrity,
        crt::ErrorKind::Protocol => ErrorKind::Protocol,
        crt::ErrorKind::Throttled => ErrorKind::Throttled,
        crt::ErrorKind::ClockSkew => ErrorKind::BadCredentials,
        crt::ErrorKind::Session => ErrorKind::Denied,
        _ => ErrorKind::Other,
    }
}

/// S3's code says more than the status; a HEAD has only the status.
/// S3: [error responses](https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
fn kind_of_answer(operation: &str, status: u16, body: &ErrorBody, elsewhere: bool) -> ErrorKind {
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
        Some("PreconditionFailed" | "ConditionalRequestConflict" | "InvalidWriteOffset") => {
            return ErrorKind::Precondition;
        }
        Some(
            "BadDigest"
            | "InvalidDigest"
            | "IncompleteBody"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch",
        ) => return ErrorKind::Integrity,
        Some("EntityTooLarge") => return ErrorKind::TooLarge,
        Some("NoSuchUpload") => return ErrorKind::Other,
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
        // It is the upload that is not there.
        404 if [UPLOAD_PART, COMPLETE_UPLOAD, ABORT_UPLOAD].contains(&operation) => {
            ErrorKind::Other
        }
        404 => ErrorKind::NotFound,
        408 => ErrorKind::Timeout,
        412 => ErrorKind::Precondition,
        413 => ErrorKind::TooLarge,
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

/// The set of regions in signatures that hold in all of them.
const EVERYWHERE: &str = "*";

pub(super) const HEAD: &str = "HeadObject";
pub(super) const GET: &str = "GetObject";
pub(super) const CREATE_SESSION: &str = "CreateSession";
pub(super) const LIST: &str = "ListObjectsV2";
pub(super) const PUT: &str = "PutObject";
pub(super) const DELETE: &str = "DeleteObject";
pub(super) const COPY: &str = "CopyObject";
pub(super) const RENAME: &str = "RenameObject";
pub(super) const CREATE_UPLOAD: &str = "CreateMultipartUpload";
pub(super) const UPLOAD_PART: &str = "UploadPart";
pub(super) const UPLOAD_PART_COPY: &str = "UploadPartCopy";
pub(super) const COMPLETE_UPLOAD: &str = "CompleteMultipartUpload";
pub(super) const ABORT_UPLOAD: &str = "AbortMultipartUpload";

#[cfg(test)]
mod tests;
