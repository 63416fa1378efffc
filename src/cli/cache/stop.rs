//! Signals that end a long command early, and who follows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::channel::oneshot;
use futures::future::{Either, select};
use futures::pin_mut;

use crate::cache::Watch;
use crate::cli::exit::Failure;
use crate::cli::progress::Bytes;
use crate::cli::signals::{Forwarding, HeldSignals, Signal};

/// Listens to the signals that ask for an end, until it is dropped.
#[derive(Debug)]
pub(super) struct Stop {
    is_asked: Arc<AtomicBool>,
    asked: oneshot::Receiver<()>,
    _forwarding: Forwarding,
}

impl Stop {
    /// Begins to listen: from now on these signals end the process no more.
    pub(super) fn listen() -> Result<Self, Failure> {
        let failure = |error| Failure::new("Failed to listen to signals").caused_by(&error);
        let is_asked = Arc::new(AtomicBool::new(false));
        let (sender, asked) = oneshot::channel();
        let mut sender = Some(sender);
        let told = Arc::clone(&is_asked);
        let forwarding = HeldSignals::hold()
            .map_err(failure)?
            .forward(move |signal| {
                if let Signal::End(_) = signal {
                    told.store(true, Ordering::Relaxed);
                    // Somebody may listen to the future.
                    drop(sender.take());
                }
            })
            .map_err(failure)?;
        Ok(Self {
            is_asked,
            asked,
            _forwarding: forwarding,
        })
    }

    /// Whether somebody has asked for the end.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// What `work` gives; `None` when the end is asked for first, which cancels it.
    pub(super) async fn or_stop<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        pin_mut!(work);
        match select(work, &mut self.asked).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }
}

/// Shows how far work is, and ends it when a signal asks for that.
#[derive(Debug)]
pub(super) struct Followed<'a> {
    bytes: Bytes,
    stop: &'a Stop,
}

impl<'a> Followed<'a> {
    /// Counts in `bytes`.
    pub(super) fn new(bytes: Bytes, stop: &'a Stop) -> Self {
        Self { bytes, stop }
    }
}

impl Watch for Followed<'_> {
    fn advanced(&self, bytes: u64) {
        self.bytes.add(bytes);
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_asked()
    }
}
