//! The command line of `mount-s3 cache`.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, value_parser};

use super::args::VERSION;
use super::args_connect::{ClientArgs, ConnectArgs};
use super::args_subcommand as subcommand;
use super::args_transfer::ReadingArgs;
use super::values::{ObjectsUri, parse_age};

/// What to do with a cache.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "mount-s3 cache",
    bin_name = "mount-s3 cache",
    version = VERSION,
    about = "Fills the cache of mounts (--cache), counts and checks what it has, and removes it; also while \
             mounts use it",
    max_term_width = 100
)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    pub(super) action: CacheAction,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum CacheAction {
    /// Fetch objects into the cache, so that mounts read them from the disk. What is there is not
    /// fetched again, so that a run that was interrupted is taken up by the next one
    #[command(after_help = WARM_STATUS)]
    Warm(Box<WarmArgs>),

    /// Show how much the cache has
    Stat(StatArgs),

    /// Read everything that the cache has and check it. What is not what was written is forgotten, and
    /// fetched again when it is read
    #[command(after_help = VERIFY_STATUS)]
    Verify(VerifyArgs),

    /// Remove what the cache has. Files that a mount has open stay readable
    Evict(Box<EvictArgs>),
}

/// Which cache.
#[derive(Debug, Clone, Args)]
pub(super) struct PlaceArgs {
    /// The directory that mounts are given with --cache
    #[arg(long = "cache", value_name = "DIRECTORY")]
    pub(super) directory: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(super) struct WarmArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,

    /// Objects: all of a bucket, all below a prefix that ends in '/', or one
    #[arg(value_name = "S3_URI", value_parser = ObjectsUri::parse, required_unless_present = "list")]
    pub(super) source: Option<ObjectsUri>,

    /// File with the key of one object in each line: behind the prefix of S3_URI, or s3://bucket/key.
    /// '-' is the standard input
    #[arg(long, value_name = "FILE")]
    pub(super) list: Option<PathBuf>,

    /// Size of the cache, in MiB [default: what leaves 5 % of the disk free]
    #[arg(long, value_name = "MiB", value_parser = value_parser!(u64).range(1..=MAX_MIB))]
    pub(super) max_cache_size: Option<u64>,

    /// Fetch no more than this in a second, in MiB
    #[arg(long, value_name = "MiB", value_parser = parse_rate)]
    pub(super) rate: Option<NonZeroU64>,

    /// Tell of the progress on standard error, also where that is no terminal
    #[arg(long)]
    pub(super) progress: bool,

    /// Log in detail what mount-s3 does
    #[arg(short, long)]
    pub(super) debug: bool,

    #[command(flatten)]
    pub(super) connect: ConnectArgs,

    #[command(flatten)]
    pub(super) reading: ReadingArgs,

    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Clone, Args)]
pub(super) struct StatArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,

    /// Print a JSON document instead of lines
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,

    /// Print a JSON document instead of lines
    #[arg(long)]
    pub(super) json: bool,

    /// Tell of the progress on standard error, also where that is no terminal
    #[arg(long)]
    pub(super) progress: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct EvictArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,

    #[command(flatten)]
    pub(super) choice: ChoiceArgs,

    /// Log in detail what mount-s3 does
    #[arg(short, long)]
    pub(super) debug: bool,

    #[command(flatten)]
    pub(super) connect: ConnectArgs,

    #[command(flatten)]
    pub(super) client: ClientArgs,
}

/// What to remove.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub(super) struct ChoiceArgs {
    /// All there is
    #[arg(long, conflicts_with_all = ["older_than", "to_size", "source", "list"])]
    pub(super) all: bool,

    /// What was not used for so long: a number and a unit, such as 90s, 15m, 12h, 7d or 4w
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    #[arg(conflicts_with_all = ["to_size", "source", "list"])]
    pub(super) older_than: Option<Duration>,

    /// What is least likely to be read again, until the rest takes no more than this, in MiB
    #[arg(long, value_name = "MiB", value_parser = value_parser!(u64).range(..=MAX_MIB))]
    #[arg(conflicts_with_all = ["source", "list"])]
    pub(super) to_size: Option<u64>,

    /// All versions of objects: all that a bucket has now, or all below a prefix that ends in '/', or
    /// one. Reaches the bucket as a mount does
    #[arg(value_name = "S3_URI", value_parser = ObjectsUri::parse)]
    pub(super) source: Option<ObjectsUri>,

    /// All versions of the objects of this file, with a key in each line: behind the prefix of S3_URI,
    /// or s3://bucket/key. '-' is the standard input
    #[arg(long, value_name = "FILE")]
    pub(super) list: Option<PathBuf>,
}

/// MiB per second, in bytes.
fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let mib = text.parse::<u64>().ok().filter(|mib| *mib <= MAX_MIB);
    mib.and_then(|mib| NonZeroU64::new(mib << 20))
        .ok_or_else(|| "must be a number of MiB of at least 1".to_owned())
}

/// Whether these are the words of `mount-s3 cache`, and not of a mount of a bucket of that name.
pub(super) fn is_meant(words: &[OsString]) -> bool {
    let actions = ["warm", "stat", "verify", "evict"];
    let is_action = |word: &OsString| actions.iter().any(|one| word == one);
    subcommand::is_meant(words, "cache", |rest| rest.first().is_some_and(is_action))
}

/// 1 EiB, which is far from overflow.
const MAX_MIB: u64 = 1 << 40;

const WARM_STATUS: &str = "Exit status: 0 when everything is in the cache; 1 when something is not, which \
                           standard error names; 2 when the command line is wrong";

const VERIFY_STATUS: &str = "Exit status: 0 when everything is what was written; 3 when something was not; \
                             1 when the cache could not be read; 2 when the command line is wrong";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::args_subcommand::{parse, words};
    use super::*;

    #[test]
    fn command_is_well_formed() {
        CacheArgs::command().debug_assert();
    }

    #[test]
    fn bucket_of_that_name_can_be_mounted() {
        for text in [
            "mount-s3 cache",
            "mount-s3 cache --help",
            "mount-s3 cache warm",
            "mount-s3 cache stat --cache /c",
        ] {
            assert!(is_meant(&words(text)), "{text}");
        }
        for text in [
            "mount-s3 cache /mnt",
            "mount-s3 cache /mnt --cache /c",
            "mount-s3 s3://cache warm",
            "mount-s3",
        ] {
            assert!(!is_meant(&words(text)), "{text}");
        }
    }

    #[test]
    fn warm_wants_objects_and_a_cache() {
        let text = "mount-s3 cache warm --cache /c s3://bucket/a/ --rate 10 --region eu-west-1";
        let args = parse::<CacheArgs>(&words(text)).expect("valid");
        let CacheAction::Warm(warm) = args.action else {
            panic!("warm was meant");
        };
        assert_eq!(warm.rate, NonZeroU64::new(10 << 20));
        assert_eq!(warm.connect.region.as_deref(), Some("eu-west-1"));
        for good in ["--list f", "--list f s3://bucket/a/", "s3://bucket/key"] {
            let text = format!("mount-s3 cache warm --cache /c {good}");
            assert!(parse::<CacheArgs>(&words(&text)).is_ok(), "{text}");
        }
        for bad in [
            "--cache /c",
            "s3://bucket/",
            "--cache /c bucket",
            "--cache /c s3://bucket/ --rate 0",
            "--cache /c s3://bucket/ --rate 1.5",
            "--cache /c s3://bucket/ --max-cache-size 0",
        ] {
            let text = format!("mount-s3 cache warm {bad}");
            assert!(parse::<CacheArgs>(&words(&text)).is_err(), "{text}");
        }
    }

    #[test]
    fn evict_wants_one_choice() {
        for good in [
            "--all",
            "--older-than 7d",
            "--to-size 0",
            "s3://bucket/a/",
            "--list f",
            "s3://bucket/ --list f",
        ] {
            let text = format!("mount-s3 cache evict --cache /c {good}");
            assert!(parse::<CacheArgs>(&words(&text)).is_ok(), "{text}");
        }
        for bad in [
            "",
            "--all --older-than 7d",
            "--all s3://bucket/",
            "--to-size 1 --older-than 7d",
            "--to-size 1 --list f",
            "--older-than 7",
        ] {
            let text = format!("mount-s3 cache evict --cache /c {bad}");
            assert!(parse::<CacheArgs>(&words(text.trim())).is_err(), "{text}");
        }
    }
}
