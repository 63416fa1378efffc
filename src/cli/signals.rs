//! Signals: those that end the mount, and the one that changes what is logged.

use std::fmt;
use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::{Handle, Signals};

/// The signals that a mount listens to, held back from the moment this exists.
///
/// A signal that arrives before [`Self::forward`] waits for it, so that none can end the process
/// between mounting and being able to unmount.
pub(super) struct HeldSignals(Signals);

/// Forwards signals until it is dropped.
#[derive(Debug)]
pub(super) struct Forwarding(Handle);

impl HeldSignals {
    /// Holds back SIGINT, SIGTERM, SIGHUP and SIGUSR2.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn hold() -> io::Result<Self> {
        Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR2]).map(Self)
    }

    /// Calls `act` for each signal, from a thread of its own.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn forward(
        self,
        mut act: impl FnMut(Signal) + Send + 'static,
    ) -> io::Result<Forwarding> {
        let mut signals = self.0;
        let forwarding = Forwarding(signals.handle());
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || signals.forever().for_each(|number| act(Signal::of(number))))?;
        Ok(forwarding)
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// To end the mount.
    End(EndSignal),
    /// To log more, or as at first again.
    NextLogLevel,
}

impl Signal {
    fn of(number: i32) -> Self {
        match number {
            SIGUSR2 => Self::NextLogLevel,
            other => Self::End(EndSignal(other)),
        }
    }
}

/// One signal that ends the mount.
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
