//! Figures in the log.

use std::io;
use std::time::{Duration, Instant};

use super::Source;
use super::ticker::Ticker;
use crate::metrics::{HistogramFigures, Kind, Sample, Snapshot, Unit, Value, names, upper_bound};

/// Writes the figures that have changed to the log, each 5 seconds and at the end, until it is
/// dropped.
#[derive(Debug)]
pub struct MetricsLog(#[expect(dead_code, reason = "it works until it is dropped")] Ticker);

impl MetricsLog {
    /// The target of the records, all of level `info`.
    pub const TARGET: &str = "metrics";

    /// Begins to write the figures of `source`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(source: Source) -> io::Result<Self> {
        let (mut before, mut then) = (Snapshot::default(), Instant::now());
        let work = move |_tick| {
            let (now, time) = (source.snapshot(), Instant::now());
            for line in lines(&before, &now, time - then) {
                log::info!(target: Self::TARGET, "{line}");
            }
            (before, then) = (now, time);
        };
        Ticker::start("metrics-log", INTERVAL, work).map(Self)
    }
}

/// A line for each figure that has changed from `before` to `now`, which is `time` later.
fn lines(before: &Snapshot, now: &Snapshot, time: Duration) -> Vec<String> {
    let change = |sample: &Sample| {
        let old = before.find(sample.metric, &sample.labels);
        match (&sample.value, old.map(|old| &old.value)) {
            (new, Some(old)) if new == old => None,
            (Value::Number(0), None) => None,
            (Value::Number(new), old) => {
                let old = match old {
                    Some(Value::Number(old)) => *old,
                    _ => 0,
                };
                Some(match sample.metric.kind {
                    Kind::Gauge => new.to_string(),
                    _ => counter(*new, new.saturating_sub(old), time),
                })
            }
            (Value::Distribution(new), old) => {
                let added = match old {
                    Some(Value::Distribution(old)) => new.since(old),
                    _ => new.clone(),
                };
                Some(distribution(&added, sample.metric.unit))
            }
        }
    };
    let samples = now.samples.iter();
    samples
        // It changes all the time.
        .filter(|sample| *sample.metric != names::PROCESS_UPTIME)
        .filter_map(|sample| Some(format!("{sample}: {}", change(sample)?)))
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a rate, rounded")]
fn counter(total: u64, added: u64, time: Duration) -> String {
    let rate = added as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE);
    format!("{total} (+{added}, {rate:.1}/s)")
}

#[expect(clippy::cast_precision_loss, reason = "a mean, rounded")]
fn distribution(added: &HistogramFigures, unit: Unit) -> String {
    let count = added.count();
    let unit = match unit {
        Unit::Count => "",
        Unit::Bytes => " bytes",
        Unit::Microseconds => " us",
    };
    let quantile = |quantile| added.quantile(quantile).floor();
    let most = added
        .buckets
        .last()
        .map_or(0.0, |(bucket, _)| upper_bound(*bucket));
    format!(
        "n={count} mean={:.0} p50={} p90={} p99={} max<={}{unit}",
        added.sum as f64 / count.max(1) as f64,
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        most.floor(),
    )
}

const INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Histogram, Label};

    #[test]
    fn lines_tell_what_has_changed() {
        let read = || [Label::new("fuse_request", "read")];
        let histogram = Histogram::default();
        let snapshot = |requests, inodes| {
            let mut snapshot = Snapshot::default();
            snapshot.histogram(&names::FUSE_REQUEST_LATENCY, read(), &histogram);
            snapshot.counter(&names::S3_REQUEST_COUNT, [], requests);
            snapshot.counter(&names::HEDGES, [], 0);
            snapshot.gauge(&names::INODES, [], inodes);
            snapshot
        };
        histogram.observe(1000);
        let (none, first) = (Snapshot::default(), snapshot(5, 2));
        let time = Duration::from_secs(5);
        let expected = [
            "fuse.request_latency{fuse_request=read}: n=1 mean=1000 p50=1024 p90=1024 p99=1024 max<=1024 us",
            "s3.request_count: 5 (+5, 1.0/s)",
            "tree.inodes: 2",
        ];
        assert_eq!(lines(&none, &first, time), expected);
        assert!(lines(&first, &first, time).is_empty());
        histogram.observe(2);
        let second = snapshot(15, 1);
        let expected = [
            "fuse.request_latency{fuse_request=read}: n=1 mean=2 p50=2 p90=2 p99=2 max<=2 us",
            "s3.request_count: 15 (+10, 2.0/s)",
            "tree.inodes: 1",
        ];
        assert_eq!(lines(&first, &second, time), expected);
    }
}
