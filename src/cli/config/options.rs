//! What the file system is to be like.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{getgid, getuid};

use super::environment::Environment;
use crate::cache::Surroundings;
use crate::cli::args_caching::CachingArgs;
use crate::cli::args_mount::MountArgs;
use crate::cli::args_objects::{Checksums, ObjectArgs, Sse};
use crate::cli::values::{INDEFINITE, Permissions};
use crate::fuse::Access;
use crate::s3::{BucketKind, BucketName, Encryption, UploadChecksums};
use crate::tree::Ttl;

/// What is asked for new objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct ObjectOptions {
    pub(in crate::cli) storage_class: Option<String>,
    pub(in crate::cli) encryption: Option<Encryption>,
    pub(in crate::cli) checksums: UploadChecksums,
    pub(in crate::cli) infer_content_type: bool,
}

/// How the file system looks, and what it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct MountOptions {
    pub(in crate::cli) read_only: bool,
    /// The file that knows what is in the bucket.
    pub(in crate::cli) index: Option<PathBuf>,
    /// Where what was read is kept.
    pub(in crate::cli) cache: Option<CacheOptions>,
    /// The bucket where it is kept for all machines.
    pub(in crate::cli) cache_bucket: Option<BucketName>,
    pub(in crate::cli) allow_delete: bool,
    pub(in crate::cli) posix_metadata: bool,
    pub(in crate::cli) xattrs: bool,
    pub(in crate::cli) allow_overwrite: bool,
    pub(in crate::cli) allow_rename: bool,
    pub(in crate::cli) keep_directories: bool,
    pub(in crate::cli) incremental_upload: bool,
    pub(in crate::cli) writeback_cache: bool,
    /// Where files are staged that are written in any order.
    pub(in crate::cli) stage: Option<StageOptions>,
    /// Whether the bucket is a directory bucket, which can append and rename.
    pub(in crate::cli) directory_bucket: bool,
    pub(in crate::cli) auto_unmount: bool,
    pub(in crate::cli) access: Access,
    pub(in crate::cli) uid: u32,
    pub(in crate::cli) gid: u32,
    pub(in crate::cli) file_mode: Permissions,
    pub(in crate::cli) dir_mode: Permissions,
    pub(in crate::cli) max_threads: u16,
    pub(in crate::cli) metadata_ttl: Ttl,
    pub(in crate::cli) negative_metadata_ttl: Ttl,
}

/// Where what was read is kept, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct CacheOptions {
    pub(in crate::cli) directory: PathBuf,
    pub(in crate::cli) surroundings: Surroundings,
    /// Bytes; `None` as many as leave a share of the disk free.
    pub(in crate::cli) most: Option<u64>,
    /// Whether the kernel may read what is there as a whole by itself.
    pub(in crate::cli) passthrough: bool,
}

/// Where files are staged, and what to note there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct StageOptions {
    pub(in crate::cli) directory: PathBuf,
    /// The environment variables that count.
    pub(in crate::cli) environment: BTreeMap<String, String>,
}

impl ObjectOptions {
    pub(super) fn new(args: ObjectArgs, kind: BucketKind) -> Self {
        Self {
            storage_class: args.storage_class,
            encryption: args.sse.map(|sse| match sse {
                Sse::S3 => Encryption::S3,
                Sse::Kms => Encryption::Kms {
                    key: args.sse_kms_key_id,
                },
                Sse::KmsDualLayer => Encryption::KmsDualLayer {
                    key: args.sse_kms_key_id,
                },
            }),
            checksums: match args.upload_checksums {
                Some(Checksums::Crc32c) => UploadChecksums::Crc32c,
                Some(Checksums::Crc64Nvme) => UploadChecksums::Crc64Nvme,
                Some(Checksums::Off) => UploadChecksums::Off,
                None if kind == BucketKind::Outposts => UploadChecksums::Off,
                None => UploadChecksums::Crc32c,
            },
            infer_content_type: args.infer_content_type,
        }
    }
}

impl MountOptions {
    pub(super) fn new(
        args: MountArgs,
        caching: CachingArgs,
        kind: BucketKind,
        max_threads: u16,
        environment: &Environment,
    ) -> Self {
        let default_ttl = if caching.index.is_some() {
            INDEFINITE
        } else if caching.cache.is_some() || caching.shared.cache_xz.is_some() {
            TTL_WITH_CACHE
        } else {
            Ttl::Minimal
        };
        let metadata_ttl = caching.metadata_ttl.unwrap_or(default_ttl);
        // A cache of no size is none.
        let cache_directory = caching.cache.filter(|_| caching.max_cache_size != Some(0));
        Self {
            read_only: args.read_only || caching.index.is_some(),
            index: caching.index,
            cache: cache_directory.map(|directory| CacheOptions {
                directory,
                surroundings: environment.surroundings(),
                most: caching.max_cache_size.map(|mib| mib << 20),
                // The kernel does one or the other.
                passthrough: !(environment.no_passthrough || args.writeback_cache),
            }),
            cache_bucket: caching.shared.cache_xz,
            allow_delete: args.allow_delete,
            posix_metadata: args.posix_metadata,
            xattrs: args.xattrs,
            allow_overwrite: args.allow_overwrite,
            allow_rename: args.allow_rename,
            keep_directories: args.keep_directories,
            incremental_upload: args.incremental_upload,
            writeback_cache: args.writeback_cache,
            stage: args.stage.map(|directory| StageOptions {
                directory,
                environment: environment.for_origin(),
            }),
            directory_bucket: kind == BucketKind::Directory,
            auto_unmount: args.auto_unmount,
            access: match (args.allow_root, args.allow_other) {
                (_, true) => Access::Other,
                (true, false) => Access::Root,
                (false, false) => Access::Owner,
            },
            uid: args.uid.unwrap_or_else(|| getuid().as_raw()),
            gid: args.gid.unwrap_or_else(|| getgid().as_raw()),
            file_mode: args.file_mode,
            dir_mode: args.dir_mode,
            max_threads,
            metadata_ttl,
            negative_metadata_ttl: caching.negative_metadata_ttl.unwrap_or(metadata_ttl),
        }
    }
}

/// As Mountpoint for Amazon S3: whoever keeps bytes believes names for a while.
const TTL_WITH_CACHE: Ttl = Ttl::For(Duration::from_secs(60));
