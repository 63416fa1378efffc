//! Waiting for somebody, with a limit.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::select;

/// Those who wait for one event.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Vec<oneshot::Sender<()>>>);

impl Waiting {
    /// Waits, from now on, until [`Self::end`] is called, but no longer than `limit`.
    pub(super) fn wait(&self, limit: Duration) -> impl Future<Output = ()> + Send + use<> {
        let (sender, ended) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|other| !other.is_canceled());
        waiting.push(sender);
        async move {
            // Either ends when the other side is dropped.
            select(ended, pause(limit)).await;
        }
    }

    /// Ends the waiting of all.
    pub(super) fn end(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Ends after `time`; at once if there is no thread to be had.
fn pause(time: Duration) -> oneshot::Receiver<()> {
    let (sender, end) = oneshot::channel();
    let sleep = move || {
        thread::sleep(time);
        drop(sender);
    };
    let _thread = thread::Builder::new().name("fs-pause".into()).spawn(sleep);
    end
}
