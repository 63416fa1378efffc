//! Views of bytes, in both directions. The rule for NULL lives here: C may say "empty" with it.

use std::borrow::Cow;
use std::ptr;
use std::slice;

use crt_sys as sys;

/// A cursor over `bytes`, for a C call that copies or only reads. The caller keeps `bytes` alive
/// for as long as C may look.
pub(super) fn cursor(bytes: &[u8]) -> sys::aws_byte_cursor {
    sys::aws_byte_cursor {
        len: bytes.len(),
        ptr: bytes.as_ptr().cast_mut(),
    }
}

/// A cursor over an optional text; none is an empty cursor, which C reads as "not set".
pub(super) fn optional_cursor(text: Option<&str>) -> sys::aws_byte_cursor {
    text.map_or(EMPTY, |text| cursor(text.as_bytes()))
}

/// The bytes that `cursor` spans.
///
/// # Safety
/// If the length is not 0, the cursor spans initialised memory that nobody writes for `'a`.
pub(super) unsafe fn bytes<'a>(cursor: sys::aws_byte_cursor) -> &'a [u8] {
    if cursor.len == 0 || cursor.ptr.is_null() {
        return &[];
    }
    // SAFETY: not NULL; the rest is this function's contract.
    unsafe { slice::from_raw_parts(cursor.ptr, cursor.len) }
}

/// The text that `cursor` spans; bytes that are not UTF-8 are replaced.
///
/// # Safety
/// As for [`bytes()`].
pub(super) unsafe fn text<'a>(cursor: sys::aws_byte_cursor) -> Cow<'a, str> {
    // SAFETY: this function's contract.
    let bytes = unsafe { bytes(cursor) };
    String::from_utf8_lossy(bytes)
}

/// The cursor that says "not set".
pub(super) const EMPTY: sys::aws_byte_cursor = sys::aws_byte_cursor {
    len: 0,
    ptr: ptr::null_mut(),
};
