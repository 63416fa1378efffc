//! The proxies that the environment names. The CRT reads the variables itself; what is known of them
//! here is for those who are told of them.

use std::env;

/// The proxies that connections go through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    /// Hosts to which connections go through none.
    pub(in crate::cli) exceptions: Option<String>,
}

/// A proxy, and the variable that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Proxy {
    pub(in crate::cli) variable: &'static str,
    /// Without user and password.
    pub(in crate::cli) url: String,
}

impl Proxies {
    /// As the CRT reads them: the lower-case variable wins (aws/http/proxy.h).
    pub(super) fn read() -> Self {
        Self {
            https: Proxy::read(["https_proxy", "HTTPS_PROXY"]),
            http: Proxy::read(["http_proxy", "HTTP_PROXY"]),
            exceptions: first(["no_proxy", "NO_PROXY"]).map(|(_, hosts)| hosts),
        }
    }

    /// The proxy of connections to this endpoint; without one, to S3's. It may be one of the
    /// exceptions.
    pub(in crate::cli) fn of(&self, endpoint_url: Option<&str>) -> Option<&Proxy> {
        let is_plain = endpoint_url.is_some_and(|url| url.starts_with("http:"));
        if is_plain { &self.http } else { &self.https }.as_ref()
    }
}

impl Proxy {
    fn read(names: [&'static str; 2]) -> Option<Self> {
        first(names).map(|(variable, url)| Self {
            variable,
            url: without_user(&url),
        })
    }
}

fn first(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| {
        let value = env::var_os(name).filter(|value| !value.is_empty())?;
        Some((name, value.to_string_lossy().into_owned()))
    })
}

/// A URL without what comes before the host.
fn without_user(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    match scheme {
        "" => format!("{host}{path}"),
        scheme => format!("{scheme}://{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_without_user_and_password() {
        for (url, told) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://user:p@ss@proxy:3128/", "http://proxy:3128/"),
            ("user:pass@proxy:3128", "proxy:3128"),
            ("proxy", "proxy"),
            ("http://[::1]:1/a@b", "http://[::1]:1/a@b"),
            ("", ""),
        ] {
            assert_eq!(without_user(url), told);
        }
    }

    #[test]
    fn endpoint_decides_which_proxy_counts() {
        let proxy = |variable| {
            Some(Proxy {
                variable,
                url: String::new(),
            })
        };
        let proxies = Proxies {
            https: proxy("https_proxy"),
            http: proxy("HTTP_PROXY"),
            exceptions: None,
        };
        let of = |url| proxies.of(url).map(|proxy| proxy.variable);
        assert_eq!(of(None), Some("https_proxy"));
        assert_eq!(of(Some("https://host")), Some("https_proxy"));
        assert_eq!(of(Some("http://host")), Some("HTTP_PROXY"));
        assert_eq!(Proxies::default().of(None), None);
    }
}
