//! Where the figures of a mount go: to Prometheus, to an OTLP receiver, to the log.
//!
//! Each has a thread of its own, which takes a [`Snapshot`] when it is time, or when somebody asks.
//! None of them ever makes the mount wait.
//!
//! | file | what it does |
//! |---|---|
//! | `listener` | answers HTTP requests for `/metrics` |
//! | `prometheus` | the text of such an answer |
//! | `accept` | in which format it is asked for |
//! | `otlp` | sends figures to a receiver of OpenTelemetry |
//! | `log` | writes what has changed to the log |
//! | `process` | what the system says of the process |
//! | `ticker` | does something again and again |

mod accept;
mod listener;
mod log;
mod otlp;
mod process;
mod prometheus;
mod ticker;

use std::fmt;
use std::sync::Arc;

pub use listener::{ListenAddress, Listener};
pub use log::MetricsLog;
pub use otlp::{OtlpConfig, OtlpExporter, Temporality};
pub use process::report as report_process;

use crate::metrics::{Label, Snapshot};

/// Where figures come from, and of which mount they are. Clones are the same source.
#[derive(Clone)]
pub struct Source {
    /// What tells the mount from others.
    pub labels: Arc<[Label]>,
    take: Arc<dyn Fn() -> Snapshot + Send + Sync>,
}

impl Source {
    /// A source that takes figures by `take`, from any thread.
    pub fn new(
        labels: impl IntoIterator<Item = Label>,
        take: impl Fn() -> Snapshot + Send + Sync + 'static,
    ) -> Self {
        Self {
            labels: labels.into_iter().collect(),
            take: Arc::new(take),
        }
    }

    /// All figures now.
    pub fn snapshot(&self) -> Snapshot {
        (self.take)()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}
