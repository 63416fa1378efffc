//! Says when something has taken too long: one thread, which sleeps while nobody waits.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::oneshot;

/// Says when a patience has ended, always the same one. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Clock {
    patience: Duration,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    list: Mutex<List>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct List {
    /// In the order of their time, as all wait equally long.
    waiting: VecDeque<(Instant, oneshot::Sender<()>)>,
    ended: bool,
}

impl Clock {
    /// Starts the thread.
    ///
    /// # Errors
    /// What [`thread::Builder::spawn`] reports.
    pub(super) fn start(patience: Duration) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        thread::Builder::new()
            .name("shared-cache".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.run()
            })?;
        Ok(Self { patience, shared })
    }

    /// How long it is.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Resolves when the patience has ended that begins now.
    ///
    /// # Cancel safety
    /// Dropping it is all that there is to do.
    pub(super) fn wait(&self) -> oneshot::Receiver<()> {
        let (ring, over) = oneshot::channel();
        let mut list = self.shared.lock();
        let idle = list.waiting.is_empty();
        list.waiting
            .push_back((Instant::now() + self.patience, ring));
        drop(list);
        if idle {
            self.shared.changed.notify_one();
        }
        over
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn run(&self) {
        let mut list = self.lock();
        while !list.ended {
            let now = Instant::now();
            let over =
                |(time, ring): &(Instant, oneshot::Sender<()>)| *time <= now || ring.is_canceled();
            while list.waiting.front().is_some_and(over)
                && let Some((_, ring)) = list.waiting.pop_front()
            {
                // Who is woken runs elsewhere. Nobody may wait any more.
                let _unheard = ring.send(());
            }
            list = match list.waiting.front() {
                None => {
                    let woken = self.changed.wait(list);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
                Some((time, _)) => {
                    let left = time.saturating_duration_since(now);
                    let woken = self.changed.wait_timeout(list, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::wait::{once_in_five, within};

    #[test]
    fn waiting_ends_after_the_patience_and_in_order() {
        let patience = Duration::from_millis(30);
        let clock = Clock::start(patience).expect("started");
        for _ in 0..3 {
            once_in_five(|_| {
                let began = Instant::now();
                let (first, second) = (clock.wait(), clock.wait());
                drop(clock.wait());
                block_on(first).expect("rings");
                assert!(began.elapsed() >= patience);
                block_on(second).expect("rings");
                within(began.elapsed(), 20 * patience)
            });
        }
    }

    #[test]
    fn nobody_is_left_waiting_by_a_clock_that_ends() {
        let clock = Clock::start(Duration::from_secs(3600)).expect("started");
        let over = clock.wait();
        let thread = Arc::downgrade(&clock.shared);
        drop(clock);
        assert!(block_on(over).is_err());
        assert!(thread.upgrade().is_none() || thread.strong_count() <= 1);
    }
}
