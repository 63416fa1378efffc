//! `mount-s3`: mounts an Amazon S3 bucket as a file system.
//!
//! The modules, from the bottom up; each imports only those above it in this list:
//!
//! | module | what it is |
//! |---|---|
//! | [`s3`] | S3 operations, typed: the [`s3::Store`] trait, its errors, its implementation over the CRT |
//! | [`cli`] | the command: arguments, environment, checks, background start, logs, signals, exit status |

pub mod cli;
pub mod s3;
