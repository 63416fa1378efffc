//! The environment variables that count.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::Path;

use super::metrics::{RESOURCE_ATTRIBUTES, TEMPORALITY};
use super::proxies::Proxies;
use super::tuning;
use crate::cache::Surroundings;
use crate::cli::exit::Failure;
use crate::cli::{machine, metadata};
use crate::crt::InstanceInfo;

/// Set for the background process, so that it knows itself.
pub(in crate::cli) const BACKGROUND_VARIABLE: &str = "MOUNT_S3_BACKGROUND_PROCESS";

/// The environment variables that count, read once. An empty one is as good as none.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Environment {
    pub(super) region: Option<OsString>,
    pub(super) endpoint_url: Option<OsString>,
    /// As `endpoint_url`, but of S3 alone: credentials are asked for elsewhere.
    pub(super) s3_endpoint_url: Option<OsString>,
    pub(super) dual_stack: Option<OsString>,
    pub(super) fips: Option<OsString>,
    pub(super) max_attempts: Option<OsString>,
    pub(super) ca_bundle: Option<OsString>,
    pub(super) log_filter: Option<OsString>,
    pub(super) temporality: Option<OsString>,
    pub(super) resource_attributes: Option<OsString>,
    pub(super) background: bool,
    /// Where the service manager is told how the mount is: systemd(1), sd_notify(3).
    pub(super) notify_socket: Option<OsString>,
    /// Those of [`Tuning`](super::Tuning) that are set.
    pub(super) tuning: BTreeMap<&'static str, OsString>,
    /// Whether the kernel may write the memory of this process to the disk if it fails.
    pub(super) allows_core_dumps: bool,
    /// Whether the kernel is not to read files of the cache by itself.
    pub(super) no_passthrough: bool,
    /// Whether this is a Kubernetes pod.
    pub(super) is_pod: bool,
    pub(super) proxies: Proxies,
    /// Whether nobody is to ask the metadata service of EC2 instances.
    pub(super) metadata_disabled: bool,
    /// Whether that service is somewhere else than on EC2 instances.
    pub(super) metadata_moved: bool,
    /// What that service says.
    pub(super) instance: Option<InstanceInfo>,
}

/// Where the variables are found that say how S3 is reached, beside credentials.
pub(super) const REGION: &str = "AWS_REGION";
pub(super) const ENDPOINT_URL: &str = "AWS_ENDPOINT_URL";
pub(super) const S3_ENDPOINT_URL: &str = "AWS_ENDPOINT_URL_S3";
pub(super) const DUAL_STACK: &str = "AWS_USE_DUALSTACK_ENDPOINT";
pub(super) const FIPS: &str = "AWS_USE_FIPS_ENDPOINT";
pub(super) const MAX_ATTEMPTS: &str = "AWS_MAX_ATTEMPTS";
pub(super) const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

impl Environment {
    /// The variables that a later process needs to reach S3 in the same way.
    pub(in crate::cli) fn for_origin(&self) -> BTreeMap<String, String> {
        let known = [
            (REGION, &self.region),
            (ENDPOINT_URL, &self.endpoint_url),
            (S3_ENDPOINT_URL, &self.s3_endpoint_url),
            (DUAL_STACK, &self.dual_stack),
            (FIPS, &self.fips),
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
    pub(in crate::cli) fn of_origin(variables: &BTreeMap<String, String>) -> Self {
        let value = |name| variables.get(name).map(OsString::from);
        Self {
            region: value(REGION),
            endpoint_url: value(ENDPOINT_URL),
            s3_endpoint_url: value(S3_ENDPOINT_URL),
            dual_stack: value(DUAL_STACK),
            fips: value(FIPS),
            max_attempts: value(MAX_ATTEMPTS),
            ca_bundle: value(CA_BUNDLE),
            // That of the process that does it.
            is_pod: is_pod(),
            ..Self::default()
        }
    }

    /// Who else there may be where a cache is.
    pub(in crate::cli) fn surroundings(&self) -> Surroundings {
        if self.is_pod {
            Surroundings::Pod
        } else {
            Surroundings::Machine
        }
    }

    pub(in crate::cli) fn read() -> Self {
        Self {
            region: read(REGION),
            endpoint_url: read(ENDPOINT_URL),
            s3_endpoint_url: read(S3_ENDPOINT_URL),
            dual_stack: read(DUAL_STACK),
            fips: read(FIPS),
            max_attempts: read(MAX_ATTEMPTS),
            ca_bundle: read(CA_BUNDLE),
            log_filter: read("MOUNTPOINT_LOG"),
            temporality: read(TEMPORALITY),
            resource_attributes: read(RESOURCE_ATTRIBUTES),
            background: read(BACKGROUND_VARIABLE).is_some(),
            notify_socket: read("NOTIFY_SOCKET"),
            tuning: tuning::names()
                .filter_map(|name| Some((name, read(name)?)))
                .collect(),
            allows_core_dumps: read("MOUNT_S3_CORE_DUMPS").is_some_and(|value| value == "1"),
            no_passthrough: read("MOUNT_S3_CACHE_PASSTHROUGH").is_some_and(|value| value == "off"),
            is_pod: is_pod(),
            proxies: Proxies::read(),
            metadata_disabled: read("AWS_EC2_METADATA_DISABLED")
                .is_some_and(|value| !value.eq_ignore_ascii_case("false")),
            metadata_moved: read("AWS_EC2_METADATA_SERVICE_ENDPOINT").is_some(),
            instance: None,
        }
    }

    /// Asks the metadata service of EC2 instances for what neither the command line (`region`,
    /// `throughput`) nor the environment nor the firmware tells. Takes no longer than a second, and
    /// nothing on a machine that is no EC2 instance.
    pub(in crate::cli) fn ask_instance(&mut self, has_region: bool, has_throughput: bool) {
        let root = Path::new("/");
        let has_region = has_region || self.region.is_some();
        let has_throughput = has_throughput || machine::knows_instance(root);
        let may_answer = self.metadata_moved || metadata::may_be_instance(root);
        if !(has_region && has_throughput) && may_answer && !self.metadata_disabled {
            self.instance = metadata::ask();
        }
    }

    /// The type of the instance, as its metadata service says.
    pub(in crate::cli) fn instance_type(&self) -> Option<&str> {
        let instance = self.instance.as_ref()?;
        Some(&instance.instance_type)
    }

    /// The names of the variables that are set and say how AWS, or a proxy, is reached.
    pub(in crate::cli) fn names() -> Vec<String> {
        let mut names: Vec<_> = env::vars_os()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .filter(|name| {
                name.starts_with("AWS_") || name.to_ascii_lowercase().ends_with("_proxy")
            })
            .collect();
        names.sort();
        names
    }

    /// Whether this is the process that the command has started in the background.
    pub(in crate::cli) fn is_of_background(&self) -> bool {
        self.background
    }
}

/// Kubernetes sets it in every container.
fn is_pod() -> bool {
    read("KUBERNETES_SERVICE_HOST").is_some()
}

fn read(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The value of an environment variable, if it is set.
pub(super) fn parsed<T>(
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
