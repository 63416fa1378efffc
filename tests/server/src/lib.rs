//! A local S3 server for tests and benchmarks: S3's semantics over an in-memory store, with S3's
//! latencies, speeds and faults on demand.
//!
//! Protocol, signatures and XML are those of the `s3s` crate, signatures of access points and
//! directory buckets our own. Objects are uploaded, or planted
//! without S3 traffic; planted ones may be [`synthetic`], of any size without taking memory.
//! The bodies of objects bypass `s3s`: they go to the socket in large slices of shared memory.
//!
//! Tests run a [`Server`] in their process, or the binary `s3-test-server` in one of its own and
//! speak to its [control endpoint](crate::control).

mod body;
mod chunked;
mod conn;
mod context;
pub mod control;
mod errors;
mod frontend;
mod gate;
mod listener;
mod listing;
mod model;
mod object;
mod server;
mod service;
mod spec;
mod stats;
mod store;
mod stub;
pub mod synthetic;
mod tls;
mod uploads;
mod verify;

pub use model::{Fault, Model, Rule};
pub use server::{Config, Server, TlsConfig};
pub use spec::{BulkSpec, ObjectSpec, RestoreSpec};
pub use stats::{LogEntry, OperationStats, Stats};
pub use stub::{Stub, StubAnswer, StubRequest};
pub use tls::CA_FILE;
pub use verify::{Algorithm, Signatures};
