//! The command line of `mount-s3 doctor`.

use std::ffi::OsString;
use std::path::Path;

use clap::Parser;

use super::args::VERSION;
use super::args_caching::SharedCacheArgs;
use super::args_connect::{ClientArgs, ConnectArgs};
use super::args_subcommand as subcommand;
use super::values::Source;
use crate::s3::{BucketName, Prefix};

/// What to examine.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "mount-s3 doctor",
    bin_name = "mount-s3 doctor",
    version = VERSION,
    about = "Looks at everything that a mount of a bucket needs, and says what to change",
    after_help = "Exit status: 0 when a mount would work; 1 when something failed; 2 when the command \
                  line is wrong",
    max_term_width = 100
)]
pub(super) struct DoctorArgs {
    /// Bucket, or s3://bucket/prefix/
    #[arg(value_name = "BUCKET_NAME|S3_URI", value_parser = parse_source)]
    pub(super) source: (BucketName, Prefix),

    /// Also store a small object, whose key is told, and delete it
    #[arg(long)]
    pub(super) write: bool,

    /// Print a JSON document instead of lines
    #[arg(long)]
    pub(super) json: bool,

    /// Log in detail what mount-s3 does
    #[arg(short, long)]
    pub(super) debug: bool,

    #[command(flatten)]
    pub(super) connect: ConnectArgs,

    #[command(flatten)]
    pub(super) client: ClientArgs,

    #[command(flatten)]
    pub(super) shared_cache: SharedCacheArgs,
}

fn parse_source(text: &str) -> Result<(BucketName, Prefix), String> {
    Ok(match Source::parse(text)? {
        Source::Name(bucket) => (bucket, Prefix::default()),
        Source::Uri(bucket, prefix) => (bucket, prefix),
    })
}

/// Whether these are the words of `mount-s3 doctor`, and not of a mount of a bucket of that name: the
/// latter name a directory, by a path that begins with `/` or `.`.
pub(super) fn is_meant(words: &[OsString]) -> bool {
    let is_directory = |word: &OsString| {
        let path = Path::new(word);
        (path.starts_with("/") || path.starts_with(".") || path.starts_with("..")) && path.is_dir()
    };
    subcommand::is_meant(words, "doctor", |rest| !rest.iter().any(is_directory))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::args_subcommand::{parse, words};
    use super::*;

    #[test]
    fn command_is_well_formed() {
        DoctorArgs::command().debug_assert();
    }

    #[test]
    fn bucket_of_that_name_can_be_mounted() {
        for text in [
            "mount-s3 doctor",
            "mount-s3 doctor --help",
            "mount-s3 doctor my-bucket",
            "mount-s3 doctor s3://my-bucket/a/ --region eu-west-1",
            "mount-s3 doctor my-bucket --ca-bundle /etc/passwd",
        ] {
            assert!(is_meant(&words(text)), "{text}");
        }
        for text in [
            "mount-s3 doctor /tmp",
            "mount-s3 doctor . --read-only",
            "mount-s3 doctor --read-only /tmp",
            "mount-s3 s3://doctor/ directory",
        ] {
            assert!(!is_meant(&words(text)), "{text}");
        }
    }

    #[test]
    fn parse_takes_names_and_uris() {
        let args = parse::<DoctorArgs>(&words("mount-s3 doctor s3://bucket/a/ --write --json"));
        let args = args.expect("valid");
        assert_eq!(args.source.1.as_str(), "a/");
        assert!(args.write && args.json);
        let args = parse::<DoctorArgs>(&words("mount-s3 doctor bucket --profile me"));
        assert_eq!(args.expect("valid").connect.profile.as_deref(), Some("me"));
        assert!(parse::<DoctorArgs>(&words("mount-s3 doctor b")).is_err());
    }
}
