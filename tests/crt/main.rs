//! Tests of the safe CRT layer: real event loops, against a scripted server on loopback.
//!
//! Each test runs under an allocator that counts, and ends with a shutdown that fails unless every
//! byte was given back.

mod auth;
mod body;
mod cancel;
mod errors;
mod http_client;
mod lifecycle;
mod logging;
mod panics;
mod pool;
mod sending;
mod server;
mod support;
#[path = "../support/wait.rs"]
mod wait;
