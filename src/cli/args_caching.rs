//! The flags that say how long what is known of the bucket is believed.

use std::path::PathBuf;

use clap::{Args, value_parser};

use super::args::CACHING;
use super::values::{parse_cache_bucket, parse_ttl};
use crate::s3::BucketName;
use crate::tree::Ttl;

/// How long what is known of the bucket is believed.
#[derive(Debug, Clone, Args)]
pub(super) struct CachingArgs {
    /// Answer listings and metadata from this index of the bucket, and open exactly the versions that
    /// it names: no LIST and no HEAD, and the same bytes in every process and every epoch. Read-only;
    /// see mount-s3 index --help
    #[arg(long, help_heading = CACHING, value_name = "FILE")]
    #[arg(conflicts_with_all = NOT_WITH_INDEX)]
    pub(super) index: Option<PathBuf>,

    /// Keep what was read in this directory on a local disk, and read it from there again, also after
    /// a restart and by other mounts of this user
    #[arg(long, help_heading = CACHING, value_name = "DIRECTORY")]
    pub(super) cache: Option<PathBuf>,

    /// Size of the cache, in MiB; 0 for none [default: what leaves 5 % of the disk free]
    #[arg(long, help_heading = CACHING, value_name = "MiB", requires = "cache")]
    #[arg(value_parser = value_parser!(u64).range(..=MAX_CACHE_MIB))]
    pub(super) max_cache_size: Option<u64>,

    #[command(flatten)]
    pub(super) shared: SharedCacheArgs,

    /// How long file metadata may be answered without asking S3 again: a number of seconds,
    /// 'indefinite' or 'minimal' [default: minimal; 60 with --cache or --cache-xz]
    #[arg(long, help_heading = CACHING, value_name = "SECONDS|indefinite|minimal")]
    #[arg(value_parser = parse_ttl)]
    pub(super) metadata_ttl: Option<Ttl>,

    /// The same for the knowledge that a file does not exist [default: as --metadata-ttl]
    #[arg(long, help_heading = CACHING, value_name = "SECONDS|indefinite|minimal")]
    #[arg(value_parser = parse_ttl)]
    pub(super) negative_metadata_ttl: Option<Ttl>,
}

/// The cache in a bucket.
#[derive(Debug, Clone, Args)]
pub(super) struct SharedCacheArgs {
    /// Keep what was read in this bucket as well, and read it from there again, also on other
    /// machines: a name, or s3://bucket. Any bucket will do, best a directory bucket in this zone; its
    /// lifecycle rule says how long objects under mount-s3-cache/ are kept
    #[arg(long, help_heading = CACHING, value_name = "BUCKET", value_parser = parse_cache_bucket)]
    pub(super) cache_xz: Option<BucketName>,
}

impl SharedCacheArgs {
    /// What cannot be true of a mount of `bucket`.
    pub(super) fn conflict(&self, bucket: &BucketName) -> Option<&'static str> {
        (self.cache_xz.as_ref() == Some(bucket)).then_some(
            "--cache-xz must name another bucket than the one that is mounted: a cache in it \
             would be no faster, and its objects would be among the files",
        )
    }
}

/// What writes, and what an index does not say.
const NOT_WITH_INDEX: [&str; 11] = [
    "allow_delete",
    "allow_overwrite",
    "allow_rename",
    "keep_directories",
    "incremental_upload",
    "stage",
    "writeback_cache",
    "posix_metadata",
    "xattrs",
    "metadata_ttl",
    "negative_metadata_ttl",
];

/// 1 EiB, which is far from overflow.
const MAX_CACHE_MIB: u64 = 1 << 40;
