//! How to reach the bucket.

use std::num::NonZeroU32;
use std::path::PathBuf;

use super::environment::{
    DUAL_STACK, ENDPOINT_URL, Environment, FIPS, MAX_ATTEMPTS, REGION, S3_ENDPOINT_URL, parsed,
};
use super::proxies::Proxies;
use crate::cli::args_connect::{ClientArgs, ConnectArgs};
use crate::cli::exit::Failure;
use crate::cli::machine::Throughput;
use crate::cli::values::{parse_endpoint, parse_switch, parse_word};

/// How to reach the bucket.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct ClientOptions {
    pub(in crate::cli) region: Option<String>,
    pub(in crate::cli) endpoint_url: Option<String>,
    pub(in crate::cli) force_path_style: bool,
    pub(in crate::cli) transfer_acceleration: bool,
    pub(in crate::cli) dual_stack: bool,
    /// Endpoints whose cryptography is validated for FIPS 140.
    pub(in crate::cli) fips: bool,
    pub(in crate::cli) requester_pays: bool,
    pub(in crate::cli) expected_bucket_owner: Option<String>,
    pub(in crate::cli) credentials: CredentialsSource,
    pub(in crate::cli) throughput: Throughput,
    /// Attempts at one request. `None` leaves it to the CRT.
    pub(in crate::cli) max_attempts: Option<NonZeroU32>,
    pub(in crate::cli) ca_bundle: Option<PathBuf>,
    pub(in crate::cli) user_agent_prefix: Option<String>,
    /// Where the instance is, and so perhaps the bucket.
    pub(in crate::cli) likely_region: Option<String>,
    /// Whether credentials may be asked of the metadata service of EC2 instances.
    pub(in crate::cli) instance_metadata: bool,
    pub(in crate::cli) proxies: Proxies,
    /// Network interfaces for connections to S3, by name.
    pub(in crate::cli) interfaces: Vec<String>,
}

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum CredentialsSource {
    /// From nowhere: requests are not signed.
    Anonymous,
    /// From this profile.
    Profile(String),
    /// From the usual places, in the usual order.
    DefaultChain,
}

impl ClientOptions {
    /// Joins what was typed with what the environment says; what was typed wins.
    ///
    /// # Errors
    /// An environment variable holds what cannot be used.
    pub(in crate::cli) fn new(
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
            endpoint_url: match (connect.endpoint_url, environment.s3_endpoint_url) {
                (Some(url), _) => Some(url),
                (None, url @ Some(_)) => parsed(S3_ENDPOINT_URL, url, parse_endpoint)?,
                (None, None) => parsed(ENDPOINT_URL, environment.endpoint_url, parse_endpoint)?,
            },
            force_path_style: connect.force_path_style,
            transfer_acceleration: connect.transfer_acceleration,
            dual_stack: connect.dual_stack
                || parsed(DUAL_STACK, environment.dual_stack, parse_switch)?.unwrap_or(false),
            fips: parsed(FIPS, environment.fips, parse_switch)?.unwrap_or(false),
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
            likely_region: environment
                .instance
                .map(|instance| instance.region)
                .filter(|region| !region.is_empty()),
            instance_metadata: !environment.metadata_disabled,
            proxies: environment.proxies,
            interfaces: client.bind,
        })
    }
}
