//! The process-wide state of the C libraries: initialised by the first runtime, cleaned up by the
//! last one that was shut down in order.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crt_sys as sys;

use super::allocator::Allocator;
use super::error::{Error, check};
use super::logging;

/// One runtime's use of the libraries. Dropped without [`LibraryUse::leave`], the libraries stay
/// initialised until the process ends: threads of the CRT may still run.
#[derive(Debug)]
pub(super) struct LibraryUse {
    allocator: Allocator,
}

/// Why the libraries were not cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaveError {
    /// Threads of the CRT still run at the deadline.
    Threads,
    /// The counting allocator says that so many bytes are out.
    Leak(usize),
}

impl LibraryUse {
    /// Initialises the libraries unless another runtime has. Wraps `aws_s3_library_init`.
    ///
    /// # Errors
    /// `AWS_ERROR_INVALID_STATE` if the bytes of one of several runtimes should be counted: the
    /// count is that of the whole process.
    pub(super) fn enter(traced: bool, max_fragment_bytes: Option<usize>) -> Result<Self, Error> {
        let mut library = lock();
        if let Some(allocator) = library.allocator {
            if traced || allocator.is_traced() {
                return Err(Error::from_constant(sys::AWS_ERROR_INVALID_STATE));
            }
            library.users += 1;
            return Ok(Self { allocator });
        }
        let allocator = if traced {
            Allocator::traced()?
        } else {
            Allocator::system()?
        };
        logging::install();
        // SAFETY: not initialised now, and this lock keeps others out, as the function is not
        // thread-safe; the allocator lives until after the clean-up (aws/s3/s3.h).
        unsafe { sys::aws_s3_library_init(allocator.as_ptr()) };
        if let Some(bytes) = max_fragment_bytes {
            let global = &raw mut sys::g_aws_channel_max_fragment_size;
            // SAFETY: a plain variable that channels read; none exists, because no runtime does
            // (aws/io/channel.h).
            unsafe { global.write(bytes) };
        }
        library.allocator = Some(allocator);
        library.users = 1;
        Ok(Self { allocator })
    }

    /// The allocator of the libraries.
    pub(super) fn allocator(&self) -> Allocator {
        self.allocator
    }

    /// Ends this use; the last one joins the CRT's threads and cleans up.
    /// Wraps `aws_thread_join_all_managed` and `aws_s3_library_clean_up`.
    ///
    /// # Errors
    /// On any error the libraries stay initialised, and the allocator stays valid.
    ///
    /// # Safety
    /// Every object that was made under this use is gone, and this is not a thread of the CRT.
    pub(super) unsafe fn leave(self, deadline: Instant) -> Result<(), LeaveError> {
        let mut library = lock();
        if library.users > 1 {
            library.users -= 1;
            return Ok(());
        }
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(SHORTEST_JOIN);
        let nanos = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: no preconditions (aws/common/thread.h).
        unsafe { sys::aws_thread_set_managed_join_timeout_ns(nanos) };
        // SAFETY: this is not a managed thread, by this function's contract (aws/common/thread.h).
        let joined = check(unsafe { sys::aws_thread_join_all_managed() });
        joined.map_err(|_| LeaveError::Threads)?;
        // SAFETY: no object and no thread is left; the lock keeps others out (aws/s3/s3.h).
        unsafe { sys::aws_s3_library_clean_up() };
        // From here on the libraries need a new start, whatever the count says.
        library.allocator = None;
        library.users = 0;
        if let Some(bytes @ 1..) = self.allocator.outstanding_bytes() {
            return Err(LeaveError::Leak(bytes));
        }
        // SAFETY: the libraries are cleaned up, all objects are gone, and 0 bytes are out.
        unsafe { self.allocator.destroy() };
        Ok(())
    }
}

/// What the process knows of the libraries.
#[derive(Debug)]
struct Library {
    users: usize,
    allocator: Option<Allocator>,
}

fn lock() -> MutexGuard<'static, Library> {
    LIBRARY.lock().unwrap_or_else(PoisonError::into_inner)
}

static LIBRARY: Mutex<Library> = Mutex::new(Library {
    users: 0,
    allocator: None,
});

/// A timeout of 0 would mean "for ever" to C.
const SHORTEST_JOIN: Duration = Duration::from_millis(1);
