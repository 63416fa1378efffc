//! The command line of `mount-s3 index`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use super::args::VERSION;
use super::args_connect::{ClientArgs, ConnectArgs};
use super::args_subcommand as subcommand;
use super::values::{Manifest, Source};
use crate::s3::{BucketName, Prefix};

/// What to make an index of, or to compare one with.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "mount-s3 index",
    bin_name = "mount-s3 index",
    version = VERSION,
    about = "Writes what a bucket holds into a file, so that mounts with --index need no LIST and no HEAD",
    after_help = "Exit status: 0 when the index was made, or is that of the bucket (--check); 1 when it \
                  could not be made, or differs; 2 when the command line is wrong, or the two could \
                  not be compared",
    max_term_width = 100
)]
pub(super) struct IndexArgs {
    /// Bucket, and the prefix that all keys of the index start with
    #[arg(value_name = "S3_URI", value_parser = parse_uri)]
    pub(super) source: (BucketName, Prefix),

    /// File of the index. It is replaced when the new one is complete
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,

    /// Compare the file with the bucket instead, and print what differs: '+' is a key that the bucket
    /// has, '-' one that only the file has, '~' one of which the bucket has another version
    #[arg(long, conflicts_with = "from_inventory")]
    pub(super) check: bool,

    /// Take the objects from an S3 Inventory (CSV or Parquet) instead of listing the bucket:
    /// manifest.json, on the disk or in a bucket. They are as old as the inventory
    #[arg(long, value_name = "PATH|S3_URI", value_parser = Manifest::parse)]
    pub(super) from_inventory: Option<Manifest>,

    /// Tell of the progress on standard error, also where that is no terminal
    #[arg(long)]
    pub(super) progress: bool,

    /// Log in detail what mount-s3 does
    #[arg(short, long)]
    pub(super) debug: bool,

    #[command(flatten)]
    pub(super) connect: ConnectArgs,

    #[command(flatten)]
    pub(super) client: ClientArgs,
}

fn parse_uri(text: &str) -> Result<(BucketName, Prefix), String> {
    match Source::parse(text)? {
        Source::Uri(bucket, prefix) => Ok((bucket, prefix)),
        Source::Name(_) => Err("must be s3://bucket/ or s3://bucket/prefix/".to_owned()),
    }
}

/// Whether these are the words of `mount-s3 index`, and not of a mount of a bucket of that name.
pub(super) fn is_meant(words: &[OsString]) -> bool {
    let is_uri = |word: &OsString| word.to_str().is_some_and(|word| word.starts_with("s3://"));
    subcommand::is_meant(words, "index", |rest| rest.iter().any(is_uri))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::args_subcommand::{parse, words};
    use super::*;

    #[test]
    fn command_is_well_formed() {
        IndexArgs::command().debug_assert();
    }

    #[test]
    fn bucket_of_that_name_can_be_mounted() {
        for text in [
            "mount-s3 index",
            "mount-s3 index --help",
            "mount-s3 index s3://bucket/a/ -o x",
            "mount-s3 index -o x s3://bucket",
        ] {
            assert!(is_meant(&words(text)), "{text}");
        }
        for text in [
            "mount-s3 index /mnt",
            "mount-s3 index /mnt --read-only",
            "mount-s3 s3://index /mnt",
            "mount-s3",
        ] {
            assert!(!is_meant(&words(text)), "{text}");
        }
    }

    #[test]
    fn parse_takes_the_flags_of_a_mount_that_reach_a_bucket() {
        let text = "mount-s3 index s3://bucket/a/ -o x --region eu-west-1 --no-sign-request";
        let args = parse::<IndexArgs>(&words(text)).expect("valid");
        assert_eq!(args.source.1.as_str(), "a/");
        assert_eq!(args.connect.region.as_deref(), Some("eu-west-1"));
        assert!(args.connect.no_sign_request && !args.check);
        for text in [
            "mount-s3 index s3://bucket/a/",
            "mount-s3 index s3://bucket/a -o x",
            "mount-s3 index bucket -o x",
            "mount-s3 index s3://bucket/ -o x --check --from-inventory manifest.json",
            "mount-s3 index s3://bucket/ -o x --from-inventory s3://lists/",
        ] {
            assert!(parse::<IndexArgs>(&words(text)).is_err(), "{text}");
        }
    }
}
