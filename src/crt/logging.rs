//! The CRT's log, handed to the `log` crate.
//!
//! Targets are `crt::` and the library's name: `crt::s3`, `crt::http`. An error of the CRT is the
//! error of one request or connection, often of one that is retried, so it becomes a warning here;
//! only its FATAL is an error of the process.
//!
//! What the CRT says of signing and of profiles in detail holds session tokens, signatures and secret
//! keys: only warnings of these subjects are asked for, whatever the logger wants, so that the rest is
//! never even formatted.

use std::borrow::Cow;
use std::ffi::c_char;
use std::slice;
use std::sync::Once;

use crt_sys as sys;
use log::{Level, Metadata, Record};

use super::callback::guard;

/// Makes the `log` crate the CRT's logger, for good. Wraps `crt_shim_log_install`.
pub(super) fn install() {
    INSTALLED.call_once(|| {
        // SAFETY: both functions keep the contract of shim/log.h: they don't unwind, and they don't
        // call the CRT. `Once` keeps the call single, and it comes before the libraries' start.
        unsafe { sys::crt_shim_log_install(Some(wanted_level), Some(write)) };
    });
}

/// The most detailed level that anybody wants for `subject`. Called before every message.
unsafe extern "C" fn wanted_level(subject: sys::aws_log_subject_t) -> sys::aws_log_level {
    let wanted = guard(|| {
        let target = target_of(subject);
        let most = log::max_level().to_level()?;
        LEVELS
            .iter()
            .filter(|(_, level)| *level <= most)
            .find(|(_, level)| {
                let metadata = Metadata::builder().target(target).level(*level).build();
                log::logger().enabled(&metadata)
            })
            .map(|(crt, _)| *crt)
    });
    let wanted = wanted.ok().flatten().unwrap_or(sys::AWS_LL_NONE);
    wanted.min(most_detailed(subject))
}

/// The most detailed level at which messages of `subject` hold no secrets.
fn most_detailed(subject: sys::aws_log_subject_t) -> sys::aws_log_level {
    match subject {
        // The canonical request, with the session token, and the signature (signing.c); a secret
        // key that another file overrides (aws_profile.c).
        sys::AWS_LS_AUTH_SIGNING | sys::AWS_LS_SDKUTILS_PROFILE => sys::AWS_LL_WARN,
        _ => sys::AWS_LL_TRACE,
    }
}

unsafe extern "C" fn write(
    level: sys::aws_log_level,
    subject: sys::aws_log_subject_t,
    text: *const c_char,
    length: usize,
) {
    // SAFETY: `length` bytes at `text`, not NULL, valid during the call (shim/log.h).
    let text = unsafe { slice::from_raw_parts(text.cast::<u8>(), length) };
    // A panic of the logger has nobody left to report to.
    let _ = guard(|| {
        log::logger().log(
            &Record::builder()
                .level(level_of(level))
                .target(target_of(subject))
                .args(format_args!(
                    "{}",
                    without_secrets(String::from_utf8_lossy(text))
                ))
                .build(),
        );
    });
}

/// A message without the value of a header that authorizes. The CRT masks those of S3, but neither
/// those for proxies nor those for the services that give credentials (h1_stream.c); and what S3
/// answers to a wrong signature repeats what was signed, headers with tokens included.
fn without_secrets(text: Cow<'_, str>) -> Cow<'_, str> {
    let repeated = REPEATED.iter().filter_map(|name| text.find(name));
    if let Some(start) = repeated.min() {
        return format!("{}***", &text[..start]).into();
    }
    let Some((before, header)) = text.split_once(SENDING) else {
        return text;
    };
    let name = header.split(':').next().unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    if SECRET_HEADERS.iter().any(|word| lower.contains(word)) {
        return format!("{before}{SENDING}{name}: ***").into();
    }
    text
}

/// What stands before a header that is sent (h1_stream.c).
const SENDING: &str = "Sending header: ";

/// How what S3 repeats of the signed headers begins where tokens are.
const REPEATED: [&str; 2] = ["x-amz-security-token:", "x-amz-s3session-token:"];

/// What names of headers have whose values are secrets.
const SECRET_HEADERS: [&str; 5] = ["authorization", "token", "secret", "customer-key", "cookie"];

fn level_of(level: sys::aws_log_level) -> Level {
    LEVELS
        .iter()
        .find(|(crt, _)| *crt == level)
        .map_or(Level::Error, |(_, level)| *level)
}

fn target_of(subject: sys::aws_log_subject_t) -> &'static str {
    match subject >> sys::AWS_LOG_SUBJECT_STRIDE_BITS {
        sys::AWS_C_COMMON_PACKAGE_ID => "crt::common",
        sys::AWS_C_IO_PACKAGE_ID => "crt::io",
        sys::AWS_C_HTTP_PACKAGE_ID => "crt::http",
        sys::AWS_C_AUTH_PACKAGE_ID => "crt::auth",
        sys::AWS_C_CAL_PACKAGE_ID => "crt::cal",
        sys::AWS_C_S3_PACKAGE_ID => "crt::s3",
        sys::AWS_C_SDKUTILS_PACKAGE_ID => "crt::sdkutils",
        _ => "crt",
    }
}

/// The one table of levels, read in both directions; the most detailed comes first, and of two CRT
/// levels with one `log` level the more detailed one.
const LEVELS: [(sys::aws_log_level, Level); 6] = [
    (sys::AWS_LL_TRACE, Level::Trace),
    (sys::AWS_LL_DEBUG, Level::Debug),
    (sys::AWS_LL_INFO, Level::Info),
    (sys::AWS_LL_WARN, Level::Warn),
    (sys::AWS_LL_ERROR, Level::Warn),
    (sys::AWS_LL_FATAL, Level::Error),
];

static INSTALLED: Once = Once::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_from_detailed_to_fatal() {
        assert!(LEVELS.is_sorted_by(|a, b| a.0 > b.0 && a.1 >= b.1));
    }

    #[test]
    fn header_that_authorizes_is_masked() {
        let masked = |text: &str| without_secrets(Cow::Borrowed(text)).into_owned();
        for name in [
            "Proxy-Authorization",
            "x-amz-sso_bearer_token",
            "X-aws-ec2-metadata-token",
            "x-amz-server-side-encryption-customer-key",
        ] {
            let text = masked(&format!("id=0x1: Sending header: {name}: Basic hush: hush"));
            assert_eq!(text, format!("id=0x1: Sending header: {name}: ***"));
        }
        let body = "refused: <CanonicalRequest>GET\n/\nhost:b\nx-amz-security-token:hush\n\nhost";
        assert_eq!(
            masked(body),
            "refused: <CanonicalRequest>GET\n/\nhost:b\n***"
        );
        let plain = "id=0x1: Sending header: Host: token.example.com";
        assert_eq!(masked(plain), plain);
        assert_eq!(masked("Sending header: "), "Sending header: ");
    }

    #[test]
    fn level_of_error_is_a_warning() {
        assert_eq!(level_of(sys::AWS_LL_ERROR), Level::Warn);
        assert_eq!(level_of(sys::AWS_LL_FATAL), Level::Error);
    }

    #[test]
    fn target_of_names_the_library() {
        assert_eq!(target_of(sys::AWS_LS_S3_CLIENT), "crt::s3");
        assert_eq!(target_of(sys::AWS_LS_COMMON_GENERAL), "crt::common");
    }
}
