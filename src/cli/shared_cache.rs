//! The cache in a bucket that `--cache-xz` names.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;

use super::config::Config;
use super::connect::{connect, s3_config};
use super::exit::Failure;
use crate::crt::Runtime;
use crate::memory::Budget;
use crate::metrics::S3Metrics;
use crate::s3::{self, BucketKind, BucketName, ErrorKind, Prefix, S3Config};
use crate::shared_cache::{OpenError, SharedCache};

/// Opens the cache, if there is to be one, for a bucket in `region`.
///
/// # Errors
/// Its bucket cannot be reached, or nothing can be stored in it and fetched.
pub(super) fn open(
    config: &Config,
    runtime: &Runtime,
    region: &str,
    budget: &Arc<Budget>,
    metrics: &Arc<S3Metrics>,
) -> Result<Option<SharedCache>, Failure> {
    let Some(bucket) = &config.mount.cache_bucket else {
        return Ok(None);
    };
    let mut s3 = cache_config(s3_config(config), bucket, region);
    s3.metrics = Arc::clone(metrics);
    let store = connect(runtime, s3, &config.client)?;
    let opened = block_on(SharedCache::open(Arc::new(store), budget));
    opened.map(Some).map_err(|error| failure(bucket, &error))
}

/// Waits at the end of a mount until what it has read last is stored, if that takes no longer than a
/// while.
pub(super) fn settle(cache: &SharedCache) {
    let left = cache.settle(SETTLE_DEADLINE);
    if left > 0 {
        log::info!("{left} blocks are not stored in the shared cache");
    }
}

/// How the bucket of the cache is reached: as the one that is mounted in `region`, which `s3` says, as
/// far as that fits. What fails is not tried for long, as the bucket that is mounted has the bytes, too.
pub(super) fn cache_config(mut s3: S3Config, bucket: &BucketName, region: &str) -> S3Config {
    s3.bucket = bucket.clone();
    s3.kind = bucket.kind();
    s3.prefix = Prefix::new(SharedCache::PREFIX).unwrap_or_default();
    // It may be in another one.
    s3.region = None;
    s3.likely_region = Some(region.to_owned());
    s3.addressing.accelerate &= s3.kind == BucketKind::GeneralPurpose;
    s3.requester_pays = false;
    s3.storage_class = None;
    s3.part_bytes = s3.part_bytes.max(SharedCache::LARGEST_GET);
    s3.max_attempts = ATTEMPTS;
    s3.stall_timeout = STALL_TIMEOUT;
    s3.connect_timeout = CONNECT_TIMEOUT;
    s3
}

/// Why the bucket of the cache cannot be used.
pub(super) fn failure(bucket: &BucketName, error: &OpenError) -> Failure {
    let (operation, error) = match error {
        OpenError::Put(error) => ("PutObject", error),
        OpenError::Get(error) => ("GetObject", error),
        OpenError::Thread(_) => return Failure::new("Failed to start a thread").caused_by(error),
    };
    let text = format!("initial {operation} failed for shared cache bucket {bucket}");
    let failure = Failure::new(text).caused_by(error);
    failure.with_remedy(remedy(error))
}

fn remedy(error: &s3::Error) -> &'static str {
    match error.kind() {
        ErrorKind::Denied => {
            "the credentials need s3:ListBucket for the bucket, and s3:GetObject and s3:PutObject for \
             mount-s3-cache/* in it, and with --sse aws:kms the use of the key; a directory bucket \
             needs s3express:CreateSession with SessionMode ReadWrite; or go without --cache-xz"
        }
        ErrorKind::Integrity => {
            "the store must keep objects with their user metadata, and encrypt them if --sse asks for \
             it; name a bucket elsewhere with --cache-xz, or go without"
        }
        _ => "name a bucket with --cache-xz that objects can be stored in, or go without",
    }
}

/// Twice, as the CRT has no way to try once.
const ATTEMPTS: NonZeroU32 = NonZeroU32::new(2).expect("two is not zero");

const SETTLE_DEADLINE: Duration = Duration::from_secs(5);

const STALL_TIMEOUT: Duration = Duration::from_secs(2);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
