//! Where a bucket's requests go: scheme, host, and what comes before the key in the path.
//!
//! S3: [endpoints](https://docs.aws.amazon.com/general/latest/gr/s3.html),
//! [virtual hosting](https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html).

use std::net::Ipv4Addr;

use super::BucketName;

/// Which of a bucket's addresses to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addressing {
    /// Puts the bucket into the path, not into the host name.
    pub path_style: bool,
    /// Uses the endpoints that answer over IPv6 too.
    pub dual_stack: bool,
    /// Uses S3 Transfer Acceleration.
    pub accelerate: bool,
}

/// Where a bucket's requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Scheme, host and port, as `https://bucket.s3.eu-west-1.amazonaws.com`.
    pub(super) origin: String,
    /// What the path has before the `/` of the key: empty, or as `/bucket`.
    pub(super) path: String,
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
    #[error("{0} and an endpoint URL exclude each other")]
    WithUrl(&'static str),
    #[error("transfer acceleration does not work with path-style addresses")]
    AcceleratePath,
    #[error("transfer acceleration does not work with the bucket name {0:?}")]
    AccelerateName(String),
    #[error("transfer acceleration does not exist in {0}")]
    AccelerateRegion(String),
}

impl Endpoint {
    /// Finds the endpoint of `bucket` in `region`, or below the endpoint `url`.
    ///
    /// With a `url` the bucket becomes a part of the host name as well, unless `path_style` is
    /// set, or the host is an IP address or `localhost`, which have no subdomains, or the bucket's
    /// name does not fit into a host name.
    pub(super) fn resolve(
        bucket: &BucketName,
        region: &str,
        url: Option<&str>,
        addressing: Addressing,
    ) -> Result<Self, InvalidEndpoint> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let ends = region.starts_with('-') || region.ends_with('-');
        if region.is_empty() || region.len() > 63 || ends || !region.bytes().all(plain) {
            return Err(InvalidEndpoint::Region(region.to_owned()));
        }
        match url {
            Some(url) => Self::below(url, bucket, addressing),
            None => Self::of_region(bucket, region, addressing),
        }
    }

    fn of_region(
        bucket: &BucketName,
        region: &str,
        addressing: Addressing,
    ) -> Result<Self, InvalidEndpoint> {
        let suffix = PARTITIONS
            .iter()
            .find(|(prefix, _)| region.starts_with(prefix))
            .map_or(DEFAULT_SUFFIX, |(_, suffix)| suffix);
        let dual_stack = if addressing.dual_stack {
            ".dualstack"
        } else {
            ""
        };
        if addressing.accelerate {
            if addressing.path_style {
                return Err(InvalidEndpoint::AcceleratePath);
            }
            if !bucket.fits_host() {
                return Err(InvalidEndpoint::AccelerateName(bucket.to_string()));
            }
            if suffix != DEFAULT_SUFFIX {
                return Err(InvalidEndpoint::AccelerateRegion(region.to_owned()));
            }
            let origin = format!("https://{bucket}.s3-accelerate{dual_stack}.{suffix}");
            let path = String::new();
            return Ok(Self { origin, path });
        }
        let host = format!("s3{dual_stack}.{region}.{suffix}");
        Ok(Self::join(
            "https",
            &host,
            "",
            bucket,
            addressing.path_style,
        ))
    }

    fn below(
        url: &str,
        bucket: &BucketName,
        addressing: Addressing,
    ) -> Result<Self, InvalidEndpoint> {
        if addressing.dual_stack {
            return Err(InvalidEndpoint::WithUrl("dual-stack addresses"));
        }
        if addressing.accelerate {
            return Err(InvalidEndpoint::WithUrl("transfer acceleration"));
        }
        let parts = url.split_once("://");
        let Some((scheme @ ("http" | "https"), rest)) = parts else {
            return Err(InvalidEndpoint::Scheme);
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, format!("/{path}")),
            None => (rest, String::new()),
        };
        let path = path.trim_end_matches('/');
        let clean = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte);
        let host = host(authority).filter(|_| path.bytes().all(clean));
        let Some(host) = host else {
            return Err(InvalidEndpoint::Url);
        };
        let alone = host.starts_with('[')
            || host.parse::<Ipv4Addr>().is_ok()
            || host.eq_ignore_ascii_case("localhost");
        Ok(Self::join(
            scheme,
            authority,
            path,
            bucket,
            addressing.path_style || alone,
        ))
    }

    fn join(
        scheme: &str,
        authority: &str,
        path: &str,
        bucket: &BucketName,
        path_style: bool,
    ) -> Self {
        if path_style || !bucket.fits_host() {
            Self {
                origin: format!("{scheme}://{authority}"),
                path: format!("{path}/{bucket}"),
            }
        } else {
            Self {
                origin: format!("{scheme}://{bucket}.{authority}"),
                path: path.to_owned(),
            }
        }
    }
}

/// The host in `authority`, if that is a host with or without a port and nothing else.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            let port = match after {
                "" => None,
                after => Some(after.strip_prefix(':')?),
            };
            (&authority[..address.len() + 2], port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || (!host.starts_with('[') && !host.bytes().all(valid)) {
        return None;
    }
    match port {
        Some(port) => {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            (digits && port.parse::<u16>().is_ok_and(|port| port > 0)).then_some(host)
        }
        None => Some(host),
    }
}

/// Regions whose host names do not end in [`DEFAULT_SUFFIX`]; those of `us-gov-` do.
const PARTITIONS: [(&str, &str); 1] = [("cn-", "amazonaws.com.cn")];
const DEFAULT_SUFFIX: &str = "amazonaws.com";

#[cfg(test)]
mod tests;
