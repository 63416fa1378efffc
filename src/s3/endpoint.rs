//! Where a bucket's requests go, and how they are signed: scheme, host, what comes before the key
//! in the path, and the scope of signatures.
//!
//! AWS's own rules say it ([`EndpointRules`]); what is checked here is what they take for granted.
//! S3: [endpoints](https://docs.aws.amazon.com/general/latest/gr/s3.html),
//! [virtual hosting](https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html).

mod scheme;
mod url;

use super::{BucketKind, BucketName};
use crate::crt::s3::SigningAlgorithm;
use crate::crt::{EndpointParameters, EndpointRules, Resolved};

/// Which of a bucket's addresses to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addressing {
    /// Puts the bucket into the path, not into the host name.
    pub path_style: bool,
    /// Uses the endpoints that answer over IPv6 too.
    pub dual_stack: bool,
    /// Uses S3 Transfer Acceleration.
    pub accelerate: bool,
    /// Uses the endpoints whose cryptography is validated for FIPS 140.
    pub fips: bool,
}

/// Where a bucket's requests go, and how they are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Scheme, host and port, as `https://bucket.s3.eu-west-1.amazonaws.com`.
    pub(super) origin: String,
    /// What the path has before the `/` of the key: empty, or as `/bucket`.
    pub(super) path: String,
    /// How requests are signed.
    pub(super) scheme: Scheme,
}

/// How requests are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scheme {
    pub(super) algorithm: SigningAlgorithm,
    /// The service in the scope of signatures.
    pub(super) service: String,
    /// The region in their scope, or the set of regions of an asymmetric signature.
    pub(super) region: String,
    /// Whether the path is encoded once more before it is signed.
    pub(super) double_encoding: bool,
}

/// What an endpoint is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) bucket: &'a BucketName,
    pub(super) region: &'a str,
    /// Another endpoint than that of the region.
    pub(super) url: Option<&'a str>,
    pub(super) addressing: Addressing,
    /// Whether requests are signed.
    pub(super) signed: bool,
}

/// Settings that do not make an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidEndpoint {
    #[error("not a region's name: {0:?}")]
    Region(String),
    // The URL itself is not shown: what is wrong may be that it holds a password.
    #[error("the endpoint URL has to start with http:// or https://")]
    Scheme,
    #[error("the endpoint URL has to be scheme://host[:port][/path]")]
    Url,
    #[error("S3 has no such endpoint: {0}")]
    Refused(String),
    #[error("the rules of S3's endpoints cannot be followed: {0}")]
    Rules(crate::crt::Error),
    #[error("the rules of S3's endpoints ask for what is not known here: {0}")]
    Unknown(String),
}

impl Endpoint {
    /// Finds the endpoint.
    ///
    /// Below an endpoint URL the bucket becomes a part of the host name as well, unless the path
    /// style is asked for, or the host is an IP address or `localhost`, which have no subdomains, or
    /// the bucket's name does not fit into a host name.
    pub(super) fn resolve(
        rules: &EndpointRules,
        query: &Query<'_>,
    ) -> Result<Self, InvalidEndpoint> {
        let Query { bucket, region, .. } = *query;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let ends = region.starts_with('-') || region.ends_with('-');
        if region.is_empty() || region.len() > 63 || ends || !region.bytes().all(plain) {
            return Err(InvalidEndpoint::Region(region.to_owned()));
        }
        let url = query.url.map(url::parse).transpose()?;
        let unfit = !bucket.is_arn() && !bucket.fits_host();
        let path_style =
            query.addressing.path_style || url.is_some_and(|url| url.has_no_subdomains() || unfit);
        // A session is asked for at the root of the host, which then has to be the bucket's.
        let has_sessions = query.signed && !(path_style && url.is_some());
        let parameters = EndpointParameters {
            bucket: bucket.as_str(),
            region,
            endpoint: url.map(|url| url.text),
            force_path_style: path_style,
            use_dual_stack: query.addressing.dual_stack,
            use_fips: query.addressing.fips,
            accelerate: query.addressing.accelerate,
            disable_s3express_session_auth: !has_sessions,
        };
        let resolved = rules.resolve(&parameters).map_err(InvalidEndpoint::Rules)?;
        let (resolved, properties) = match resolved {
            Resolved::Endpoint { url, properties } => (url, properties),
            Resolved::Refused(reason) => return Err(InvalidEndpoint::Refused(reason)),
        };
        let mut scheme = Scheme::of_properties(&properties, region)?;
        if !query.signed {
            // Only the usual algorithm knows of requests that are not signed.
            scheme.algorithm = SigningAlgorithm::V4;
        }
        let (origin, path) = match url {
            // Of directory buckets the rules know addresses of the other style only.
            Some(url) if path_style && bucket.kind() == BucketKind::Directory => {
                (url.origin(), format!("{}/{bucket}", url.path))
            }
            _ => url::split(&resolved).ok_or_else(|| InvalidEndpoint::Unknown(resolved.clone()))?,
        };
        Ok(Self {
            origin,
            path,
            scheme,
        })
    }
}

#[cfg(test)]
mod tests;
