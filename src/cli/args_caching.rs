//! The flags that say how long what is known of the bucket is believed.

use std::path::PathBuf;

use clap::Args;

use super::args::CACHING;
use super::values::parse_ttl;
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

    /// How long file metadata may be answered without asking S3 again: a number of seconds,
    /// 'indefinite' or 'minimal' [default: minimal]
    #[arg(long, help_heading = CACHING, value_name = "SECONDS|indefinite|minimal")]
    #[arg(value_parser = parse_ttl)]
    pub(super) metadata_ttl: Option<Ttl>,

    /// The same for the knowledge that a file does not exist [default: as --metadata-ttl]
    #[arg(long, help_heading = CACHING, value_name = "SECONDS|indefinite|minimal")]
    #[arg(value_parser = parse_ttl)]
    pub(super) negative_metadata_ttl: Option<Ttl>,
}

/// What writes, and what an index does not say.
const NOT_WITH_INDEX: [&str; 10] = [
    "allow_delete",
    "allow_overwrite",
    "allow_rename",
    "keep_directories",
    "incremental_upload",
    "stage",
    "posix_metadata",
    "xattrs",
    "metadata_ttl",
    "negative_metadata_ttl",
];
