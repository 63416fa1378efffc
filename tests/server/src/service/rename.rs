//! RenameObject, which the service behind does not know of; in path style only.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Extensions, HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;
use s3s::dto::Checksum;
use s3s::route::S3Route;
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};

use super::upload::hex;
use super::{Service, is_unaware};
use crate::context::{RequestContext, Target};
use crate::gate::Gate;
use crate::object::{self, Blob, Content, Object, Stored};
use crate::store::WriteCondition;

/// Takes RenameObject out of the requests.
#[derive(Debug)]
pub(crate) struct RenameRoute {
    pub(crate) service: Service,
    pub(crate) gate: Gate,
    /// Tokens of what was done: it is not done again.
    pub(crate) done: Mutex<HashSet<String>>,
}

#[async_trait::async_trait]
impl S3Route for RenameRoute {
    fn is_match(
        &self,
        method: &Method,
        uri: &Uri,
        _headers: &HeaderMap,
        _extensions: &mut Extensions,
    ) -> bool {
        let query = uri.query().unwrap_or_default();
        let renames = query
            .split('&')
            .any(|pair| pair.split('=').next() == Some("renameObject"));
        method == Method::PUT && renames
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        let context = request.extensions.get::<RequestContext>().cloned();
        let context = context.ok_or_else(|| s3_error!(InternalError))?;
        let (bucket, key) = target(&request.uri)?;
        let target = Target {
            operation: "RenameObject".to_owned(),
            bucket,
            key,
        };
        let signed = request.credentials.is_some();
        self.gate.pass(&context, target, signed).await
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let done = || Ok(S3Response::new(Body::empty()));
        let (bucket, to) = target(&request.uri)?;
        if is_unaware(&request) {
            let condition = WriteCondition::in_headers(&request.headers)?;
            let stored = Stored {
                blob: Blob::empty(),
                etag: hex(&self.service.digest_of(&Blob::empty())),
                checksum: Checksum::default(),
                parts: Vec::new(),
            };
            let object = Object {
                content: Content::Stored(Arc::new(stored)),
                modified: object::now(),
                meta: None,
            };
            self.service.store.put(&bucket, &to, object, &condition)?;
            return done();
        }
        if !self.service.directory {
            return Err(s3_error!(NotImplemented));
        }
        let from = request.headers.get("x-amz-rename-source");
        let from = from.and_then(|from| from.to_str().ok());
        let from = decode(from.ok_or_else(|| s3_error!(InvalidRequest))?)?;
        let source = WriteCondition {
            if_match: WriteCondition::header(&request.headers, "x-amz-rename-source-if-match")?,
            if_none_match: None,
        };
        let target = WriteCondition::in_headers(&request.headers)?;
        let token = request.headers.get("x-amz-client-token");
        let token = token.and_then(|token| token.to_str().ok());
        let mut tokens = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if token.is_some_and(|token| tokens.contains(token)) {
            return done();
        }
        let store = &self.service.store;
        store.rename(&bucket, (&from, &source), (&to, &target))?;
        tokens.extend(token.map(str::to_owned));
        done()
    }
}

/// Bucket and key.
fn target(uri: &Uri) -> S3Result<(String, String)> {
    let path = uri.path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').ok_or_else(|| s3_error!(InvalidURI))?;
    Ok((bucket.to_owned(), decode(key)?))
}

fn decode(text: &str) -> S3Result<String> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(Into::into).map_err(|_| s3_error!(InvalidURI))
}
