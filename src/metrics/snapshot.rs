//! All figures of a mount at one time.

use std::borrow::Cow;
use std::fmt;

use super::histogram::{Histogram, HistogramFigures};
use super::names::{Kind, Metric};

/// All figures of a mount at one time, in the order of [`names::ALL`](super::names::ALL) within
/// what one layer reports.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The figures; no two of the same metric have the same labels.
    pub samples: Vec<Sample>,
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// What it is.
    pub metric: &'static Metric,
    /// What it is of.
    pub labels: Vec<Label>,
    /// How much.
    pub value: Value,
}

/// What a figure is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The kind of distinction.
    pub name: Cow<'static, str>,
    /// Which one.
    pub value: Cow<'static, str>,
}

/// How much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(u64),
    /// Of a histogram.
    Distribution(HistogramFigures),
}

impl Snapshot {
    /// Adds a counter.
    pub fn counter(
        &mut self,
        metric: &'static Metric,
        labels: impl IntoIterator<Item = Label>,
        value: u64,
    ) {
        debug_assert_eq!(metric.kind, Kind::Counter, "{}", metric.name);
        self.add(metric, labels, Value::Number(value));
    }

    /// Adds a gauge.
    pub fn gauge(
        &mut self,
        metric: &'static Metric,
        labels: impl IntoIterator<Item = Label>,
        value: u64,
    ) {
        debug_assert_eq!(metric.kind, Kind::Gauge, "{}", metric.name);
        self.add(metric, labels, Value::Number(value));
    }

    /// Adds a histogram, unless it is empty.
    pub fn histogram(
        &mut self,
        metric: &'static Metric,
        labels: impl IntoIterator<Item = Label>,
        histogram: &Histogram,
    ) {
        debug_assert_eq!(metric.kind, Kind::Histogram, "{}", metric.name);
        let figures = histogram.figures();
        if figures.count() > 0 {
            self.add(metric, labels, Value::Distribution(figures));
        }
    }

    /// The sample of `metric` with the labels of `sample`.
    pub fn find(&self, metric: &Metric, labels: &[Label]) -> Option<&Sample> {
        let is_it = |sample: &&Sample| sample.metric == metric && sample.labels == labels;
        self.samples.iter().find(is_it)
    }

    /// The samples of `metric`.
    pub fn of<'a>(&'a self, metric: &'a Metric) -> impl Iterator<Item = &'a Sample> {
        let is_it = move |sample: &&Sample| sample.metric == metric;
        self.samples.iter().filter(is_it)
    }

    fn add(
        &mut self,
        metric: &'static Metric,
        labels: impl IntoIterator<Item = Label>,
        value: Value,
    ) {
        self.samples.push(Sample {
            metric,
            labels: labels.into_iter().collect(),
            value,
        });
    }
}

impl Label {
    /// A label.
    pub fn new(name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// The name, and the labels.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric.name)?;
        let [first, rest @ ..] = &*self.labels else {
            return Ok(());
        };
        write!(f, "{{{first}")?;
        for label in rest {
            write!(f, ",{label}")?;
        }
        f.write_str("}")
    }
}
