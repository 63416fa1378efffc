//! The rules by which AWS names the endpoints of S3, as published for its SDKs.

use std::fmt;
use std::ptr;

use crt_sys as sys;

use super::bytes::{EMPTY, cursor, text};
use super::error::{Error, check};
use super::handle::{Handle, ref_counted};
use super::live::{Keep, Kind};
use super::runtime::Runtime;

/// The rules of S3's endpoints for all partitions and kinds of buckets. They are data of the CRT's
/// release: no request is made.
///
/// Reading them takes milliseconds, so make one and ask it often.
pub struct EndpointRules {
    handle: Handle<sys::aws_endpoints_rule_engine>,
    keep: Keep,
}

/// What the rules are asked. Each field is the rules' parameter of that name.
#[derive(Debug, Clone, Copy, Default)]
pub struct EndpointParameters<'a> {
    /// `Bucket`: a name, an alias or an ARN.
    pub bucket: &'a str,
    /// `Region`.
    pub region: &'a str,
    /// `Endpoint`: the URL of another endpoint than that of the region.
    pub endpoint: Option<&'a str>,
    /// `ForcePathStyle`: the bucket goes into the path, not into the host name.
    pub force_path_style: bool,
    /// `UseDualStack`: endpoints that have IPv6 addresses, too.
    pub use_dual_stack: bool,
    /// `UseFIPS`: endpoints with cryptography validated for FIPS 140.
    pub use_fips: bool,
    /// `Accelerate`: endpoints of S3 Transfer Acceleration.
    pub accelerate: bool,
    /// `DisableS3ExpressSessionAuth`: each request to a directory bucket is signed with the
    /// credentials themselves, not with those of a session.
    pub disable_s3express_session_auth: bool,
}

/// What the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// An endpoint.
    Endpoint {
        /// Scheme, host and port, and what the path has before the key.
        url: String,
        /// A JSON object, which says how to sign; empty if the rules say nothing.
        properties: String,
    },
    /// The parameters make no endpoint, for this reason.
    Refused(String),
}

impl EndpointRules {
    /// Reads the rules. Wraps `aws_s3_endpoint_resolver_new`.
    ///
    /// # Errors
    /// `AWS_ERROR_OOM`.
    pub fn new(runtime: &Runtime) -> Result<Self, Error> {
        let keep = runtime.shared().keep(Kind::Wrapper);
        // SAFETY: a live allocator, kept by `keep` (aws/s3/s3_endpoint_resolver.h).
        let engine = unsafe { sys::aws_s3_endpoint_resolver_new(keep.shared().allocator()) };
        // SAFETY: a new reference, or NULL.
        let handle = unsafe { Handle::adopt(engine) }?;
        Ok(Self { handle, keep })
    }

    /// Finds the endpoint for `parameters`. Wraps `aws_endpoints_rule_engine_resolve`.
    ///
    /// # Errors
    /// Rules that cannot be followed to an end, or `AWS_ERROR_OOM`. Parameters that make no endpoint
    /// are no error but [`Resolved::Refused`].
    pub fn resolve(&self, parameters: &EndpointParameters<'_>) -> Result<Resolved, Error> {
        let context = self.context(parameters)?;
        let mut resolved = ptr::null_mut();
        // SAFETY: a live engine and context, which are only read, and a place for the result
        // (aws/sdkutils/endpoints_rule_engine.h).
        check(unsafe {
            sys::aws_endpoints_rule_engine_resolve(
                self.handle.as_ptr(),
                context.as_ptr(),
                &raw mut resolved,
            )
        })?;
        // SAFETY: a new reference that the caller releases (aws/sdkutils/endpoints_rule_engine.h).
        let resolved = unsafe { Handle::adopt(resolved) }?;
        // SAFETY: live by the handle (aws/sdkutils/endpoints_rule_engine.h).
        let kind = unsafe { sys::aws_endpoints_resolved_endpoint_get_type(resolved.as_ptr()) };
        if kind != sys::AWS_ENDPOINTS_RESOLVED_ENDPOINT {
            let reason = part(&resolved, sys::aws_endpoints_resolved_endpoint_get_error)?;
            return Ok(Resolved::Refused(reason));
        }
        Ok(Resolved::Endpoint {
            url: part(&resolved, sys::aws_endpoints_resolved_endpoint_get_url)?,
            properties: part(
                &resolved,
                sys::aws_endpoints_resolved_endpoint_get_properties,
            )?,
        })
    }

    /// Wraps `aws_endpoints_request_context_new`.
    fn context(
        &self,
        parameters: &EndpointParameters<'_>,
    ) -> Result<Handle<sys::aws_endpoints_request_context>, Error> {
        let allocator = self.keep.shared().allocator();
        // SAFETY: a live allocator (aws/sdkutils/endpoints_rule_engine.h).
        let context = unsafe { sys::aws_endpoints_request_context_new(allocator) };
        // SAFETY: a new reference, or NULL.
        let context = unsafe { Handle::adopt(context) }?;
        let texts = [
            ("Bucket", Some(parameters.bucket)),
            ("Region", Some(parameters.region)),
            ("Endpoint", parameters.endpoint),
        ];
        for (name, value) in texts {
            let Some(value) = value else { continue };
            // SAFETY: a live context that nobody else uses; both texts are copied
            // (aws/sdkutils/endpoints_rule_engine.h).
            check(unsafe {
                sys::aws_endpoints_request_context_add_string(
                    allocator,
                    context.as_ptr(),
                    cursor(name.as_bytes()),
                    cursor(value.as_bytes()),
                )
            })?;
        }
        let flags = [
            ("ForcePathStyle", parameters.force_path_style),
            ("UseDualStack", parameters.use_dual_stack),
            ("UseFIPS", parameters.use_fips),
            ("Accelerate", parameters.accelerate),
            (
                "DisableS3ExpressSessionAuth",
                parameters.disable_s3express_session_auth,
            ),
        ];
        for (name, value) in flags {
            // SAFETY: as above.
            check(unsafe {
                sys::aws_endpoints_request_context_add_boolean(
                    allocator,
                    context.as_ptr(),
                    cursor(name.as_bytes()),
                    value,
                )
            })?;
        }
        Ok(context)
    }
}

impl fmt::Debug for EndpointRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EndpointRules").field(&self.handle).finish()
    }
}

/// A C function that lends one text of a resolved endpoint.
type Getter = unsafe extern "C" fn(
    *const sys::aws_endpoints_resolved_endpoint,
    *mut sys::aws_byte_cursor,
) -> std::ffi::c_int;

/// A copy of one text of `resolved`; bytes that are not UTF-8 are replaced.
fn part(
    resolved: &Handle<sys::aws_endpoints_resolved_endpoint>,
    getter: Getter,
) -> Result<String, Error> {
    let mut value = EMPTY;
    // SAFETY: live by the handle; writes a cursor (aws/sdkutils/endpoints_rule_engine.h).
    check(unsafe { getter(resolved.as_ptr(), &raw mut value) })?;
    // SAFETY: points into the endpoint, which is live and never changes.
    Ok(unsafe { text(value) }.into_owned())
}

ref_counted!(
    aws_endpoints_rule_engine,
    aws_endpoints_rule_engine_acquire,
    aws_endpoints_rule_engine_release
);
ref_counted!(
    aws_endpoints_request_context,
    aws_endpoints_request_context_acquire,
    aws_endpoints_request_context_release
);
ref_counted!(
    aws_endpoints_resolved_endpoint,
    aws_endpoints_resolved_endpoint_acquire,
    aws_endpoints_resolved_endpoint_release
);
