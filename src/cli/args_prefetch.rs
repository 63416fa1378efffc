//! The command line of `mount-s3 prefetch`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use super::args::VERSION;
use super::args_subcommand as subcommand;

/// What a mount is to fetch ahead.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "mount-s3 prefetch",
    bin_name = "mount-s3 prefetch",
    version = VERSION,
    about = "Tells a mount in which order files will be read, so that it fetches them ahead. The mount \
             needs a --metadata-ttl of at least 1 second",
    max_term_width = 100
)]
pub(super) struct PrefetchArgs {
    /// File with one path in each line: absolute, or relative to DIRECTORY. '-' is the standard input
    #[arg(long, value_name = "FILE")]
    pub(super) list: PathBuf,

    /// Directory that a bucket is mounted at, or one below
    #[arg(value_name = "DIRECTORY")]
    pub(super) directory: PathBuf,
}

/// Whether these are the words of `mount-s3 prefetch`, and not of a mount of a bucket of that name.
pub(super) fn is_meant(words: &[OsString]) -> bool {
    let is_list = |word: &OsString| {
        let word = word.to_str().unwrap_or_default();
        word == "--list" || word.starts_with("--list=")
    };
    subcommand::is_meant(words, "prefetch", |rest| rest.iter().any(is_list))
}

#[cfg(test)]
mod tests {
    use super::super::args_subcommand::{parse, words};
    use super::*;

    #[test]
    fn bucket_of_that_name_can_be_mounted() {
        for text in [
            "mount-s3 prefetch",
            "mount-s3 prefetch --help",
            "mount-s3 prefetch --list f /mnt",
            "mount-s3 prefetch /mnt --list=f",
        ] {
            assert!(is_meant(&words(text)), "{text}");
        }
        for text in [
            "mount-s3 prefetch /mnt",
            "mount-s3 prefetch /mnt --read-only",
            "mount-s3 b /mnt",
        ] {
            assert!(!is_meant(&words(text)), "{text}");
        }
    }

    #[test]
    fn list_and_directory_are_needed() {
        let args = parse::<PrefetchArgs>(&words("mount-s3 prefetch --list f /mnt")).expect("valid");
        assert_eq!(args.list, PathBuf::from("f"));
        assert_eq!(args.directory, PathBuf::from("/mnt"));
        assert!(parse::<PrefetchArgs>(&words("mount-s3 prefetch --list f")).is_err());
    }
}
