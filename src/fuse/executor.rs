//! Where operations run.

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::available_parallelism;

use futures::executor::{ThreadPool, ThreadPoolBuilder};
use futures::task::{ArcWake, waker_ref};
use log::error;

use crate::metrics::{FuseMetrics, Operation, Timer};
use crate::turn;

/// Runs operations: on the caller's thread as far as they get without waiting; then on the thread
/// that brings what they wait for, when that is in a turn ([`crate::turn`]), or else on a pool.
#[derive(Debug)]
pub(super) struct Executor {
    pool: ThreadPool,
    metrics: Arc<FuseMetrics>,
}

impl Executor {
    /// Starts the pool. What is run is measured in `metrics`.
    pub(super) fn new(metrics: Arc<FuseMetrics>) -> io::Result<Self> {
        let threads = available_parallelism().map_or(MIN_THREADS, |cores| {
            cores.get().clamp(MIN_THREADS, MAX_THREADS)
        });
        let pool = ThreadPoolBuilder::new()
            .pool_size(threads)
            .name_prefix("fs-")
            .create()?;
        Ok(Self { pool, metrics })
    }

    /// Runs an operation to its end. A panic ends that operation alone: what it owns is dropped,
    /// among it its reply, which answers the request with `EIO`.
    pub(super) fn run(
        &self,
        operation: Operation,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        self.go_on(self.metrics.start(operation), work);
    }

    /// Runs the rest of an operation that is being measured, as [`Self::run`] does.
    pub(super) fn go_on(&self, timer: Timer, work: impl Future<Output = ()> + Send + 'static) {
        let name = timer.operation().name();
        let work = async move {
            work.await;
            drop(timer);
        };
        let task = Task {
            name,
            work: Mutex::new(Some(Box::pin(work))),
            state: AtomicU8::new(WOKEN),
            pool: self.pool.clone(),
        };
        Arc::new(task).poll();
    }

    /// Runs an operation that never waits. It is measured until it drops what it is given.
    pub(super) fn run_now(&self, operation: Operation, work: impl FnOnce(Timer)) {
        let timer = self.metrics.start(operation);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(timer))) {
            log_panic(operation.name(), panic.as_ref());
        }
    }
}

/// An operation that may have to wait.
struct Task {
    name: &'static str,
    /// Locked by the one thread that polls.
    work: Mutex<Option<Work>>,
    state: AtomicU8,
    pool: ThreadPool,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Waits to be woken.
const IDLE: u8 = 0;
/// Was woken; somebody polls it next, or polls it now and will do so again.
const WOKEN: u8 = 1;
/// Is being polled, and was not woken since that began.
const POLLED: u8 = 2;

impl Task {
    /// Polls until the operation waits, or is done. Called by the one who made the task `WOKEN`
    /// from `IDLE`.
    fn poll(self: &Arc<Self>) {
        let waker = waker_ref(self);
        let mut context = Context::from_waker(&waker);
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(running) = work.as_mut() {
            self.state.store(POLLED, Ordering::Release);
            match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut context))) {
                Ok(Poll::Pending) => {
                    let idle = self.state.compare_exchange(
                        POLLED,
                        IDLE,
                        Ordering::AcqRel,
                        Ordering::Acquire,
                    );
                    if idle.is_ok() {
                        return;
                    }
                }
                Ok(Poll::Ready(())) => *work = None,
                Err(panic) => {
                    *work = None;
                    log_panic(self.name, panic.as_ref());
                }
            }
        }
    }
}

impl ArcWake for Task {
    fn wake_by_ref(task: &Arc<Self>) {
        if task.state.swap(WOKEN, Ordering::AcqRel) != IDLE {
            return;
        }
        let woken = Arc::clone(task);
        if let Err(poll) = turn::put_off(move || woken.poll()) {
            task.pool.spawn_ok(async move { poll() });
        }
    }
}

fn log_panic(operation: &str, panic: &(dyn Any + Send)) {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    error!("{operation} panicked, its caller gets EIO: {text}");
}

/// Threads of the pool. They only move bytes that have arrived, so one a core is enough; two at
/// least, so that one long copy does not hold up everybody; more than the most are never busy.
const MIN_THREADS: usize = 2;
const MAX_THREADS: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use futures::channel::oneshot;

    use super::*;
    use crate::wait::LONG;

    #[test]
    fn run_of_a_ready_operation_stays_on_the_thread() {
        let (send, receive) = mpsc::channel();
        let executor = Executor::new(Arc::default()).expect("threads");
        executor.run(Operation::Read, async move {
            send.send(thread::current().id()).expect("a listener");
        });
        assert_eq!(receive.try_recv(), Ok(thread::current().id()));
    }

    #[test]
    fn run_of_a_waiting_operation_goes_on_elsewhere() {
        let (send, receive) = mpsc::channel();
        let (wake, gate) = oneshot::channel::<()>();
        let executor = Executor::new(Arc::default()).expect("threads");
        executor.run(Operation::Read, async move {
            gate.await.expect("a sender");
            send.send(thread::current().id()).expect("a listener");
        });
        assert_eq!(receive.try_recv(), Err(mpsc::TryRecvError::Empty));
        wake.send(()).expect("a waiting operation");
        let thread = receive.recv_timeout(LONG).expect("an end");
        assert_ne!(thread, thread::current().id());
    }

    #[test]
    fn panic_ends_one_operation_and_no_thread() {
        let executor = Executor::new(Arc::default()).expect("threads");
        executor.run(Operation::Read, async { panic!("planted") });
        executor.run_now(Operation::Forget, |_timer| panic!("planted"));
        for _ in 0..2 * MAX_THREADS {
            let (wake, gate) = oneshot::channel::<()>();
            let (held, dropped) = mpsc::channel::<()>();
            executor.run(Operation::Read, async move {
                let _held = held;
                gate.await.expect("a sender");
                panic!("planted");
            });
            wake.send(()).expect("a waiting operation");
            // What the operation owns is dropped: that is what answers its request.
            assert_eq!(
                dropped.recv_timeout(LONG),
                Err(mpsc::RecvTimeoutError::Disconnected)
            );
        }
        run_of_a_waiting_operation_goes_on_elsewhere();
    }
}
