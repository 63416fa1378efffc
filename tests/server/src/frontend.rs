//! HTTP around the S3 service: ids, regions, error documents, bodies and the log.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use s3s::service::S3Service;

use crate::body::{RequestBody, ResponseBody};
use crate::conn::Connection;
use crate::context::{BodyRange, RequestContext, Target};
use crate::errors;
use crate::model::LiveModel;
use crate::object::Blob;
use crate::stats::{Counters, LogEntry};
use crate::synthetic::mix;
use crate::verify::{Admitted, Verifier};

/// Answers S3 requests.
#[derive(Clone)]
pub(crate) struct Frontend {
    pub(crate) service: S3Service,
    pub(crate) model: Arc<LiveModel>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) region: Arc<str>,
    pub(crate) log_headers: bool,
    pub(crate) requests: Arc<AtomicU64>,
    /// Verifies signatures in place of the service.
    pub(crate) verifier: Option<Arc<Verifier>>,
}

impl Frontend {
    /// Answers one request of `connection`; an error ends the connection without an answer.
    pub(crate) async fn answer(
        self,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> io::Result<Response<ResponseBody>> {
        self.counters.open_request();
        let guard = OpenRequest(Some(Arc::clone(&self.counters)));
        let context = RequestContext::new(connection);
        let mut entry = log_entry(&request, context.connection().number);
        if self.log_headers {
            entry.headers = texts(request.headers());
        }
        let is_head = request.method() == Method::HEAD;
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let request_id = format!("{:016X}", mix(number ^ 0x4ea5));
        let host_id = format!("{:016x}{:016x}=", mix(number), mix(!number));

        let (mut parts, body) = match self.refuse_region(&request, &request_id, &host_id) {
            Some(refusal) => refusal.into_parts(),
            None => self.admit(request, &context, &request_id, &host_id).await?,
        };
        if context
            .decision()
            .is_some_and(|decision| decision.wrong_checksum)
        {
            falsify_checksums(&mut parts.headers);
        }
        let status = if context
            .decision()
            .is_some_and(|decision| decision.reset_before_headers || decision.lose_answer)
        {
            0
        } else {
            parts.status.as_u16()
        };
        let target = context.target().cloned();
        if target.as_ref().is_some_and(tells_region) && status != 404 {
            parts
                .headers
                .insert("x-amz-bucket-region", header_value(&self.region));
        }
        let entry = match target {
            Some(target) => LogEntry {
                operation: target.operation,
                bucket: target.bucket,
                key: target.key,
                status,
                ..entry
            },
            None => LogEntry {
                operation: "Unknown".to_owned(),
                status,
                ..entry
            },
        };
        self.counters.answer(entry);
        if status == 0 {
            context.connection().reset_when_dropped();
            return Err(io::Error::other("reset as modelled"));
        }

        parts
            .headers
            .insert("x-amz-request-id", header_value(&request_id));
        parts.headers.insert("x-amz-id-2", header_value(&host_id));
        parts
            .headers
            .insert(header::SERVER, HeaderValue::from_static("AmazonS3"));
        let source = match context.take_body() {
            Some(_) if is_head => BodyRange {
                blob: Blob::empty(),
                range: 0..0,
            },
            Some(range) => range,
            None if is_head || parts.status == StatusCode::NOT_MODIFIED => BodyRange {
                blob: Blob::empty(),
                range: 0..0,
            },
            None => {
                let size = body.len() as u64;
                parts
                    .headers
                    .insert(header::CONTENT_LENGTH, HeaderValue::from(size));
                BodyRange {
                    blob: Blob::from(body),
                    range: 0..size,
                }
            }
        };
        if is_head && !parts.status.is_success() {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        guard.hand_over();
        let body = ResponseBody::new(source, &context, self.counters);
        Ok(Response::from_parts(parts, body))
    }

    async fn admit(
        &self,
        request: Request<Incoming>,
        context: &RequestContext,
        request_id: &str,
        host_id: &str,
    ) -> io::Result<(http::response::Parts, Bytes)> {
        let Some(verifier) = &self.verifier else {
            return self
                .call_service(request, context, request_id, host_id)
                .await;
        };
        let refused = |code: &str, status: u16| {
            let mut response = Response::new(errors::refused(code, request_id, host_id));
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
            response.into_parts()
        };
        let bucket = match verifier.admit(request) {
            Ok(Admitted::Request(request)) => {
                return self
                    .call_service(request, context, request_id, host_id)
                    .await;
            }
            Ok(Admitted::CreateSession(bucket)) => bucket,
            Err(code) => return Ok(refused(code, 403)),
        };
        let target = Target {
            operation: "CreateSession".to_owned(),
            bucket,
            key: String::new(),
        };
        let decision = self.model.decide(&target.operation, &target.key);
        context.set_target(target, decision.clone());
        if let Some(refusal) = decision.refusal {
            return Ok(refused(&refusal.code, refusal.status));
        }
        Ok(Response::new(verifier.grant_session().into()).into_parts())
    }

    async fn call_service(
        &self,
        request: Request<Incoming>,
        context: &RequestContext,
        request_id: &str,
        host_id: &str,
    ) -> io::Result<(http::response::Parts, Bytes)> {
        let bandwidth = self.model.bandwidth();
        let mut request = request
            .map(|body| s3s::Body::http_body(RequestBody::new(body, bandwidth, context.clone())));
        request.extensions_mut().insert(context.clone());
        let response = self.service.call(request).await.map_err(|error| {
            io::Error::other(Box::<dyn std::error::Error + Send + Sync>::from(error).to_string())
        })?;
        let (mut parts, body) = response.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        if parts.status == StatusCode::NOT_MODIFIED {
            parts.headers.remove(header::CONTENT_TYPE);
            return Ok((parts, Bytes::new()));
        }
        if parts.status.is_client_error() || parts.status.is_server_error() {
            let body = errors::complete(&body, context.target(), request_id, host_id);
            return Ok((parts, body));
        }
        Ok((parts, body))
    }

    fn refuse_region<B>(
        &self,
        request: &Request<B>,
        request_id: &str,
        host_id: &str,
    ) -> Option<Response<Bytes>> {
        if !self.model.enforces_region() {
            return None;
        }
        let sent = signed_region(request)?;
        if sent == &*self.region {
            return None;
        }
        let mut response = Response::new(errors::wrong_region(
            sent,
            &self.region,
            request_id,
            host_id,
        ));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/xml"),
        );
        response
            .headers_mut()
            .insert("x-amz-bucket-region", header_value(&self.region));
        Some(response)
    }
}

/// Counts a request as open until its body takes over.
struct OpenRequest(Option<Arc<Counters>>);

impl OpenRequest {
    fn hand_over(mut self) {
        self.0 = None;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if let Some(counters) = self.0.take() {
            counters.close_request("Unknown", 0);
        }
    }
}

/// The region in the scope of the request's signature, in its header or its presigned URL.
fn signed_region<B>(request: &Request<B>) -> Option<&str> {
    let headers: &HeaderMap = request.headers();
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (_, scope) = value.to_str().ok()?.split_once("Credential=")?;
        return scope.split(',').next()?.split('/').nth(2);
    }
    let query = request.uri().query()?;
    let scope = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
    scope.split("%2F").nth(2)
}

/// The operations whose answers S3 marks with the bucket's region.
fn tells_region(target: &Target) -> bool {
    matches!(
        target.operation.as_str(),
        "HeadBucket" | "ListObjects" | "ListObjectsV2"
    )
}

fn log_entry<B>(request: &Request<B>, connection: u64) -> LogEntry {
    let text = |name| {
        let value = request
            .headers()
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    LogEntry {
        query: request.uri().query().unwrap_or_default().to_owned(),
        range: text(header::RANGE),
        if_match: text(header::IF_MATCH),
        connection,
        ..LogEntry::default()
    }
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.as_str().to_owned(), value.into_owned())
        })
        .collect()
}

/// Makes checksums those of other bytes.
fn falsify_checksums(headers: &mut HeaderMap) {
    for name in ["crc32c", "crc64nvme"] {
        if let Some(value) = headers.get_mut(format!("x-amz-checksum-{name}")) {
            *value = HeaderValue::from_static("AAAAAAAAAAA=");
        }
    }
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}
