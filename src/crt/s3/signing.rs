//! How requests are signed.

use std::mem;

use crt_sys as sys;

use crate::crt::bytes::cursor;

/// How requests are signed. What is said of anonymous credentials and of bodies is always the same:
/// the former sign nothing, and the latter are not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signing<'a> {
    /// The algorithm.
    pub algorithm: SigningAlgorithm,
    /// The service in the signature's scope.
    pub service: &'a str,
    /// The region in the signature's scope; for [`SigningAlgorithm::V4Asymmetric`] the set of
    /// regions, which may be `*`.
    pub region: &'a str,
    /// Whether the path is encoded once more before it is signed. S3 wants it as it is.
    pub double_encoding: bool,
}

/// An algorithm of AWS's signatures.
/// AWS: [SigV4 and SigV4A](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// SigV4: HMAC, for one region.
    V4,
    /// SigV4A: ECDSA, for a set of regions.
    V4Asymmetric,
    /// SigV4 with the credentials of a session of a directory bucket, which the CRT asks for and
    /// renews by itself.
    V4S3Express,
}

impl<'a> Signing<'a> {
    /// SigV4 for S3 in `region`.
    pub fn s3(region: &'a str) -> Self {
        Self {
            algorithm: SigningAlgorithm::V4,
            service: "s3",
            region,
            double_encoding: false,
        }
    }

    /// The same, with the credentials themselves instead of those of a session.
    #[must_use]
    pub fn without_session(self) -> Self {
        let algorithm = match self.algorithm {
            SigningAlgorithm::V4S3Express => SigningAlgorithm::V4,
            other => other,
        };
        Self { algorithm, ..self }
    }

    /// The C struct, which borrows the texts and `credentials`. These may be NULL for a request,
    /// which then has those of its client (aws/s3/s3_client.h). What is not set gets the client's
    /// defaults (s3_util.c): the path is not normalised, and the body is not signed.
    pub(super) fn raw(
        &self,
        credentials: *mut sys::aws_credentials_provider,
    ) -> sys::aws_signing_config_aws {
        // SAFETY: a C struct that C itself starts from zero (s3_util.c).
        let mut raw: sys::aws_signing_config_aws = unsafe { mem::zeroed() };
        raw.config_type = sys::AWS_SIGNING_CONFIG_AWS;
        raw.credentials_provider = credentials;
        raw.region = cursor(self.region.as_bytes());
        raw.algorithm = match self.algorithm {
            SigningAlgorithm::V4 => sys::AWS_SIGNING_ALGORITHM_V4,
            SigningAlgorithm::V4Asymmetric => sys::AWS_SIGNING_ALGORITHM_V4_ASYMMETRIC,
            SigningAlgorithm::V4S3Express => sys::AWS_SIGNING_ALGORITHM_V4_S3EXPRESS,
        };
        raw.service = cursor(self.service.as_bytes());
        raw.flags
            .set_use_double_uri_encode(u32::from(self.double_encoding));
        raw
    }
}
