//! The header that a request is signed by.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::digest::{SHA256, digest};

use super::{Algorithm, Refused};

/// What the header says, and the time that is signed with it.
#[derive(Debug)]
pub(super) struct Authorization<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) access_key: &'a str,
    /// The day in the scope, as `20240131`.
    pub(super) day: &'a str,
    /// The region in the scope, which asymmetric signatures do not have.
    pub(super) region: Option<&'a str>,
    pub(super) service: &'a str,
    /// Names of headers, with `;` between.
    pub(super) signed_headers: &'a str,
    /// In hexadecimal.
    pub(super) signature: &'a str,
    /// As `20240131T235959Z`.
    time: &'a str,
}

impl<'a> Authorization<'a> {
    pub(super) fn parse(headers: &'a HeaderMap) -> Result<Self, Refused> {
        let text = headers.get(AUTHORIZATION).ok_or("AccessDenied")?;
        let text = text.to_str().map_err(|_| MALFORMED)?;
        let time = headers.get("x-amz-date").ok_or("AccessDenied")?;
        Self::of_text(text, time.to_str().map_err(|_| MALFORMED)?).ok_or(MALFORMED)
    }

    fn of_text(text: &'a str, time: &'a str) -> Option<Self> {
        let (algorithm, fields) = text.split_once(' ')?;
        let algorithm = match algorithm {
            "AWS4-HMAC-SHA256" => Algorithm::V4,
            "AWS4-ECDSA-P256-SHA256" => Algorithm::V4Asymmetric,
            _ => return None,
        };
        let field = |name: &str| {
            let mut fields = fields.split(',').map(str::trim);
            fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let mut scope = field("Credential")?.split('/');
        let (access_key, day) = (scope.next()?, scope.next()?);
        let region = match algorithm {
            Algorithm::V4 => Some(scope.next()?),
            Algorithm::V4Asymmetric => None,
        };
        let service = scope.next()?;
        if (scope.next(), scope.next()) != (Some("aws4_request"), None) {
            return None;
        }
        Some(Self {
            algorithm,
            access_key,
            day,
            region,
            service,
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
            time: Some(time).filter(|time| time.starts_with(day))?,
        })
    }

    /// What is signed of the request `canonical`.
    pub(super) fn string_to_sign(&self, canonical: &str) -> String {
        let algorithm = match self.algorithm {
            Algorithm::V4 => "AWS4-HMAC-SHA256",
            Algorithm::V4Asymmetric => "AWS4-ECDSA-P256-SHA256",
        };
        let region = self.region.map(|region| format!("{region}/"));
        let hash = hex::encode(digest(&SHA256, canonical.as_bytes()));
        format!(
            "{algorithm}\n{}\n{}/{}{}/aws4_request\n{hash}",
            self.time,
            self.day,
            region.unwrap_or_default(),
            self.service,
        )
    }
}

const MALFORMED: Refused = "AuthorizationHeaderMalformed";
