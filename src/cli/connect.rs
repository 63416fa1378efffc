//! How S3 is reached: as the flags and the environment say.

use futures::executor::block_on;

use super::config::{ClientOptions, Config, CredentialsSource};
use super::diagnosis::connect_failure;
use super::exit::Failure;
use crate::crt::Runtime;
use crate::s3::{Addressing, Auth, BucketName, Prefix, S3Config, S3Store};

/// Connects to the bucket that `s3` names. `client` is what `s3` was made of.
///
/// # Errors
/// Why the bucket cannot be reached, and what helps.
pub(super) fn connect(
    runtime: &Runtime,
    s3: S3Config,
    client: &ClientOptions,
) -> Result<S3Store, Failure> {
    let bucket = s3.bucket.clone();
    block_on(S3Store::connect(runtime, s3))
        .map_err(|error| connect_failure(&bucket, client, &error))
}

/// How the bucket of a mount is reached.
pub(super) fn s3_config(config: &Config) -> S3Config {
    let mut s3 = client_config(config.bucket.clone(), config.prefix.clone(), &config.client);
    s3.kind = config.kind;
    s3.part_bytes = config.memory.part_bytes;
    s3.write_part_bytes = config.memory.write_part_bytes;
    s3.storage_class.clone_from(&config.objects.storage_class);
    s3.encryption.clone_from(&config.objects.encryption);
    s3.upload_checksums = config.objects.checksums;
    s3.memory_limit_bytes = Some(config.memory.plan.buffers());
    s3
}

/// How a bucket is reached, for a command that needs no more.
pub(super) fn client_config(
    bucket: BucketName,
    prefix: Prefix,
    client: &ClientOptions,
) -> S3Config {
    let mut s3 = S3Config::new(bucket);
    s3.prefix = prefix;
    s3.region = client.region.clone();
    s3.endpoint_url = client.endpoint_url.clone();
    s3.addressing = Addressing {
        path_style: client.force_path_style,
        dual_stack: client.dual_stack,
        accelerate: client.transfer_acceleration,
        fips: client.fips,
    };
    s3.likely_region.clone_from(&client.likely_region);
    s3.auth = auth(&client.credentials);
    s3.throughput_target_gbps = client.throughput.gbps;
    if let Some(attempts) = client.max_attempts {
        s3.max_attempts = attempts;
    }
    s3.requester_pays = client.requester_pays;
    s3.expected_bucket_owner = client.expected_bucket_owner.clone();
    s3.user_agent_prefix = client.user_agent_prefix.clone();
    s3.ca_bundle = client.ca_bundle.clone();
    s3.instance_metadata = client.instance_metadata;
    s3.network_interfaces = client.interfaces.clone();
    s3
}

/// Where credentials come from.
pub(super) fn auth(source: &CredentialsSource) -> Auth {
    match source {
        CredentialsSource::Anonymous => Auth::Anonymous,
        CredentialsSource::Profile(name) => Auth::Profile(name.clone()),
        CredentialsSource::DefaultChain => Auth::DefaultChain,
    }
}
