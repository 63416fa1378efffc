//! Where C takes its memory from.

use std::ptr::NonNull;

use crt_sys as sys;

use super::error::{Error, check_ptr};

/// The allocator of everything that is made while the library is initialised: one a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allocator {
    raw: NonNull<sys::aws_allocator>,
    traced: bool,
}

impl Allocator {
    /// The system's allocator. Wraps `aws_default_allocator`.
    pub(super) fn system() -> Result<Self, Error> {
        // SAFETY: no preconditions; the result is static (aws/common/allocator.h).
        let raw = check_ptr(unsafe { sys::aws_default_allocator() })?;
        Ok(Self { raw, traced: false })
    }

    /// The system's allocator, behind a count of the bytes that are out. Wraps `aws_mem_tracer_new`.
    pub(super) fn traced() -> Result<Self, Error> {
        let system = Self::system()?;
        // SAFETY: a live allocator; the second argument is ignored, no stacks are kept
        // (aws/common/allocator.h).
        let raw = check_ptr(unsafe {
            sys::aws_mem_tracer_new(
                system.as_ptr(),
                std::ptr::null_mut(),
                sys::AWS_MEMTRACE_BYTES,
                0,
            )
        })?;
        Ok(Self { raw, traced: true })
    }

    /// The allocator, for a C call.
    pub(super) fn as_ptr(self) -> *mut sys::aws_allocator {
        self.raw.as_ptr()
    }

    /// Whether bytes are counted.
    pub(super) fn is_traced(self) -> bool {
        self.traced
    }

    /// Bytes that are out; `None` if nobody counts. Wraps `aws_mem_tracer_bytes`.
    pub(super) fn outstanding_bytes(self) -> Option<usize> {
        // SAFETY: a tracer that `destroy` has not ended; it locks inside (memtrace.c).
        self.traced
            .then(|| unsafe { sys::aws_mem_tracer_bytes(self.as_ptr()) })
    }

    /// Ends the count, if there is one. Wraps `aws_mem_tracer_destroy`.
    ///
    /// # Safety
    /// Nothing uses this allocator, or a copy of it, any more, and nothing that it gave is out.
    pub(super) unsafe fn destroy(self) {
        if self.traced {
            // SAFETY: a live tracer, not used again, by this function's contract.
            let _ = unsafe { sys::aws_mem_tracer_destroy(self.as_ptr()) };
        }
    }
}

// SAFETY: all threads of the CRT use the one allocator; both kinds synchronise inside
// (aws/common/allocator.h, memtrace.c).
unsafe impl Send for Allocator {}
// SAFETY: as above.
unsafe impl Sync for Allocator {}
