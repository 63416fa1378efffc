//! URIs of endpoints.

use std::fmt;
use std::mem::MaybeUninit;

use crt_sys as sys;

use super::bytes::{cursor, text};
use super::error::{Error, check};
use super::live::{Keep, Kind};
use super::runtime::Runtime;

/// A parsed URI.
pub struct Uri {
    raw: sys::aws_uri,
    // After `raw`, whose memory it keeps valid: see `Drop`.
    _keep: Keep,
}

impl Uri {
    /// Parses `text`. Wraps `aws_uri_init_parse`.
    ///
    /// # Errors
    /// `AWS_ERROR_MALFORMED_INPUT_STRING`.
    pub fn parse(runtime: &Runtime, text: &str) -> Result<Self, Error> {
        let keep = runtime.shared().keep(Kind::Wrapper);
        let source = cursor(text.as_bytes());
        let mut raw = MaybeUninit::zeroed();
        // SAFETY: the text is copied; on failure nothing is left to clean up (uri.c).
        check(unsafe {
            sys::aws_uri_init_parse(
                raw.as_mut_ptr(),
                keep.shared().allocator(),
                &raw const source,
            )
        })?;
        // SAFETY: initialised, as the call succeeded.
        let raw = unsafe { raw.assume_init() };
        Ok(Self { raw, _keep: keep })
    }

    /// `http` or `https`, as typed; empty if there is none.
    pub fn scheme(&self) -> String {
        self.component(self.raw.scheme)
    }

    /// Host and, if given, port, as typed: the value of a `Host` header.
    pub fn authority(&self) -> String {
        self.component(self.raw.authority)
    }

    /// The host alone.
    pub fn host(&self) -> String {
        self.component(self.raw.host_name)
    }

    /// The port, if given.
    pub fn port(&self) -> Option<u32> {
        Some(self.raw.port).filter(|port| *port != 0)
    }

    /// The path, as typed; may be empty.
    pub fn path(&self) -> String {
        self.component(self.raw.path)
    }

    /// The path and the query, as typed; may be empty.
    pub fn path_and_query(&self) -> String {
        self.component(self.raw.path_and_query)
    }

    /// The URI, live as long as `self`.
    pub(super) fn as_ptr(&self) -> *const sys::aws_uri {
        &raw const self.raw
    }

    fn component(&self, part: sys::aws_byte_cursor) -> String {
        // SAFETY: a component points into the URI's own buffer, which never changes (uri.h).
        unsafe { text(part) }.into_owned()
    }
}

impl Drop for Uri {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again (aws/common/uri.h).
        unsafe { sys::aws_uri_clean_up(&raw mut self.raw) };
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Uri({}://{}{})",
            self.scheme(),
            self.authority(),
            self.path()
        )
    }
}

// SAFETY: owns its buffer, which is never written after parsing; C only reads it (uri.c).
unsafe impl Send for Uri {}
// SAFETY: as above.
unsafe impl Sync for Uri {}
