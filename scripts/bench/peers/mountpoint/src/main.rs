//! Mounts a bucket with the public library of Mountpoint for Amazon S3, in the foreground.
//!
//! Every setting that no flag names is the one that Mountpoint's own command documents as its
//! default: parts of 8 MiB, a throughput target of 10 Gbps where the network is unknown, 16
//! threads, metadata of minimal time to live (60 seconds with a cache), 95 % of the memory, blocks of
//! 1 MiB in the cache, which is emptied at the start and at the end. Flags have the names of that
//! command, so that its binary can stand in for this one.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mountpoint_s3_client::config::{AddressingStyle, S3ClientAuthConfig, TlsConfig};
use mountpoint_s3_client::user_agent::UserAgent;
use mountpoint_s3_fs::data_cache::{
    CacheLimit, DataCacheConfig, DiskDataCacheConfig, ManagedCacheDir,
};
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
    /// Directory of a cache on the disk
    #[arg(long)]
    cache: Option<PathBuf>,
    /// MiB
    #[arg(long, requires = "cache")]
    max_cache_size: Option<usize>,
    /// Seconds, `minimal` or `indefinite`
    #[arg(long)]
    metadata_ttl: Option<TimeToLive>,
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
            CandidateSize::new(CACHE_BLOCK),
        ])
        .with_memory_limit(memory.bytes())
        .build();
    let path = S3Path::new(Bucket::new(args.bucket.as_str())?, Prefix::empty());
    let client = client_config.create_client(pool.clone(), Some(&path))?;

    // Emptied when it is dropped, after the session.
    let directory = args
        .cache
        .as_ref()
        .map(|parent| ManagedCacheDir::new_from_parent_with_cache_key(parent, None, true))
        .transpose()?;
    let cache_config = CacheConfig::new(metadata_ttl(&args));
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
    let data_cache = DataCacheConfig {
        disk_cache_config: directory.as_ref().and_then(|found| data_cache(&args, found)),
        express_cache_config: None,
    };
    let session = MountpointConfig::new(session, filesystem, data_cache)?
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

fn metadata_ttl(args: &Args) -> TimeToLive {
    args.metadata_ttl.unwrap_or(match args.cache {
        Some(_) => TimeToLive::Duration(Duration::from_secs(60)),
        None => TimeToLive::Minimal,
    })
}

/// `None` for a size of 0: then only metadata is cached.
fn data_cache(args: &Args, directory: &ManagedCacheDir) -> Option<DiskDataCacheConfig> {
    let limit = match args.max_cache_size {
        Some(0) => return None,
        Some(mib) => CacheLimit::TotalSize {
            max_size: mib * 1024 * 1024,
        },
        None => CacheLimit::default(),
    };
    Some(DiskDataCacheConfig {
        cache_directory: directory.as_path_buf(),
        block_size: CACHE_BLOCK as u64,
        limit,
    })
}

const CACHE_BLOCK: usize = 1024 * 1024;

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
