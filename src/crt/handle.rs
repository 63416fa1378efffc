//! References to C objects.

use std::fmt;
use std::ptr::NonNull;

use super::error::{Error, check_ptr};

/// A C object that counts its references.
///
/// # Safety
/// `acquire` and `release` are the C reference pair of `Self`, the count is atomic, and `release`
/// may run on any thread.
pub(super) unsafe trait RefCounted {
    /// Adds a reference.
    ///
    /// # Safety
    /// `object` is live.
    unsafe fn acquire(object: NonNull<Self>);

    /// Gives up a reference.
    ///
    /// # Safety
    /// The caller owns a reference to `object` and does not use it again.
    unsafe fn release(object: NonNull<Self>);
}

/// A C object that several threads may use at a time.
///
/// # Safety
/// Every function that this module calls with a `*Self` may run concurrently with every other.
pub(super) unsafe trait ThreadSafe: RefCounted {}

/// One reference to a C object.
pub(super) struct Handle<T: RefCounted>(NonNull<T>);

impl<T: RefCounted> Handle<T> {
    /// Takes over the reference that a C constructor returned.
    ///
    /// # Errors
    /// The calling thread's last error, for NULL.
    ///
    /// # Safety
    /// `object` is NULL with the thread's last error set, or a reference that nobody else owns.
    pub(super) unsafe fn adopt(object: *mut T) -> Result<Self, Error> {
        check_ptr(object).map(Self)
    }

    /// Adds a reference to an object that is only lent.
    ///
    /// # Safety
    /// `object` is live for this call.
    pub(super) unsafe fn retain(object: NonNull<T>) -> Self {
        // SAFETY: live, by this function's contract.
        unsafe { T::acquire(object) };
        Self(object)
    }

    /// The object, live as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T: RefCounted> Clone for Handle<T> {
    fn clone(&self) -> Self {
        // SAFETY: `self` holds a reference, so the object is live.
        unsafe { Self::retain(self.0) }
    }
}

impl<T: RefCounted> Drop for Handle<T> {
    fn drop(&mut self) {
        // SAFETY: `self` owns one reference and ends here.
        unsafe { T::release(self.0) }
    }
}

impl<T: RefCounted> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:p}", self.0)
    }
}

// SAFETY: `ThreadSafe` promises that all functions may be called from any thread, and `RefCounted`
// that the last release may run on any thread.
unsafe impl<T: ThreadSafe> Send for Handle<T> {}
// SAFETY: as above; all that `&Handle` gives is the pointer and `acquire`.
unsafe impl<T: ThreadSafe> Sync for Handle<T> {}

/// Implements [`RefCounted`] by a C pair, whose return values carry nothing.
macro_rules! ref_counted {
    ($type:ident, $acquire:ident, $release:ident) => {
        // SAFETY: the header that declares the type declares the pair as its reference count.
        unsafe impl $crate::crt::handle::RefCounted for crt_sys::$type {
            unsafe fn acquire(object: std::ptr::NonNull<Self>) {
                // SAFETY: live, by the trait's contract.
                let _ = unsafe { crt_sys::$acquire(object.as_ptr()) };
            }

            unsafe fn release(object: std::ptr::NonNull<Self>) {
                // SAFETY: a reference owned by the caller, by the trait's contract.
                let _ = unsafe { crt_sys::$release(object.as_ptr()) };
            }
        }
    };
}
pub(super) use ref_counted;

const _: () = {
    use crt_sys::aws_s3_client;
    static_assertions::assert_eq_size!(Handle<aws_s3_client>, *mut aws_s3_client);
    static_assertions::assert_eq_size!(Option<Handle<aws_s3_client>>, *mut aws_s3_client);
};
