//! The file system on real mounts: the real binary, `/dev/fuse`, the local S3 server, SeaweedFS and Ceph RGW.

mod binding;
mod cache_commands;
mod cache_room;
mod caching;
mod crashing;
mod credentials;
mod failing_disk;
mod faults;
mod indexing;
mod keeping;
mod lifecycle;
mod listing;
mod memory;
mod model;
mod namespace;
mod namespace_local;
mod passthrough;
mod prefetching;
mod reading;
mod remembering;
mod renaming;
mod sharing;
mod staging;
#[path = "../support/mod.rs"]
mod support;
mod upload_faults;
mod writeback;
mod writeback_ends;
mod writing;
