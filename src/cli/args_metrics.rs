//! The flags that say where the figures of a mount go.

use clap::{Args, value_parser};

use super::args::METRICS;
use super::values::{parse_label, parse_receiver};
use crate::metrics::Label;
use crate::telemetry::ListenAddress;

/// Where figures go, beside the log.
#[derive(Debug, Clone, Args)]
pub(super) struct MetricsArgs {
    /// Send metrics to this OpenTelemetry receiver, by OTLP over HTTP: http://localhost:4318
    #[arg(long, help_heading = METRICS, value_name = "URL", value_parser = parse_receiver)]
    pub(super) otlp_endpoint: Option<String>,

    /// Seconds between two messages to the OpenTelemetry receiver [default: 60]
    #[arg(long, help_heading = METRICS, value_name = "SECONDS", requires = "otlp_endpoint")]
    #[arg(value_parser = value_parser!(u64).range(1..=86_400))]
    pub(super) otlp_export_interval: Option<u64>,

    /// Serve metrics for Prometheus here, at the path /metrics, to whoever can connect
    #[arg(long, help_heading = METRICS, value_name = "ADDRESS:PORT|unix:PATH")]
    pub(super) metrics_listen: Option<ListenAddress>,

    /// Label that metrics have in Prometheus and OpenTelemetry, beside bucket, prefix and
    /// mount_point. Can be given several times
    #[arg(long, help_heading = METRICS, value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(super) metrics_label: Vec<Label>,
}
