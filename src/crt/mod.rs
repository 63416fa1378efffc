//! The safe layer over the AWS Common Runtime (CRT).
//!
//! # Ownership
//! Every C object is held by a `handle::Handle`, one reference each: cloning acquires, dropping
//! releases. Wrappers also hold a token of the runtime that they came from, and the C library is
//! cleaned up only when the last token is gone, so no wrapper can outlive what its C functions need.
//!
//! # Threads
//! The CRT calls back on its own threads, several at a time, and possibly before the call that
//! started the work has returned. Callbacks get a shared reference to their state, never an
//! exclusive one. They enqueue and wake; they don't block.
//!
//! # Panics
//! No panic crosses into C. A panic in a callback of a request ends that request with an error of
//! kind [`ErrorKind::Panic`]; the process and all other requests go on.
//!
//! # Shutdown
//! Releasing the last reference only starts a teardown that ends on a CRT thread.
//! [`Runtime::shutdown`] waits for all of it, in order, with a deadline. Dropping a [`Runtime`]
//! never blocks.
#![expect(
    unsafe_code,
    reason = "this module is the boundary to C; every block states why it is sound"
)]

mod allocator;
mod auth;
mod bytes;
mod callback;
mod checksum;
mod endpoint;
mod error;
mod handle;
mod http;
mod http_client;
mod imds;
mod library;
mod live;
mod logging;
mod profiles;
mod proxy;
mod runtime;
pub mod s3;
mod tls;
mod uri;

pub use auth::{AssumedRole, Credentials, CredentialsProvider, Prepare};
pub use checksum::{crc32c, crc64nvme, crc64nvme_combine};
pub use endpoint::{EndpointParameters, EndpointRules, Resolved};
pub use error::{Error, ErrorKind};
pub use http::{Headers, HeadersView, Message};
pub use http_client::{Exchange, HttpClient, HttpResponse, LARGEST_BODY};
pub use imds::{InstanceInfo, InstanceMetadata};
pub use profiles::{ProfileFile, ProfileOptions, Profiles};
pub use runtime::{Runtime, RuntimeConfig, ShutdownError, ShutdownStage};
pub use tls::{FailedHandshake, FailedHandshakes, TlsContext, Trust};
pub use uri::Uri;
