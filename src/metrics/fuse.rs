//! What is counted of requests of the kernel.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nix::errno::Errno;

use super::histogram::Histogram;
use super::names;
use super::snapshot::{Label, Snapshot};

macro_rules! operations {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// A request of the kernel.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "they are named as in FUSE")]
        pub enum Operation {
            $($variant,)*
        }

        impl Operation {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As FUSE names it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

operations! {
    Lookup = "lookup", Forget = "forget", Getattr = "getattr", Setattr = "setattr",
    Readlink = "readlink", Symlink = "symlink", Mknod = "mknod", Mkdir = "mkdir",
    Unlink = "unlink", Rmdir = "rmdir", Rename = "rename", Create = "create", Open = "open",
    Read = "read", Write = "write", Flush = "flush", Fsync = "fsync", Release = "release",
    Opendir = "opendir", Readdir = "readdir", Readdirplus = "readdirplus",
    Releasedir = "releasedir", Statfs = "statfs", Getxattr = "getxattr", Listxattr = "listxattr",
    Link = "link", Fsyncdir = "fsyncdir", Setxattr = "setxattr", Removexattr = "removexattr",
    Access = "access", Getlk = "getlk", Setlk = "setlk", Bmap = "bmap", Ioctl = "ioctl",
    Poll = "poll", Fallocate = "fallocate", Lseek = "lseek", CopyFileRange = "copy_file_range",
}

/// Counts requests of the kernel. Every method may be called from any thread.
#[derive(Debug)]
pub struct FuseMetrics {
    latencies: Box<[Histogram]>,
    read_sizes: Histogram,
    write_sizes: Histogram,
    /// How often an operation failed with an errno.
    errors: Mutex<BTreeMap<(&'static str, i32), u64>>,
}

/// Measures one request until it is dropped.
#[derive(Debug)]
pub struct Timer {
    metrics: Arc<FuseMetrics>,
    operation: Operation,
    began: Instant,
}

impl FuseMetrics {
    /// Measures a request from now on.
    pub fn start(self: &Arc<Self>, operation: Operation) -> Timer {
        Timer {
            metrics: Arc::clone(self),
            operation,
            began: Instant::now(),
        }
    }

    /// Notes that a read was answered with so many bytes.
    pub fn note_read(&self, bytes: usize) {
        self.read_sizes.observe(bytes as u64);
    }

    /// Notes that a write of so many bytes was accepted.
    pub fn note_written(&self, bytes: u32) {
        self.write_sizes.observe(bytes.into());
    }

    /// Notes that a request was answered with `errno`.
    pub fn note_error(&self, operation: Operation, errno: i32) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        *errors.entry((operation.name(), errno)).or_default() += 1;
    }

    /// Adds all that was counted to `snapshot`.
    pub fn report(&self, snapshot: &mut Snapshot) {
        for (operation, latencies) in Operation::ALL.iter().zip(&self.latencies) {
            let labels = [Label::new("fuse_request", operation.name())];
            snapshot.histogram(&names::FUSE_REQUEST_LATENCY, labels, latencies);
        }
        for (operation, sizes) in [
            (Operation::Read, &self.read_sizes),
            (Operation::Write, &self.write_sizes),
        ] {
            let labels = [Label::new("fuse_request", operation.name())];
            snapshot.histogram(&names::FUSE_IO_SIZE, labels, sizes);
        }
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        for ((operation, errno), count) in &*errors {
            let labels = [
                Label::new("fuse_request", *operation),
                Label::new("errno", format!("{:?}", Errno::from_raw(*errno))),
            ];
            snapshot.counter(&names::FUSE_REQUEST_ERRORS, labels, *count);
        }
    }
}

impl Default for FuseMetrics {
    fn default() -> Self {
        Self {
            latencies: Operation::ALL
                .iter()
                .map(|_| Histogram::default())
                .collect(),
            read_sizes: Histogram::default(),
            write_sizes: Histogram::default(),
            errors: Mutex::default(),
        }
    }
}

impl Timer {
    /// What is measured.
    pub fn operation(&self) -> Operation {
        self.operation
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // The histograms are as many as there are operations, in the same order.
        if let Some(latencies) = self.metrics.latencies.get(self.operation as usize) {
            latencies.observe_time(self.began.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Value;

    /// `ENOENT`
    const NO_ENTRY: i32 = 2;

    #[test]
    fn report_has_what_happened_and_nothing_else() {
        let metrics = Arc::<FuseMetrics>::default();
        drop(metrics.start(Operation::CopyFileRange));
        drop(metrics.start(Operation::Read));
        metrics.note_read(4096);
        metrics.note_error(Operation::Lookup, NO_ENTRY);
        metrics.note_error(Operation::Lookup, NO_ENTRY);
        let mut snapshot = Snapshot::default();
        metrics.report(&mut snapshot);
        let found: Vec<_> = snapshot.samples.iter().map(ToString::to_string).collect();
        let expected = [
            "fuse.request_latency{fuse_request=read}",
            "fuse.request_latency{fuse_request=copy_file_range}",
            "fuse.io_size{fuse_request=read}",
            "fuse.request_errors{fuse_request=lookup,errno=ENOENT}",
        ];
        assert_eq!(found, expected);
        let errors = snapshot.samples.last().map(|sample| &sample.value);
        assert_eq!(errors, Some(&Value::Number(2)));
    }
}
