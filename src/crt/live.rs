//! What is alive of a runtime: counts of C objects and wrappers, and the requests under way.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crt_sys as sys;

use super::allocator::Allocator;
use super::handle::Handle;

/// What a [`Keep`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The state of a request, until the request's shutdown callback.
    Request,
    /// A buffer that a body part lends.
    Buffer,
    /// A client, until its shutdown callback.
    Client,
    /// A credentials provider or a client of a metadata service, until its shutdown callback.
    Credentials,
    /// The client bootstrap, until its shutdown callback.
    Bootstrap,
    /// The host resolver, until its shutdown callback.
    Resolver,
    /// The event loop group, until its shutdown callback.
    EventLoops,
    /// A wrapper in the program's hands.
    Wrapper,
}

/// What all objects of one runtime share.
#[derive(Debug)]
pub(super) struct Shared {
    allocator: Allocator,
    counts: Mutex<[usize; KINDS]>,
    changed: Condvar,
    requests: Mutex<Requests>,
}

/// Counts one object as alive until it is dropped. C holds it as the user data of a shutdown
/// callback, wrappers hold it as a field.
#[derive(Debug)]
pub(super) struct Keep {
    shared: Arc<Shared>,
    kind: Kind,
}

/// The requests that have not finished. The references make [`Shared::cancel_requests`] possible;
/// each is given up before its request's finish callback ends.
#[derive(Debug, Default)]
struct Requests {
    closed: bool,
    last_id: u64,
    running: HashMap<u64, Handle<sys::aws_s3_meta_request>>,
}

impl Shared {
    pub(super) fn new(allocator: Allocator) -> Arc<Self> {
        Arc::new(Self {
            allocator,
            counts: Mutex::new([0; KINDS]),
            changed: Condvar::new(),
            requests: Mutex::default(),
        })
    }

    /// The allocator, for a C call. Valid while a [`Keep`] or the runtime exists.
    pub(super) fn allocator(&self) -> *mut sys::aws_allocator {
        self.allocator.as_ptr()
    }

    /// Counts an object of `kind` as alive.
    pub(super) fn keep(self: &Arc<Self>, kind: Kind) -> Keep {
        self.lock_counts()[kind as usize] += 1;
        Keep {
            shared: Arc::clone(self),
            kind,
        }
    }

    /// Waits until nothing of `kind` is alive. Returns false at the deadline.
    pub(super) fn wait_gone(&self, kind: Kind, deadline: Instant) -> bool {
        let mut counts = self.lock_counts();
        while counts[kind as usize] > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            (counts, _) = self
                .changed
                .wait_timeout(counts, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// A number for a request that is about to start; `None` once the runtime is closed, unless the
    /// request `tidies_up`.
    pub(super) fn next_request(&self, tidies_up: bool) -> Option<u64> {
        let mut requests = self.lock_requests();
        requests.last_id += 1;
        (tidies_up || !requests.closed).then_some(requests.last_id)
    }

    /// Enters a started request unless `finished` is true already: its finish callback may have run
    /// before this call. Returns false if the runtime was closed meanwhile.
    pub(super) fn request_started(
        &self,
        id: u64,
        request: &Handle<sys::aws_s3_meta_request>,
        finished: impl FnOnce() -> bool,
    ) -> bool {
        let mut requests = self.lock_requests();
        // Under the lock: a finish that comes after this look finds the entry and removes it.
        if !finished() {
            requests.running.insert(id, request.clone());
        }
        !requests.closed
    }

    /// Removes a request that has finished; its flag is set already.
    pub(super) fn request_finished(&self, id: u64) {
        let request = self.lock_requests().running.remove(&id);
        // Outside the lock: this may be the last reference, whose release runs callbacks.
        drop(request);
    }

    /// Refuses new requests and cancels those under way.
    pub(super) fn cancel_requests(&self) {
        let running: Vec<_> = {
            let mut requests = self.lock_requests();
            requests.closed = true;
            requests.running.values().cloned().collect()
        };
        for request in running {
            // SAFETY: live by the handle; may be called on any thread at any time, more than once
            // (s3_meta_request.c: takes the request's lock).
            unsafe { sys::aws_s3_meta_request_cancel(request.as_ptr()) };
        }
    }

    fn lock_counts(&self) -> MutexGuard<'_, [usize; KINDS]> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keep {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Clone for Keep {
    fn clone(&self) -> Self {
        self.shared.keep(self.kind)
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        self.shared.lock_counts()[self.kind as usize] -= 1;
        self.shared.changed.notify_all();
    }
}

const KINDS: usize = Kind::Wrapper as usize + 1;
