//! `mount-s3`: mounts an Amazon S3 bucket as a file system.
//!
//! The modules, from the bottom up; each imports only those above it in this list:
//!
//! | module | what it is |
//! |---|---|
//! | [`metrics`] | what a mount counts and measures; any module may import it |
//! | `turn` | work that a thread puts off until it holds no lock |
//! | [`crt`] | the AWS Common Runtime, made safe |
//! | [`s3`] | S3 operations, typed: the [`s3::Store`] trait, its errors, its implementation over the CRT |
//! | [`telemetry`] | where figures go: Prometheus, OTLP, the log |
//! | [`cache`] | a store that reads from a local disk what was read before |
//! | [`index`] | what a bucket holds, in a file: made of a listing or an inventory, and a store that answers from it |
//! | [`tree`] | the namespace: inodes over keys |
//! | [`memory`] | one budget for the buffers of every open file |
//! | [`shared_cache`] | a store that reads from a bucket what any machine has read before |
//! | [`read`] | the read path: read-ahead, ordered parts, pinned versions |
//! | [`prefetch`] | files that are fetched whole before they are opened |
//! | [`mod@write`] | the write path: ordered bytes, one request or an upload in parts, completion |
//! | [`stage`] | files that are written in any order: on a local disk first, and objects then |
//! | [`fs`] | the POSIX file system: one function an operation, what each refuses, the only map to errno |
//! | [`fuse`] | the kernel's edge: mounting, serving and unmounting an [`fs::Fs`] |
//! | [`cli`] | the command: arguments, environment, checks, background start, logs, signals, exit status |

pub mod cache;
pub mod cli;
pub mod crt;
pub mod fs;
pub mod fuse;
pub mod index;
pub mod memory;
pub mod metrics;
pub mod prefetch;
pub mod read;
pub mod s3;
pub mod shared_cache;
pub mod stage;
pub mod telemetry;
pub mod tree;
mod turn;
#[cfg(test)]
#[path = "../tests/support/wait.rs"]
mod wait;
pub mod write;
