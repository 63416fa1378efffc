//! The control endpoint: plain JSON over HTTP on a port of its own.
//!
//! | request | body | effect |
//! |---|---|---|
//! | `GET /stats` | | the counters: [`Stats`](crate::Stats) |
//! | `POST /stats/reset` | | sets them to 0 |
//! | `GET /model` | | the [`Model`](crate::Model) in force |
//! | `PUT /model` | a [`Model`](crate::Model); what it leaves out gets its default | puts it in force |
//! | `PUT /object` | an [`ObjectSpec`](crate::ObjectSpec) or an array of them | plants objects |
//! | `PUT /objects` | a [`BulkSpec`](crate::BulkSpec) | plants many objects |
//! | `DELETE /object` | an [`ObjectSpec`](crate::ObjectSpec) of which bucket and key count | deletes it |
//! | `GET /manifest/BUCKET` | | a line for each object, not JSON: SHA-256, size, key; with tabs between |
//! | `PUT /bucket` | an [`ObjectSpec`](crate::ObjectSpec) of which the bucket counts | makes a bucket |

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use crate::server::Shared;
use crate::{BulkSpec, Model, ObjectSpec};

/// Serves the control endpoint until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, shared: Shared) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &shared));
            // An error is a client that went away.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: &Shared,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let (status, text) = match body.collect().await {
        Ok(body) => match handle(&parts.method, parts.uri.path(), &body.to_bytes(), shared) {
            Ok(text) => (StatusCode::OK, text),
            Err((status, reason)) => (status, error_text(&reason)),
        },
        Err(error) => (StatusCode::BAD_REQUEST, error_text(&error.to_string())),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    Ok(response)
}

fn handle(
    method: &Method,
    path: &str,
    body: &[u8],
    shared: &Shared,
) -> Result<String, (StatusCode, String)> {
    let done = || "{}\n".to_owned();
    match (method.as_str(), path) {
        ("GET", "/stats") => to_json(&shared.counters.snapshot()),
        ("POST", "/stats/reset") => {
            shared.counters.reset();
            Ok(done())
        }
        ("GET", "/model") => to_json(&shared.model.get()),
        ("PUT", "/model") => {
            shared.model.set(parse::<Model>(body)?);
            to_json(&shared.model.get())
        }
        ("PUT", "/object") => {
            let specs = match parse::<Vec<ObjectSpec>>(body) {
                Ok(specs) => specs,
                Err(_) => vec![parse::<ObjectSpec>(body)?],
            };
            specs.iter().for_each(|spec| shared.plant(spec));
            Ok(done())
        }
        ("PUT", "/objects") => {
            let planted = shared.plant_many(&parse::<BulkSpec>(body)?);
            planted
                .map(|()| done())
                .map_err(|reason| (StatusCode::BAD_REQUEST, reason.to_owned()))
        }
        ("DELETE", "/object") => {
            let spec = parse::<ObjectSpec>(body)?;
            shared.delete(&spec.bucket, &spec.key);
            Ok(done())
        }
        ("PUT", "/bucket") => {
            shared
                .store
                .create_bucket(&parse::<ObjectSpec>(body)?.bucket);
            Ok(done())
        }
        ("GET", path) if let Some(bucket) = path.strip_prefix("/manifest/") => {
            Ok(shared.manifest(bucket))
        }
        _ => Err((StatusCode::NOT_FOUND, format!("no {method} {path}"))),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

fn to_json(value: &impl serde::Serialize) -> Result<String, (StatusCode, String)> {
    let text = serde_json::to_string(value);
    text.map(|text| text + "\n")
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn error_text(reason: &str) -> String {
    serde_json::json!({ "error": reason }).to_string()
}
