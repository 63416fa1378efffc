//! Where credentials come from: one constructor a source.
//!
//! The variables of the environment are read by the CRT itself. Sources on the network go through
//! the proxy that the environment names; the metadata services of containers and instances do not:
//! they answer on the machine itself.

use std::ptr;

use crt_sys as sys;

use super::CredentialsProvider;
use crate::crt::bytes::{cursor, optional_cursor};
use crate::crt::error::Error;
use crate::crt::profiles::{ProfileOptions, Profiles};
use crate::crt::proxy;
use crate::crt::runtime::Runtime;
use crate::crt::tls::TlsContext;

/// A role to assume with the credentials of another source.
#[derive(Debug, Clone, Copy)]
pub struct AssumedRole<'a> {
    /// The role's ARN.
    pub arn: &'a str,
    /// A name for the session, as CloudTrail shows it; 2 to 64 characters.
    pub session_name: &'a str,
    /// What the role's owner may demand to be told.
    pub external_id: Option<&'a str>,
    /// The profile that says so, whose region and endpoints count.
    pub profile: &'a str,
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

    /// A profile of the configuration files: its keys, its role (assumed with another profile, a
    /// token of a web identity or another source), or what its process prints. The files are read
    /// now, for what kind of profile it is, and at every use for keys; a process runs at every use,
    /// on the thread that asks. Wraps `aws_credentials_provider_new_profile`, which knows nothing of
    /// IAM Identity Center: see [`Self::sso`].
    ///
    /// # Errors
    /// `AWS_AUTH_CREDENTIALS_PROVIDER_PROFILE_SOURCE_FAILURE`: no such files or profile.
    /// `AWS_AUTH_PROFILE_STS_CREDENTIALS_PROVIDER_CYCLE_FAILURE`: profiles that lead back to
    /// themselves. A profile without credentials shows when they are used.
    pub fn profile(
        runtime: &Runtime,
        tls: &TlsContext,
        profile: &ProfileOptions<'_>,
    ) -> Result<Self, Error> {
        let mut proxy = proxy::of_environment();
        Self::build(runtime, |shared, shutdown_options| {
            // SAFETY: a C struct that C itself starts from zero (aws/auth/credentials.h).
            let mut options: sys::aws_credentials_provider_profile_options =
                unsafe { std::mem::zeroed() };
            options.shutdown_options = shutdown_options;
            options.profile_name_override = optional_cursor(profile.name);
            options.config_file_name_override = optional_cursor(profile.config_file);
            options.credentials_file_name_override = optional_cursor(profile.credentials_file);
            options.bootstrap = runtime.bootstrap();
            options.tls_ctx = tls.as_ptr();
            options.proxy_ev_settings = &raw mut proxy;
            // SAFETY: texts and settings are copied, bootstrap and TLS context acquired during the
            // call (aws/auth/credentials.h).
            unsafe {
                sys::aws_credentials_provider_new_profile(shared.allocator(), &raw const options)
            }
        })
        // What else C leaves as its last error may be that of a step which did not matter.
        .map_err(|error| {
            let cycle =
                Error::from_constant(sys::AWS_AUTH_PROFILE_STS_CREDENTIALS_PROVIDER_CYCLE_FAILURE);
            if error == cycle {
                return cycle;
            }
            Error::from_constant(sys::AWS_AUTH_CREDENTIALS_PROVIDER_PROFILE_SOURCE_FAILURE)
        })
    }

    /// A role of IAM Identity Center (SSO), by the session that `aws sso login` has begun: `profile`
    /// has `sso_account_id` and `sso_role_name`, and `sso_session` or, as of old, `sso_start_url`.
    /// The session's token is read at every use. Wraps `aws_credentials_provider_new_sso`.
    ///
    /// # Errors
    /// `AWS_AUTH_CREDENTIALS_PROVIDER_SSO_SOURCE_FAILURE`, `AWS_AUTH_SSO_TOKEN_PROVIDER_SOURCE_FAILURE`:
    /// the profile lacks something. When used: `AWS_AUTH_SSO_TOKEN_INVALID` (nobody has logged in),
    /// `AWS_AUTH_SSO_TOKEN_EXPIRED`.
    pub fn sso(
        runtime: &Runtime,
        tls: &TlsContext,
        profiles: &Profiles,
        profile: &str,
    ) -> Result<Self, Error> {
        let proxy = proxy::of_environment();
        Self::build(runtime, |shared, shutdown_options| {
            // SAFETY: a C struct that C itself starts from zero (aws/auth/credentials.h).
            let mut options: sys::aws_credentials_provider_sso_options =
                unsafe { std::mem::zeroed() };
            options.shutdown_options = shutdown_options;
            options.profile_name_override = cursor(profile.as_bytes());
            options.config_file_cached = profiles.as_ptr();
            options.bootstrap = runtime.bootstrap();
            options.tls_ctx = tls.as_ptr();
            options.proxy_ev_settings = &raw const proxy;
            // SAFETY: text and settings are copied, the others acquired during the call
            // (aws/auth/credentials.h).
            unsafe { sys::aws_credentials_provider_new_sso(shared.allocator(), &raw const options) }
        })
    }

    /// A role, assumed with the credentials of `source`, for an hour at a time.
    /// Wraps `aws_credentials_provider_new_sts`.
    ///
    /// # Errors
    /// An empty ARN or session name; an endpoint of STS that is set without a region.
    pub fn assumed_role(
        runtime: &Runtime,
        tls: &TlsContext,
        profiles: &Profiles,
        role: &AssumedRole<'_>,
        source: &Self,
    ) -> Result<Self, Error> {
        let proxy = proxy::of_environment();
        Self::build(runtime, |shared, shutdown_options| {
            // SAFETY: a C struct that C itself starts from zero (aws/auth/credentials.h).
            let mut options: sys::aws_credentials_provider_sts_options =
                unsafe { std::mem::zeroed() };
            options.shutdown_options = shutdown_options;
            options.bootstrap = runtime.bootstrap();
            options.tls_ctx = tls.as_ptr();
            options.creds_provider = source.as_ptr();
            options.role_arn = cursor(role.arn.as_bytes());
            options.session_name = cursor(role.session_name.as_bytes());
            options.external_id = optional_cursor(role.external_id);
            options.profile_collection_cached = profiles.as_ptr();
            options.profile_name_override = cursor(role.profile.as_bytes());
            options.proxy_ev_settings = &raw const proxy;
            // SAFETY: texts and settings are copied, the others acquired during the call
            // (aws/auth/credentials.h).
            unsafe { sys::aws_credentials_provider_new_sts(shared.allocator(), &raw const options) }
        })
    }

    /// A role for the token of a web identity, as in Kubernetes (IRSA): `AWS_ROLE_ARN` and
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`, else those of `profile`. `region` says which STS is asked where
    /// neither the environment nor the profile does.
    /// Wraps `aws_credentials_provider_new_sts_web_identity`.
    ///
    /// # Errors
    /// One of them is not set, or there is no region.
    pub fn web_identity(
        runtime: &Runtime,
        tls: &TlsContext,
        profile: Option<&str>,
        region: Option<&str>,
    ) -> Result<Self, Error> {
        let proxy = proxy::of_environment();
        let with_region = |region| {
            Self::build(runtime, |shared, shutdown_options| {
                // SAFETY: a C struct that C itself starts from zero (aws/auth/credentials.h).
                let mut options: sys::aws_credentials_provider_sts_web_identity_options =
                    unsafe { std::mem::zeroed() };
                options.shutdown_options = shutdown_options;
                options.bootstrap = runtime.bootstrap();
                options.tls_ctx = tls.as_ptr();
                options.profile_name_override = optional_cursor(profile);
                options.region = optional_cursor(region);
                options.proxy_ev_settings = &raw const proxy;
                // SAFETY: texts and settings are copied, the others acquired during the call
                // (aws/auth/credentials.h).
                unsafe {
                    sys::aws_credentials_provider_new_sts_web_identity(
                        shared.allocator(),
                        &raw const options,
                    )
                }
            })
        };
        // What is given here would win over the environment.
        with_region(None).or_else(|error| match region {
            Some(_) => with_region(region),
            None => Err(error),
        })
    }

    /// What a container's environment names: `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` (ECS) or
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI` (EKS Pod Identity, Greengrass).
    /// Wraps `aws_credentials_provider_new_ecs_from_environment`.
    ///
    /// # Errors
    /// `AWS_AUTH_CREDENTIALS_PROVIDER_INVALID_ENVIRONMENT`: neither is set. A URL that cannot be
    /// parsed. One that is not of this machine and has no TLS is refused when it is used.
    pub fn container(runtime: &Runtime, tls: &TlsContext) -> Result<Self, Error> {
        Self::build(runtime, |shared, shutdown_options| {
            let options = sys::aws_credentials_provider_ecs_environment_options {
                shutdown_options,
                bootstrap: runtime.bootstrap(),
                tls_ctx: tls.as_ptr(),
                proxy_ev_settings: ptr::null(),
                function_table: ptr::null_mut(),
            };
            // SAFETY: bootstrap and TLS context are acquired during the call
            // (aws/auth/credentials.h).
            unsafe {
                sys::aws_credentials_provider_new_ecs_from_environment(
                    shared.allocator(),
                    &raw const options,
                )
            }
        })
    }

    /// The role of the EC2 instance, from its metadata service. Without such a service a use fails
    /// after 2 to 5 seconds, or at once. Wraps `aws_credentials_provider_new_imds`.
    ///
    /// # Errors
    /// `AWS_ERROR_OOM`.
    pub fn instance(runtime: &Runtime) -> Result<Self, Error> {
        Self::build(runtime, |shared, shutdown_options| {
            // SAFETY: a C struct that C itself starts from zero (aws/auth/credentials.h).
            let mut options: sys::aws_credentials_provider_imds_options =
                unsafe { std::mem::zeroed() };
            options.shutdown_options = shutdown_options;
            options.bootstrap = runtime.bootstrap();
            // SAFETY: the bootstrap is acquired during the call (aws/auth/credentials.h).
            unsafe {
                sys::aws_credentials_provider_new_imds(shared.allocator(), &raw const options)
            }
        })
    }
}
