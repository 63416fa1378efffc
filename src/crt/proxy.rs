//! The proxies that the environment names.

use std::ptr;

use crt_sys as sys;

/// Says that connections go through the proxy that the environment names, if it names one: over TLS
/// that of `https_proxy` or `HTTPS_PROXY`, by CONNECT; without TLS that of `http_proxy` or
/// `HTTP_PROXY`, by forwarding; and those to hosts that `no_proxy` or `NO_PROXY` lists through none.
/// A proxy that itself speaks TLS (`https://`) is trusted by the system's certificates.
///
/// The CRT's S3 client does so by itself; everything else has to be told (aws/http/proxy.h).
pub(super) fn of_environment() -> sys::proxy_env_var_settings {
    sys::proxy_env_var_settings {
        env_var_type: sys::AWS_HPEV_ENABLE,
        connection_type: sys::AWS_HPCT_HTTP_LEGACY,
        tls_options: ptr::null(),
    }
}
