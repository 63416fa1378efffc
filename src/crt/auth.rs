//! Credentials, and where they come from.

use std::ffi::{c_int, c_void};
use std::fmt;
use std::future::Future;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crt_sys as sys;
use futures::channel::oneshot;

use super::bytes::{cursor, optional_cursor, text};
use super::callback::guard_or_log;
use super::error::{Error, check};
use super::handle::{Handle, ThreadSafe, ref_counted};
use super::live::{Keep, Kind, Shared};
use super::runtime::{Runtime, into_user_data, on_shutdown, reclaim};
use super::tls::TlsContext;

/// A source of credentials. Clones share it.
#[derive(Debug, Clone)]
pub struct CredentialsProvider {
    handle: Handle<sys::aws_credentials_provider>,
    _keep: Keep,
}

/// Which profile to read, and from where; the defaults are those of the AWS command line tools,
/// environment variables included.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProfileOptions<'a> {
    /// The profile; default `AWS_PROFILE`, then `default`.
    pub name: Option<&'a str>,
    /// The configuration file; default `AWS_CONFIG_FILE`, then `~/.aws/config`.
    pub config_file: Option<&'a str>,
    /// The credentials file; default `AWS_SHARED_CREDENTIALS_FILE`, then `~/.aws/credentials`.
    pub credentials_file: Option<&'a str>,
}

/// What may be told about credentials that were loaded. Never a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access key id; empty for anonymous requests.
    pub access_key_id: String,
    /// When they end, if they do.
    pub expires: Option<SystemTime>,
}

impl CredentialsProvider {
    /// No credentials: requests go unsigned. Wraps `aws_credentials_provider_new_anonymous`.
    ///
    /// # Errors
    /// `AWS_ERROR_OOM`.
    pub fn anonymous(runtime: &Runtime) -> Result<Self, Error> {
        Self::build(runtime, |shared, shutdown| {
            // SAFETY: the options are copied during the call (aws/auth/credentials.h).
            unsafe {
                sys::aws_credentials_provider_new_anonymous(shared.allocator(), &raw const shutdown)
            }
        })
    }

    /// One key, for ever. Wraps `aws_credentials_provider_new_static`.
    ///
    /// # Errors
    /// An empty key or secret.
    pub fn fixed(
        runtime: &Runtime,
        access_key_id: &str,
        secret_access_key: &str,
        session_token: Option<&str>,
    ) -> Result<Self, Error> {
        Self::build(runtime, |shared, shutdown_options| {
            let options = sys::aws_credentials_provider_static_options {
                shutdown_options,
                access_key_id: cursor(access_key_id.as_bytes()),
                secret_access_key: cursor(secret_access_key.as_bytes()),
                session_token: optional_cursor(session_token),
                account_id: optional_cursor(None),
            };
            // SAFETY: the texts are copied during the call (aws/auth/credentials.h).
            unsafe {
                sys::aws_credentials_provider_new_static(shared.allocator(), &raw const options)
            }
        })
    }

    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`, read at every use.
    /// Wraps `aws_credentials_provider_new_environment`.
    ///
    /// # Errors
    /// `AWS_ERROR_OOM`.
    pub fn environment(runtime: &Runtime) -> Result<Self, Error> {
        Self::build(runtime, |shared, shutdown_options| {
            let options = sys::aws_credentials_provider_environment_options { shutdown_options };
            // SAFETY: the options are copied during the call (aws/auth/credentials.h).
            unsafe {
                sys::aws_credentials_provider_new_environment(
                    shared.allocator(),
                    &raw const options,
                )
            }
        })
    }

    /// A profile of the configuration files, assumed roles included; cached until it expires, at
    /// most 15 minutes. Wraps `aws_credentials_provider_new_profile`, which reads the files now
    /// and again whenever the cache has run out.
    ///
    /// # Errors
    /// `AWS_AUTH_CREDENTIALS_PROVIDER_PROFILE_SOURCE_FAILURE`: no such files or profile. A profile
    /// without credentials shows when they are used.
    pub fn profile(
        runtime: &Runtime,
        tls: &TlsContext,
        profile: &ProfileOptions<'_>,
    ) -> Result<Self, Error> {
        let source = Self::build(runtime, |shared, shutdown_options| {
            // SAFETY: a C struct that C itself starts from zero (aws/auth/credentials.h).
            let mut options: sys::aws_credentials_provider_profile_options =
                unsafe { std::mem::zeroed() };
            options.shutdown_options = shutdown_options;
            options.profile_name_override = optional_cursor(profile.name);
            options.config_file_name_override = optional_cursor(profile.config_file);
            options.credentials_file_name_override = optional_cursor(profile.credentials_file);
            options.bootstrap = runtime.bootstrap();
            options.tls_ctx = tls.as_ptr();
            // SAFETY: texts are copied, bootstrap and TLS context acquired during the call
            // (aws/auth/credentials.h).
            unsafe {
                sys::aws_credentials_provider_new_profile(shared.allocator(), &raw const options)
            }
        })
        // What C leaves as its last error then may be that of a step which did not matter.
        .map_err(|_| {
            Error::from_constant(sys::AWS_AUTH_CREDENTIALS_PROVIDER_PROFILE_SOURCE_FAILURE)
        })?;
        Self::cached(runtime, &source)
    }

    /// The chain of the AWS tools: environment, profile, web identity, container, instance
    /// metadata; the first that has any. Cached until they expire, at most 15 minutes.
    /// `profile` replaces the default profile's name.
    /// Wraps `aws_credentials_provider_new_chain_default`.
    ///
    /// # Errors
    /// `AWS_ERROR_OOM`. That no link of the chain has credentials shows when they are used.
    pub fn default_chain(
        runtime: &Runtime,
        tls: &TlsContext,
        profile: Option<&str>,
    ) -> Result<Self, Error> {
        Self::build(runtime, |shared, shutdown_options| {
            let options = sys::aws_credentials_provider_chain_default_options {
                shutdown_options,
                bootstrap: runtime.bootstrap(),
                tls_ctx: tls.as_ptr(),
                profile_collection_cached: ptr::null_mut(),
                profile_name_override: optional_cursor(profile),
                skip_environment_credentials_provider: false,
                proxy_ev_settings: ptr::null(),
            };
            // SAFETY: the text is copied, bootstrap and TLS context acquired during the call
            // (aws/auth/credentials.h).
            unsafe {
                sys::aws_credentials_provider_new_chain_default(
                    shared.allocator(),
                    &raw const options,
                )
            }
        })
    }

    /// Loads the credentials, to see whether there are any. Starts at once, not at the first poll.
    /// Wraps `aws_credentials_provider_get_credentials`.
    ///
    /// # Errors
    /// What the source reports; of a chain, what its last link does.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the work running; its result is thrown away.
    pub fn load(&self) -> impl Future<Output = Result<Credentials, Error>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        let user_data = Box::into_raw(Box::new(Load {
            sender,
            _provider: self.clone(),
        }));
        // SAFETY: a live provider; the user data lives until the callback, which C calls once if
        // and only if this succeeds (aws/auth/credentials.h).
        let started = check(unsafe {
            sys::aws_credentials_provider_get_credentials(
                self.handle.as_ptr(),
                Some(on_credentials),
                user_data.cast(),
            )
        });
        if let Err(error) = started {
            // SAFETY: the callback does not come, so the box is still ours.
            let load = unsafe { Box::from_raw(user_data) };
            // The receiver exists, so this cannot fail.
            let _ = load.sender.send(Err(error));
        }
        async move {
            receiver.await.unwrap_or_else(|oneshot::Canceled| {
                Err(Error::from_constant(sys::AWS_ERROR_S3_CANCELED))
            })
        }
    }

    /// The provider, live as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut sys::aws_credentials_provider {
        self.handle.as_ptr()
    }

    fn cached(runtime: &Runtime, source: &Self) -> Result<Self, Error> {
        Self::build(runtime, |shared, shutdown_options| {
            let options = sys::aws_credentials_provider_cached_options {
                shutdown_options,
                source: source.as_ptr(),
                refresh_time_in_milliseconds: CACHE_MILLISECONDS,
                high_res_clock_fn: None,
                system_clock_fn: None,
            };
            // SAFETY: the source is acquired during the call (aws/auth/credentials.h).
            unsafe {
                sys::aws_credentials_provider_new_cached(shared.allocator(), &raw const options)
            }
        })
    }

    fn build(
        runtime: &Runtime,
        make: impl FnOnce(
            &Arc<Shared>,
            sys::aws_credentials_provider_shutdown_options,
        ) -> *mut sys::aws_credentials_provider,
    ) -> Result<Self, Error> {
        let shared = runtime.shared();
        let user_data = into_user_data(shared.keep(Kind::Credentials));
        let shutdown = sys::aws_credentials_provider_shutdown_options {
            shutdown_callback: Some(on_shutdown),
            shutdown_user_data: user_data,
        };
        let provider = make(shared, shutdown);
        // SAFETY: every `make` returns what a constructor did: a new reference, or NULL.
        let handle = unsafe { Handle::adopt(provider) };
        if handle.is_err() {
            // SAFETY: the callback belongs to the provider, and there is none.
            unsafe { reclaim(user_data) };
        }
        Ok(Self {
            handle: handle?,
            _keep: shared.keep(Kind::Wrapper),
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// A load under way, owned by C until its callback.
struct Load {
    sender: oneshot::Sender<Result<Credentials, Error>>,
    // Not every provider keeps itself alive for a query.
    _provider: CredentialsProvider,
}

unsafe extern "C" fn on_credentials(
    credentials: *mut sys::aws_credentials,
    error_code: c_int,
    user_data: *mut c_void,
) {
    // SAFETY: from `load`, given back here, once (aws/auth/credentials.h).
    let load = unsafe { Box::from_raw(user_data.cast::<Load>()) };
    guard_or_log("a credentials callback", move || {
        let result = NonNull::new(credentials)
            // SAFETY: live during the callback (aws/auth/credentials.h).
            .map(|credentials| unsafe { describe(credentials) })
            .ok_or_else(|| Error::from_code(error_code));
        // Nobody may be waiting any more.
        let _ = load.sender.send(result);
    });
}

/// # Safety
/// `credentials` is live.
unsafe fn describe(credentials: NonNull<sys::aws_credentials>) -> Credentials {
    // SAFETY: live, by this function's contract (aws/auth/credentials.h).
    let key = unsafe { sys::aws_credentials_get_access_key_id(credentials.as_ptr()) };
    // SAFETY: as above.
    let expires =
        unsafe { sys::aws_credentials_get_expiration_timepoint_seconds(credentials.as_ptr()) };
    Credentials {
        // SAFETY: points into the credentials, which never change.
        access_key_id: unsafe { text(key) }.into_owned(),
        // The greatest value stands for "never", and overflows.
        expires: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(expires)),
    }
}

ref_counted!(
    aws_credentials_provider,
    aws_credentials_provider_acquire,
    aws_credentials_provider_release
);

// SAFETY: "Ref-counted. Thread-safe." (aws/auth/credentials.h).
unsafe impl ThreadSafe for sys::aws_credentials_provider {}

/// As long as the default chain of the CRT caches.
const CACHE_MILLISECONDS: u64 = 15 * 60 * 1000;

const _: () = {
    static_assertions::assert_impl_all!(CredentialsProvider: Send, Sync);
};
