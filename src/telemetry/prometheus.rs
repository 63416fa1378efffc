//! Figures as Prometheus reads them.

use std::fmt::{self, Write};
use std::ops::RangeInclusive;

use crate::metrics::{HistogramFigures, Kind, Label, Metric, Sample, Snapshot, Unit, Value, names};

/// How figures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// The [text exposition format](https://prometheus.io/docs/instrumenting/exposition_formats/)
    /// 0.0.4.
    Text,
    /// [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/) 1.0.
    OpenMetrics,
}

impl Format {
    /// The media type.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// All of `snapshot`, each figure with `labels` beside its own.
    pub(super) fn write(self, snapshot: &Snapshot, labels: &[Label]) -> String {
        let mut text = String::new();
        // Writing to a string never fails.
        _ = write_all(&mut text, self, snapshot, labels);
        text
    }
}

fn write_all(
    out: &mut String,
    format: Format,
    snapshot: &Snapshot,
    labels: &[Label],
) -> fmt::Result {
    for metric in names::ALL {
        let mut samples = snapshot.of(metric).peekable();
        if samples.peek().is_none() {
            continue;
        }
        let (name, kind) = match metric.kind {
            Kind::Counter => (format!("{}_total", metric.prometheus), "counter"),
            Kind::Gauge => (metric.prometheus.to_owned(), "gauge"),
            Kind::Histogram => (metric.prometheus.to_owned(), "histogram"),
        };
        // The name of a family of OpenMetrics is without the ending of its samples.
        let family = match format {
            Format::Text => &name,
            Format::OpenMetrics => metric.prometheus,
        };
        writeln!(out, "# HELP {family} {}", metric.help)?;
        writeln!(out, "# TYPE {family} {kind}")?;
        for sample in samples {
            write_sample(out, format, &name, sample, labels)?;
        }
    }
    match format {
        Format::Text => Ok(()),
        Format::OpenMetrics => writeln!(out, "# EOF"),
    }
}

fn write_sample(
    out: &mut String,
    format: Format,
    name: &str,
    sample: &Sample,
    labels: &[Label],
) -> fmt::Result {
    let Sample {
        metric,
        labels: own,
        value,
    } = sample;
    let series = Series(name, labels, own);
    match value {
        Value::Number(number) => {
            series.write(out, "", None)?;
            writeln!(out, " {}", Quantity(metric, *number))
        }
        Value::Distribution(figures) => write_histogram(out, format, &series, metric, figures),
    }
}

fn write_histogram(
    out: &mut String,
    format: Format,
    series: &Series<'_>,
    metric: &Metric,
    figures: &HistogramFigures,
) -> fmt::Result {
    for exponent in bounds(metric.unit) {
        let mut bound = Quantity(metric, 1 << exponent).to_string();
        // Bounds of OpenMetrics are written as numbers with a point.
        if format == Format::OpenMetrics && !bound.contains('.') {
            bound.push_str(".0");
        }
        series.write(out, "_bucket", Some(&bound))?;
        writeln!(out, " {}", figures.at_most(exponent))?;
    }
    series.write(out, "_bucket", Some("+Inf"))?;
    writeln!(out, " {}", figures.count())?;
    series.write(out, "_sum", None)?;
    writeln!(out, " {}", Quantity(metric, figures.sum))?;
    series.write(out, "_count", None)?;
    writeln!(out, " {}", figures.count())
}

/// The exponents of the powers of two that are upper bounds of buckets.
fn bounds(unit: Unit) -> RangeInclusive<i32> {
    match unit {
        // 16 microseconds to 67 seconds.
        Unit::Microseconds => 4..=26,
        // 512 bytes to 2 MiB.
        Unit::Bytes => 9..=21,
        Unit::Count => 0..=16,
    }
}

/// The name of what is counted, the mount's labels, and its own.
struct Series<'a>(&'a str, &'a [Label], &'a [Label]);

impl Series<'_> {
    fn write(&self, out: &mut String, suffix: &str, bound: Option<&str>) -> fmt::Result {
        let Self(name, of_mount, own) = self;
        write!(out, "{name}{suffix}")?;
        let mut opening = '{';
        let labels = of_mount.iter().chain(*own);
        let labels = labels.map(|label| (&*label.name, &*label.value));
        for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
            write!(out, "{opening}{name}=\"")?;
            write_escaped(out, value)?;
            out.write_char('"')?;
            opening = ',';
        }
        if opening == ',' {
            out.write_char('}')?;
        }
        Ok(())
    }
}

fn write_escaped(out: &mut String, value: &str) -> fmt::Result {
    value.chars().try_for_each(|c| match c {
        '\\' => out.write_str(r"\\"),
        '"' => out.write_str("\\\""),
        '\n' => out.write_str(r"\n"),
        c => out.write_char(c),
    })
}

/// A number in the base unit of its metric.
struct Quantity<'a>(&'a Metric, u64);

impl fmt::Display for Quantity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(metric, number) = self;
        match metric.unit {
            Unit::Count | Unit::Bytes => write!(f, "{number}"),
            Unit::Microseconds => {
                let (seconds, micros) = (number / 1_000_000, number % 1_000_000);
                let text = format!("{seconds}.{micros:06}");
                f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn text_of_each_kind() {
        let mut snapshot = Snapshot::default();
        let get = || [Label::new("s3_request", "GetObject")];
        snapshot.gauge(&names::INODES, [], 3);
        snapshot.counter(&names::S3_REQUEST_COUNT, get(), 7);
        snapshot.counter(&names::PROCESS_CPU_TIME, [], 1_500_000);
        let histogram = Histogram::default();
        for micros in [10, 16, 17, 100_000_000] {
            histogram.observe(micros);
        }
        snapshot.histogram(&names::S3_REQUEST_TOTAL_LATENCY, get(), &histogram);
        let text = Format::Text.write(&snapshot, &[Label::new("mount_point", "/a \"b\"\\\n")]);
        let m = r#"mount_point="/a \"b\"\\\n""#;
        for line in [
            "# TYPE mount_s3_s3_requests_total counter".to_owned(),
            format!(r#"mount_s3_s3_requests_total{{{m},s3_request="GetObject"}} 7"#),
            "# TYPE mount_s3_inodes gauge".to_owned(),
            format!("mount_s3_inodes{{{m}}} 3"),
            format!("mount_s3_process_cpu_seconds_total{{{m}}} 1.5"),
            "# TYPE mount_s3_s3_request_latency_seconds histogram".to_owned(),
            format!(
                r#"mount_s3_s3_request_latency_seconds_bucket{{{m},s3_request="GetObject",le="0.000016"}} 2"#
            ),
            format!(
                r#"mount_s3_s3_request_latency_seconds_bucket{{{m},s3_request="GetObject",le="67.108864"}} 3"#
            ),
            format!(
                r#"mount_s3_s3_request_latency_seconds_bucket{{{m},s3_request="GetObject",le="+Inf"}} 4"#
            ),
            format!(
                r#"mount_s3_s3_request_latency_seconds_sum{{{m},s3_request="GetObject"}} 100.000043"#
            ),
            format!(r#"mount_s3_s3_request_latency_seconds_count{{{m},s3_request="GetObject"}} 4"#),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let places = ["mount_s3_s3_requests", "mount_s3_inodes"].map(|name| text.find(name));
        assert!(places[0] < places[1], "in the order of the list of names");
    }

    #[test]
    fn a_figure_without_labels_has_no_braces() {
        let mut snapshot = Snapshot::default();
        snapshot.gauge(&names::INODES, [], 0);
        let text = Format::Text.write(&snapshot, &[]);
        assert!(text.ends_with("\nmount_s3_inodes 0\n"), "{text}");
    }

    #[test]
    fn openmetrics_names_families_writes_bounds_with_a_point_and_ends() {
        let mut snapshot = Snapshot::default();
        snapshot.counter(&names::S3_REQUEST_COUNT, [], 7);
        let histogram = Histogram::default();
        histogram.observe(1000);
        snapshot.histogram(&names::FUSE_IO_SIZE, [], &histogram);
        let text = Format::OpenMetrics.write(&snapshot, &[]);
        for line in [
            "# TYPE mount_s3_s3_requests counter",
            "mount_s3_s3_requests_total 7",
            r#"mount_s3_fuse_io_size_bytes_bucket{le="1024.0"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
