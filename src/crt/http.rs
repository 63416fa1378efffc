//! HTTP request messages, and headers of responses.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crt_sys as sys;

use super::bytes::{cursor, text};
use super::error::{Error, check};
use super::handle::{Handle, ref_counted};
use super::live::{Keep, Kind};
use super::runtime::Runtime;

/// A request message: method, path and headers.
#[derive(Debug)]
pub struct Message {
    handle: Handle<sys::aws_http_message>,
    _keep: Keep,
}

/// Headers of a response that C lends to a callback. Names are compared without regard to case.
///
/// A view ends with its callback:
/// ```compile_fail
/// # use mount_s3::crt::HeadersView;
/// fn keep(headers: HeadersView<'_>) -> HeadersView<'static> { headers }
/// ```
/// ```
/// # use mount_s3::crt::{Headers, HeadersView};
/// fn keep(headers: HeadersView<'_>) -> Headers { headers.to_headers() }
/// ```
pub struct HeadersView<'a> {
    raw: NonNull<sys::aws_http_headers>,
    lent: PhantomData<&'a sys::aws_http_headers>,
}

/// Headers of a response, in the order that the CRT gives them. Names are compared without regard
/// to case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Message {
    /// A request for `path_and_query`, which goes out and is signed as it is: percent-encode it
    /// first. Wraps `aws_http_message_new_request`.
    ///
    /// # Errors
    /// `AWS_ERROR_OOM`.
    pub fn new(runtime: &Runtime, method: &str, path_and_query: &str) -> Result<Self, Error> {
        Self::build(runtime.shared().keep(Kind::Wrapper), method, path_and_query)
    }

    /// Adds a header; others of the same name stay. Wraps `aws_http_headers_add`.
    ///
    /// # Errors
    /// An empty name. What else HTTP forbids in a header fails when the request is sent.
    pub fn header(&mut self, name: &str, value: &str) -> Result<&mut Self, Error> {
        // SAFETY: a live message; its headers live as long as it (aws/http/request_response.h).
        let headers = unsafe { sys::aws_http_message_get_headers(self.as_ptr()) };
        let (name, value) = (cursor(name.as_bytes()), cursor(value.as_bytes()));
        // SAFETY: live headers that nobody else uses, as `self` is borrowed exclusively; both texts
        // are copied (aws/http/request_response.h).
        check(unsafe { sys::aws_http_headers_add(headers, name, value) })?;
        Ok(self)
    }

    pub(super) fn build(keep: Keep, method: &str, path_and_query: &str) -> Result<Self, Error> {
        // SAFETY: a live allocator, kept by `keep` (aws/http/request_response.h).
        let message = unsafe { sys::aws_http_message_new_request(keep.shared().allocator()) };
        // SAFETY: a new reference, or NULL.
        let handle = unsafe { Handle::adopt(message) }?;
        let method = cursor(method.as_bytes());
        // SAFETY: a live message; the text is copied (aws/http/request_response.h).
        check(unsafe { sys::aws_http_message_set_request_method(handle.as_ptr(), method) })?;
        let path = cursor(path_and_query.as_bytes());
        // SAFETY: as above.
        check(unsafe { sys::aws_http_message_set_request_path(handle.as_ptr(), path) })?;
        Ok(Self {
            handle,
            _keep: keep,
        })
    }

    /// The message, live as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut sys::aws_http_message {
        self.handle.as_ptr()
    }
}

impl<'a> HeadersView<'a> {
    /// Borrows headers that C lends.
    ///
    /// # Safety
    /// `raw` is live and unchanged for `'a`.
    pub(super) unsafe fn new(raw: NonNull<sys::aws_http_headers>) -> Self {
        Self {
            raw,
            lent: PhantomData,
        }
    }

    /// The first value of a header; bytes that are not UTF-8 are replaced.
    /// Wraps `aws_http_headers_get`.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut value = super::bytes::EMPTY;
        let name = cursor(name.as_bytes());
        // SAFETY: live headers; the name is read during the call (aws/http/request_response.h).
        let found =
            check(unsafe { sys::aws_http_headers_get(self.raw.as_ptr(), name, &raw mut value) });
        // SAFETY: on success the value points into the headers, unchanged for `'a`.
        found.ok().map(|()| unsafe { text(value) })
    }

    /// All headers. Wraps `aws_http_headers_get_index`.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        // SAFETY: live headers (aws/http/request_response.h).
        let count = unsafe { sys::aws_http_headers_count(self.raw.as_ptr()) };
        (0..count).filter_map(|index| self.at(index))
    }

    /// A copy that may be kept.
    pub fn to_headers(&self) -> Headers {
        Headers(
            self.iter()
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    fn at(&self, index: usize) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        let mut header = MaybeUninit::<sys::aws_http_header>::zeroed();
        // SAFETY: live headers; an index out of bounds is an error
        // (aws/http/request_response.h).
        let found = check(unsafe {
            sys::aws_http_headers_get_index(self.raw.as_ptr(), index, header.as_mut_ptr())
        });
        found.ok()?;
        // SAFETY: written, as the call succeeded.
        let header = unsafe { header.assume_init() };
        // SAFETY: points into the headers, unchanged for `'a`.
        let name = unsafe { text(header.name) };
        // SAFETY: as above.
        let value = unsafe { text(header.value) };
        Some((name, value))
    }
}

impl fmt::Debug for HeadersView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Headers {
    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All headers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

ref_counted!(
    aws_http_message,
    aws_http_message_acquire,
    aws_http_message_release
);

// SAFETY: the count is atomic, and a message is used by one owner at a time; C takes a reference
// only in `Client::start`, which consumes it.
unsafe impl Send for Message {}

const _: () = {
    static_assertions::assert_not_impl_any!(Message: Sync);
    static_assertions::assert_not_impl_any!(HeadersView<'static>: Send, Sync);
};
