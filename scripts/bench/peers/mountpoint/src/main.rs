//! Mounts a bucket with the public library of Mountpoint for Amazon S3, in the foreground.
//!
//! Every setting that no flag names is the one that Mountpoint's own command documents as its
//! default: parts of 8 MiB, a throughput target of 10 Gbps where the network is unknown, 16
//! threads, metadata of minimal time to live, 95 % of the memory. Flags have the names of that
//! command, so that its binary can stand in for this one.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mountpoint_s3_client::config::{AddressingStyle, S3ClientAuthConfig, TlsConfig};
use mountpoint_s3_client::user_agent::UserAgent;
use mountpoint_s3_fs::data_cache::DataCacheConfig;
use mountpoint_s3_fs::fs::{CacheConfig, TimeToLive};
use mountpoint_s3_fs::fuse::config::{FuseOptions, FuseSessionConfig, MountPoint};
use mountpoint_s3_fs::logging::{LoggingConfig, init_logging};
use mountpoint_s3_fs::memory::{
    CandidateSize, MINIMUM_MEM_LIMIT, PagedPool, effective_total_memory,
};
use mountpoint_s3_fs::s3::config::{
    ClientConfig, MemoryLimitSetting, PartConfig, Region, TargetThroughputSetting,
};
use mountpoint_s3_fs::s3::{Bucket, Prefix, S3Path, S3Personality};
use mountpoint_s3_fs::{
    MountpointConfig, Runtime, S3FilesystemConfig, Superblock, SuperblockConfig, metrics,
};

/// Mounts a bucket with the library of Mountpoint for Amazon S3.
#[derive(Debug, Parser)]
struct Args {
    bucket: String,
    directory: PathBuf,
    #[arg(long)]
    endpoint_url: Option<String>,
    #[arg(long)]
    force_path_style: bool,
    #[arg(long, default_value = "us-east-1")]
    region: String,
    #[arg(long)]
    no_sign_request: bool,
    #[arg(long)]
    read_only: bool,
    #[arg(long)]
    allow_delete: bool,
    #[arg(long)]
    allow_overwrite: bool,
    /// Accepted for the sake of the command's own flag: it is all this program can do
    #[arg(long)]
    foreground: bool,
    #[arg(long, default_value_t = 8 * 1024 * 1024)]
    part_size: usize,
    #[arg(long)]
    maximum_throughput_gbps: Option<f64>,
    #[arg(long, default_value_t = 16)]
    max_threads: usize,
    /// MiB
    #[arg(long)]
    memory_target: Option<usize>,
    /// Seconds, `minimal` or `indefinite`
    #[arg(long, default_value = "minimal")]
    metadata_ttl: TimeToLive,
    #[arg(long, env = "AWS_CA_BUNDLE")]
    ca_bundle: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let _logging = init_logging(LoggingConfig {
        log_file: None,
        log_to_stdout: true,
        default_filter: "warn,awscrt=off".to_owned(),
    })?;
    let _metrics = metrics::install(None)?;

    let memory = memory_limit(args.memory_target)?;
    let client_config = client_config(&args, memory)?;
    let parts = &client_config.part_config;
    let pool = PagedPool::config()
        .with_candidate_sizes([
            CandidateSize::prunable(parts.read_size_bytes),
            CandidateSize::new(parts.write_size_bytes),
        ])
        .with_memory_limit(memory.bytes())
        .build();
    let path = S3Path::new(Bucket::new(args.bucket.as_str())?, Prefix::empty());
    let client = client_config.create_client(pool.clone(), Some(&path))?;

    let cache_config = CacheConfig::new(args.metadata_ttl);
    let superblock = Superblock::new(
        client.clone(),
        path,
        SuperblockConfig {
            cache_config: cache_config.clone(),
            s3_personality: S3Personality::Standard,
        },
    );
    let filesystem = S3FilesystemConfig {
        cache_config,
        allow_delete: args.allow_delete,
        allow_overwrite: args.allow_overwrite,
        read_only: args.read_only,
        ..S3FilesystemConfig::default()
    };
    let options = FuseOptions {
        read_only: args.read_only,
        ..FuseOptions::default()
    };
    let session =
        FuseSessionConfig::new(MountPoint::new(&args.directory)?, options, args.max_threads)?;
    let runtime = Runtime::new(client.event_loop_group());
    let session = MountpointConfig::new(session, filesystem, DataCacheConfig::default())?
        .create_fuse_session(superblock, client, runtime, pool)
        .context("cannot mount")?;
    println!("{} is mounted at {}", args.bucket, args.directory.display());
    session.join()
}

fn memory_limit(target_mib: Option<usize>) -> Result<MemoryLimitSetting> {
    if let Some(mib) = target_mib {
        let bytes = mib * 1024 * 1024;
        ensure!(bytes >= MINIMUM_MEM_LIMIT, "--memory-target is too low");
        return Ok(MemoryLimitSetting::User(bytes));
    }
    let most = usize::try_from(effective_total_memory() / 100 * 95)?;
    Ok(MemoryLimitSetting::Default(most.max(MINIMUM_MEM_LIMIT)))
}

fn client_config(args: &Args, memory: MemoryLimitSetting) -> Result<ClientConfig> {
    Ok(ClientConfig {
        region: Region::new_user_specified(args.region.clone()),
        endpoint_url: args.endpoint_url.clone(),
        addressing_style: if args.force_path_style {
            AddressingStyle::Path
        } else {
            AddressingStyle::Automatic
        },
        dual_stack: false,
        transfer_acceleration: false,
        auth_config: if args.no_sign_request {
            S3ClientAuthConfig::NoSigning
        } else {
            S3ClientAuthConfig::Default
        },
        requester_pays: false,
        expected_bucket_owner: None,
        throughput_target: args
            .maximum_throughput_gbps
            .map_or(TargetThroughputSetting::Default, |gbps| {
                TargetThroughputSetting::User { gbps }
            }),
        bind: None,
        part_config: PartConfig::with_part_size(args.part_size).validate(memory)?,
        user_agent: UserAgent::new(None),
        tls_config: args
            .ca_bundle
            .as_ref()
            .map(|path| TlsConfig::new().with_trust_store_path(path)),
    })
}
