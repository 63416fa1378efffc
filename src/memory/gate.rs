//! A reserve whose bytes are given out in the order in which they were asked for.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The reserve.
#[derive(Debug)]
pub(super) struct Gate {
    size: u64,
    inner: Mutex<Inner>,
}

/// Bytes of the reserve, until this is dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    bytes: u64,
}

/// Waits for a [`Permit`], first come, first served.
#[derive(Debug)]
pub struct Entry {
    gate: Arc<Gate>,
    bytes: u64,
    /// The place in the queue, once there was a need to wait.
    place: Option<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    used: u64,
    next: u64,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    place: u64,
    waker: Waker,
}

impl Gate {
    /// A reserve of `size` bytes, all of them free.
    pub(super) fn new(size: u64) -> Arc<Self> {
        Arc::new(Self {
            size,
            inner: Mutex::default(),
        })
    }

    pub(super) fn used(&self) -> u64 {
        self.lock().used
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    pub(super) fn enter(self: &Arc<Self>, bytes: u64) -> Entry {
        Entry {
            gate: Arc::clone(self),
            bytes: bytes.min(self.size),
            place: None,
        }
    }

    pub(super) fn try_enter(self: &Arc<Self>, bytes: u64) -> Option<Permit> {
        let bytes = bytes.min(self.size);
        let mut inner = self.lock();
        if !inner.waiting.is_empty() || inner.used + bytes > self.size {
            return None;
        }
        inner.used += bytes;
        Some(self.permit(bytes))
    }

    fn permit(self: &Arc<Self>, bytes: u64) -> Permit {
        Permit {
            gate: Arc::clone(self),
            bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whom to wake after something has changed: the first in the queue decides by itself.
    fn first(&self) -> Option<Waker> {
        self.waiting.front().map(|waiter| waiter.waker.clone())
    }
}

impl Future for Entry {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        let gate = Arc::clone(&self.gate);
        let mut inner = gate.lock();
        let first = match self.place {
            None => inner.waiting.is_empty(),
            Some(place) => inner
                .waiting
                .front()
                .is_some_and(|waiter| waiter.place == place),
        };
        if first && inner.used + self.bytes <= gate.size {
            inner.used += self.bytes;
            if self.place.take().is_some() {
                inner.waiting.pop_front();
            }
            let next = inner.first();
            drop(inner);
            if let Some(next) = next {
                next.wake();
            }
            return Poll::Ready(gate.permit(self.bytes));
        }
        let waker = context.waker().clone();
        match self.place {
            None => {
                let place = inner.next;
                inner.next += 1;
                inner.waiting.push_back(Waiter { place, waker });
                self.place = Some(place);
            }
            Some(place) => {
                let waiting = inner.waiting.iter_mut();
                for waiter in waiting.filter(|waiter| waiter.place == place) {
                    waiter.waker.clone_from(&waker);
                }
            }
        }
        Poll::Pending
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut inner = self.gate.lock();
        inner.waiting.retain(|waiter| waiter.place != place);
        let first = inner.first();
        drop(inner);
        if let Some(first) = first {
            first.wake();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        inner.used -= self.bytes;
        let first = inner.first();
        drop(inner);
        if let Some(first) = first {
            first.wake();
        }
    }
}
