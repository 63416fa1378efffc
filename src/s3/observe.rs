//! One log line for each HTTP request.
//!
//! All at `debug`: the CRT tries again what fails, and what fails for good is logged, or told, by
//! whoever asked for it.
//!
//! Lines never hold a query (a signature may be in it), a header that authorizes, or a body.

use super::classify::{GET, Subject};
use crate::crt::s3::RequestMetrics;

/// Logs an HTTP request that has ended, well or not.
pub(super) fn http_request(subject: &Subject, metrics: &RequestMetrics<'_>) {
    if !log::log_enabled!(log::Level::Debug) {
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
    let outcome = match (metrics.status(), metrics.error()) {
        (Some(status), _) => format!("HTTP {status}"),
        (None, Some(error)) => error.to_string(),
        (None, None) => "no answer".to_owned(),
    };
    log::debug!(
        "{operation} s3://{bucket}/{}{range}: {outcome}, attempt {}, id {}, {:?} in all, first byte {:?}",
        key.escape_debug(),
        metrics.retry_attempt() + 1,
        metrics.request_id().unwrap_or_else(|| "-".to_owned()),
        metrics.total(),
        metrics.time_to_first_byte().unwrap_or_default(),
    );
}
