//! The file system for as long as it is served.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::channel::oneshot::{self, Receiver, Sender};
use futures::future::{Either, FutureExt, Shared, select};
use log::log;

use crate::fs::{Error, Fs};
use crate::metrics::{Metrics, Operation};

/// Lends a file system to operations until it is closed.
///
/// A detached mount asks for as long as anybody keeps a file of it open. Closing lets go of the
/// file system, its open files and its requests before that.
#[derive(Debug)]
pub(super) struct Served {
    /// What counts, also after [`Self::close`].
    pub(super) metrics: Metrics,
    fs: RwLock<Option<Arc<Fs>>>,
    /// Dropped by [`Self::close`], which is what `closed` sees.
    open: Mutex<Option<Sender<()>>>,
    closed: Shared<Receiver<()>>,
}

impl Served {
    pub(super) fn new(fs: Fs) -> Self {
        let (open, closed) = oneshot::channel();
        Self {
            metrics: fs.metrics().clone(),
            fs: RwLock::new(Some(Arc::new(fs))),
            open: Mutex::new(Some(open)),
            closed: closed.shared(),
        }
    }

    /// Ends the operations that wait, and refuses those to come. The file system is dropped when
    /// the last of them has let go of it, which takes no request.
    pub(super) fn close(&self) {
        let fs = self
            .fs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let open = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop((fs, open));
    }

    /// Runs an operation that may wait.
    ///
    /// # Errors
    /// Those of the operation; [`Error::Unmounted`], whatever its own, after [`Self::close`].
    pub(super) async fn run<T>(
        &self,
        operation: impl AsyncFnOnce(Arc<Fs>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // The operation is polled first: one that need not wait never looks at `closed`.
        match select(pin!(operation(self.fs()?)), self.closed.clone()).await {
            Either::Left((Ok(value), _)) => Ok(value),
            // What closing cuts short fails in many ways, and before this sees `closed`.
            Either::Left((Err(error), _)) => self.fs().and(Err(error)),
            Either::Right(_) => Err(Error::Unmounted),
        }
    }

    /// Counts and logs the failure of an operation, once, and gives what the kernel gets.
    pub(super) fn fail(
        &self,
        operation: Operation,
        subject: fmt::Arguments<'_>,
        error: &Error,
    ) -> fuser::Errno {
        let (name, errno) = (operation.name(), error.errno());
        log!(error.level(), "{name} of {subject}: {errno}: {error}");
        self.metrics.fuse.note_error(operation, errno.code());
        fuser::Errno::from_i32(errno.code())
    }

    /// The file system, for an operation that does not wait.
    ///
    /// # Errors
    /// [`Error::Unmounted`] after [`Self::close`].
    pub(super) fn fs(&self) -> Result<Arc<Fs>, Error> {
        self.fs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or(Error::Unmounted)
    }
}
