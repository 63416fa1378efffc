//! From figures to a message.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Temporality;
use super::message::{
    AggregationTemporality, AnyValue, Buckets, Data, ExponentialHistogram,
    ExponentialHistogramDataPoint, ExportMetricsServiceRequest, Gauge, InstrumentationScope,
    IntValue, KeyValue, Metric, NumberDataPoint, Resource, ResourceMetrics, ScopeMetrics, Sum,
    TextValue,
};
use crate::metrics::{
    HistogramFigures, Kind, Label, Metric as Definition, Sample, Snapshot, Unit, Value, names,
};

/// Figures at one time.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) at: SystemTime,
    pub(super) snapshot: Snapshot,
}

/// What was counted from `since` to `now`, about `resource`. `since` is the beginning, when nothing
/// was counted, if the totals are to be sent.
pub(super) fn request(
    resource: &[Label],
    since: &Taken,
    now: &Taken,
    temporality: Temporality,
) -> ExportMetricsServiceRequest {
    let span = Span {
        start: nanos(since.at),
        end: nanos(now.at),
        temporality,
    };
    let metrics = names::ALL.iter().filter_map(|definition| {
        let data = span.data(definition, &since.snapshot, &now.snapshot)?;
        Some(Metric {
            name: definition.name.to_owned(),
            description: definition.help.to_owned(),
            unit: unit(definition.unit).to_owned(),
            data: Some(data),
        })
    });
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: attributes(resource),
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "mount-s3".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                }),
                metrics: metrics.collect(),
            }],
        }],
    }
}

struct Span {
    start: u64,
    end: u64,
    temporality: Temporality,
}

impl Span {
    /// The data of one metric; `None` if there are none.
    fn data(&self, definition: &Definition, since: &Snapshot, now: &Snapshot) -> Option<Data> {
        let samples = || now.of(definition);
        samples().next()?;
        let aggregation_temporality = match self.temporality {
            Temporality::Delta => AggregationTemporality::Delta,
            Temporality::Cumulative => AggregationTemporality::Cumulative,
        }
        .into();
        Some(match definition.kind {
            Kind::Gauge => Data::Gauge(Gauge {
                data_points: samples().filter_map(|sample| self.gauge(sample)).collect(),
            }),
            Kind::Counter => Data::Sum(Sum {
                data_points: samples()
                    .filter_map(|sample| self.sum(sample, since))
                    .collect(),
                aggregation_temporality,
                is_monotonic: true,
            }),
            Kind::Histogram => Data::ExponentialHistogram(ExponentialHistogram {
                data_points: samples()
                    .filter_map(|sample| self.histogram(sample, since))
                    .collect(),
                aggregation_temporality,
            }),
        })
    }

    fn gauge(&self, sample: &Sample) -> Option<NumberDataPoint> {
        let Value::Number(number) = sample.value else {
            return None;
        };
        Some(NumberDataPoint {
            start_time_unix_nano: 0,
            ..self.number(sample, number)
        })
    }

    fn sum(&self, sample: &Sample, since: &Snapshot) -> Option<NumberDataPoint> {
        let Value::Number(number) = sample.value else {
            return None;
        };
        let before = since.find(sample.metric, &sample.labels);
        let before = match before.map(|sample| &sample.value) {
            Some(Value::Number(before)) => *before,
            _ => 0,
        };
        Some(self.number(sample, number.saturating_sub(before)))
    }

    fn number(&self, sample: &Sample, number: u64) -> NumberDataPoint {
        NumberDataPoint {
            attributes: attributes(&sample.labels),
            start_time_unix_nano: self.start,
            time_unix_nano: self.end,
            value: Some(IntValue::AsInt(i64::try_from(number).unwrap_or(i64::MAX))),
        }
    }

    fn histogram(
        &self,
        sample: &Sample,
        since: &Snapshot,
    ) -> Option<ExponentialHistogramDataPoint> {
        let Value::Distribution(figures) = &sample.value else {
            return None;
        };
        let before = since.find(sample.metric, &sample.labels);
        let figures = match before.map(|sample| &sample.value) {
            Some(Value::Distribution(before)) => figures.since(before),
            _ => figures.clone(),
        };
        #[expect(clippy::cast_precision_loss, reason = "exact to 53 bits")]
        let sum = figures.sum as f64;
        Some(ExponentialHistogramDataPoint {
            attributes: attributes(&sample.labels),
            start_time_unix_nano: self.start,
            time_unix_nano: self.end,
            count: figures.count(),
            sum: Some(sum),
            scale: HistogramFigures::SCALE,
            zero_count: figures.zeros,
            positive: buckets(&figures),
        })
    }
}

fn buckets(figures: &HistogramFigures) -> Option<Buckets> {
    let (offset, _) = *figures.buckets.first()?;
    let (last, _) = *figures.buckets.last()?;
    let mut counts = figures.buckets.iter().peekable();
    let bucket_counts = (offset..=last).map(|number| {
        let here = counts.next_if(|(bucket, _)| *bucket == number);
        here.map_or(0, |(_, count)| *count)
    });
    Some(Buckets {
        offset,
        bucket_counts: bucket_counts.collect(),
    })
}

fn attributes(labels: &[Label]) -> Vec<KeyValue> {
    let attribute = |label: &Label| KeyValue {
        key: label.name.clone().into_owned(),
        value: Some(AnyValue {
            value: Some(TextValue::StringValue(label.value.clone().into_owned())),
        }),
    };
    labels.iter().map(attribute).collect()
}

/// As UCUM writes it.
fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "1",
        Unit::Bytes => "By",
        Unit::Microseconds => "us",
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Histogram;

    fn taken(seconds: u64, fill: impl FnOnce(&mut Snapshot)) -> Taken {
        let mut snapshot = Snapshot::default();
        fill(&mut snapshot);
        Taken {
            at: UNIX_EPOCH + Duration::from_secs(seconds),
            snapshot,
        }
    }

    #[test]
    fn sums_are_of_the_time_that_is_told() {
        let get = || [Label::new("s3_request", "GetObject")];
        let since = taken(1, |snapshot| {
            snapshot.counter(&names::S3_REQUEST_COUNT, get(), 5);
        });
        let now = taken(2, |snapshot| {
            snapshot.counter(&names::S3_REQUEST_COUNT, get(), 8);
            snapshot.gauge(&names::INODES, [], 4);
        });
        let request = request(
            &[Label::new("bucket", "b")],
            &since,
            &now,
            Temporality::Delta,
        );
        let [resource] = &*request.resource_metrics else {
            panic!("one")
        };
        let attributes = &resource.resource.as_ref().expect("a resource").attributes;
        assert_eq!(attributes[0].key, "bucket");
        let [count, inodes] = &*resource.scope_metrics[0].metrics else {
            panic!("two")
        };
        let Some(Data::Sum(sum)) = &count.data else {
            panic!("a sum: {count:?}")
        };
        assert_eq!(count.name, "s3.request_count");
        assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Delta);
        let point = &sum.data_points[0];
        assert_eq!(point.value, Some(IntValue::AsInt(3)));
        assert_eq!(point.start_time_unix_nano, 1_000_000_000);
        assert_eq!(point.time_unix_nano, 2_000_000_000);
        assert!(matches!(&inodes.data, Some(Data::Gauge(gauge)) if gauge.data_points.len() == 1));
    }

    #[test]
    fn histograms_have_their_buckets_at_their_places() {
        let histogram = Histogram::default();
        for value in [0, 2, 2, 16] {
            histogram.observe(value);
        }
        let since = taken(0, |_| {});
        let now = taken(1, |snapshot| {
            snapshot.histogram(&names::FUSE_REQUEST_LATENCY, [], &histogram);
        });
        let request = request(&[], &since, &now, Temporality::Cumulative);
        let metric = &request.resource_metrics[0].scope_metrics[0].metrics[0];
        let Some(Data::ExponentialHistogram(data)) = &metric.data else {
            panic!("{metric:?}")
        };
        assert_eq!(metric.unit, "us");
        let point = &data.data_points[0];
        assert_eq!(
            (point.count, point.zero_count, point.sum),
            (4, 1, Some(20.0))
        );
        let buckets = point.positive.as_ref().expect("buckets");
        // (2^(3/4), 2] and (2^(15/4), 16].
        assert_eq!((buckets.offset, buckets.bucket_counts.len()), (3, 13));
        assert_eq!(
            (buckets.bucket_counts[0], buckets.bucket_counts[12]),
            (2, 1)
        );
    }
}
