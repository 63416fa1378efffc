//! Something that is done again and again.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A thread that does something in regular intervals, and once more when this is dropped, which
/// waits for that.
#[derive(Debug)]
pub(super) struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tick {
    /// It is time.
    Regular,
    /// There will be no other time.
    Last,
}

impl Ticker {
    /// Does `work` each `interval` on a thread called `name`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(
        name: &str,
        interval: Duration,
        mut work: impl FnMut(Tick) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let mut next = Instant::now() + interval;
                loop {
                    let now = Instant::now();
                    match stopped.recv_timeout(next.saturating_duration_since(now)) {
                        Err(RecvTimeoutError::Timeout) => work(Tick::Regular),
                        Ok(()) | Err(RecvTimeoutError::Disconnected) => return work(Tick::Last),
                    }
                    // What has taken longer than an interval is not made up for.
                    next = (next + interval).max(Instant::now());
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(Err(_panic)) = self.thread.take().map(JoinHandle::join) {
            log::error!("a thread that reports metrics has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::LONG;

    #[test]
    fn work_is_done_regularly_and_at_the_end() {
        let (send, ticks) = mpsc::channel();
        let ticker = Ticker::start("test", Duration::from_millis(1), move |tick| {
            // Whoever listens has gone at the end of the test.
            _ = send.send(tick);
        });
        for _ in 0..3 {
            let tick = ticks.recv_timeout(LONG);
            assert_eq!(tick, Ok(Tick::Regular));
        }
        drop(ticker.expect("a thread"));
        assert_eq!(ticks.into_iter().last(), Some(Tick::Last));
    }
}
