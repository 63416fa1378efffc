//! Errors of the CRT.

use std::ffi::{CStr, c_char, c_int};
use std::fmt;
use std::num::NonZeroI32;
use std::ptr::NonNull;

use crt_sys as sys;

/// An error that the CRT reported: its code, which is never the code of success.
///
/// Names and texts are known while a [`Runtime`](super::Runtime) lives; before and after, the CRT
/// calls every error unknown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Error {
    code: NonZeroI32,
}

/// What an [`Error`] means to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The work was canceled.
    Canceled,
    /// No answer in time.
    Timeout,
    /// A host name cannot be resolved.
    Dns,
    /// TLS could not be set up or failed.
    Tls,
    /// No connection, or it broke.
    Connection,
    /// No credentials, or they cannot be loaded or used.
    Credentials,
    /// The server refused a session to a directory bucket.
    Session,
    /// Bytes that arrived do not match their checksum.
    Checksum,
    /// The server answered with a status that is not a success.
    ResponseStatus,
    /// The server asks to slow down, also after all retries.
    Throttled,
    /// The server says that this machine's clock is wrong.
    ClockSkew,
    /// The server's answer breaks the protocol.
    Protocol,
    /// Memory is exhausted, or a memory limit forbids the work.
    OutOfMemory,
    /// An argument is not acceptable, or the call does not fit the state.
    InvalidArgument,
    /// A callback panicked.
    Panic,
    /// Anything else.
    Other,
}

impl Error {
    /// The error for `code`; the code of success becomes `AWS_ERROR_UNKNOWN`, because it is only
    /// asked for where something failed.
    pub(super) fn from_code(code: c_int) -> Self {
        Self {
            code: NonZeroI32::new(code).unwrap_or(UNKNOWN),
        }
    }

    /// The error for one of the constants of the bindings.
    pub(super) fn from_constant(code: u32) -> Self {
        Self::from_code(c_int::try_from(code).unwrap_or_default())
    }

    /// The calling thread's last error, which is cleared.
    /// Wraps `aws_last_error` and `aws_reset_error`.
    pub(super) fn take_last() -> Self {
        // SAFETY: no preconditions; reads a thread-local (aws/common/error.h).
        let code = unsafe { sys::aws_last_error() };
        // SAFETY: no preconditions; writes a thread-local (aws/common/error.h).
        unsafe { sys::aws_reset_error() };
        Self::from_code(code)
    }

    /// The code, as the C headers number it.
    pub fn code(self) -> i32 {
        self.code.get()
    }

    /// The constant's name: `AWS_IO_DNS_INVALID_NAME`. Wraps `aws_error_name`.
    pub fn name(self) -> String {
        // SAFETY: any code is allowed; the text is static (aws/common/error.h).
        let text = unsafe { sys::aws_error_name(self.code()) };
        static_text(text)
    }

    /// What happened, in a sentence. Wraps `aws_error_str`.
    pub fn message(self) -> String {
        // SAFETY: any code is allowed; the text is static (aws/common/error.h).
        let text = unsafe { sys::aws_error_str(self.code()) };
        static_text(text)
    }

    /// The library that defines the code: `aws-c-io`. Wraps `aws_error_lib_name`.
    pub fn library(self) -> String {
        // SAFETY: any code is allowed; the text is static (aws/common/error.h).
        let text = unsafe { sys::aws_error_lib_name(self.code()) };
        static_text(text)
    }

    /// What the error means to a caller.
    pub fn kind(self) -> ErrorKind {
        let Ok(code) = u32::try_from(self.code()) else {
            return ErrorKind::Other;
        };
        kind_of(code)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({} {})", self.code(), self.name())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, message, code) = (self.name(), self.message(), self.code());
        write!(f, "{name}: {message} (code {code})")
    }
}

impl std::error::Error for Error {}

/// Turns the `AWS_OP_SUCCESS` or `AWS_OP_ERR` of the C call in its argument into a result.
///
/// # Errors
/// The calling thread's last error.
pub(super) fn check(result: c_int) -> Result<(), Error> {
    if result == sys::AWS_OP_SUCCESS as c_int {
        Ok(())
    } else {
        Err(Error::take_last())
    }
}

/// Turns the pointer that the C call in its argument made into a result.
///
/// # Errors
/// The calling thread's last error, for NULL.
pub(super) fn check_ptr<T>(pointer: *mut T) -> Result<NonNull<T>, Error> {
    NonNull::new(pointer).ok_or_else(Error::take_last)
}

/// A text of an error table; empty for NULL.
pub(super) fn static_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not NULL; the error tables hold static C strings (aws/common/error.h, s2n.h).
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

fn kind_of(code: u32) -> ErrorKind {
    match code {
        sys::AWS_ERROR_S3_CANCELED
        | sys::AWS_ERROR_S3_PAUSED
        | sys::AWS_ERROR_IO_OPERATION_CANCELLED
        | sys::AWS_ERROR_HTTP_STREAM_CANCELLED => ErrorKind::Canceled,
        sys::AWS_IO_SOCKET_TIMEOUT
        | sys::AWS_ERROR_HTTP_RESPONSE_FIRST_BYTE_TIMEOUT
        | sys::AWS_ERROR_HTTP_CONNECTION_MANAGER_ACQUISITION_TIMEOUT
        | sys::AWS_ERROR_HTTP_CHANNEL_THROUGHPUT_FAILURE
        | sys::AWS_ERROR_S3_REQUEST_TIMEOUT => ErrorKind::Timeout,
        sys::AWS_IO_DNS_QUERY_FAILED
        | sys::AWS_IO_DNS_INVALID_NAME
        | sys::AWS_IO_DNS_NO_ADDRESS_FOR_HOST
        | sys::AWS_IO_DNS_HOST_REMOVED_FROM_CACHE
        | sys::AWS_IO_DNS_QUERY_AGAIN => ErrorKind::Dns,
        sys::AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE..=sys::AWS_IO_TLS_CIPHER_PREF_UNSUPPORTED
        | sys::AWS_IO_TLS_NEGOTIATION_TIMEOUT
        | sys::AWS_IO_TLS_ALERT_NOT_GRACEFUL
        | sys::AWS_IO_TLS_DIGEST_ALGORITHM_UNSUPPORTED
        | sys::AWS_IO_TLS_SIGNATURE_ALGORITHM_UNSUPPORTED
        | sys::AWS_IO_TLS_ERROR_DEFAULT_TRUST_STORE_NOT_FOUND
        | sys::AWS_IO_TLS_ERROR_READ_FAILURE
        | sys::AWS_IO_FILE_VALIDATION_FAILURE
        | sys::AWS_IO_TLS_UNKNOWN_ROOT_CERTIFICATE..=sys::AWS_IO_TLS_HOST_NAME_MISMATCH => {
            ErrorKind::Tls
        }
        sys::AWS_IO_BROKEN_PIPE
        | sys::AWS_IO_SOCKET_CONNECTION_REFUSED
        | sys::AWS_IO_SOCKET_NO_ROUTE_TO_HOST
        | sys::AWS_IO_SOCKET_NETWORK_DOWN
        | sys::AWS_IO_SOCKET_CLOSED
        | sys::AWS_IO_SOCKET_NOT_CONNECTED
        | sys::AWS_IO_SOCKET_INVALID_ADDRESS
        | sys::AWS_IO_SOCKET_CONNECT_ABORTED
        | sys::AWS_ERROR_HTTP_CONNECTION_CLOSED
        | sys::AWS_ERROR_HTTP_SERVER_CLOSED
        | sys::AWS_ERROR_HTTP_PROXY_CONNECT_FAILED
        | sys::AWS_ERROR_HTTP_PROXY_CONNECT_FAILED_RETRYABLE => ErrorKind::Connection,
        sys::AWS_AUTH_SIGNING_UNSUPPORTED_ALGORITHM..=sys::AWS_AUTH_ERROR_END_RANGE
        | sys::AWS_AUTH_PROFILE_PARSE_RECOVERABLE_ERROR
        | sys::AWS_AUTH_PROFILE_PARSE_FATAL_ERROR => ErrorKind::Credentials,
        sys::AWS_ERROR_S3EXPRESS_CREATE_SESSION_FAILED => ErrorKind::Session,
        sys::AWS_ERROR_S3_RESPONSE_CHECKSUM_MISMATCH => ErrorKind::Checksum,
        sys::AWS_ERROR_S3_SLOW_DOWN => ErrorKind::Throttled,
        sys::AWS_ERROR_S3_REQUEST_TIME_TOO_SKEWED => ErrorKind::ClockSkew,
        sys::AWS_ERROR_S3_INVALID_RESPONSE_STATUS
        | sys::AWS_ERROR_S3_INTERNAL_ERROR
        | sys::AWS_ERROR_S3_OBJECT_MODIFIED
        | sys::AWS_ERROR_S3_NON_RECOVERABLE_ASYNC_ERROR => ErrorKind::ResponseStatus,
        sys::AWS_ERROR_S3_MISSING_CONTENT_RANGE_HEADER..=sys::AWS_ERROR_S3_MISSING_ETAG
        | sys::AWS_ERROR_HTTP_PROTOCOL_ERROR
        | sys::AWS_ERROR_HTTP_INVALID_STATUS_CODE
        | sys::AWS_ERROR_HTTP_UNSUPPORTED_PROTOCOL => ErrorKind::Protocol,
        sys::AWS_ERROR_OOM
        | sys::AWS_ERROR_S3_EXCEEDS_MEMORY_LIMIT
        | sys::AWS_ERROR_S3_BUFFER_ALLOCATION_FAILED => ErrorKind::OutOfMemory,
        sys::AWS_ERROR_INVALID_ARGUMENT
        | sys::AWS_ERROR_INVALID_STATE
        | sys::AWS_ERROR_MALFORMED_INPUT_STRING
        | sys::AWS_ERROR_S3_INVALID_RANGE_HEADER
        | sys::AWS_ERROR_S3_MULTIRANGE_HEADER_UNSUPPORTED
        | sys::AWS_ERROR_S3_INVALID_MEMORY_LIMIT_CONFIG
        | sys::AWS_ERROR_S3_PART_SIZE_EXCEEDS_MEMORY_LIMIT
        | sys::AWS_ERROR_HTTP_INVALID_HEADER_FIELD..=sys::AWS_ERROR_HTTP_INVALID_PATH => {
            ErrorKind::InvalidArgument
        }
        _ => ErrorKind::Other,
    }
}

const UNKNOWN: NonZeroI32 = match NonZeroI32::new(sys::AWS_ERROR_UNKNOWN as i32) {
    Some(code) => code,
    None => panic!("AWS_ERROR_UNKNOWN is not zero"),
};

const _: () = {
    static_assertions::assert_impl_all!(Error: Send, Sync, Copy);
    static_assertions::assert_eq_size!(Error, Option<Error>);
};
