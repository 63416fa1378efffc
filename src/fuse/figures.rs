//! The figures of a mount, for whoever shows them.

use std::sync::Arc;

use super::served::Served;
use crate::metrics::{FileFigures, Snapshot};

/// Tells the figures of a mount, also after its end. Every method may be called from any thread.
#[derive(Debug, Clone)]
pub struct Figures(Arc<Served>);

impl Figures {
    pub(super) fn new(served: &Arc<Served>) -> Self {
        Self(Arc::clone(served))
    }

    /// Adds all that the mount counts to `snapshot`; after its end, only what was counted at the
    /// edges to the kernel and to S3.
    pub fn report(&self, snapshot: &mut Snapshot) {
        let metrics = &self.0.metrics;
        metrics.fuse.report(snapshot);
        metrics.s3.report(snapshot);
        if let Ok(fs) = self.0.fs() {
            fs.report(snapshot);
        }
    }

    /// The files of which most was read and written, at most `most` of them, the first first.
    pub fn top_files(&self, most: usize) -> Vec<FileFigures> {
        self.0.metrics.files.top(most)
    }
}
