//! What can be wrong with how a body arrives.

use std::ops::Range;

use crate::s3::{Context, Error, ErrorKind};

/// Bytes are not those that are `due` next.
pub(super) fn unexpected_bytes(arrived: &Range<u64>, due: &Range<u64>) -> Error {
    let (
        Range { start, end },
        Range {
            start: from,
            end: to,
        },
    ) = (arrived, due);
    let message = format!("bytes {start}..{end} arrived where {from}..{to} were due");
    error(ErrorKind::Protocol, Some(message))
}

/// The body ended at byte `received` instead of `end`.
pub(super) fn short_body(received: u64, end: u64) -> Error {
    let message = format!("the body ended at byte {received} instead of {end}");
    error(ErrorKind::Protocol, Some(message))
}

/// The store let go of the request without a word.
pub(super) fn canceled() -> Error {
    error(ErrorKind::Canceled, None)
}

fn error(kind: ErrorKind, message: Option<String>) -> Error {
    let context = Context {
        operation: "GetObject",
        message,
        ..Context::default()
    };
    Error::new(kind, context)
}
