//! The command line of `mount-s3 staged`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::args::VERSION;
use super::args_subcommand as subcommand;
use crate::stage::FileId;

/// What to do with staged files.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "mount-s3 staged",
    bin_name = "mount-s3 staged",
    version = VERSION,
    about = "Lists, stores or throws away files that a mount has left staged (--write-mode staged)",
    max_term_width = 100
)]
pub(super) struct StagedArgs {
    #[command(subcommand)]
    pub(super) action: Action,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Action {
    /// Show the files that are staged, and those that a mount which is gone has left
    List(List),

    /// Store files that a mount which is gone has left, and remove them from the stage. Reaches S3
    /// as that mount did, with the credentials of this process
    Recover(Recover),

    /// Remove files from the stage without storing them: what was written is lost
    Discard(Discard),
}

#[derive(Debug, Clone, Args)]
pub(super) struct List {
    /// The directory that the mount was given with --stage
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) stage: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Recover {
    /// The directory that the mount was given with --stage
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) stage: PathBuf,

    #[command(flatten)]
    pub(super) choice: Choice,

    /// Replace objects that were changed by somebody else since, and store files although the
    /// system was restarted since, so that their last bytes may be missing
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Discard {
    /// The directory that the mount was given with --stage
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) stage: PathBuf,

    #[command(flatten)]
    pub(super) choice: Choice,
}

/// Which files.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Choice {
    /// All that no mount uses
    #[arg(long)]
    pub(super) all: bool,

    /// Files, by the names that the list shows
    #[arg(value_name = "FILE")]
    pub(super) files: Vec<FileId>,
}

/// Whether these are the words of `mount-s3 staged`, and not of a mount of a bucket of that name.
pub(super) fn is_meant(words: &[OsString]) -> bool {
    let is_action = |word: &OsString| ["list", "recover", "discard"].iter().any(|one| word == one);
    subcommand::is_meant(words, "staged", |rest| rest.first().is_some_and(is_action))
}

#[cfg(test)]
mod tests {
    use super::super::args_subcommand::{parse, words};
    use super::*;

    #[test]
    fn bucket_of_that_name_can_be_mounted() {
        for text in [
            "mount-s3 staged list",
            "mount-s3 staged",
            "mount-s3 staged -h",
        ] {
            assert!(is_meant(&words(text)), "{text}");
        }
        for text in [
            "mount-s3 staged /mnt",
            "mount-s3 s3://staged list",
            "mount-s3",
        ] {
            assert!(!is_meant(&words(text)), "{text}");
        }
    }

    #[test]
    fn recover_wants_files_or_all() {
        let parsed = |text: &str| parse::<StagedArgs>(&words(text));
        let all = parsed("mount-s3 staged recover --stage /s --all").expect("valid");
        assert!(matches!(all.action, Action::Recover(recover) if recover.choice.all));
        let one = parsed("mount-s3 staged discard --stage /s 17-4/3").expect("valid");
        let Action::Discard(discard) = one.action else {
            panic!("discard was meant");
        };
        assert_eq!(discard.choice.files[0].to_string(), "17-4/3");
        for text in [
            "mount-s3 staged recover --stage /s",
            "mount-s3 staged recover --stage /s --all 17-4/3",
            "mount-s3 staged discard --stage /s what",
            "mount-s3 staged list",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
