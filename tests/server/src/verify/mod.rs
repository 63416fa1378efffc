//! Signatures of other kinds than the service behind knows: verified here, strictly, and taken away,
//! as is the virtual host, so that what comes to the service is an unsigned request in path style.
//!
//! AWS: [SigV4 and SigV4A](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html),
//! [CreateSession](https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateSession.html).

mod authorization;
mod canonical;
mod keys;
mod sessions;

use std::collections::HashMap;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};

use authorization::Authorization;
use sessions::{SESSION_TOKEN, Sessions};

/// Which signatures are accepted. All others are refused, also those for another scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    /// How they are made.
    pub algorithm: Algorithm,
    /// The service in their scope.
    pub service: String,
    /// The region in their scope, or the set of regions of [`Algorithm::V4Asymmetric`].
    pub region: String,
    /// How long sessions live, if all requests must belong to one: those of directory buckets.
    /// Copies must belong to none, as on S3.
    pub sessions: Option<Duration>,
}

/// An algorithm of AWS's signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SigV4: HMAC with SHA-256.
    V4,
    /// SigV4A: ECDSA on P-256.
    V4Asymmetric,
}

/// Verifies requests.
#[derive(Debug)]
pub(crate) struct Verifier {
    signatures: Signatures,
    keys: HashMap<String, String>,
    /// Buckets are its subdomains.
    domain: String,
    sessions: Sessions,
}

/// Who signs: the owner of a key, or of a session.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    access_key: String,
    secret: String,
    token: Option<String>,
}

/// A request that was verified.
pub(crate) enum Admitted<B> {
    /// It is for the service.
    Request(Request<B>),
    /// It asks for a session to this bucket.
    CreateSession(String),
}

/// S3's code for a request that is not let in.
pub(crate) type Refused = &'static str;

impl Verifier {
    pub(crate) fn new(
        signatures: Signatures,
        keys: HashMap<String, String>,
        domain: Option<&str>,
    ) -> Self {
        Self {
            signatures,
            keys,
            domain: domain.unwrap_or_default().to_ascii_lowercase(),
            sessions: Sessions::default(),
        }
    }

    /// Verifies `request`.
    pub(crate) fn admit<B>(&self, mut request: Request<B>) -> Result<Admitted<B>, Refused> {
        let query = request.uri().query().unwrap_or_default();
        let has = |name: &str| {
            query
                .split('&')
                .any(|pair| pair.split('=').next() == Some(name))
        };
        let asks_for_session = request.method() == Method::GET && has("session");
        let copies = request.headers().contains_key("x-amz-copy-source");
        let in_session = self.signatures.sessions.is_some() && !asks_for_session && !copies;
        let authorization = Authorization::parse(request.headers())?;
        let signer = self.signer(&authorization, request.headers(), in_session)?;
        self.check_scope(&authorization, request.headers())?;
        let canonical = canonical::request(&request, &authorization)?;
        let text = authorization.string_to_sign(&canonical);
        if !keys::verify(&authorization, &signer, text.as_bytes()) {
            return Err("SignatureDoesNotMatch");
        }
        let bucket = self.bucket_of(request.headers());
        if asks_for_session {
            let (Some(bucket), Some(_)) = (bucket, self.signatures.sessions) else {
                return Err("InvalidRequest");
            };
            return Ok(Admitted::CreateSession(bucket));
        }
        request.headers_mut().remove(header::AUTHORIZATION);
        request.headers_mut().remove(SESSION_TOKEN);
        if let Some(bucket) = bucket {
            into_path_style(&mut request, &bucket).ok_or("InvalidURI")?;
        }
        Ok(Admitted::Request(request))
    }

    /// The document that grants a session.
    pub(crate) fn grant_session(&self) -> String {
        self.sessions
            .grant(self.signatures.sessions.unwrap_or_default())
    }

    fn signer(
        &self,
        authorization: &Authorization<'_>,
        headers: &HeaderMap,
        in_session: bool,
    ) -> Result<Signer, Refused> {
        let token = |name| headers.get(name).and_then(|token| token.to_str().ok());
        if in_session {
            let token = token(SESSION_TOKEN).ok_or("AccessDenied")?;
            return self.sessions.find(authorization.access_key, token);
        }
        // Keys are no temporary ones.
        if token(SESSION_TOKEN)
            .or_else(|| token("x-amz-security-token"))
            .is_some()
        {
            return Err("InvalidToken");
        }
        let secret = self.keys.get(authorization.access_key);
        Ok(Signer {
            access_key: authorization.access_key.to_owned(),
            secret: secret.ok_or("InvalidAccessKeyId")?.clone(),
            token: None,
        })
    }

    fn check_scope(
        &self,
        authorization: &Authorization<'_>,
        headers: &HeaderMap,
    ) -> Result<(), Refused> {
        let wanted = &self.signatures;
        let region = match wanted.algorithm {
            Algorithm::V4 => authorization.region,
            Algorithm::V4Asymmetric => headers
                .get("x-amz-region-set")
                .and_then(|regions| regions.to_str().ok()),
        };
        let fits = authorization.algorithm == wanted.algorithm
            && authorization.service == wanted.service
            && region == Some(&*wanted.region);
        if fits {
            Ok(())
        } else {
            Err("AuthorizationHeaderMalformed")
        }
    }

    /// The bucket that the host names.
    fn bucket_of(&self, headers: &HeaderMap) -> Option<String> {
        let host = headers.get(header::HOST)?.to_str().ok()?;
        let name = host.split(':').next().unwrap_or_default();
        let bucket = name.strip_suffix(&*self.domain)?.strip_suffix('.')?;
        Some(bucket.to_owned())
    }
}

/// Moves the bucket from the host to the path.
fn into_path_style<B>(request: &mut Request<B>, bucket: &str) -> Option<()> {
    let old = request.uri().path_and_query()?;
    let path = format!("/{bucket}{old}");
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    let host = HeaderValue::from_static("localhost");
    request.headers_mut().insert(header::HOST, host);
    Some(())
}

#[cfg(test)]
mod tests;
