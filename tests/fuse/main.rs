//! The file system on real mounts: the real binary, `/dev/fuse`, the local S3 server and SeaweedFS.

mod faults;
mod keeping;
mod lifecycle;
mod memory;
mod namespace;
mod namespace_local;
mod reading;
mod renaming;
mod staging;
#[path = "../support/mod.rs"]
mod support;
mod writing;
