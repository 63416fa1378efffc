//! How to reach a bucket.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Addressing, BucketKind, BucketName, Encryption, Prefix, UploadChecksums};
use crate::metrics::S3Metrics;

/// How to reach a bucket, and with what limits.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The bucket.
    pub bucket: BucketName,
    /// What can be asked of it. What its name tells at first.
    pub kind: BucketKind,
    /// What the first request lists: permissions may be bound to a prefix. Empty at first.
    pub prefix: Prefix,
    /// The bucket's region. Without one the region that the bucket's name tells is tried, or
    /// [`Self::likely_region`], and then the one that S3 names.
    pub region: Option<String>,
    /// Where the bucket is if nothing tells its region; `us-east-1` without one.
    pub likely_region: Option<String>,
    /// Another endpoint than that of the region: `scheme://host[:port][/path]`.
    pub endpoint_url: Option<String>,
    /// Which of the endpoint's addresses to use.
    pub addressing: Addressing,
    /// Who asks. [`Auth::DefaultChain`] at first.
    pub auth: Auth,
    /// How large the ranged requests are that a GET is split into, in bytes; 8 MiB at first.
    pub part_bytes: u64,
    /// How large the parts of an upload are, in bytes, 1 or more; 8 MiB at first. S3 takes 5 MiB to
    /// 5 GiB, and 10,000 parts.
    pub write_part_bytes: u64,
    /// The throughput that connections and buffers are sized for, in Gbit/s; 10 at first.
    pub throughput_target_gbps: f64,
    /// How often an HTTP request is tried in all; 10 at first. 1 counts as 2: the CRT has no way to
    /// try once.
    pub max_attempts: NonZeroU32,
    /// The most memory that bodies may take, in bytes, one part or more; by itself the CRT chooses.
    pub memory_limit_bytes: Option<u64>,
    /// A connection on which nothing arrives for so long is given up and its request tried again.
    /// In whole seconds, at least one; 10 s at first.
    pub stall_timeout: Duration,
    /// How long one attempt to connect may take; 3 s at first.
    pub connect_timeout: Duration,
    /// Whether the requester pays for requests and transfer.
    pub requester_pays: bool,
    /// The account that has to own the bucket.
    pub expected_bucket_owner: Option<String>,
    /// The class of what is stored, as S3 names it (`INTELLIGENT_TIERING`). Without one S3 chooses.
    pub storage_class: Option<String>,
    /// How what is stored is encrypted. Without it the bucket says.
    pub encryption: Option<Encryption>,
    /// Which checksums uploads have. [`UploadChecksums::Crc32c`] at first.
    pub upload_checksums: UploadChecksums,
    /// What the `User-Agent` begins with.
    pub user_agent_prefix: Option<String>,
    /// Certificates to trust instead of the system's: a PEM file.
    pub ca_bundle: Option<PathBuf>,
    /// Whether credentials may be asked of the metadata service of EC2 instances; so at first.
    pub instance_metadata: bool,
    /// Network interfaces over which connections to S3 are spread, by name. None leaves it to the
    /// system's routes.
    pub network_interfaces: Vec<String>,
    /// What counts the requests. One of its own at first.
    pub metrics: Arc<S3Metrics>,
}

/// Where credentials come from.
#[derive(Clone, Default)]
pub enum Auth {
    /// The environment, the default profile, web identity, the container's or the instance's role.
    #[default]
    DefaultChain,
    /// This profile of the shared configuration files.
    Profile(String),
    /// Requests are not signed.
    Anonymous,
    /// These credentials.
    Static {
        /// The access key's id.
        access_key_id: String,
        /// The access key's secret.
        secret_access_key: String,
        /// The token of a temporary access key.
        session_token: Option<String>,
    },
}

impl S3Config {
    /// The defaults for `bucket`.
    pub fn new(bucket: BucketName) -> Self {
        Self {
            kind: bucket.kind(),
            bucket,
            prefix: Prefix::default(),
            region: None,
            likely_region: None,
            endpoint_url: None,
            addressing: Addressing::default(),
            auth: Auth::default(),
            part_bytes: 8 << 20,
            write_part_bytes: 8 << 20,
            throughput_target_gbps: 10.0,
            max_attempts: MAX_ATTEMPTS,
            memory_limit_bytes: None,
            stall_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            requester_pays: false,
            expected_bucket_owner: None,
            storage_class: None,
            encryption: None,
            upload_checksums: UploadChecksums::default(),
            user_agent_prefix: None,
            ca_bundle: None,
            instance_metadata: true,
            network_interfaces: Vec::new(),
            metrics: Arc::default(),
        }
    }

    /// The `User-Agent` of requests.
    pub(super) fn user_agent(&self) -> String {
        let product = concat!("mount-s3/", env!("CARGO_PKG_VERSION"));
        match &self.user_agent_prefix {
            Some(prefix) => format!("{prefix} {product}"),
            None => product.to_owned(),
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DefaultChain => f.write_str("DefaultChain"),
            Self::Profile(name) => f.debug_tuple("Profile").field(name).finish(),
            Self::Anonymous => f.write_str("Anonymous"),
            // Secrets never reach a log.
            Self::Static { access_key_id, .. } => f
                .debug_struct("Static")
                .field("access_key_id", access_key_id)
                .finish_non_exhaustive(),
        }
    }
}

const MAX_ATTEMPTS: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");

#[cfg(test)]
mod tests {
    use super::{Auth, S3Config};
    use crate::s3::BucketName;

    #[test]
    fn debug_of_credentials_has_no_secret() {
        let mut config = S3Config::new(BucketName::new("bkt").unwrap());
        config.auth = Auth::Static {
            access_key_id: "AKIA".to_owned(),
            secret_access_key: "hush".to_owned(),
            session_token: Some("hush".to_owned()),
        };
        let shown = format!("{config:?}");
        assert!(shown.contains("AKIA") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn user_agent_begins_with_the_prefix() {
        let mut config = S3Config::new(BucketName::new("bkt").unwrap());
        assert!(config.user_agent().starts_with("mount-s3/"));
        config.user_agent_prefix = Some("csi/1".to_owned());
        assert!(config.user_agent().starts_with("csi/1 mount-s3/"));
    }
}
