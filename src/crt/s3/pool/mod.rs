//! The pool that a client takes its part buffers from.
//!
//! The CRT reserves memory before it sends a request: it gets a future that resolves to a *ticket*
//! when it is the request's turn, and claims the ticket's buffer when data arrives. The ticket goes
//! along with the data, up to a [`BodyPart`](super::BodyPart), and its last release gives the memory
//! back. [`ledger`] decides, [`memory`] provides, [`sizes`] rounds, and this file speaks to C
//! (aws/s3/s3_buffer_pool.h).
//!
//! # Threads
//! C calls on any thread, also with its own locks held. Futures are resolved, and memory returned to
//! the system, outside of the ledger's lock.

mod ledger;
mod memory;
mod sizes;

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crt_sys as sys;

use crate::crt::callback::{guard, guard_or_log};
use crate::crt::handle::{Handle, ThreadSafe, ref_counted};
use ledger::{Grant, Ledger, Refusal, Settled, Waiter};
use memory::Block;

pub use ledger::PoolUsage;
pub use memory::Pages;
pub use sizes::memory_for_get;

/// A pool. It lives until the client that it was made for, and the last of its tickets, have ended.
#[derive(Debug)]
pub(super) struct Pool {
    ledger: Mutex<Ledger<Block, Reservation>>,
}

/// A future that C waits for.
#[derive(Debug)]
struct Reservation {
    future: Handle<sys::aws_future_s3_buffer_ticket>,
    size: usize,
}

/// What C knows as a pool.
#[repr(C)]
struct PoolObject {
    // First, so that a pointer to it is one to the whole. C counts references in it.
    base: UnsafeCell<sys::aws_s3_buffer_pool>,
    pool: Arc<Pool>,
    allocator: NonNull<sys::aws_allocator>,
}

/// What C knows as a ticket.
#[repr(C)]
struct Ticket {
    // First, so that a pointer to it is one to the whole. C counts references in it.
    base: UnsafeCell<sys::aws_s3_buffer_ticket>,
    pool: Arc<Pool>,
    grant: Grant,
    size: usize,
    block: OnceLock<Option<Block>>,
}

impl Pool {
    /// Lets the client that `config` is for have a pool of its own, which is entered into `made`.
    ///
    /// # Safety
    /// `made` is valid, and nobody else's, until the client was made or refused.
    pub(super) unsafe fn register(
        config: &mut sys::aws_s3_client_config,
        made: *mut Option<Arc<Self>>,
    ) {
        config.buffer_pool_factory_fn = Some(on_new);
        config.buffer_pool_user_data = made.cast();
    }

    /// What it holds now.
    pub(super) fn usage(&self) -> PoolUsage {
        self.lock().usage()
    }

    fn new(config: &sys::aws_s3_buffer_pool_config) -> Result<Arc<Self>, u32> {
        let (limit, part_bytes) = (config.memory_limit as u64, config.part_size as u64);
        if part_bytes > limit {
            return Err(sys::AWS_ERROR_S3_INVALID_MEMORY_LIMIT_CONFIG);
        }
        Ok(Arc::new(Self {
            ledger: Mutex::new(Ledger::new(limit, part_bytes)),
        }))
    }

    fn reserve(self: &Arc<Self>, size: usize, forced: bool, reservation: Reservation) {
        let settled = self.lock().reserve(size as u64, forced, reservation);
        self.answer(settled);
    }

    fn claim(&self, grant: &Grant) -> Option<Block> {
        self.lock().claim(grant)
    }

    fn give_back(self: &Arc<Self>, grant: &Grant, block: Option<Block>) {
        let settled = self.lock().give_back(grant, block);
        self.answer(settled);
    }

    fn trim(self: &Arc<Self>) {
        let settled = self.lock().trim();
        self.answer(settled);
    }

    /// Resolves futures, for which the ledger must not be locked: C may drop a ticket at once.
    fn answer(self: &Arc<Self>, settled: Settled<Block, Reservation>) {
        for (reservation, answer) in settled.answers {
            match answer {
                Ok(grant) => reservation.resolve(Ticket::new(self, grant, reservation.size)),
                Err(refusal) => reservation.fail(error_code(refusal)),
            }
        }
        drop(settled.evicted);
    }

    fn lock(&self) -> MutexGuard<'_, Ledger<Block, Reservation>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Wraps `aws_future_s3_buffer_ticket_set_result_by_move`.
    fn resolve(&self, ticket: *mut Ticket) {
        let mut ticket: *mut sys::aws_s3_buffer_ticket = ticket.cast();
        // SAFETY: a live future, which takes the reference over, or gives it up if it is done
        // (aws/io/future.h).
        unsafe {
            sys::aws_future_s3_buffer_ticket_set_result_by_move(
                self.future.as_ptr(),
                &raw mut ticket,
            );
        }
    }

    /// Wraps `aws_future_s3_buffer_ticket_set_error`, which C ignores if the future is done.
    fn fail(&self, code: u32) {
        fail(self.future.as_ptr(), code);
    }
}

impl Waiter for Reservation {
    /// Wraps `aws_future_s3_buffer_ticket_is_done`: only C resolves a future that still waits here,
    /// and only by canceling it.
    fn is_gone(&self) -> bool {
        // SAFETY: a live future; takes the future's own lock only (future.c).
        unsafe { sys::aws_future_s3_buffer_ticket_is_done(self.future.as_ptr()) }
    }
}

impl PoolObject {
    /// A pool for C, which owns the one reference to it.
    fn new(pool: Arc<Pool>, allocator: NonNull<sys::aws_allocator>) -> *mut Self {
        let object = Box::into_raw(Box::new(Self {
            base: UnsafeCell::new(sys::aws_s3_buffer_pool {
                vtable: (&raw const POOL_VTABLE).cast_mut(),
                ref_count: no_references(),
                impl_: ptr::null_mut(),
            }),
            pool,
            allocator,
        }));
        let base = object.cast::<sys::aws_s3_buffer_pool>();
        // SAFETY: the box just made, which begins with it.
        let count = unsafe { &raw mut (*base).ref_count };
        // SAFETY: the count lives as long as the object (aws/common/ref_count.h).
        unsafe { sys::aws_ref_count_init(count, object.cast(), Some(on_pool_end)) };
        object
    }
}

impl Ticket {
    /// A ticket for C, which gets the one reference to it.
    fn new(pool: &Arc<Pool>, grant: Grant, size: usize) -> *mut Self {
        let ticket = Box::into_raw(Box::new(Self {
            base: UnsafeCell::new(sys::aws_s3_buffer_ticket {
                vtable: (&raw const TICKET_VTABLE).cast_mut(),
                ref_count: no_references(),
                impl_: ptr::null_mut(),
            }),
            pool: Arc::clone(pool),
            grant,
            size,
            block: OnceLock::new(),
        }));
        let base = ticket.cast::<sys::aws_s3_buffer_ticket>();
        // SAFETY: the box just made, which begins with it.
        let count = unsafe { &raw mut (*base).ref_count };
        // SAFETY: the count lives as long as the object (aws/common/ref_count.h).
        unsafe { sys::aws_ref_count_init(count, ticket.cast(), Some(on_ticket_end)) };
        ticket
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let block = self.block.take().flatten();
        self.pool.give_back(&self.grant, block);
    }
}

/// Makes a pool for a client that is being made.
unsafe extern "C" fn on_new(
    allocator: *mut sys::aws_allocator,
    config: sys::aws_s3_buffer_pool_config,
    user_data: *mut c_void,
) -> *mut sys::aws_s3_buffer_pool {
    let made = guard(|| {
        let pool = Pool::new(&config)?;
        let allocator = NonNull::new(allocator).ok_or(sys::AWS_ERROR_INVALID_ARGUMENT)?;
        // SAFETY: `Pool::register` entered it, and nobody else uses it until the client is made.
        let made = unsafe { &mut *user_data.cast::<Option<Arc<Pool>>>() };
        *made = Some(Arc::clone(&pool));
        Ok(PoolObject::new(pool, allocator))
    });
    match made.unwrap_or(Err(sys::AWS_ERROR_UNKNOWN)) {
        Ok(object) => object.cast(),
        Err(code) => {
            // SAFETY: no preconditions; writes a thread-local (aws/common/error.h).
            unsafe { sys::aws_raise_error_private(to_c(code)) };
            ptr::null_mut()
        }
    }
}

unsafe extern "C" fn on_reserve(
    pool: *mut sys::aws_s3_buffer_pool,
    meta: sys::aws_s3_buffer_pool_reserve_meta,
) -> *mut sys::aws_future_s3_buffer_ticket {
    // SAFETY: C holds a reference to the pool during the call.
    let object = unsafe { pool_object(pool) };
    // SAFETY: the allocator outlives the client (aws/io/future.h); C ends the process when it has
    // no memory for a future.
    let future = unsafe { sys::aws_future_s3_buffer_ticket_new(object.allocator.as_ptr()) };
    let entered = guard(|| {
        let Some(future) = NonNull::new(future) else {
            return;
        };
        let reservation = Reservation {
            // SAFETY: live, by the reference that this function returns.
            future: unsafe { Handle::retain(future) },
            size: meta.size,
        };
        object.pool.reserve(meta.size, meta.can_block, reservation);
    });
    if let Err(text) = entered {
        guard_or_log("a log line", || {
            log::error!("panic in a reservation: {text}")
        });
        fail(future, sys::AWS_ERROR_S3_BUFFER_ALLOCATION_FAILED);
    }
    future
}

unsafe extern "C" fn on_trim(pool: *mut sys::aws_s3_buffer_pool) {
    // SAFETY: C holds a reference to the pool during the call.
    let object = unsafe { pool_object(pool) };
    guard_or_log("the trim of a pool", || object.pool.trim());
}

unsafe extern "C" fn on_derive_aligned_size(pool: *mut sys::aws_s3_buffer_pool, size: u64) -> u64 {
    // SAFETY: C holds a reference to the pool during the call.
    let object = unsafe { pool_object(pool) };
    guard(|| object.pool.lock().bytes(size)).unwrap_or(size)
}

unsafe extern "C" fn on_pool_end(object: *mut c_void) {
    guard_or_log("the end of a pool", || {
        // SAFETY: the box of `PoolObject::new`, to which the last reference has ended.
        drop(unsafe { Box::from_raw(object.cast::<PoolObject>()) });
    });
}

unsafe extern "C" fn on_claim(ticket: *mut sys::aws_s3_buffer_ticket) -> sys::aws_byte_buf {
    // SAFETY: all tickets of a pool of this module are `Ticket`s, and C holds a reference to this
    // one during the call.
    let ticket = unsafe { &*ticket.cast::<Ticket>() };
    let claimed = guard(|| {
        let block = ticket
            .block
            .get_or_init(|| ticket.pool.claim(&ticket.grant));
        block.as_ref().map(Block::as_ptr)
    });
    match claimed {
        Ok(Some(buffer)) => sys::aws_byte_buf {
            len: 0,
            buffer,
            capacity: ticket.size,
            allocator: ptr::null_mut(),
        },
        // A request that gets a buffer without room fails (`aws_byte_buf_append`).
        _ => sys::aws_byte_buf {
            len: 0,
            buffer: ptr::null_mut(),
            capacity: 0,
            allocator: ptr::null_mut(),
        },
    }
}

unsafe extern "C" fn on_ticket_end(ticket: *mut c_void) {
    guard_or_log("the end of a ticket", || {
        // SAFETY: the box of `Ticket::new`, to which the last reference has ended.
        drop(unsafe { Box::from_raw(ticket.cast::<Ticket>()) });
    });
}

/// # Safety
/// `pool` was made by [`on_new`] and is live for `'a`.
unsafe fn pool_object<'a>(pool: *mut sys::aws_s3_buffer_pool) -> &'a PoolObject {
    // SAFETY: this function's contract; all callbacks get shared references only.
    unsafe { &*pool.cast::<PoolObject>() }
}

/// Wraps `aws_future_s3_buffer_ticket_set_error`, for a live future.
fn fail(future: *mut sys::aws_future_s3_buffer_ticket, code: u32) {
    // SAFETY: a live future; C ignores this if it is done (aws/io/future.h).
    unsafe { sys::aws_future_s3_buffer_ticket_set_error(future, to_c(code)) };
}

fn error_code(refusal: Refusal) -> u32 {
    match refusal {
        Refusal::Empty => sys::AWS_ERROR_INVALID_ARGUMENT,
        Refusal::TooLarge => sys::AWS_ERROR_S3_PART_SIZE_EXCEEDS_MEMORY_LIMIT,
        Refusal::NoMemory => sys::AWS_ERROR_OOM,
        Refusal::Gone => sys::AWS_ERROR_S3_CANCELED,
    }
}

fn to_c(code: u32) -> c_int {
    c_int::try_from(code).unwrap_or(sys::AWS_ERROR_UNKNOWN as c_int)
}

/// What `aws_ref_count_init` overwrites.
fn no_references() -> sys::aws_ref_count {
    sys::aws_ref_count {
        ref_count: sys::aws_atomic_var {
            value: ptr::null_mut(),
        },
        object: ptr::null_mut(),
        on_zero_fn: None,
    }
}

/// Sizes are no more special to this pool than to each other, so it has nothing to optimise for
/// one: C allows for that (s3_buffer_pool.c).
static POOL_VTABLE: sys::aws_s3_buffer_pool_vtable = sys::aws_s3_buffer_pool_vtable {
    reserve: Some(on_reserve),
    trim: Some(on_trim),
    add_special_size: None,
    release_special_size: None,
    derive_aligned_buffer_size: Some(on_derive_aligned_size),
    acquire: None,
    release: None,
};

static TICKET_VTABLE: sys::aws_s3_buffer_ticket_vtable = sys::aws_s3_buffer_ticket_vtable {
    claim: Some(on_claim),
    acquire: None,
    release: None,
};

ref_counted!(
    aws_future_s3_buffer_ticket,
    aws_future_s3_buffer_ticket_acquire,
    aws_future_s3_buffer_ticket_release
);

// SAFETY: every function takes the future's lock, and calls back outside of it (future.c).
unsafe impl ThreadSafe for sys::aws_future_s3_buffer_ticket {}

const _: () = {
    static_assertions::assert_impl_all!(Pool: Send, Sync);
};
