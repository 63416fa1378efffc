//! The CRT's S3 client: requests that are split, retried and signed by C, with bodies delivered
//! without a copy.

mod client;
mod events;
mod pool;
mod request;
mod response;
mod signing;
mod telemetry;

pub use client::{Client, ClientConfig, Stall};
pub use events::{BodyPart, Finished, Flow, RequestEvents};
pub use pool::{Pages, PoolUsage, memory_for_get};
pub use request::{Request, RequestKind, RequestOptions};
pub use response::{ErrorResponse, FailedAttempt, RequestError, Response, ResponseFuture};
pub use signing::{Signing, SigningAlgorithm};
pub use telemetry::RequestMetrics;
