//! Errors of S3 operations, sorted by what the caller can do about them.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// What went wrong, by what the caller can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No object has this key.
    NotFound,
    /// The bucket does not exist.
    NoSuchBucket,
    /// S3 refuses: the identity lacks the permission (403).
    Denied,
    /// There are no credentials, or they could not be loaded.
    NoCredentials,
    /// The credentials are wrong, expired or signed for another clock.
    BadCredentials,
    /// The bucket lives in another region; the error's context may name it.
    WrongRegion,
    /// The key does not hold what was asked for: another version, an object, or none (412); or
    /// another request was writing to it (409).
    Precondition,
    /// The object is archived and not restored.
    Archived,
    /// The range lies outside the object (416).
    InvalidRange,
    /// S3 asks to slow down, also after all retries (503, 429).
    Throttled,
    /// The endpoint's name cannot be resolved.
    Dns,
    /// No connection, or it broke, also after all retries.
    Connection,
    /// The TLS handshake failed.
    Tls,
    /// No answer in time, also after all retries.
    Timeout,
    /// Bytes that arrived, here or at the store, are not those that were sent, or the store did not
    /// keep them as it was told.
    Integrity,
    /// The settings do not fit together or do not fit the bucket; nothing was sent.
    Settings,
    /// The request says what S3 or HTTP cannot carry; nothing was sent.
    Invalid,
    /// The object is too large for S3, or for the parts that it is sent in.
    TooLarge,
    /// The server's answer cannot be understood.
    Protocol,
    /// The request was dropped.
    Canceled,
    /// Any other answer of the service or failure of the client.
    Other,
}

/// Where it went wrong. Never holds a credential or a signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// The S3 operation, as S3 names it: `GetObject`.
    pub operation: &'static str,
    /// The bucket.
    pub bucket: String,
    /// The key or the prefix.
    pub key: String,
    /// HTTP status of the last answer.
    pub status: Option<u16>,
    /// S3's error code: `NoSuchKey`.
    pub code: Option<String>,
    /// S3's message, or the client's.
    pub message: Option<String>,
    /// S3's request id (`x-amz-request-id`).
    pub request_id: Option<String>,
    /// The bucket's region (`x-amz-bucket-region`, or the error body's `Region`).
    pub region: Option<String>,
}

/// A failed S3 operation. Cheap to clone: several readers may wait for one request.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    context: Context,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a cause of its own.
    pub fn new(kind: ErrorKind, context: Context) -> Self {
        Self(Arc::new(Inner {
            kind,
            context,
            source: None,
        }))
    }

    /// An error caused by another one.
    pub fn with_source(
        kind: ErrorKind,
        context: Context,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            context,
            source: Some(source.into()),
        }))
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Where it happened.
    pub fn context(&self) -> &Context {
        &self.0.context
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("context", &self.0.context)
            .field("source", &self.0.source)
            .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Context {
            operation,
            bucket,
            key,
            status,
            code,
            message,
            request_id,
            ..
        } = &self.0.context;
        write!(f, "{operation} s3://{bucket}/{key}: ")?;
        match (code, message) {
            (Some(code), Some(message)) => write!(f, "{code}: {message}")?,
            (Some(text), None) | (None, Some(text)) => f.write_str(text)?,
            (None, None) => write!(f, "{:?}", self.0.kind)?,
        }
        if let Some(status) = status {
            write!(f, " (HTTP {status})")?;
        }
        if let Some(id) = request_id {
            write!(f, " (request id {id})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
