//! `mount-s3`: mounts an Amazon S3 bucket as a file system.
//!
//! The modules, from the bottom up; each imports only those above it in this list:
//!
//! | module | what it is |
//! |---|---|
//! | [`s3`] | S3 operations, typed: the [`s3::Store`] trait, its errors, its implementation over the CRT |
//! | [`tree`] | the namespace: inodes over keys |
//! | [`read`] | the read path: [`read::ReadHandle`], one open file |
//! | [`fs`] | the POSIX file system: one function an operation, what each refuses, the only map to errno |
//! | [`fuse`] | the kernel's edge: mounting, serving and unmounting an [`fs::Fs`] |

pub mod fs;
pub mod fuse;
pub mod read;
pub mod s3;
pub mod tree;
