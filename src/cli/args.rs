//! What was typed: the command line, as clap reads it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};

use super::args_caching::CachingArgs;
use super::args_connect::{ClientArgs, ConnectArgs};
use super::args_logging::LogArgs;
use super::args_metrics::MetricsArgs;
use super::args_mount::{MountArgs, WriteMode};
use super::args_objects::{ObjectArgs, Sse};
use super::args_transfer::TransferArgs;
use super::fstab;
use super::values::{Source, parse_prefix};
use crate::s3::{BucketKind, BucketName, Prefix};

/// The version of this build: the package's, and the revision it was built from.
pub(super) const VERSION: &str = env!("MOUNT_S3_VERSION");

/// The command line.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "mount-s3",
    version = VERSION,
    about = "Mounts an Amazon S3 bucket as a file system",
    after_help = "Files that a mount has left staged on the disk: mount-s3 staged --help\n\
                  An index of a data set: mount-s3 index --help\n\
                  The cache of mounts, filled, checked and emptied: mount-s3 cache --help\n\
                  Files that are to be fetched ahead of reading: mount-s3 prefetch --help\n\
                  What is wrong where a bucket cannot be mounted: mount-s3 doctor --help\n\
                  What a mount does: mount-s3 top --help",
    max_term_width = 100
)]
pub(super) struct Args {
    /// Bucket to mount, by its name or by an access point's alias or ARN; or s3://bucket/prefix/ to
    /// mount only the keys with this prefix
    #[arg(value_name = "BUCKET_NAME|S3_URI", value_parser = Source::parse)]
    pub(super) source: Source,

    /// Directory to mount the bucket at, or /dev/fd/N: a descriptor of /dev/fuse that is mounted
    #[arg(value_name = "DIRECTORY")]
    pub(super) directory: PathBuf,

    /// Mount only the keys with this prefix. Must end in '/'
    #[arg(long, help_heading = BUCKET, value_parser = parse_prefix)]
    pub(super) prefix: Option<Prefix>,

    #[command(flatten)]
    pub(super) connect: ConnectArgs,

    /// Kind of the bucket [default: what its name tells, else general-purpose]
    #[arg(long, help_heading = BUCKET, value_name = "TYPE")]
    pub(super) bucket_type: Option<BucketType>,

    #[command(flatten)]
    pub(super) mount: MountArgs,

    #[command(flatten)]
    pub(super) transfer: TransferArgs,

    #[command(flatten)]
    pub(super) client: ClientArgs,

    #[command(flatten)]
    pub(super) objects: ObjectArgs,

    #[command(flatten)]
    pub(super) log: LogArgs,

    #[command(flatten)]
    pub(super) metrics: MetricsArgs,

    #[command(flatten)]
    pub(super) caching: CachingArgs,

    /// The source as mount(8) was told it, if that has written the command line.
    #[arg(skip)]
    pub(super) fstab_source: Option<String>,
}

/// The value of `--bucket-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BucketType {
    GeneralPurpose,
    Directory,
}

/// A command line that asks for help or the version, or that is wrong.
#[derive(Debug)]
pub(super) struct Refusal(clap::Error);

impl Args {
    /// Reads a command line; the first word is the name of the program.
    ///
    /// # Errors
    /// [`Refusal`] says why there is nothing to mount.
    pub(super) fn parse_words<I>(words: I) -> Result<Self, Refusal>
    where
        I: IntoIterator<Item = OsString>,
    {
        let mut command = Self::command();
        let words: Vec<_> = words.into_iter().collect();
        let (words, fstab_source) = match fstab::translate(&words) {
            None => (words, None),
            Some(Ok(line)) => (line.words, line.source),
            Some(Err(text)) => {
                return Err(Refusal(command.error(ErrorKind::InvalidValue, text)));
            }
        };
        let args = command
            .try_get_matches_from_mut(words)
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(Refusal)?;
        match args.conflict() {
            Some(text) => Err(Refusal(command.error(ErrorKind::ArgumentConflict, text))),
            None => Ok(Self {
                fstab_source,
                ..args
            }),
        }
    }

    /// The kind of the bucket: as typed, or as its name tells.
    pub(super) fn kind(&self) -> BucketKind {
        match self.bucket_type {
            Some(BucketType::GeneralPurpose) => BucketKind::GeneralPurpose,
            Some(BucketType::Directory) => BucketKind::Directory,
            None => self.bucket().kind(),
        }
    }

    fn bucket(&self) -> &BucketName {
        match &self.source {
            Source::Name(bucket) | Source::Uri(bucket, _) => bucket,
        }
    }

    /// What cannot be true at the same time.
    fn conflict(&self) -> Option<&'static str> {
        let of_cache = self.caching.shared.conflict(self.bucket());
        if of_cache.is_some() {
            of_cache
        } else if matches!(self.source, Source::Uri(..)) && self.prefix.is_some() {
            Some("explicit prefix option not allowed with S3 URI")
        } else if self.objects.sse == Some(Sse::S3) && self.objects.sse_kms_key_id.is_some() {
            Some("--sse-kms-key-id can not be used with --sse AES256")
        } else if self.mount.incremental_upload && self.kind() != BucketKind::Directory {
            Some(
                "--incremental-upload is only possible in a directory bucket (--bucket-type directory)",
            )
        } else if self.mount.write_mode == WriteMode::Staged && self.mount.stage.is_none() {
            Some("--write-mode staged needs a directory on a local disk: --stage DIRECTORY")
        } else if self.mount.write_mode == WriteMode::Streaming && self.mount.stage.is_some() {
            Some("--stage has no effect without --write-mode staged")
        } else if self.mount.write_mode == WriteMode::Staged && self.mount.incremental_upload {
            Some(
                "--incremental-upload can not be used with --write-mode staged, which appends, too",
            )
        } else if self.mount.write_mode == WriteMode::Staged && self.mount.read_only {
            Some("--write-mode staged can not be used with --read-only")
        } else {
            None
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Prints the reason, or the help that was asked for, and gives the exit status.
    pub(super) fn report(&self) -> ExitCode {
        // Nobody is left to be told that printing failed.
        _ = self.0.print();
        ExitCode::from(u8::try_from(self.0.exit_code()).unwrap_or(2))
    }
}

pub(super) const BUCKET: &str = "Bucket options";
pub(super) const CREDENTIALS: &str = "AWS credentials options";
pub(super) const MOUNT: &str = "Mount options";
pub(super) const CLIENT: &str = "Client options";
pub(super) const OBJECTS: &str = "New object options";
pub(super) const LOGGING: &str = "Logging options";
pub(super) const METRICS: &str = "Metrics options";
pub(super) const CACHING: &str = "Caching options";

#[cfg(test)]
mod tests {
    use super::super::args_objects::Checksums;
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, String> {
        let words = ["mount-s3"].iter().chain(words).map(OsString::from);
        Args::parse_words(words).map_err(|refusal| refusal.0.to_string())
    }

    #[test]
    fn command_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn parse_bare_command_gives_the_defaults() {
        let args = parse(&["bucket", "/mnt"]).expect("valid");
        assert_eq!(args.mount.file_mode.bits(), 0o644);
        assert_eq!(args.mount.dir_mode.bits(), 0o755);
        assert_eq!(args.transfer.max_threads, 16);
        assert_eq!(args.caching.metadata_ttl, None);
        assert!(!args.mount.foreground && !args.mount.read_only && !args.log.no_log);
    }

    #[test]
    fn parse_refuses_conflicting_flags() {
        let conflicts: &[&[&str]] = &[
            &["--allow-other", "--allow-root"],
            &["--no-log", "--debug"],
            &["--no-log", "--debug-crt"],
            &["--no-log", "-l", "/tmp"],
            &["--no-log", "--log-metrics"],
            &["--part-size", "8388608", "--read-part-size", "8388608"],
            &["--part-size", "8388608", "--write-part-size", "8388608"],
            &["--index", "data.idx", "--allow-delete"],
            &["--index", "data.idx", "--xattrs"],
            &["--index", "data.idx", "--metadata-ttl", "60"],
        ];
        for flags in conflicts {
            let words = [&["bucket", "/mnt"], *flags].concat();
            let error = parse(&words).expect_err("conflict");
            assert!(error.contains("cannot be used with"), "{flags:?}: {error}");
        }
    }

    #[test]
    fn parse_refuses_a_prefix_beside_a_uri() {
        let error = parse(&["s3://bucket/a/", "/mnt", "--prefix", "b/"]).expect_err("conflict");
        assert!(
            error.contains("explicit prefix option not allowed with S3 URI"),
            "{error}"
        );
        parse(&["bucket", "/mnt", "--prefix", "b/"]).expect("a name and a prefix");
    }

    #[test]
    fn parse_checks_what_belongs_together() {
        const ARN: &str = "arn:aws:kms:us-east-1:1:key/0a-1b";
        let refused: &[(&[&str], &str)] = &[
            (&["--sse-kms-key-id", ARN], "--sse <ENCRYPTION>"),
            (
                &["--sse", "AES256", "--sse-kms-key-id", ARN],
                "--sse-kms-key-id can not be used with --sse AES256",
            ),
            (
                &["--sse", "aws:kms", "--sse-kms-key-id", "0a-1b"],
                "must be the ARN of a key",
            ),
            (&["--sse", "aes"], "invalid value 'aes'"),
            (&["--upload-checksums", "md5"], "invalid value 'md5'"),
            (&["--incremental-upload"], "--bucket-type directory"),
            (&["--otlp-export-interval", "5"], "--otlp-endpoint"),
            (&["--otlp-endpoint", "h:4318"], "must start with"),
            (&["--metrics-listen", "9100"], "must be ADDRESS:PORT"),
            (&["--metrics-label", "le=1"], "is taken"),
            (&["--allow-rename"], "--allow-delete"),
            (&["--allow-rename", "--allow-overwrite"], "--allow-delete"),
            (
                &["--incremental-upload", "--bucket-type", "general-purpose"],
                "--bucket-type directory",
            ),
        ];
        for (flags, reason) in refused {
            let words = [&["bucket", "/mnt"], *flags].concat();
            let error = parse(&words).expect_err("refused");
            assert!(error.contains(reason), "{flags:?}: {error}");
        }
        let words = "bucket /mnt --sse aws:kms:dsse --upload-checksums crc64nvme --sse-kms-key-id";
        let words: Vec<&str> = words.split(' ').chain([ARN]).collect();
        let args = parse(&words).expect("valid");
        assert_eq!(args.objects.sse, Some(Sse::KmsDualLayer));
        assert_eq!(args.objects.sse_kms_key_id.as_deref(), Some(ARN));
        assert_eq!(args.objects.upload_checksums, Some(Checksums::Crc64Nvme));
        for words in [
            "bucket /mnt --bucket-type directory --incremental-upload",
            "logs--use1-az5--x-s3 /mnt --incremental-upload",
            "s3://logs--use1-az5--x-s3/a/ /mnt --incremental-upload",
            "arn:aws:s3:us-west-2:123456789012:accesspoint/finance /mnt --prefix a/",
            "bucket /mnt --allow-delete --allow-rename",
            "bucket /mnt --keep-directories",
        ] {
            assert!(
                parse(&words.split(' ').collect::<Vec<_>>()).is_ok(),
                "{words}"
            );
        }
    }

    #[test]
    fn parse_refuses_numbers_out_of_range() {
        for flags in [
            ["--uid", "0"],
            ["--gid", "0"],
            ["--uid", "4294967296"],
            ["--max-threads", "0"],
            ["--maximum-throughput-gbps", "0"],
            ["--part-size", "0"],
            ["--memory-target", "511"],
            ["--read-part-size", "5368709121"],
            ["--write-part-size", "5368709121"],
        ] {
            let words = [&["bucket", "/mnt"], flags.as_slice()].concat();
            let error = parse(&words).expect_err("out of range");
            assert!(error.contains("is not in"), "{flags:?}: {error}");
        }
    }
}
