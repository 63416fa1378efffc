//! `mount-s3`: mounts an Amazon S3 bucket as a file system.
//!
//! The modules, from the bottom up; each imports only those above it in this list:
//!
//! | module | what it is |
//! |---|---|
//! | [`crt`] | the AWS Common Runtime, safely: event loops, TLS, credentials, the S3 client |
//! | [`s3`] | S3 operations, typed: the [`s3::Store`] trait, its errors, its implementation over the CRT |
//! | [`tree`] | the namespace: inodes over keys |

pub mod crt;
pub mod s3;
pub mod tree;
