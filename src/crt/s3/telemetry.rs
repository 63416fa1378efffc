//! What the CRT measures of an HTTP request.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::ptr::{self, NonNull};
use std::time::Duration;

use crt_sys as sys;

use crate::crt::bytes::text;
use crate::crt::error::Error;
use crate::crt::http::Headers;
use crate::crt::http::HeadersView;

/// Figures of one HTTP request, lent to a callback.
///
/// A request of this client makes several of them when it is split or retried. `None` means that
/// the HTTP request did not get so far.
pub struct RequestMetrics<'a> {
    raw: NonNull<sys::aws_s3_request_metrics>,
    lent: PhantomData<&'a sys::aws_s3_request_metrics>,
}

impl RequestMetrics<'_> {
    /// Borrows metrics that C lends.
    ///
    /// # Safety
    /// `raw` is live and unchanged for the lifetime of the result.
    pub(super) unsafe fn new(raw: NonNull<sys::aws_s3_request_metrics>) -> Self {
        Self {
            raw,
            lent: PhantomData,
        }
    }

    /// S3's id of the request. Wraps `aws_s3_request_metrics_get_request_id`.
    pub fn request_id(&self) -> Option<String> {
        self.string(sys::aws_s3_request_metrics_get_request_id)
    }

    /// S3's name of the operation. Wraps `aws_s3_request_metrics_get_operation_name`.
    pub fn operation(&self) -> Option<String> {
        self.string(sys::aws_s3_request_metrics_get_operation_name)
    }

    /// The address that the connection goes to. Wraps `aws_s3_request_metrics_get_ip_address`.
    pub fn remote_address(&self) -> Option<String> {
        self.string(sys::aws_s3_request_metrics_get_ip_address)
    }

    /// HTTP status. Wraps `aws_s3_request_metrics_get_response_status_code`.
    pub fn status(&self) -> Option<u16> {
        self.value(0, sys::aws_s3_request_metrics_get_response_status_code)
            .and_then(|status| u16::try_from(status).ok())
    }

    /// Headers of the answer. Wraps `aws_s3_request_metrics_get_response_headers`.
    pub fn headers(&self) -> Option<Headers> {
        let headers = self.value(
            ptr::null_mut(),
            sys::aws_s3_request_metrics_get_response_headers,
        )?;
        // SAFETY: owned by the metrics, which live and don't change for the lifetime of `self`.
        NonNull::new(headers).map(|headers| unsafe { HeadersView::new(headers) }.to_headers())
    }

    /// Why it failed, if it did. Wraps `aws_s3_request_metrics_get_error_code`.
    pub fn error(&self) -> Option<Error> {
        // SAFETY: live metrics (aws/s3/s3_client.h).
        let code = unsafe { sys::aws_s3_request_metrics_get_error_code(self.raw.as_ptr()) };
        (code != 0).then(|| Error::from_code(code))
    }

    /// 0 for the first try. Wraps `aws_s3_request_metrics_get_retry_attempt`.
    pub fn retry_attempt(&self) -> u32 {
        // SAFETY: live metrics (aws/s3/s3_client.h).
        unsafe { sys::aws_s3_request_metrics_get_retry_attempt(self.raw.as_ptr()) }
    }

    /// The bytes of the object that it asked for, of a part of a split GET. Wraps
    /// `aws_s3_request_metrics_get_part_range_start` and `_end`.
    pub fn part_range(&self) -> RangeInclusive<u64> {
        let (mut start, mut end) = (0, 0);
        let raw = self.raw.as_ptr();
        // SAFETY: live metrics; writes one number (aws/s3/s3_client.h).
        unsafe { sys::aws_s3_request_metrics_get_part_range_start(raw, &raw mut start) };
        // SAFETY: as above.
        unsafe { sys::aws_s3_request_metrics_get_part_range_end(raw, &raw mut end) };
        start..=end
    }

    /// From preparing it to its end. Wraps `aws_s3_request_metrics_get_total_duration_ns`.
    pub fn total(&self) -> Duration {
        let mut nanos = 0;
        // SAFETY: live metrics; writes one number (aws/s3/s3_client.h).
        unsafe {
            sys::aws_s3_request_metrics_get_total_duration_ns(self.raw.as_ptr(), &raw mut nanos);
        }
        Duration::from_nanos(nanos)
    }

    /// Whether any of it was sent. Wraps `aws_s3_request_metrics_get_send_start_timestamp_ns`.
    pub fn was_sent(&self) -> bool {
        self.value(0, sys::aws_s3_request_metrics_get_send_start_timestamp_ns)
            .is_some()
    }

    /// From the first byte sent to the first one received.
    /// Wraps `aws_s3_request_metrics_get_send_start_timestamp_ns` and `_receive_start_`.
    pub fn time_to_first_byte(&self) -> Option<Duration> {
        let sent = self.value(0, sys::aws_s3_request_metrics_get_send_start_timestamp_ns)?;
        let received = self.value(
            0,
            sys::aws_s3_request_metrics_get_receive_start_timestamp_ns,
        )?;
        received.checked_sub(sent).map(Duration::from_nanos)
    }

    /// From the first byte received to the last. Wraps
    /// `aws_s3_request_metrics_get_receiving_duration_ns`.
    pub fn receiving(&self) -> Option<Duration> {
        self.value(0, sys::aws_s3_request_metrics_get_receiving_duration_ns)
            .map(Duration::from_nanos)
    }

    /// How long it waited for a connection. Wraps
    /// `aws_s3_request_metrics_get_conn_acquire_duration_ns`.
    pub fn connection_wait(&self) -> Option<Duration> {
        self.value(0, sys::aws_s3_request_metrics_get_conn_acquire_duration_ns)
            .map(Duration::from_nanos)
    }

    /// A number that stands for the connection as long as that lives. Wraps
    /// `aws_s3_request_metrics_get_connection_id`.
    pub fn connection_id(&self) -> Option<usize> {
        self.value(0, sys::aws_s3_request_metrics_get_connection_id)
    }

    fn value<T>(&self, mut value: T, get: Getter<T>) -> Option<T> {
        // SAFETY: a getter of live metrics, which writes one value if it succeeds
        // (aws/s3/s3_client.h).
        let result = unsafe { get(self.raw.as_ptr(), &raw mut value) };
        crate::crt::error::check(result).ok().map(|()| value)
    }

    fn string(&self, get: Getter<*const sys::aws_string>) -> Option<String> {
        let string = self.value(ptr::null(), get)?;
        // SAFETY: a live string of the metrics, or NULL, which is an empty cursor
        // (aws/common/string.h).
        let string = unsafe { sys::aws_byte_cursor_from_string(string) };
        // SAFETY: points into the metrics, which live and don't change for the lifetime of `self`.
        Some(unsafe { text(string) }.into_owned())
    }
}

impl fmt::Debug for RequestMetrics<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestMetrics")
            .field("operation", &self.operation())
            .field("request_id", &self.request_id())
            .field("status", &self.status())
            .field("error", &self.error())
            .field("retry_attempt", &self.retry_attempt())
            .field("total", &self.total())
            .finish_non_exhaustive()
    }
}

type Getter<T> = unsafe extern "C" fn(*const sys::aws_s3_request_metrics, *mut T) -> i32;

const _: () = {
    static_assertions::assert_not_impl_any!(RequestMetrics<'static>: Send, Sync);
};
