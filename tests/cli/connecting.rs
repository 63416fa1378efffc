//! Buckets that cannot be reached: exit status 1, in time, with the cause.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::failures::fail_both_ways;
use crate::store::{BUCKET, MountPoint, store};
use crate::support::{FAILURE_LIMIT, mount_s3, run};
use crate::wait::{once_in_five, within};

/// The bucket must not be mounted, and the texts must be in what the command says.
fn fail(bucket: &str, flags: &[&str], prepare: impl Fn(&mut Command), texts: &[&str]) {
    check(&failure(bucket, flags, prepare), texts);
}

/// What the command says of a bucket that must not be mounted.
fn failure(bucket: &str, flags: &[&str], prepare: impl Fn(&mut Command)) -> String {
    let mount_point = MountPoint::new();
    let args = [&[bucket, mount_point.text()], flags].concat();
    let error = fail_both_ways(&args, prepare);
    assert!(!mount_point.is_mounted());
    error
}

fn check(error: &str, texts: &[&str]) {
    for text in [&["Error: Failed to create S3 client"], texts].concat() {
        assert!(error.contains(text), "{text:?} is not in: {error}");
    }
}

/// TLS and the cause must be named, and soon, although the TLS library holds the connection.
fn fail_over_tls(url: &str, texts: &[&str]) {
    let texts = [
        &["initial ListObjectsV2 failed for bucket some-bucket"],
        texts,
    ]
    .concat();
    once_in_five(|_| {
        let start = Instant::now();
        let error = failure(BUCKET, &["--endpoint-url", url], with_key);
        // Once in the foreground and once in the background. Who comes late may name something else.
        within(start.elapsed(), 2 * Duration::from_secs(3))?;
        check(&error, &texts);
        Ok(())
    });
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
    fail(
        BUCKET,
        // A port that is free now may be another test's a moment later; nobody gets this one.
        &["--endpoint-url", "http://127.0.0.1:1"],
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
    once_in_five(|_| {
        let start = Instant::now();
        let texts = ["initial ListObjectsV2 failed", "check --endpoint-url"];
        fail(BUCKET, &["--endpoint-url", &url], with_key, &texts);
        within(start.elapsed(), 2 * Duration::from_secs(10))
    });
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
    let address = strange_server(Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let url = format!("https://{address}");
    fail(
        BUCKET,
        &["--endpoint-url", &url],
        with_key,
        &[
            &format!("no answer from {url} over TLS"),
            "whether it speaks TLS",
        ],
    );
}

#[test]
fn endpoint_that_closes_tls_connections_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // As HTTP servers do; a client that has gone is no concern of this one.
            _ = stream.read(&mut [0; 4096]);
            _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    fail_over_tls(
        &url,
        &[
            &format!("no answer from {url} over TLS: "),
            "whether it speaks TLS",
        ],
    );
}

#[test]
fn untrusted_certificate_fails_with_advice() {
    let url = store().https_endpoint();
    fail_over_tls(
        &url,
        &[
            &format!("no TLS connection to {url}: Certificate is untrusted"),
            "if the endpoint has certificates of its own, name them with --ca-bundle",
        ],
    );
}

#[test]
fn ca_bundle_makes_a_certificate_trusted() {
    let ca = store().ca_bundle();
    let ca = ca.to_str().expect("UTF-8");
    for by_variable in [false, true] {
        let mount_point = MountPoint::new();
        let url = store().https_endpoint();
        let args = [
            BUCKET,
            mount_point.text(),
            "--no-log",
            "--endpoint-url",
            &url,
        ];
        let mut command = mount_s3(&args);
        store().credentials(&mut command);
        if by_variable {
            command.env("AWS_CA_BUNDLE", ca);
        } else {
            command.args(["--ca-bundle", ca]);
        }
        let outcome = run(&mut command, FAILURE_LIMIT);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        let text = fs::read_to_string(mount_point.path().join("hello.txt"));
        assert_eq!(text.expect("the mount answers"), "hello");
    }
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
fn interface_that_does_not_exist_is_named() {
    let mount_point = MountPoint::new();
    let args = [
        BUCKET,
        mount_point.text(),
        "--bind",
        "lo",
        "--bind",
        "nowhere0",
    ];
    let outcome = run(&mut mount_s3(&args), FAILURE_LIMIT);
    assert_eq!(outcome.status, Some(2), "{outcome:?}");
    let text =
        "invalid value 'nowhere0' for '--bind <INTERFACE>': there is no such network interface";
    assert!(outcome.stderr.contains(text), "{outcome:?}");
    assert!(outcome.stderr.contains("there are: "), "{outcome:?}");
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
