//! Where the figures of a mount go.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::environment::{Environment, parsed};
use crate::cli::args_metrics::MetricsArgs;
use crate::cli::exit::Failure;
use crate::metrics::Label;
use crate::telemetry::{ListenAddress, OtlpConfig, Temporality};

/// Where figures go, beside the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct MetricsOptions {
    pub(in crate::cli) listen: Option<ListenAddress>,
    pub(in crate::cli) otlp: Option<OtlpConfig>,
    /// Beside those that every mount has.
    pub(in crate::cli) labels: Vec<Label>,
}

impl MetricsOptions {
    /// Joins what was typed with what the environment says, which counts only if something is sent
    /// to OpenTelemetry.
    ///
    /// # Errors
    /// An environment variable holds what cannot be used.
    pub(super) fn new(args: MetricsArgs, environment: &Environment) -> Result<Self, Failure> {
        let seconds = args.otlp_export_interval.unwrap_or(DEFAULT_INTERVAL);
        let otlp = args.otlp_endpoint.map(|endpoint| {
            let temporality = environment.temporality.clone();
            let temporality = parsed(TEMPORALITY, temporality, parse_temporality)?;
            let attributes = environment.resource_attributes.clone();
            let attributes = parsed(RESOURCE_ATTRIBUTES, attributes, parse_attributes)?;
            Ok(OtlpConfig {
                endpoint,
                interval: Duration::from_secs(seconds),
                temporality: temporality.unwrap_or_default(),
                attributes: attributes.unwrap_or_default(),
            })
        });
        Ok(Self {
            listen: args.metrics_listen,
            otlp: otlp.transpose()?,
            labels: args.metrics_label,
        })
    }
}

fn parse_temporality(text: &str) -> Result<Temporality, String> {
    if text.eq_ignore_ascii_case("delta") {
        Ok(Temporality::Delta)
    } else if text.eq_ignore_ascii_case("cumulative") {
        Ok(Temporality::Cumulative)
    } else {
        Err("must be delta or cumulative".to_owned())
    }
}

/// OpenTelemetry:
/// [resource attributes](https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable).
fn parse_attributes(text: &str) -> Result<Vec<Label>, String> {
    let attribute = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let name = name.trim();
        (!name.is_empty()).then(|| Label::new(name.to_owned(), value.into_owned()))
    };
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    pairs
        .map(|pair| {
            attribute(pair).ok_or_else(|| "must be key=value pairs, separated by commas".to_owned())
        })
        .collect()
}

pub(super) const TEMPORALITY: &str = "EXPERIMENTAL_MOUNTPOINT_OTLP_METRICS_TEMPORALITY_PREFERENCE";
pub(super) const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// In seconds.
const DEFAULT_INTERVAL: u64 = 60;

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn args(endpoint: Option<&str>) -> MetricsArgs {
        MetricsArgs {
            otlp_endpoint: endpoint.map(str::to_owned),
            otlp_export_interval: None,
            metrics_listen: None,
            metrics_label: Vec::new(),
        }
    }

    fn environment(temporality: &str, attributes: &str) -> Environment {
        Environment {
            temporality: Some(OsString::from(temporality)),
            resource_attributes: Some(OsString::from(attributes)),
            ..Environment::default()
        }
    }

    #[test]
    fn environment_counts_if_there_is_a_receiver() {
        let environment = environment("Cumulative", "service.name=x%2Cy, team = a=b ,");
        let options = MetricsOptions::new(args(Some("http://h")), &environment).expect("valid");
        let otlp = options.otlp.expect("a receiver");
        assert_eq!(otlp.interval, Duration::from_secs(60));
        assert_eq!(otlp.temporality, Temporality::Cumulative);
        let expected = [Label::new("service.name", "x,y"), Label::new("team", "a=b")];
        assert_eq!(otlp.attributes, expected);
        let none = MetricsOptions::new(args(None), &environment).expect("valid");
        assert_eq!(none.otlp, None);
    }

    #[test]
    fn variables_that_cannot_be_used_are_named() {
        for (environment, name) in [
            (environment("sometimes", ""), TEMPORALITY),
            (environment("delta", "x"), RESOURCE_ATTRIBUTES),
            (environment("delta", "=x"), RESOURCE_ATTRIBUTES),
        ] {
            let failure = MetricsOptions::new(args(Some("http://h")), &environment);
            let text = failure.expect_err(name).to_string();
            assert!(text.contains(name), "{text}");
        }
        let environment = environment("sometimes", "x");
        assert!(MetricsOptions::new(args(None), &environment).is_ok());
    }
}
