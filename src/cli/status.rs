//! How a mount is, as it is told to those who ask.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::metrics::{FileFigures, HistogramFigures, Label, Sample, Snapshot, Value, names};

/// How a mount is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status {
    /// The version of the program that serves the mount.
    pub(super) version: String,
    /// Its process.
    pub(super) pid: u32,
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) mount_point: String,
    figures: Vec<Figure>,
    files: Vec<FileStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Figure {
    name: String,
    labels: Vec<(String, String)>,
    value: FigureValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum FigureValue {
    Number(u64),
    Distribution {
        zeros: u64,
        buckets: Vec<(i32, u64)>,
        sum: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileStatus {
    key: String,
    read: u64,
    written: u64,
    open: usize,
}

impl Status {
    /// The status of the mount of `bucket` and `prefix` at `mount_point` by this process.
    pub(super) fn new(
        (bucket, prefix, mount_point): (String, String, String),
        snapshot: &Snapshot,
        files: Vec<FileFigures>,
    ) -> Self {
        Self {
            version: super::args::VERSION.to_owned(),
            pid: std::process::id(),
            bucket,
            prefix,
            mount_point,
            figures: snapshot.samples.iter().map(Figure::of).collect(),
            files: files.into_iter().map(FileStatus::of).collect(),
        }
    }

    /// The figures; those that this version does not know are left out.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            samples: self.figures.iter().filter_map(Figure::sample).collect(),
        }
    }

    /// The files of which most was read and written.
    pub(super) fn files(&self) -> Vec<FileFigures> {
        let files = self.files.iter().map(|file| FileFigures {
            key: Arc::from(&*file.key),
            read: file.read,
            written: file.written,
            open: file.open,
        });
        files.collect()
    }
}

impl Figure {
    fn of(sample: &Sample) -> Self {
        let label = |label: &Label| (label.name.to_string(), label.value.to_string());
        Self {
            name: sample.metric.name.to_owned(),
            labels: sample.labels.iter().map(label).collect(),
            value: match &sample.value {
                Value::Number(number) => FigureValue::Number(*number),
                Value::Distribution(figures) => FigureValue::Distribution {
                    zeros: figures.zeros,
                    buckets: figures.buckets.clone(),
                    sum: figures.sum,
                },
            },
        }
    }

    fn sample(&self) -> Option<Sample> {
        let label = |(name, value): &(String, String)| Label::new(name.clone(), value.clone());
        Some(Sample {
            metric: names::find(&self.name)?,
            labels: self.labels.iter().map(label).collect(),
            value: match &self.value {
                FigureValue::Number(number) => Value::Number(*number),
                FigureValue::Distribution {
                    zeros,
                    buckets,
                    sum,
                } => Value::Distribution(HistogramFigures {
                    zeros: *zeros,
                    buckets: buckets.clone(),
                    sum: *sum,
                }),
            },
        })
    }
}

impl FileStatus {
    fn of(file: FileFigures) -> Self {
        Self {
            key: file.key.to_string(),
            read: file.read,
            written: file.written,
            open: file.open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn status_survives_the_way_to_the_client() {
        let histogram = Histogram::default();
        histogram.observe(0);
        histogram.observe(100);
        let mut snapshot = Snapshot::default();
        let labels = [Label::new("fuse_request", "read")];
        snapshot.histogram(&names::FUSE_REQUEST_LATENCY, labels, &histogram);
        snapshot.gauge(&names::INODES, [], 7);
        let file = FileFigures {
            key: "a\"\n".into(),
            read: 1,
            written: 2,
            open: 3,
        };
        let mount = ("b".to_owned(), "p/".to_owned(), "/mnt".to_owned());
        let status = Status::new(mount, &snapshot, vec![file.clone()]);
        let text = serde_json::to_string(&status).expect("JSON");
        let found: Status = serde_json::from_str(&text).expect("the same");
        assert_eq!(found, status);
        assert_eq!(found.snapshot().samples, snapshot.samples);
        assert_eq!(found.files(), [file]);
    }

    #[test]
    fn figures_of_another_version_are_left_out() {
        let text = r#"{"version":"9","pid":1,"bucket":"b","prefix":"","mount_point":"/m",
            "figures":[{"name":"new.one","labels":[],"value":1}],"files":[],"more":true}"#;
        let status: Status = serde_json::from_str(text).expect("valid");
        assert!(status.snapshot().samples.is_empty());
    }
}
