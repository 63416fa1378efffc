//! One log line for each HTTP request.
//!
//! Lines never hold a query (a signature may be in it), a header that authorizes, or a body.

use log::Level;

use super::classify::{GET, HEAD, Subject};
use crate::crt::s3::RequestMetrics;

/// Logs an HTTP request that has ended: at `debug`, or at `warn` if it failed in a way that a
/// caller does not expect. The CRT may try it again.
pub(super) fn http_request(subject: &Subject, metrics: &RequestMetrics<'_>) {
    let status = metrics.status();
    let level = level(subject.operation, status, metrics.error().is_some());
    if !log::log_enabled!(level) {
        return;
    }
    let Subject {
        operation,
        bucket,
        key,
        ..
    } = subject;
    let range = if *operation == GET {
        let range = metrics.part_range();
        format!(" bytes {}-{}", range.start(), range.end())
    } else {
        String::new()
    };
    let outcome = match (status, metrics.error()) {
        (Some(status), _) => format!("HTTP {status}"),
        (None, Some(error)) => error.to_string(),
        (None, None) => "no answer".to_owned(),
    };
    log::log!(
        level,
        "{operation} s3://{bucket}/{}{range}: {outcome}, attempt {}, id {}, {:?} in all, first byte {:?}",
        key.escape_debug(),
        metrics.retry_attempt() + 1,
        metrics.request_id().unwrap_or_else(|| "-".to_owned()),
        metrics.total(),
        metrics.time_to_first_byte().unwrap_or_default(),
    );
}

/// A missing object is the answer that a lookup asks for, and 412 that of a pinned version.
fn level(operation: &str, status: Option<u16>, failed: bool) -> Level {
    match status {
        Some(404) if operation == HEAD => Level::Debug,
        Some(412) => Level::Debug,
        Some(200..300) if !failed => Level::Debug,
        _ => Level::Warn,
    }
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::level;
    use crate::s3::classify::{GET, HEAD, LIST};

    #[test]
    fn level_warns_of_what_a_caller_does_not_expect() {
        for (operation, status, failed, expected) in [
            (GET, Some(206), false, Level::Debug),
            (GET, Some(206), true, Level::Warn),
            (HEAD, Some(404), true, Level::Debug),
            (LIST, Some(404), true, Level::Warn),
            (GET, Some(412), true, Level::Debug),
            (GET, Some(503), true, Level::Warn),
            (GET, None, true, Level::Warn),
        ] {
            assert_eq!(level(operation, status, failed), expected);
        }
    }
}
