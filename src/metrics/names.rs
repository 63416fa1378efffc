//! Every metric that there is.
//!
//! Those that Mountpoint for Amazon S3 exports by OTLP have its names, units and labels.

/// What a metric is.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name in OTLP, and in the log.
    pub name: &'static str,
    /// The name in Prometheus, without what its kind adds.
    pub prometheus: &'static str,
    /// How its values behave.
    pub kind: Kind,
    /// What its values count.
    pub unit: Unit,
    /// What it says, in a sentence.
    pub help: &'static str,
}

/// How the values of a metric behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They are what is now.
    Gauge,
    /// They are a distribution.
    Histogram,
}

/// What the values of a metric count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Microseconds; seconds in Prometheus.
    Microseconds,
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident, $unit:ident, $name:literal, $prometheus:literal, $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help)]
            pub static $constant: Metric = Metric {
                name: $name,
                prometheus: concat!("mount_s3_", $prometheus),
                kind: Kind::$kind,
                unit: Unit::$unit,
                help: $help,
            };
        )*

        /// All of them, in the order in which they are shown.
        pub static ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    FUSE_REQUEST_LATENCY = Histogram, Microseconds, "fuse.request_latency", "fuse_request_latency_seconds",
        "Time from taking a request of the kernel to answering it, by request.";
    FUSE_IO_SIZE = Histogram, Bytes, "fuse.io_size", "fuse_io_size_bytes",
        "Bytes that a read or a write of the kernel transferred.";
    FUSE_REQUEST_ERRORS = Counter, Count, "fuse.request_errors", "fuse_request_errors",
        "Requests of the kernel that were answered with an error, by request and errno.";
    S3_REQUEST_COUNT = Counter, Count, "s3.request_count", "s3_requests",
        "HTTP requests to S3 that have ended, retries among them, by operation.";
    S3_REQUEST_ERRORS = Counter, Count, "s3.request_errors", "s3_request_errors",
        "HTTP requests to S3 that failed, by operation and HTTP status, or what failed without one.";
    S3_REQUEST_RETRIES = Counter, Count, "s3.request_retries", "s3_request_retries",
        "HTTP requests to S3 that repeated one that failed, by operation.";
    S3_REQUEST_CANCELED = Counter, Count, "s3.request_canceled", "s3_requests_canceled",
        "HTTP requests to S3 that were given up as nobody needed them any more, by operation.";
    S3_REQUEST_TOTAL_LATENCY = Histogram, Microseconds, "s3.request_total_latency", "s3_request_latency_seconds",
        "Time from preparing an HTTP request to S3 to its end, by operation.";
    S3_REQUEST_FIRST_BYTE_LATENCY = Histogram, Microseconds, "s3.request_first_byte_latency", "s3_request_first_byte_latency_seconds",
        "Time from sending an HTTP request to S3 to the first byte of its answer, by operation.";
    S3_RECEIVED_BYTES = Counter, Bytes, "s3.received_bytes", "s3_received_bytes",
        "Bytes of bodies of answers of S3 that have arrived, by operation.";
    S3_SENT_BYTES = Counter, Bytes, "s3.sent_bytes", "s3_sent_bytes",
        "Bytes of bodies of requests that S3 answered, by operation.";
    S3_UPLOADS = Gauge, Count, "s3.uploads", "s3_uploads",
        "Multipart uploads under way.";
    LOOKUPS = Counter, Count, "tree.lookups", "lookups",
        "Names that were looked up, by what answered: what is known, a page of a listing, a GET, or a question to S3.";
    INODES = Gauge, Count, "tree.inodes", "inodes",
        "Files and directories remembered; with an index none has to be.";
    OPEN_HANDLES = Gauge, Count, "fs.open_handles", "open_handles",
        "Open files and directories, by what they are open for.";
    PREFETCH_FETCHED_BYTES = Counter, Bytes, "prefetch.fetched_bytes", "prefetch_fetched_bytes",
        "Bytes of files that were asked for before anybody opened them.";
    PREFETCH_WASTED_BYTES = Counter, Bytes, "prefetch.wasted_bytes", "prefetch_wasted_bytes",
        "Bytes of files that were fetched ahead and not read.";
    PREFETCH_HITS = Counter, Count, "prefetch.hits", "prefetch_hits",
        "Files that were there, or under way, when they were opened.";
    PREFETCH_HELD_BYTES = Gauge, Bytes, "prefetch.held_bytes", "prefetch_held_bytes",
        "Memory of files that were fetched ahead and that nobody has opened yet.";
    HEDGES = Counter, Count, "read.hedges", "hedged_requests",
        "Parts that took long and were asked for a second time.";
    HEDGES_WON = Counter, Count, "read.hedges_won", "hedged_requests_won",
        "Second requests that brought their part first.";
    HEDGED_BYTES = Counter, Bytes, "read.hedged_bytes", "hedged_bytes",
        "Bytes that second requests asked for.";
    CACHE_HITS = Counter, Bytes, "cache.hit_bytes", "cache_hit_bytes",
        "Bytes that were read from the cache on the disk.";
    CACHE_MISSES = Counter, Bytes, "cache.miss_bytes", "cache_miss_bytes",
        "Bytes that were asked of the cache on the disk, and that it lacked.";
    CACHE_FILLED = Counter, Bytes, "cache.filled_bytes", "cache_filled_bytes",
        "Bytes that were written to the cache on the disk.";
    CACHE_LEFT_OUT = Counter, Bytes, "cache.left_out_bytes", "cache_left_out_bytes",
        "Bytes that were not written to the cache, as there was no room or the disk was too slow.";
    CACHE_BAD_BLOCKS = Counter, Count, "cache.bad_blocks", "cache_bad_blocks",
        "Blocks of the cache that were not what had been written, and were fetched again.";
    CACHE_WHOLE = Counter, Count, "cache.whole_opens", "cache_whole_opens",
        "Opens of files that the cache had as a whole, which the kernel reads by itself.";
    CACHE_REMOVED = Counter, Bytes, "cache.removed_bytes", "cache_removed_bytes",
        "Bytes that were removed from the cache to make room.";
    CACHE_ERRORS = Counter, Count, "cache.errors", "cache_errors",
        "Failures of the disk that has the cache.";
    CACHE_USED = Gauge, Bytes, "cache.used", "cache_used_bytes",
        "Bytes that the cache takes of the disk, as far as this mount knows.";
    CACHE_XZ_HITS = Counter, Bytes, "cache_xz.hit_bytes", "cache_xz_hit_bytes",
        "Bytes that were read from the shared cache.";
    CACHE_XZ_MISSES = Counter, Bytes, "cache_xz.miss_bytes", "cache_xz_miss_bytes",
        "Bytes that were asked of the shared cache, and that it lacked.";
    CACHE_XZ_FILLED = Counter, Bytes, "cache_xz.filled_bytes", "cache_xz_filled_bytes",
        "Bytes that were stored in the shared cache.";
    CACHE_XZ_LEFT_OUT = Counter, Bytes, "cache_xz.left_out_bytes", "cache_xz_left_out_bytes",
        "Bytes that were not stored in the shared cache, as there was no memory or its bucket took none.";
    CACHE_XZ_BAD_BLOCKS = Counter, Count, "cache_xz.bad_blocks", "cache_xz_bad_blocks",
        "Blocks of the shared cache that were not what had been stored, and are replaced.";
    CACHE_XZ_ERRORS = Counter, Count, "cache_xz.errors", "cache_xz_errors",
        "Requests to the bucket of the shared cache that failed or took too long.";
    CACHE_XZ_UPLOADS = Gauge, Count, "cache_xz.uploads", "cache_xz_uploads",
        "Blocks that are being stored in the shared cache.";
    MEMORY_TARGET = Gauge, Bytes, "memory.target", "memory_target_bytes",
        "Memory that the process aims to use at most.";
    MEMORY_BUDGET = Gauge, Bytes, "memory.budget", "memory_budget_bytes",
        "Memory that the buffers of open files may use.";
    MEMORY_USED = Gauge, Bytes, "memory.budget_used", "memory_budget_used_bytes",
        "Memory that the buffers of open files use.";
    MEMORY_PERMITTED = Gauge, Bytes, "memory.permitted", "memory_permitted_bytes",
        "Memory of the reserve that reads use which hold no buffers.";
    MEMORY_WAITING = Gauge, Count, "memory.waiting", "memory_waiting_reads",
        "Reads that wait for memory.";
    PROCESS_MEMORY_USAGE = Gauge, Bytes, "process.memory_usage", "process_resident_memory_bytes",
        "Memory of the process that is resident.";
    PROCESS_CPU_TIME = Counter, Microseconds, "process.cpu_time", "process_cpu_seconds",
        "Processor time that the process has used, by mode.";
    PROCESS_UPTIME = Gauge, Microseconds, "process.uptime", "uptime_seconds",
        "Time since the mount began.";
}

/// The labels of all of them, of the mount, and of buckets of histograms.
pub const LABELS: &[&str] = &[
    "bucket",
    "prefix",
    "mount_point",
    "fuse_request",
    "errno",
    "s3_request",
    "http_status",
    "answered_by",
    "kind",
    "mode",
    "le",
];

/// The metric of this name.
pub fn find(name: &str) -> Option<&'static Metric> {
    ALL.iter().copied().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_well_formed_and_unique() {
        let mut seen = HashSet::new();
        for metric in ALL {
            for name in [metric.name, metric.prometheus] {
                assert!(seen.insert(name), "{name} twice");
                let plain =
                    |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c);
                assert!(name.chars().all(plain), "{name}");
            }
            assert!(!metric.prometheus.contains('.'));
            let base = match metric.unit {
                Unit::Count => None,
                Unit::Bytes => Some("_bytes"),
                Unit::Microseconds => Some("_seconds"),
            };
            assert!(
                base.is_none_or(|base| metric.prometheus.ends_with(base)),
                "{metric:?}"
            );
            assert!(
                !metric.prometheus.ends_with("_total"),
                "the kind adds it: {metric:?}"
            );
            assert!(metric.help.ends_with('.'));
            assert_eq!(find(metric.name), Some(*metric));
        }
    }
}
