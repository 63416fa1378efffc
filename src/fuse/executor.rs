//! Where operations run.

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Waker};
use std::thread::available_parallelism;

use futures::FutureExt;
use futures::executor::{ThreadPool, ThreadPoolBuilder};
use futures::task::FutureObj;
use log::error;

/// Runs operations: on the caller's thread as far as they get without waiting, and from there on
/// a pool of threads.
#[derive(Debug)]
pub(super) struct Executor {
    pool: ThreadPool,
}

impl Executor {
    /// Starts the pool.
    pub(super) fn new() -> io::Result<Self> {
        let threads = available_parallelism().map_or(MIN_THREADS, |cores| {
            cores.get().clamp(MIN_THREADS, MAX_THREADS)
        });
        let pool = ThreadPoolBuilder::new()
            .pool_size(threads)
            .name_prefix("fs-")
            .create()?;
        Ok(Self { pool })
    }

    /// Runs an operation to its end. A panic ends that operation alone: what it owns is dropped,
    /// among it its reply, which answers the request with `EIO`.
    pub(super) fn run(
        &self,
        name: &'static str,
        operation: impl Future<Output = ()> + Send + 'static,
    ) {
        let operation = AssertUnwindSafe(operation).catch_unwind();
        let mut task: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(operation.map(move |result| {
                if let Err(panic) = result {
                    log_panic(name, panic.as_ref());
                }
            }));
        // The pool polls again at once, with a waker that works, so no wake-up can be missed.
        if task
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            self.pool.spawn_obj_ok(FutureObj::from(task));
        }
    }

    /// Runs an operation that never waits.
    pub(super) fn run_now(&self, name: &'static str, operation: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(operation)) {
            log_panic(name, panic.as_ref());
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
    use std::time::Duration;

    use futures::channel::oneshot;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn run_of_a_ready_operation_stays_on_the_thread() {
        let (send, receive) = mpsc::channel();
        let executor = Executor::new().expect("threads");
        executor.run("ready", async move {
            send.send(thread::current().id()).expect("a listener");
        });
        assert_eq!(receive.try_recv(), Ok(thread::current().id()));
    }

    #[test]
    fn run_of_a_waiting_operation_goes_on_elsewhere() {
        let (send, receive) = mpsc::channel();
        let (wake, gate) = oneshot::channel::<()>();
        let executor = Executor::new().expect("threads");
        executor.run("waiting", async move {
            gate.await.expect("a sender");
            send.send(thread::current().id()).expect("a listener");
        });
        assert_eq!(receive.try_recv(), Err(mpsc::TryRecvError::Empty));
        wake.send(()).expect("a waiting operation");
        let thread = receive.recv_timeout(SOON).expect("an end");
        assert_ne!(thread, thread::current().id());
    }

    #[test]
    fn panic_ends_one_operation_and_no_thread() {
        let executor = Executor::new().expect("threads");
        executor.run("at once", async { panic!("planted") });
        executor.run_now("now", || panic!("planted"));
        for _ in 0..2 * MAX_THREADS {
            let (wake, gate) = oneshot::channel::<()>();
            let (held, dropped) = mpsc::channel::<()>();
            executor.run("later", async move {
                let _held = held;
                gate.await.expect("a sender");
                panic!("planted");
            });
            wake.send(()).expect("a waiting operation");
            // What the operation owns is dropped: that is what answers its request.
            assert_eq!(
                dropped.recv_timeout(SOON),
                Err(mpsc::RecvTimeoutError::Disconnected)
            );
        }
        run_of_a_waiting_operation_goes_on_elsewhere();
    }
}
