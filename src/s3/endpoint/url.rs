//! URLs of endpoints.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::InvalidEndpoint;

/// A URL that is `scheme://host[:port][/path]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Url<'a> {
    /// All of it, without a `/` at its end.
    pub(super) text: &'a str,
    /// `http` or `https`.
    scheme: &'a str,
    /// Host and port.
    authority: &'a str,
    host: &'a str,
    /// The path, without a `/` at its end.
    pub(super) path: &'a str,
}

impl Url<'_> {
    /// Whether no name can be put in front of the host: it is an IP address or `localhost`.
    pub(super) fn has_no_subdomains(&self) -> bool {
        self.host.starts_with('[')
            || self.host.parse::<Ipv4Addr>().is_ok()
            || self.host.eq_ignore_ascii_case("localhost")
    }

    /// The URL without its path.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }
}

/// Reads the URL of an endpoint.
pub(super) fn parse(text: &str) -> Result<Url<'_>, InvalidEndpoint> {
    let Some((scheme @ ("http" | "https"), rest)) = text.split_once("://") else {
        return Err(InvalidEndpoint::Scheme);
    };
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, whole_path) = rest.split_at(at);
    let path = whole_path.trim_end_matches('/');
    let clean = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte);
    let host = host(authority).filter(|_| path.bytes().all(clean));
    Ok(Url {
        text: &text[..text.len() - (whole_path.len() - path.len())],
        scheme,
        authority,
        host: host.ok_or(InvalidEndpoint::Url)?,
        path,
    })
}

/// Splits a URL of the rules into its origin and its path, which has no `/` at its end.
pub(super) fn split(url: &str) -> Option<(String, String)> {
    let (_, rest) = url.split_once("://")?;
    let start = url.len() - rest.len();
    let at = rest.find('/').map_or(url.len(), |at| start + at);
    let (origin, path) = url.split_at(at);
    Some((origin.to_owned(), path.trim_end_matches('/').to_owned()))
}

/// The host in `authority`, if that is a host with or without a port and nothing else.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
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
