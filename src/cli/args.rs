//! What was typed: the command line, as clap reads it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{
    Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, ValueEnum, value_parser,
};

use super::args_connect::{ClientArgs, ConnectArgs};
use super::values::{
    Permissions, Source, check_directory, parse_key_arn, parse_prefix, parse_ttl, parse_word,
};
use crate::memory::MemoryPlan;
use crate::s3::Prefix;
use crate::tree::Ttl;

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
                  Files that are to be fetched ahead of reading: mount-s3 prefetch --help",
    max_term_width = 100
)]
pub(super) struct Args {
    /// Bucket to mount, or s3://bucket/prefix/ to mount only the keys with this prefix
    #[arg(value_name = "BUCKET_NAME|S3_URI", value_parser = Source::parse)]
    pub(super) source: Source,

    /// Directory to mount the bucket at
    #[arg(value_name = "DIRECTORY")]
    #[arg(value_parser = PathBufValueParser::new().try_map(check_directory))]
    pub(super) directory: PathBuf,

    /// Mount only the keys with this prefix. Must end in '/'
    #[arg(long, help_heading = BUCKET, value_parser = parse_prefix)]
    pub(super) prefix: Option<Prefix>,

    #[command(flatten)]
    pub(super) connect: ConnectArgs,

    /// Kind of the bucket [default: general-purpose]
    #[arg(long, help_heading = BUCKET, value_name = "TYPE")]
    pub(super) bucket_type: Option<BucketType>,

    /// Mount the file system read-only
    #[arg(long, help_heading = MOUNT)]
    pub(super) read_only: bool,

    /// Allow to delete objects
    #[arg(long, help_heading = MOUNT)]
    pub(super) allow_delete: bool,

    /// Allow to replace objects: by opening with O_TRUNC, and by renaming
    #[arg(long, help_heading = MOUNT)]
    pub(super) allow_overwrite: bool,

    /// Rename files and directories by copying their objects and deleting the old ones after that.
    /// A renaming costs a copy, a HEAD and a DELETE; of a directory, a copy and a DELETE an object
    /// and three listings. Directory buckets rename files without it, by one request
    #[arg(long, help_heading = MOUNT, requires = "allow_delete")]
    pub(super) allow_rename: bool,

    /// Store directories, so that they stay when they are empty: mkdir costs a PUT, deleting a file
    /// at most a LIST, and a PUT when it was the last one in its directory
    #[arg(long, help_heading = MOUNT)]
    pub(super) keep_directories: bool,

    /// Write files by appending to their objects, which may exist before. Directory buckets only
    #[arg(long, help_heading = MOUNT)]
    pub(super) incremental_upload: bool,

    /// How files may be written. 'streaming': new files, in order, uploaded on the way. 'staged': any
    /// file (an existing one with --allow-overwrite) in any order, by way of a local disk; it is
    /// uploaded when it is closed or synced, which costs the disk's space and time
    #[arg(long, help_heading = MOUNT, value_name = "MODE", default_value = "streaming")]
    pub(super) write_mode: WriteMode,

    /// Directory on a local disk for files that are being written, with --write-mode staged. What
    /// could not be uploaded stays there: see mount-s3 staged --help
    #[arg(long, help_heading = MOUNT, value_name = "DIRECTORY")]
    pub(super) stage: Option<PathBuf>,

    /// Unmount when the process ends, however it ends
    #[arg(long, help_heading = MOUNT)]
    pub(super) auto_unmount: bool,

    /// Let root use the file system, not only the user who mounts it
    #[arg(long, help_heading = MOUNT, conflicts_with = "allow_other")]
    pub(super) allow_root: bool,

    /// Let all users use the file system, not only the user who mounts it
    #[arg(long, help_heading = MOUNT)]
    pub(super) allow_other: bool,

    /// Owner of files and directories [default: the user who mounts]
    #[arg(long, help_heading = MOUNT, value_parser = value_parser!(u32).range(1..))]
    pub(super) uid: Option<u32>,

    /// Group of files and directories [default: the group of the user who mounts]
    #[arg(long, help_heading = MOUNT, value_parser = value_parser!(u32).range(1..))]
    pub(super) gid: Option<u32>,

    /// Permissions of directories, octal
    #[arg(long, help_heading = MOUNT, value_name = "MODE", value_parser = Permissions::parse)]
    #[arg(default_value_t = Permissions::DIRECTORY_DEFAULT)]
    pub(super) dir_mode: Permissions,

    /// Permissions of files, octal
    #[arg(long, help_heading = MOUNT, value_name = "MODE", value_parser = Permissions::parse)]
    #[arg(default_value_t = Permissions::FILE_DEFAULT)]
    pub(super) file_mode: Permissions,

    /// Keep modes, owners, times and symbolic links in the user metadata of objects, as s3fs and
    /// rclone do. Looking at a file then costs a HEAD, and changing its attributes a copy of the
    /// object onto itself
    #[arg(long, help_heading = MOUNT)]
    pub(super) posix_metadata: bool,

    /// Show what S3 says of objects as extended attributes user.s3.*. Reading one costs a HEAD at
    /// most; programs that show or copy files ask the mount for each of them
    #[arg(long, help_heading = MOUNT)]
    pub(super) xattrs: bool,

    /// Stay in the foreground
    #[arg(short, long, help_heading = MOUNT)]
    pub(super) foreground: bool,

    /// Throughput that the network allows, in gigabits per second: what to aim at, not a limit
    /// [default: that of the EC2 instance type, else of the network interface, else 10]
    #[arg(long, help_heading = CLIENT, value_name = "N")]
    #[arg(value_parser = value_parser!(u32).range(1..=100_000))]
    pub(super) maximum_throughput_gbps: Option<u32>,

    /// Threads that answer the kernel, at most
    #[arg(long, help_heading = CLIENT, value_name = "N", default_value_t = 16)]
    #[arg(value_parser = value_parser!(u16).range(1..=1024))]
    pub(super) max_threads: u16,

    /// Memory to use, in MiB: a target, of which 1/8, but at least 128 MiB, is not for buffers
    /// [default: what the throughput needs, at most 95 % of the memory there is]
    #[arg(long, help_heading = CLIENT, value_name = "MiB")]
    #[arg(value_parser = value_parser!(u64).range(SMALLEST_TARGET_MIB..=MAX_TARGET_MIB))]
    pub(super) memory_target: Option<u64>,

    /// Size of the parts in which objects are transferred, in bytes [default: 8388608]
    #[arg(long, help_heading = CLIENT, value_name = "SIZE")]
    #[arg(conflicts_with_all = ["read_part_size", "write_part_size"])]
    #[arg(value_parser = value_parser!(u64).range(1..=MAX_PART_BYTES))]
    pub(super) part_size: Option<u64>,

    /// Size of the parts in which objects are read, in bytes [default: 8388608]
    #[arg(long, help_heading = CLIENT, value_name = "SIZE")]
    #[arg(value_parser = value_parser!(u64).range(1..=MAX_PART_BYTES))]
    pub(super) read_part_size: Option<u64>,

    /// Size of the parts in which objects are written, in bytes [default: 8388608]
    #[arg(long, help_heading = CLIENT, value_name = "SIZE")]
    #[arg(value_parser = value_parser!(u64).range(1..=MAX_PART_BYTES))]
    pub(super) write_part_size: Option<u64>,

    #[command(flatten)]
    pub(super) client: ClientArgs,

    /// Storage class of new objects [default: S3's]
    #[arg(long, help_heading = OBJECTS, value_name = "CLASS", value_parser = parse_word)]
    pub(super) storage_class: Option<String>,

    /// How S3 encrypts new objects [default: as the bucket says]
    #[arg(long, help_heading = OBJECTS, value_name = "ENCRYPTION")]
    pub(super) sse: Option<Sse>,

    /// ARN of the key that encrypts new objects, with --sse aws:kms or aws:kms:dsse
    #[arg(long, help_heading = OBJECTS, value_name = "ARN", value_parser = parse_key_arn)]
    #[arg(requires = "sse")]
    pub(super) sse_kms_key_id: Option<String>,

    /// Checksums of uploads, which S3 compares with what it received
    #[arg(long, help_heading = OBJECTS, value_name = "ALGORITHM", default_value = "crc32c")]
    pub(super) upload_checksums: Checksums,

    /// Give new objects a Content-Type after the ending of their names
    #[arg(long, help_heading = OBJECTS)]
    pub(super) infer_content_type: bool,

    /// Write log files to this directory [default: syslog; standard error in the foreground]
    #[arg(short, long, help_heading = LOGGING, value_name = "DIRECTORY")]
    pub(super) log_directory: Option<PathBuf>,

    /// Log in detail what mount-s3 does
    #[arg(short, long, help_heading = LOGGING)]
    pub(super) debug: bool,

    /// Log in detail what the AWS Common Runtime does
    #[arg(long, help_heading = LOGGING)]
    pub(super) debug_crt: bool,

    /// Do not log
    #[arg(long, help_heading = LOGGING)]
    #[arg(conflicts_with_all = ["log_directory", "debug", "debug_crt"])]
    pub(super) no_log: bool,

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

/// The value of `--bucket-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BucketType {
    GeneralPurpose,
    Directory,
}

/// The value of `--write-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum WriteMode {
    Streaming,
    Staged,
}

/// The value of `--sse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Sse {
    #[value(name = "aws:kms")]
    Kms,
    #[value(name = "aws:kms:dsse")]
    KmsDualLayer,
    #[value(name = "AES256")]
    S3,
}

/// The value of `--upload-checksums`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Checksums {
    #[value(name = "crc32c")]
    Crc32c,
    #[value(name = "crc64nvme")]
    Crc64Nvme,
    Off,
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
        for flag in UNSUPPORTED {
            command = command.arg(flag.hidden());
        }
        let args = command
            .try_get_matches_from_mut(words)
            .and_then(|matches| {
                for flag in UNSUPPORTED {
                    flag.check(&matches)
                        .map_err(|text| command.error(ErrorKind::UnknownArgument, text))?;
                }
                Self::from_arg_matches(&matches)
            })
            .map_err(Refusal)?;
        match args.conflict() {
            Some(text) => Err(Refusal(command.error(ErrorKind::ArgumentConflict, text))),
            None => Ok(args),
        }
    }

    /// What cannot be true at the same time.
    fn conflict(&self) -> Option<&'static str> {
        if matches!(self.source, Source::Uri(..)) && self.prefix.is_some() {
            Some("explicit prefix option not allowed with S3 URI")
        } else if self.sse == Some(Sse::S3) && self.sse_kms_key_id.is_some() {
            Some("--sse-kms-key-id can not be used with --sse AES256")
        } else if self.incremental_upload && self.bucket_type != Some(BucketType::Directory) {
            Some(
                "--incremental-upload is only possible in a directory bucket (--bucket-type directory)",
            )
        } else if self.write_mode == WriteMode::Staged && self.stage.is_none() {
            Some("--write-mode staged needs a directory on a local disk: --stage DIRECTORY")
        } else if self.write_mode == WriteMode::Streaming && self.stage.is_some() {
            Some("--stage has no effect without --write-mode staged")
        } else if self.write_mode == WriteMode::Staged && self.incremental_upload {
            Some(
                "--incremental-upload can not be used with --write-mode staged, which appends, too",
            )
        } else if self.write_mode == WriteMode::Staged && self.read_only {
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

/// A flag of Mountpoint for Amazon S3 that has no effect here yet. It is refused by name, so that
/// nobody believes it to be in force.
struct UnsupportedFlag {
    name: &'static str,
    takes_value: bool,
}

impl UnsupportedFlag {
    const fn switch(name: &'static str) -> Self {
        Self {
            name,
            takes_value: false,
        }
    }

    const fn with_value(name: &'static str) -> Self {
        Self {
            name,
            takes_value: true,
        }
    }

    fn hidden(&self) -> Arg {
        let arg = Arg::new(self.name).long(self.name).hide(true);
        if self.takes_value {
            arg.action(ArgAction::Append)
        } else {
            arg.action(ArgAction::Count)
        }
    }

    fn check(&self, matches: &ArgMatches) -> Result<(), String> {
        let given = if self.takes_value {
            matches.contains_id(self.name)
        } else {
            matches.get_count(self.name) > 0
        };
        if given {
            return Err(format!(
                "--{} is not supported yet by this version; remove it to mount without it",
                self.name
            ));
        }
        Ok(())
    }
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

/// The largest part that S3 takes: 5 GiB.
const MAX_PART_BYTES: u64 = 5 << 30;

const SMALLEST_TARGET_MIB: u64 = MemoryPlan::SMALLEST_TARGET >> 20;

/// 1 PiB, which is far from overflow.
const MAX_TARGET_MIB: u64 = 1 << 30;

pub(super) const BUCKET: &str = "Bucket options";
pub(super) const CREDENTIALS: &str = "AWS credentials options";
const MOUNT: &str = "Mount options";
pub(super) const CLIENT: &str = "Client options";
const OBJECTS: &str = "New object options";
const LOGGING: &str = "Logging options";
const CACHING: &str = "Caching options";

const UNSUPPORTED: &[UnsupportedFlag] = &[
    UnsupportedFlag::with_value("bind"),
    UnsupportedFlag::switch("log-metrics"),
    UnsupportedFlag::with_value("otlp-endpoint"),
    UnsupportedFlag::with_value("otlp-export-interval"),
    UnsupportedFlag::with_value("cache"),
    UnsupportedFlag::with_value("max-cache-size"),
    UnsupportedFlag::with_value("cache-xz"),
];

#[cfg(test)]
mod tests {
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
        assert_eq!(args.file_mode.bits(), 0o644);
        assert_eq!(args.dir_mode.bits(), 0o755);
        assert_eq!(args.max_threads, 16);
        assert_eq!(args.metadata_ttl, None);
        assert!(!args.foreground && !args.read_only && !args.no_log);
    }

    #[test]
    fn parse_refuses_every_unsupported_flag_by_name() {
        for flag in UNSUPPORTED {
            let name = format!("--{}", flag.name);
            let mut words = vec!["bucket", "/mnt", &name];
            if flag.takes_value {
                words.push("value");
            }
            let error = parse(&words).expect_err(&name);
            assert!(
                error.contains(&format!("{name} is not supported yet")),
                "{error}"
            );
        }
    }

    #[test]
    fn parse_refuses_conflicting_flags() {
        let conflicts: &[&[&str]] = &[
            &["--allow-other", "--allow-root"],
            &["--no-log", "--debug"],
            &["--no-log", "--debug-crt"],
            &["--no-log", "-l", "/tmp"],
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
        assert_eq!(args.sse, Some(Sse::KmsDualLayer));
        assert_eq!(args.sse_kms_key_id.as_deref(), Some(ARN));
        assert_eq!(args.upload_checksums, Checksums::Crc64Nvme);
        for words in [
            "bucket /mnt --bucket-type directory --incremental-upload",
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
