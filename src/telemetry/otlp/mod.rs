//! Figures for OpenTelemetry, by
//! [OTLP/HTTP](https://opentelemetry.io/docs/specs/otlp/#otlphttp) with protobuf.
//!
//! | file | what it does |
//! |---|---|
//! | `message` | the messages of the protocol |
//! | `encode` | figures as such a message |
//! | `export` | when it is sent, and what follows from the answer |

mod encode;
mod export;
mod message;

use std::time::Duration;

pub use export::OtlpExporter;

use crate::metrics::Label;

/// What is sent where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// The receiver: `http://host:4318`. `/v1/metrics` is added.
    pub endpoint: String,
    /// The time between two messages.
    pub interval: Duration,
    /// What the numbers of a message count from.
    pub temporality: Temporality,
    /// Attributes of the resource beside those of the mount, which they replace.
    pub attributes: Vec<Label>,
}

/// What the numbers of a message count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Temporality {
    /// The last message that arrived.
    #[default]
    Delta,
    /// The beginning.
    Cumulative,
}
