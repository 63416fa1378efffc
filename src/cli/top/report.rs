//! What is shown: the difference of two looks at a mount, as lines.

use std::collections::HashMap;
use std::time::Duration;

use super::Look;
use crate::cli::status::Status;
use crate::cli::text::{duration, latency, printable, rate, size};
use crate::metrics::{HistogramFigures, Label, Metric, Sample, Snapshot, Value, names};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// The head of a table.
    Heading(String),
    /// Anything else.
    Text(String),
}

impl Line {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Heading(text) | Self::Text(text) => text,
        }
    }
}

/// What has happened between two looks.
pub(super) struct Report<'a> {
    status: &'a Status,
    before: Snapshot,
    now: Snapshot,
    bytes_before: HashMap<String, (u64, u64)>,
    seconds: f64,
}

impl<'a> Report<'a> {
    /// What has happened from `before` to `now`, which may be the same.
    pub(super) fn new(before: &'a Look, now: &'a Look) -> Self {
        let files = before.status.files().into_iter();
        let seconds = (now.at - before.at).as_secs_f64();
        Self {
            status: &now.status,
            before: before.status.snapshot(),
            now: now.status.snapshot(),
            bytes_before: files
                .map(|file| (file.key.to_string(), (file.read, file.written)))
                .collect(),
            seconds: if seconds > 0.0 {
                seconds
            } else {
                f64::INFINITY
            },
        }
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        self.write_summary(&mut lines);
        self.write_table(
            &mut lines,
            "S3 REQUEST",
            &names::S3_REQUEST_TOTAL_LATENCY,
            &names::S3_REQUEST_ERRORS,
        );
        self.write_table(
            &mut lines,
            "KERNEL REQUEST",
            &names::FUSE_REQUEST_LATENCY,
            &names::FUSE_REQUEST_ERRORS,
        );
        self.write_files(&mut lines);
        lines
    }

    fn write_summary(&self, lines: &mut Vec<Line>) {
        let Status {
            version,
            pid,
            mount_point,
            ..
        } = self.status;
        let uptime = Duration::from_micros(self.gauge(&names::PROCESS_UPTIME));
        let mut line = |name: &str, text: String| {
            lines.push(Line::Text(format!("{name:<9}{text}")));
        };
        line(
            "mount",
            format!(
                "{} at {}, up {}, process {pid}, version {}",
                uri(self.status),
                printable(mount_point),
                duration(uptime),
                printable(version)
            ),
        );
        for (name, request) in [("read", "read"), ("write", "write")] {
            let labels = [Label::new("fuse_request", request)];
            let all = self.sizes(&self.now, &labels);
            let new = all.saturating_sub(self.sizes(&self.before, &labels));
            line(
                name,
                format!("{}/s, {} in all", self.size_rate(new), whole_size(all)),
            );
        }
        line(
            "S3",
            format!(
                "{}/s in, {}/s out, {}/s requests; in all {} requests, {} errors, {} retries",
                self.size_rate(self.added(&names::S3_RECEIVED_BYTES)),
                self.size_rate(self.added(&names::S3_SENT_BYTES)),
                self.rate(self.added(&names::S3_REQUEST_COUNT)),
                self.total(&names::S3_REQUEST_COUNT),
                self.total(&names::S3_REQUEST_ERRORS),
                self.total(&names::S3_REQUEST_RETRIES),
            ),
        );
        line(
            "memory",
            format!(
                "{} of {}; buffers {} of {}; {} reads wait",
                self.gauge_size(&names::PROCESS_MEMORY_USAGE),
                self.gauge_size(&names::MEMORY_TARGET),
                self.gauge_size(&names::MEMORY_USED),
                self.gauge_size(&names::MEMORY_BUDGET),
                self.gauge(&names::MEMORY_WAITING),
            ),
        );
        line("CPU", self.processor());
        line("open", self.open());
        line("lookups", self.lookups());
        line(
            "ahead",
            format!(
                "{} fetched, {} files hit, {} not read, {} held; {} parts hedged, {} won",
                whole_size(self.total(&names::PREFETCH_FETCHED_BYTES)),
                self.total(&names::PREFETCH_HITS),
                whole_size(self.total(&names::PREFETCH_WASTED_BYTES)),
                self.gauge_size(&names::PREFETCH_HELD_BYTES),
                self.total(&names::HEDGES),
                self.total(&names::HEDGES_WON),
            ),
        );
    }

    #[expect(clippy::cast_precision_loss, reason = "per cent, rounded")]
    fn processor(&self) -> String {
        let used = self.added(&names::PROCESS_CPU_TIME) as f64 / 1e6;
        let all = Duration::from_micros(self.total(&names::PROCESS_CPU_TIME));
        format!(
            "{:.0} %, {} in all",
            used / self.seconds * 100.0,
            duration(all)
        )
    }

    fn open(&self) -> String {
        let handles = self.now.of(&names::OPEN_HANDLES);
        let handles: Vec<_> = handles
            .map(|sample| format!("{} {}", number(sample), label(sample, "kind")))
            .collect();
        format!(
            "{}; {} uploads; {} files and directories known",
            handles.join(", "),
            self.gauge(&names::S3_UPLOADS),
            self.gauge(&names::INODES),
        )
    }

    fn lookups(&self) -> String {
        let lookups = self.now.of(&names::LOOKUPS);
        let lookups: Vec<_> = lookups
            .map(|sample| format!("{} by {}", number(sample), label(sample, "answered_by")))
            .collect();
        lookups.join(", ")
    }

    /// One row a request: how often, how many failed, how long it took.
    fn write_table(
        &self,
        lines: &mut Vec<Line>,
        title: &str,
        latencies: &'static Metric,
        errors: &'static Metric,
    ) {
        let mut rows: Vec<_> = self
            .now
            .of(latencies)
            .filter_map(|sample| {
                let all = distribution(sample)?;
                let before = self.before.find(latencies, &sample.labels);
                let added = match before.and_then(distribution) {
                    Some(before) => all.since(before),
                    None => all.clone(),
                };
                Some((sample, all, added))
            })
            .collect();
        if rows.is_empty() {
            return;
        }
        rows.sort_by_key(|(_, all, added)| std::cmp::Reverse((added.count(), all.count())));
        lines.push(Line::Text(String::new()));
        lines.push(Line::Heading(row(
            title,
            &["/s", "total", "errors", "p50", "p90", "p99"],
        )));
        for (sample, all, added) in rows {
            let request = sample.labels.first().map_or("", |label| &*label.value);
            let recent = if added.count() > 0 { &added } else { all };
            let failed = self.now.of(errors);
            let failed = failed.filter(|error| error.labels.first() == sample.labels.first());
            lines.push(Line::Text(row(
                request,
                &[
                    &self.rate(added.count()),
                    &all.count().to_string(),
                    &failed.map(number).sum::<u64>().to_string(),
                    &latency(recent.quantile(0.5)),
                    &latency(recent.quantile(0.9)),
                    &latency(recent.quantile(0.99)),
                ],
            )));
        }
    }

    /// The files of which most was read and written since the last look, and then in all.
    fn write_files(&self, lines: &mut Vec<Line>) {
        let mut rows: Vec<_> = self
            .status
            .files()
            .into_iter()
            .map(|file| {
                let before = self
                    .bytes_before
                    .get(&*file.key)
                    .copied()
                    .unwrap_or_default();
                let read = file.read.saturating_sub(before.0);
                let written = file.written.saturating_sub(before.1);
                (read, written, file)
            })
            .collect();
        if rows.is_empty() {
            return;
        }
        rows.sort_by_key(|(read, written, file)| {
            std::cmp::Reverse((read + written, file.read + file.written))
        });
        lines.push(Line::Text(String::new()));
        let titles = ["READ/s", "WRITE/s", "READ", "WRITTEN", "OPEN"];
        lines.push(Line::Heading(format!("{}  FILE", columns(&titles))));
        for (read, written, file) in rows.into_iter().take(MOST_FILES) {
            let columns = columns(&[
                &self.size_rate(read),
                &self.size_rate(written),
                &whole_size(file.read),
                &whole_size(file.written),
                &file.open.to_string(),
            ]);
            lines.push(Line::Text(format!("{columns}  {}", printable(&file.key))));
        }
    }

    fn gauge(&self, metric: &Metric) -> u64 {
        total(&self.now, metric)
    }

    fn gauge_size(&self, metric: &Metric) -> String {
        whole_size(self.gauge(metric))
    }

    fn total(&self, metric: &Metric) -> u64 {
        total(&self.now, metric)
    }

    fn added(&self, metric: &Metric) -> u64 {
        total(&self.now, metric).saturating_sub(total(&self.before, metric))
    }

    fn sizes(&self, snapshot: &Snapshot, labels: &[Label]) -> u64 {
        let sample = snapshot.find(&names::FUSE_IO_SIZE, labels);
        sample.and_then(distribution).map_or(0, |sizes| sizes.sum)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate, rounded")]
    fn rate(&self, count: u64) -> String {
        rate(count as f64 / self.seconds)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate, rounded")]
    fn size_rate(&self, bytes: u64) -> String {
        size(bytes as f64 / self.seconds)
    }
}

/// The mounts, one a line.
pub(super) fn list(mounts: &[Status]) -> Vec<Line> {
    if mounts.is_empty() {
        return vec![Line::Text("no mount of this user was found".to_owned())];
    }
    let titles = ["PROCESS", "UP", "READ", "WRITTEN"];
    let mut lines = vec![Line::Heading(format!("{}  MOUNT", columns(&titles)))];
    for status in mounts {
        let snapshot = status.snapshot();
        let bytes = |request: &'static str| {
            let labels = [Label::new("fuse_request", request)];
            let sample = snapshot.find(&names::FUSE_IO_SIZE, &labels);
            whole_size(sample.and_then(distribution).map_or(0, |sizes| sizes.sum))
        };
        let uptime = Duration::from_micros(total(&snapshot, &names::PROCESS_UPTIME));
        let columns = columns(&[
            &status.pid.to_string(),
            &duration(uptime),
            &bytes("read"),
            &bytes("write"),
        ]);
        let mount_point = printable(&status.mount_point);
        lines.push(Line::Text(format!(
            "{columns}  {mount_point} ({})",
            uri(status)
        )));
    }
    lines
}

fn uri(status: &Status) -> String {
    format!(
        "s3://{}/{}",
        printable(&status.bucket),
        printable(&status.prefix)
    )
}

fn row(title: &str, values: &[&str]) -> String {
    format!("{title:<26}{}", columns(values))
}

fn columns(values: &[&str]) -> String {
    values.iter().map(|value| format!("{value:>12}")).collect()
}

/// The sum of all figures of a counter or a gauge.
fn total(snapshot: &Snapshot, metric: &Metric) -> u64 {
    let samples = snapshot.samples.iter();
    samples
        .filter(|sample| sample.metric == metric)
        .map(number)
        .sum()
}

fn number(sample: &Sample) -> u64 {
    match sample.value {
        Value::Number(number) => number,
        Value::Distribution(_) => 0,
    }
}

fn distribution(sample: &Sample) -> Option<&HistogramFigures> {
    match &sample.value {
        Value::Number(_) => None,
        Value::Distribution(figures) => Some(figures),
    }
}

fn label<'a>(sample: &'a Sample, name: &str) -> &'a str {
    let label = sample.labels.iter().find(|label| label.name == name);
    label.map_or("", |label| &label.value)
}

#[expect(clippy::cast_precision_loss, reason = "rounded")]
fn whole_size(bytes: u64) -> String {
    size(bytes as f64)
}

/// Files that are shown.
const MOST_FILES: usize = 20;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::metrics::{FileFigures, FuseMetrics};

    fn look(snapshot: &Snapshot, read: u64, at: Instant) -> Look {
        let file = FileFigures {
            key: "dir/f\u{1b}".into(),
            read,
            written: 0,
            open: 1,
        };
        let mount = ("b".to_owned(), "p/".to_owned(), "/mnt".to_owned());
        Look {
            status: Status::new(mount, snapshot, vec![file]),
            at,
        }
    }

    #[test]
    fn report_shows_rates_and_totals() {
        let metrics = FuseMetrics::default();
        let snapshot = || {
            let mut snapshot = Snapshot::default();
            metrics.report(&mut snapshot);
            snapshot.gauge(&names::INODES, [], 5);
            snapshot
        };
        metrics.note_read(1 << 20);
        let at = Instant::now();
        let first = look(&snapshot(), 1 << 20, at);
        metrics.note_read(1 << 20);
        let second = look(&snapshot(), 2 << 20, at + Duration::from_secs(2));
        let lines = Report::new(&first, &second).lines();
        let text: Vec<_> = lines.iter().map(Line::text).collect();
        let text = text.join("\n");
        for part in [
            "s3://b/p/ at /mnt, up 0 s",
            "read     512 KiB/s, 2.0 MiB in all",
            "write    0 B/s, 0 B in all",
            "5 files and directories known",
            "512 KiB         0 B     2.0 MiB         0 B           1  dir/f\\u{1b}",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let alone = Report::new(&first, &first).lines();
        assert!(
            alone
                .iter()
                .any(|line| line.text().starts_with("read     0 B/s, 1.0 MiB"))
        );
    }

    #[test]
    fn list_has_a_line_for_each_mount() {
        assert_eq!(list(&[]).len(), 1);
        let mount = look(&Snapshot::default(), 0, Instant::now());
        let lines = list(&[mount.status.clone(), mount.status]);
        assert_eq!(lines.len(), 3);
        assert!(lines[1].text().ends_with("/mnt (s3://b/p/)"), "{lines:?}");
    }
}
