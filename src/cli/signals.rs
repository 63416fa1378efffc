//! Signals that end the mount.

use std::fmt;
use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// The signals that end the mount, held back from the moment this exists.
///
/// A signal that arrives before [`Self::forward`] waits for it, so that none can end the process
/// between mounting and being able to unmount.
pub(super) struct EndSignals(Signals);

/// Forwards signals until it is dropped.
#[derive(Debug)]
pub(super) struct Forwarding(Handle);

impl EndSignals {
    /// Holds back SIGINT, SIGTERM and SIGHUP.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn hold() -> io::Result<Self> {
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map(Self)
    }

    /// Calls `end` for each signal, from a thread of its own.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn forward(
        self,
        mut end: impl FnMut(EndSignal) + Send + 'static,
    ) -> io::Result<Forwarding> {
        let mut signals = self.0;
        let forwarding = Forwarding(signals.handle());
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || signals.forever().for_each(|number| end(EndSignal(number))))?;
        Ok(forwarding)
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// One signal that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EndSignal(i32);

impl fmt::Display for EndSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            SIGHUP => "SIGHUP",
            SIGINT => "SIGINT",
            _ => "SIGTERM",
        })
    }
}
