//! Buckets that cannot be reached: exit status 1, in time, with the cause.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;

use crate::failures::fail_both_ways;
use crate::store::{BUCKET, MountPoint, store};

/// The bucket must not be mounted, and the texts must be in what the command says.
fn fail(bucket: &str, flags: &[&str], prepare: impl Fn(&mut Command), texts: &[&str]) {
    let mount_point = MountPoint::new();
    let args = [&[bucket, mount_point.text()], flags].concat();
    let error = fail_both_ways(&args, prepare);
    assert!(!mount_point.is_mounted());
    for text in [&["Error: Failed to create S3 client"], texts].concat() {
        assert!(error.contains(text), "{text:?} is not in: {error}");
    }
}

fn with_key(command: &mut Command) {
    command
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
}

/// A server that answers every connection with these bytes, or not at all.
fn strange_server(answer: Option<&'static [u8]>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            if let Some(answer) = answer {
                // A client that has gone is no concern of this server.
                _ = stream.read(&mut [0; 4096]);
                _ = stream.write_all(answer);
            }
            open.push(stream);
        }
    });
    address
}

#[test]
fn dead_endpoint_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    fail(
        BUCKET,
        &["--endpoint-url", &url],
        with_key,
        &[
            "initial ListObjectsV2 failed for bucket some-bucket",
            "refused",
            "check --endpoint-url",
        ],
    );
}

#[test]
fn silent_endpoint_is_named() {
    let url = format!("http://{}", strange_server(None));
    fail(
        BUCKET,
        &["--endpoint-url", &url],
        with_key,
        &["initial ListObjectsV2 failed", "check --endpoint-url"],
    );
}

#[test]
fn endpoint_that_is_no_http_server_is_named() {
    let url = format!(
        "http://{}",
        strange_server(Some(b"SSH-2.0-OpenSSH_9.2\r\n"))
    );
    fail(
        BUCKET,
        &["--endpoint-url", &url],
        with_key,
        &["initial ListObjectsV2 failed"],
    );
}

#[test]
fn endpoint_without_tls_is_named() {
    let url = format!(
        "https://{}",
        strange_server(Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    );
    fail(
        BUCKET,
        &["--endpoint-url", &url],
        with_key,
        &["initial ListObjectsV2 failed", "TLS", "--ca-bundle"],
    );
}

#[test]
fn unknown_host_is_named() {
    fail(
        BUCKET,
        &[
            "--endpoint-url",
            "http://s3.example.invalid",
            "--force-path-style",
        ],
        with_key,
        &["initial ListObjectsV2 failed", "check --endpoint-url"],
    );
}

#[test]
fn missing_credentials_are_named() {
    fail(
        BUCKET,
        &["--endpoint-url", &store().endpoint()],
        |_| (),
        &[
            "No signing credentials found",
            "AWS_PROFILE",
            "--no-sign-request",
        ],
    );
}

#[test]
fn wrong_credentials_are_named() {
    fail(
        BUCKET,
        &["--endpoint-url", &store().endpoint()],
        with_key,
        &[
            "initial ListObjectsV2 failed for bucket some-bucket",
            "invalid AWS credentials",
        ],
    );
}

#[test]
fn refused_anonymous_access_is_named() {
    fail(
        BUCKET,
        &["--endpoint-url", &store().endpoint(), "--no-sign-request"],
        |_| (),
        &["Forbidden", "403", "without --no-sign-request"],
    );
}

#[test]
fn missing_bucket_is_named() {
    fail(
        "no-such-bucket",
        &[],
        |command| {
            store().credentials(command);
        },
        &[
            "initial ListObjectsV2 failed for bucket no-such-bucket",
            "NoSuchBucket",
        ],
    );
}

#[test]
fn missing_ca_bundle_is_named() {
    fail(
        BUCKET,
        &[
            "--endpoint-url",
            "https://127.0.0.1:1",
            "--ca-bundle",
            "/nonexistent/ca.pem",
        ],
        with_key,
        &["/nonexistent/ca.pem"],
    );
}
