//! What the program needs to know, from the command line, the environment and the machine.
//!
//! The only reader of environment variables; those that configure credentials are read by the
//! CRT itself.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::args::{Args, BucketType, Checksums, Sse};
use super::args_connect::{ClientArgs, ConnectArgs};
use super::exit::Failure;
use super::machine::Throughput;
use super::memory::Memory;
use super::values::{INDEFINITE, Permissions, Source, parse_endpoint, parse_word};
use crate::fuse::Access;
use crate::s3::{BucketName, Encryption, Prefix, UploadChecksums};
use crate::tree::Ttl;

/// Set for the background process, so that it knows itself.
pub(super) const BACKGROUND_VARIABLE: &str = "MOUNT_S3_BACKGROUND_PROCESS";

/// Everything a mount is made from. Holds no credentials, so that it can be logged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Config {
    pub(super) bucket: BucketName,
    pub(super) prefix: Prefix,
    pub(super) directory: PathBuf,
    pub(super) role: Role,
    pub(super) client: ClientOptions,
    pub(super) objects: ObjectOptions,
    pub(super) mount: MountOptions,
    pub(super) memory: Memory,
    pub(super) log: LogOptions,
}

/// What this process is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Mount, and serve the mount until it ends.
    Foreground,
    /// Start a process that mounts, and wait until the mount answers.
    Launcher,
    /// Be that process.
    Background,
}

/// How to reach the bucket.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ClientOptions {
    pub(super) region: Option<String>,
    pub(super) endpoint_url: Option<String>,
    pub(super) force_path_style: bool,
    pub(super) transfer_acceleration: bool,
    pub(super) dual_stack: bool,
    pub(super) requester_pays: bool,
    pub(super) expected_bucket_owner: Option<String>,
    pub(super) credentials: CredentialsSource,
    pub(super) throughput: Throughput,
    /// Attempts at one request. `None` leaves it to the CRT.
    pub(super) max_attempts: Option<NonZeroU32>,
    pub(super) ca_bundle: Option<PathBuf>,
    pub(super) user_agent_prefix: Option<String>,
}

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CredentialsSource {
    /// From nowhere: requests are not signed.
    Anonymous,
    /// From this profile.
    Profile(String),
    /// From the usual places, in the usual order.
    DefaultChain,
}

/// What is asked for new objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectOptions {
    pub(super) storage_class: Option<String>,
    pub(super) encryption: Option<Encryption>,
    pub(super) checksums: UploadChecksums,
    pub(super) infer_content_type: bool,
}

/// How the file system looks, and what it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountOptions {
    pub(super) read_only: bool,
    /// The file that knows what is in the bucket.
    pub(super) index: Option<PathBuf>,
    pub(super) allow_delete: bool,
    pub(super) posix_metadata: bool,
    pub(super) xattrs: bool,
    pub(super) allow_overwrite: bool,
    pub(super) allow_rename: bool,
    pub(super) keep_directories: bool,
    pub(super) incremental_upload: bool,
    /// Where files are staged that are written in any order.
    pub(super) stage: Option<StageOptions>,
    /// Whether the bucket is a directory bucket, which can append and rename.
    pub(super) directory_bucket: bool,
    pub(super) auto_unmount: bool,
    pub(super) access: Access,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) file_mode: Permissions,
    pub(super) dir_mode: Permissions,
    pub(super) max_threads: u16,
    pub(super) metadata_ttl: Ttl,
    pub(super) negative_metadata_ttl: Ttl,
}

/// Where files are staged, and what to note there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StageOptions {
    pub(super) directory: PathBuf,
    /// The environment variables that count.
    pub(super) environment: BTreeMap<String, String>,
}

/// What is logged, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogOptions {
    pub(super) target: LogTarget,
    /// Directives in the syntax of `env_logger`: `warn,crt=debug`.
    pub(super) filter: String,
}

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LogTarget {
    Nowhere,
    StandardError,
    Syslog,
    Directory(PathBuf),
}

/// The environment variables that count, read once. An empty one is as good as none.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    region: Option<OsString>,
    endpoint_url: Option<OsString>,
    max_attempts: Option<OsString>,
    ca_bundle: Option<OsString>,
    log_filter: Option<OsString>,
    background: bool,
}

/// Where the variables are found that say how S3 is reached, beside credentials.
const REGION: &str = "AWS_REGION";
const ENDPOINT_URL: &str = "AWS_ENDPOINT_URL";
const MAX_ATTEMPTS: &str = "AWS_MAX_ATTEMPTS";
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

impl Environment {
    /// The variables that a later process needs to reach S3 in the same way.
    pub(super) fn for_origin(&self) -> BTreeMap<String, String> {
        let known = [
            (REGION, &self.region),
            (ENDPOINT_URL, &self.endpoint_url),
            (MAX_ATTEMPTS, &self.max_attempts),
            (CA_BUNDLE, &self.ca_bundle),
        ];
        let known = known.into_iter().filter_map(|(name, value)| {
            let value = value.as_ref()?.to_str()?;
            Some((name.to_owned(), value.to_owned()))
        });
        known.collect()
    }

    /// As if these were the variables.
    pub(super) fn of_origin(variables: &BTreeMap<String, String>) -> Self {
        let value = |name| variables.get(name).map(OsString::from);
        Self {
            region: value(REGION),
            endpoint_url: value(ENDPOINT_URL),
            max_attempts: value(MAX_ATTEMPTS),
            ca_bundle: value(CA_BUNDLE),
            log_filter: None,
            background: false,
        }
    }

    pub(super) fn read() -> Self {
        let read = |name| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            region: read(REGION),
            endpoint_url: read(ENDPOINT_URL),
            max_attempts: read(MAX_ATTEMPTS),
            ca_bundle: read(CA_BUNDLE),
            log_filter: read("MOUNTPOINT_LOG"),
            background: read(BACKGROUND_VARIABLE).is_some(),
        }
    }
}

impl Config {
    /// Joins what was typed with what the environment says; what was typed wins.
    ///
    /// # Errors
    /// An environment variable holds what cannot be used.
    pub(super) fn new(args: Args, environment: Environment) -> Result<Self, Failure> {
        let role = match (environment.background, args.foreground) {
            (true, _) => Role::Background,
            (false, true) => Role::Foreground,
            (false, false) => Role::Launcher,
        };
        let stage = args.stage.as_ref().map(|directory| StageOptions {
            directory: directory.clone(),
            environment: environment.for_origin(),
        });
        let log = log_options(&args, &environment, role)?;
        let default_ttl = if args.index.is_some() {
            INDEFINITE
        } else {
            Ttl::Minimal
        };
        let metadata_ttl = args.metadata_ttl.unwrap_or(default_ttl);
        let access = match (args.allow_root, args.allow_other) {
            (_, true) => Access::Other,
            (true, false) => Access::Root,
            (false, false) => Access::Owner,
        };
        let throughput = Throughput::choose(args.maximum_throughput_gbps, Path::new("/"));
        let part_bytes = args
            .read_part_size
            .or(args.part_size)
            .unwrap_or(DEFAULT_PART_BYTES);
        let write_part_bytes = args
            .write_part_size
            .or(args.part_size)
            .unwrap_or(DEFAULT_PART_BYTES);
        let memory = Memory::new(
            args.memory_target,
            throughput.gbps,
            part_bytes,
            write_part_bytes,
        )?;
        let objects = ObjectOptions {
            storage_class: args.storage_class,
            encryption: args.sse.map(|sse| match sse {
                Sse::S3 => Encryption::S3,
                Sse::Kms => Encryption::Kms {
                    key: args.sse_kms_key_id,
                },
                Sse::KmsDualLayer => Encryption::KmsDualLayer {
                    key: args.sse_kms_key_id,
                },
            }),
            checksums: match args.upload_checksums {
                Checksums::Crc32c => UploadChecksums::Crc32c,
                Checksums::Crc64Nvme => UploadChecksums::Crc64Nvme,
                Checksums::Off => UploadChecksums::Off,
            },
            infer_content_type: args.infer_content_type,
        };
        let (bucket, prefix) = match args.source {
            Source::Name(bucket) => (bucket, args.prefix.unwrap_or_default()),
            Source::Uri(bucket, prefix) => (bucket, prefix),
        };
        Ok(Self {
            bucket,
            prefix,
            directory: args.directory,
            role,
            client: ClientOptions::new(args.connect, args.client, throughput, environment)?,
            objects,
            mount: MountOptions {
                read_only: args.read_only || args.index.is_some(),
                index: args.index,
                allow_delete: args.allow_delete,
                posix_metadata: args.posix_metadata,
                xattrs: args.xattrs,
                allow_overwrite: args.allow_overwrite,
                allow_rename: args.allow_rename,
                keep_directories: args.keep_directories,
                incremental_upload: args.incremental_upload,
                stage,
                directory_bucket: args.bucket_type == Some(BucketType::Directory),
                auto_unmount: args.auto_unmount,
                access,
                uid: args.uid.unwrap_or_else(|| nix::unistd::getuid().as_raw()),
                gid: args.gid.unwrap_or_else(|| nix::unistd::getgid().as_raw()),
                file_mode: args.file_mode,
                dir_mode: args.dir_mode,
                max_threads: args.max_threads,
                metadata_ttl,
                negative_metadata_ttl: args.negative_metadata_ttl.unwrap_or(metadata_ttl),
            },
            memory,
            log,
        })
    }

    /// What to tell when the mount answers.
    pub(super) fn success_line(&self) -> String {
        let directory = self.directory.display();
        match self.prefix.as_str() {
            "" => format!("bucket {} is mounted at {directory}", self.bucket),
            prefix => format!(
                "prefix {prefix} of bucket {} is mounted at {directory}",
                self.bucket
            ),
        }
    }
}

impl ClientOptions {
    /// Joins what was typed with what the environment says; what was typed wins.
    ///
    /// # Errors
    /// An environment variable holds what cannot be used.
    pub(super) fn new(
        connect: ConnectArgs,
        client: ClientArgs,
        throughput: Throughput,
        environment: Environment,
    ) -> Result<Self, Failure> {
        let credentials = match (connect.no_sign_request, connect.profile) {
            (true, _) => CredentialsSource::Anonymous,
            (false, Some(profile)) => CredentialsSource::Profile(profile),
            (false, None) => CredentialsSource::DefaultChain,
        };
        Ok(Self {
            region: match connect.region {
                Some(region) => Some(region),
                None => parsed(REGION, environment.region, parse_word)?,
            },
            endpoint_url: match connect.endpoint_url {
                Some(url) => Some(url),
                None => parsed(ENDPOINT_URL, environment.endpoint_url, parse_endpoint)?,
            },
            force_path_style: connect.force_path_style,
            transfer_acceleration: connect.transfer_acceleration,
            dual_stack: connect.dual_stack,
            requester_pays: connect.requester_pays,
            expected_bucket_owner: connect.expected_bucket_owner,
            credentials,
            throughput,
            max_attempts: parsed(MAX_ATTEMPTS, environment.max_attempts, |text| {
                text.parse()
                    .map_err(|_not_positive| "must be a number of at least 1".to_owned())
            })?,
            ca_bundle: client
                .ca_bundle
                .or_else(|| environment.ca_bundle.map(PathBuf::from)),
            user_agent_prefix: client.user_agent_prefix,
        })
    }
}

impl LogOptions {
    /// What a command logs that does its work and ends: failures and, if they are asked for,
    /// details, on standard error.
    ///
    /// # Errors
    /// An environment variable holds what cannot be used.
    pub(super) fn of_command(debug: bool, environment: &Environment) -> Result<Self, Failure> {
        Ok(Self {
            target: LogTarget::StandardError,
            filter: log_filter(debug, false, environment)?,
        })
    }
}

fn log_options(args: &Args, environment: &Environment, role: Role) -> Result<LogOptions, Failure> {
    let target = match (&args.log_directory, role) {
        _ if args.no_log => LogTarget::Nowhere,
        (Some(directory), _) => LogTarget::Directory(directory.clone()),
        (None, Role::Foreground) => LogTarget::StandardError,
        (None, Role::Launcher | Role::Background) => LogTarget::Syslog,
    };
    let filter = log_filter(args.debug, args.debug_crt, environment)?;
    Ok(LogOptions { target, filter })
}

fn log_filter(debug: bool, debug_crt: bool, environment: &Environment) -> Result<String, Failure> {
    let directives = environment.log_filter.clone();
    if let Some(directives) = parsed("MOUNTPOINT_LOG", directives, |text| Ok(text.to_owned()))? {
        return Ok(directives);
    }
    let own = if debug { ",mount_s3=debug" } else { "" };
    let crt = if debug_crt { "debug" } else { "error" };
    Ok(format!("warn{own},crt={crt}"))
}

/// The value of an environment variable, if it is set.
fn parsed<T>(
    name: &str,
    value: Option<OsString>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Failure> {
    let Some(value) = value else { return Ok(None) };
    value
        .to_str()
        .ok_or_else(|| "must be UTF-8 text".to_owned())
        .and_then(parse)
        .map(Some)
        .map_err(|reason| {
            Failure::new(format!("the environment variable {name} cannot be used")).because(reason)
        })
}

const DEFAULT_PART_BYTES: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn config(words: &[&str], environment: Environment) -> Result<Config, Failure> {
        let words = [&["mount-s3", "bucket", "/mnt"], words].concat();
        let args = Args::parse_words(words.iter().map(OsString::from)).expect("valid");
        Config::new(args, environment)
    }

    fn set(value: &str) -> Option<OsString> {
        Some(OsString::from(value))
    }

    #[test]
    fn new_prefers_flags_to_the_environment() {
        let environment = || Environment {
            region: set("eu-west-1"),
            endpoint_url: set("https://env.example.com"),
            ca_bundle: set("/env.pem"),
            max_attempts: set("3"),
            ..Environment::default()
        };
        let client = config(&[], environment()).expect("valid").client;
        assert_eq!(client.region.as_deref(), Some("eu-west-1"));
        assert_eq!(
            client.endpoint_url.as_deref(),
            Some("https://env.example.com")
        );
        assert_eq!(client.ca_bundle, Some(PathBuf::from("/env.pem")));
        assert_eq!(client.max_attempts, NonZeroU32::new(3));

        let flags = [
            "--region",
            "us-west-2",
            "--endpoint-url",
            "http://flag.example.com",
            "--ca-bundle",
            "/flag.pem",
        ];
        let client = config(&flags, environment()).expect("valid").client;
        assert_eq!(client.region.as_deref(), Some("us-west-2"));
        assert_eq!(
            client.endpoint_url.as_deref(),
            Some("http://flag.example.com")
        );
        assert_eq!(client.ca_bundle, Some(PathBuf::from("/flag.pem")));
    }

    #[test]
    fn new_refuses_a_bad_variable_by_name() {
        for (environment, name) in [
            (
                Environment {
                    max_attempts: set("0"),
                    ..Environment::default()
                },
                "AWS_MAX_ATTEMPTS",
            ),
            (
                Environment {
                    endpoint_url: set("s3.example.com"),
                    ..Environment::default()
                },
                "AWS_ENDPOINT_URL",
            ),
            (
                Environment {
                    region: set("eu west"),
                    ..Environment::default()
                },
                "AWS_REGION",
            ),
        ] {
            let failure = config(&[], environment).expect_err("refused").to_string();
            assert!(failure.contains(name), "{failure}");
        }
    }

    #[test]
    fn new_takes_a_bad_variable_that_a_flag_overrides() {
        let environment = Environment {
            region: set("eu west"),
            ..Environment::default()
        };
        config(&["--region", "eu-west-1"], environment).expect("the flag counts");
    }

    #[test]
    fn new_chooses_role_and_log_target() {
        let child = || Environment {
            background: true,
            ..Environment::default()
        };
        let none = Environment::default;
        let directory = LogTarget::Directory(PathBuf::from("/logs"));
        for (flags, environment, role, target) in [
            (&[][..], none(), Role::Launcher, LogTarget::Syslog),
            (&[], child(), Role::Background, LogTarget::Syslog),
            (&["-f"], none(), Role::Foreground, LogTarget::StandardError),
            (
                &["-f", "-l", "/logs"],
                none(),
                Role::Foreground,
                directory.clone(),
            ),
            (&["-l", "/logs"], child(), Role::Background, directory),
            (&["--no-log"], none(), Role::Launcher, LogTarget::Nowhere),
        ] {
            let config = config(flags, environment).expect("valid");
            assert_eq!(
                (config.role, config.log.target),
                (role, target),
                "{flags:?}"
            );
        }
    }

    #[test]
    fn new_takes_the_log_filter_of_the_environment_over_the_flags() {
        let filter = |flags: &[&str], directives: Option<OsString>| {
            let environment = Environment {
                log_filter: directives,
                ..Environment::default()
            };
            config(flags, environment).expect("valid").log.filter
        };
        assert_eq!(filter(&[], None), "warn,crt=error");
        assert_eq!(filter(&["-d"], None), "warn,mount_s3=debug,crt=error");
        assert_eq!(filter(&["--debug-crt"], None), "warn,crt=debug");
        assert_eq!(filter(&["-d"], set("trace")), "trace");
    }

    #[test]
    fn new_takes_the_negative_ttl_from_the_positive_one() {
        let mount = |flags: &[&str]| config(flags, Environment::default()).expect("valid").mount;
        let minute = Ttl::For(Duration::from_secs(60));
        assert_eq!(mount(&[]).negative_metadata_ttl, Ttl::Minimal);
        assert_eq!(
            mount(&["--metadata-ttl", "60"]).negative_metadata_ttl,
            minute
        );
        let both = ["--metadata-ttl", "60", "--negative-metadata-ttl", "minimal"];
        assert_eq!(mount(&both).negative_metadata_ttl, Ttl::Minimal);
    }

    #[test]
    fn new_takes_no_credentials_when_requests_are_not_signed() {
        let credentials = |flags: &[&str]| {
            let config = config(flags, Environment::default());
            config.expect("valid").client.credentials
        };
        assert_eq!(credentials(&[]), CredentialsSource::DefaultChain);
        let profile = CredentialsSource::Profile("dev".to_owned());
        assert_eq!(credentials(&["--profile", "dev"]), profile);
        let both = ["--profile", "dev", "--no-sign-request"];
        assert_eq!(credentials(&both), CredentialsSource::Anonymous);
    }

    #[test]
    fn success_line_names_the_prefix_if_there_is_one() {
        let line = |flags: &[&str]| {
            let config = config(flags, Environment::default());
            config.expect("valid").success_line()
        };
        assert_eq!(line(&[]), "bucket bucket is mounted at /mnt");
        assert_eq!(
            line(&["--prefix", "a/b/"]),
            "prefix a/b/ of bucket bucket is mounted at /mnt"
        );
    }
}
