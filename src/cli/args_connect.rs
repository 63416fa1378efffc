//! The flags that say how a bucket is reached. Every command that reaches one has them.

use std::path::PathBuf;

use clap::Args;

use super::args::{BUCKET, CLIENT, CREDENTIALS};
use super::interfaces::parse_interface;
use super::values::{parse_endpoint, parse_header_text, parse_word};

/// Where the bucket is, and who asks.
#[derive(Debug, Clone, Args)]
pub(super) struct ConnectArgs {
    /// AWS region of the bucket [default: AWS_REGION, else found out]
    #[arg(long, help_heading = BUCKET, value_parser = parse_word)]
    pub(super) region: Option<String>,

    /// S3 endpoint to use [default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else found out]
    #[arg(long, help_heading = BUCKET, value_name = "URL", value_parser = parse_endpoint)]
    pub(super) endpoint_url: Option<String>,

    /// Address the bucket in the path of a request, not in the host name
    #[arg(long, help_heading = BUCKET)]
    pub(super) force_path_style: bool,

    /// Use S3 Transfer Acceleration endpoints
    #[arg(long, help_heading = BUCKET)]
    pub(super) transfer_acceleration: bool,

    /// Use endpoints that have IPv6 beside IPv4 addresses
    #[arg(long, help_heading = BUCKET)]
    pub(super) dual_stack: bool,

    /// Accept the charges for requests to a requester-pays bucket
    #[arg(long, help_heading = BUCKET)]
    pub(super) requester_pays: bool,

    /// Account that must own the bucket
    #[arg(long, help_heading = BUCKET, value_name = "ACCOUNT_ID", value_parser = parse_word)]
    pub(super) expected_bucket_owner: Option<String>,

    /// Do not sign requests, and load no credentials: for public buckets
    #[arg(long, help_heading = CREDENTIALS)]
    pub(super) no_sign_request: bool,

    /// Use this profile of the AWS configuration and credentials files
    #[arg(long, help_heading = CREDENTIALS, value_name = "NAME")]
    pub(super) profile: Option<String>,
}

/// How the client behaves.
#[derive(Debug, Clone, Args)]
pub(super) struct ClientArgs {
    /// Trust the certificates in this file (PEM) instead of the system's [default: AWS_CA_BUNDLE]
    #[arg(long, help_heading = CLIENT, value_name = "FILE")]
    pub(super) ca_bundle: Option<PathBuf>,

    /// Network interface to reach S3 over. May be given several times: connections are then made over
    /// each in turn
    #[arg(long, help_heading = CLIENT, value_name = "INTERFACE", value_parser = parse_interface)]
    pub(super) bind: Vec<String>,

    /// Text to put in front of the User-Agent header
    #[arg(long, help_heading = CLIENT, value_name = "PREFIX", value_parser = parse_header_text)]
    pub(super) user_agent_prefix: Option<String>,
}
