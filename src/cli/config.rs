//! What the program needs to know, from the command line, the environment and the machine.
//!
//! The only reader of environment variables; those that configure credentials are read by the
//! CRT itself.

mod client;
mod environment;
mod log;
mod log_filter;
mod metrics;
mod options;
mod proxies;
mod tuning;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(super) use self::client::{ClientOptions, CredentialsSource};
pub(super) use self::environment::{BACKGROUND_VARIABLE, Environment};
pub(super) use self::log::{LogOptions, LogTarget};
pub(super) use self::metrics::MetricsOptions;
pub(super) use self::options::{CacheOptions, MountOptions, ObjectOptions, StageOptions};
pub(super) use self::tuning::Tuning;
use super::args::Args;
use super::exit::Failure;
use super::machine::Throughput;
use super::memory::Memory;
use super::values::Source;
use crate::s3::{BucketKind, BucketName, Prefix};

/// Everything a mount is made from. Holds no credentials, so that it can be logged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Config {
    pub(super) bucket: BucketName,
    pub(super) kind: BucketKind,
    pub(super) prefix: Prefix,
    pub(super) directory: PathBuf,
    /// What mount(8) knows the mount by: it, umount(8) and systemd find their own options of a mount
    /// in `/run/mount/utab` only if the table of mounts has the same source.
    pub(super) fstab_source: Option<String>,
    pub(super) role: Role,
    pub(super) client: ClientOptions,
    pub(super) objects: ObjectOptions,
    pub(super) mount: MountOptions,
    pub(super) memory: Memory,
    pub(super) log: LogOptions,
    pub(super) tuning: Tuning,
    /// Where the service manager is told how the mount is.
    pub(super) notify_socket: Option<OsString>,
    /// Whether the kernel may write the memory of the process to the disk if it fails.
    pub(super) core_dumps: bool,
    pub(super) metrics: MetricsOptions,
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

impl Config {
    /// Joins what was typed with what the environment says; what was typed wins.
    ///
    /// # Errors
    /// An environment variable holds what cannot be used.
    pub(super) fn new(args: Args, environment: Environment) -> Result<Self, Failure> {
        let role = match (environment.background, args.mount.foreground) {
            (true, _) => Role::Background,
            (false, true) => Role::Foreground,
            (false, false) => Role::Launcher,
        };
        let log = log::log_options(&args.log, &environment, role)?;
        let kind = args.kind();
        let max_threads = args.transfer.max_threads;
        let mount = MountOptions::new(args.mount, args.caching, kind, max_threads, &environment);
        let throughput = Throughput::choose(
            args.transfer.reading.maximum_throughput_gbps,
            environment.instance_type(),
            Path::new("/"),
        );
        let metrics = MetricsOptions::new(args.metrics, &environment)?;
        let memory = Memory::new(
            args.transfer.reading.memory_target,
            throughput.gbps,
            args.transfer.read_part_bytes(),
            args.transfer.write_part_bytes(),
        )?;
        let tuning = Tuning::read(|name| environment.tuning.get(name).cloned())?;
        let (bucket, prefix) = match args.source {
            Source::Name(bucket) => (bucket, args.prefix.unwrap_or_default()),
            Source::Uri(bucket, prefix) => (bucket, prefix),
        };
        Ok(Self {
            bucket,
            kind,
            prefix,
            directory: args.directory,
            fstab_source: args.fstab_source,
            role,
            tuning,
            notify_socket: environment.notify_socket.clone(),
            core_dumps: environment.allows_core_dumps,
            client: ClientOptions::new(args.connect, args.client, throughput, environment)?,
            objects: ObjectOptions::new(args.objects, kind),
            mount,
            memory,
            log,
            metrics,
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

#[cfg(test)]
mod tests;
