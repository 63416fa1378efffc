//! The gate every request passes once its operation is known: access, modelled latency and refusals.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use percent_encoding::percent_decode_str;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::host::{S3Host, VirtualHost};
use s3s::path::S3Path;
use s3s::{S3Result, s3_error};

use crate::context::{RequestContext, Target};
use crate::errors::other_error;
use crate::model::LiveModel;

/// The access keys that exist.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Secret keys by access keys.
    pub(crate) secrets: HashMap<String, String>,
    pub(crate) expired: Arc<ExpiredKeys>,
}

/// The access keys that are not valid any more.
#[derive(Debug, Default)]
pub(crate) struct ExpiredKeys(Mutex<HashSet<String>>);

impl ExpiredKeys {
    pub(crate) fn add(&self, access_key: &str) {
        self.lock().insert(access_key.to_owned());
    }

    fn has(&self, access_key: &str) -> bool {
        self.lock().contains(access_key)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if self.expired.has(access_key) {
            return Err(s3_error!(ExpiredToken));
        }
        let secret = self.secrets.get(access_key);
        secret
            .map(|secret| SecretKey::from(secret.as_str()))
            .ok_or_else(|| s3_error!(InvalidAccessKeyId))
    }
}

#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) model: Arc<LiveModel>,
    pub(crate) anonymous: bool,
}

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(context) = cx.extensions_mut().get::<RequestContext>().cloned() else {
            return Err(s3_error!(InternalError));
        };
        let operation = cx.s3_op().name().to_owned();
        let (bucket, key) = match cx.s3_path() {
            S3Path::Root => (String::new(), String::new()),
            S3Path::Bucket { bucket } => (bucket.to_string(), prefix_in(cx.uri()).into_owned()),
            S3Path::Object { bucket, key } => (bucket.to_string(), key.to_string()),
        };
        let target = Target {
            operation,
            bucket,
            key,
        };
        let signed = cx.credentials().is_some();
        self.pass(&context, target, signed).await
    }
}

impl Gate {
    /// Lets a request for `target` pass, as the model says.
    pub(crate) async fn pass(
        &self,
        context: &RequestContext,
        target: Target,
        signed: bool,
    ) -> S3Result<()> {
        let decision = self.model.decide(&target.operation, &target.key);
        context.set_target(target, decision.clone());
        if !decision.latency.is_zero() {
            tokio::time::sleep(decision.latency).await;
        }
        if let Some(refusal) = decision.refusal {
            let status = http::StatusCode::from_u16(refusal.status);
            let status = status.unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
            return Err(other_error(&refusal.code, status));
        }
        if decision.reset_before_headers {
            return Err(s3_error!(InternalError));
        }
        if !signed && !self.anonymous {
            return Err(s3_error!(AccessDenied));
        }
        Ok(())
    }
}

/// The domain whose subdomains are buckets; any other host means the path style.
#[derive(Debug)]
pub(crate) struct Domain(String);

impl Domain {
    pub(crate) fn new(domain: &str) -> Self {
        Self(domain.to_ascii_lowercase())
    }
}

impl S3Host for Domain {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let bucket = name
            .strip_suffix(self.0.as_str())
            .and_then(|name| name.strip_suffix('.'));
        let virtual_host = VirtualHost::new(name);
        Ok(match bucket {
            Some(bucket) => virtual_host.with_bucket(bucket),
            None => virtual_host,
        })
    }
}

fn prefix_in(uri: &http::Uri) -> Cow<'_, str> {
    let query = uri.query().unwrap_or_default();
    let prefix = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("prefix="))
        .unwrap_or_default();
    percent_decode_str(prefix).decode_utf8_lossy()
}
