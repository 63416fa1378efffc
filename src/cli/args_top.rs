//! The command line of `mount-s3 top`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use super::args::VERSION;
use super::args_subcommand as subcommand;
use super::values::parse_interval;

/// Which mount to show, and how.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "mount-s3 top",
    bin_name = "mount-s3 top",
    version = VERSION,
    about = "Shows what a mount of this user does, until 'q' is pressed",
    after_help = "Rates and latencies are those of the last interval; latencies of what did not \
                  happen in it are those since the mount began.\n\
                  `mount-s3 top DIRECTORY` with a directory at which nothing is mounted mounts the \
                  bucket 'top' there.",
    max_term_width = 100
)]
pub(super) struct TopArgs {
    /// Directory that a bucket is mounted at, or one below [default: list the mounts]
    #[arg(value_name = "DIRECTORY")]
    pub(super) directory: Option<PathBuf>,

    /// Process that serves a mount made by somebody else (/dev/fd/N), instead of its directory
    #[arg(long, value_name = "PID", conflicts_with = "directory")]
    pub(super) process: Option<u32>,

    /// Print one interval, and end: also when the output is no terminal
    #[arg(long)]
    pub(super) once: bool,

    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_interval)]
    pub(super) interval: Duration,
}

/// Whether these are the words of `mount-s3 top`, and not of a mount of a bucket of that name: that
/// has no flag of this one's, and needs a directory at which nothing is mounted.
pub(super) fn is_meant(words: &[OsString]) -> bool {
    let is_flag = |word: &OsString| {
        let word = word.to_str().unwrap_or_default();
        let (name, _value) = word.split_once('=').unwrap_or((word, ""));
        ["--once", "--interval", "--process"].contains(&name)
    };
    subcommand::is_meant(words, "top", |rest| match rest {
        [directory] => is_flag(directory) || is_mount_point(Path::new(directory)),
        rest => rest.iter().any(is_flag),
    })
}

/// Whether something is mounted at `directory`.
fn is_mount_point(directory: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev());
    let Ok(path) = fs::canonicalize(directory) else {
        return false;
    };
    let above = path.parent().map(device);
    matches!((device(&path), above), (Ok(own), Some(Ok(above))) if own != above)
}

#[cfg(test)]
mod tests {
    use super::super::args_subcommand::{parse, words};
    use super::*;

    #[test]
    fn bucket_of_that_name_can_be_mounted() {
        for text in [
            "mount-s3 top",
            "mount-s3 top --help",
            "mount-s3 top /proc",
            "mount-s3 top /tmp --once",
            "mount-s3 top --interval=2 /tmp",
            "mount-s3 top --process 7",
        ] {
            assert!(is_meant(&words(text)), "{text}");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let directory = directory.path().display();
        for text in [
            &format!("mount-s3 top {directory}"),
            &format!("mount-s3 top {directory} --read-only"),
            "mount-s3 top /nonexistent",
            "mount-s3 b /proc",
        ] {
            assert!(!is_meant(&words(text)), "{text}");
        }
    }

    #[test]
    fn interval_is_a_number_of_seconds() {
        let interval = |text: &str| parse::<TopArgs>(&words(text)).map(|args| args.interval);
        assert_eq!(interval("mount-s3 top"), Ok(Duration::from_secs(1)));
        assert_eq!(
            interval("mount-s3 top /m --interval 0.5"),
            Ok(Duration::from_millis(500))
        );
        for wrong in ["0", "-1", "x", "1e9", "NaN"] {
            assert!(
                interval(&format!("mount-s3 top /m --interval={wrong}")).is_err(),
                "{wrong}"
            );
        }
    }
}
