//! Rows of the flags that say what is told of a mount, and what it answers by itself.

use std::fs;
use std::thread;
use std::time::Duration;

use super::Effect::{Elsewhere, Mounted};
use super::{Row, Run};
use crate::wait::once_in_five;

pub(super) fn logging() -> Vec<Row> {
    vec![
        Row::new(
            "--log-directory",
            "--log-directory {dir}",
            Mounted(|run| {
                let files = fs::read_dir(run.directory()).expect("a directory");
                assert_eq!(files.count(), 1);
            }),
        )
        .refused(&[("--log-directory", "a value is required")]),
        Row::new(
            "--debug",
            "--debug",
            Mounted(|run| {
                run.has_logged("DEBUG mount_s3");
                let log = run.log().expect("a log");
                assert!(!log.contains("DEBUG crt"), "{log}");
            }),
        )
        .refused(&[("--debug --no-log", "cannot be used with")]),
        Row::new(
            "--debug-crt",
            "--debug-crt",
            Mounted(|run| run.has_logged("DEBUG crt::")),
        )
        .refused(&[("--debug-crt --no-log", "cannot be used with")]),
        Row::new(
            "--no-log",
            "--no-log",
            Mounted(|run| assert_eq!(run.log(), None)),
        )
        .refused(&[("--no-log --log-directory /tmp", "cannot be used with")]),
    ]
}

pub(super) fn metrics() -> Vec<Row> {
    vec![
        Row::new(
            "--log-metrics",
            "--log-metrics",
            Elsewhere(
                "tests/cli/metrics.rs",
                "fn log_has_what_has_changed_and_the_last_of_it",
            ),
        )
        .refused(&[("--log-metrics --no-log", "cannot be used with")]),
        Row::new(
            "--otlp-endpoint",
            "--otlp-endpoint http://127.0.0.1:4318",
            Elsewhere(
                "tests/cli/otlp.rs",
                "fn deltas_add_up_though_a_message_is_lost",
            ),
        )
        .refused(&[(
            "--otlp-endpoint host:4318",
            "must start with https:// or http://",
        )]),
        Row::new(
            "--otlp-export-interval",
            "--otlp-endpoint http://127.0.0.1:4318 --otlp-export-interval 1",
            Elsewhere("tests/cli/otlp.rs", "--otlp-export-interval"),
        )
        .refused(&[
            ("--otlp-export-interval 5", "--otlp-endpoint"),
            (
                "--otlp-endpoint http://h:1 --otlp-export-interval 0",
                "0 is not in 1..",
            ),
        ]),
        Row::new(
            "--metrics-listen",
            "--metrics-listen 127.0.0.1:9100",
            Elsewhere("tests/cli/metrics.rs", "fn counts_are_those_of_the_store"),
        )
        .refused(&[
            ("--metrics-listen 9100", "must be ADDRESS:PORT"),
            ("--metrics-listen unix:relative", "must be absolute"),
        ]),
        Row::new(
            "--metrics-label",
            "--metrics-label team=blue --metrics-label tier=1",
            Elsewhere("tests/cli/metrics.rs", "--metrics-label"),
        )
        .refused(&[
            ("--metrics-label team", "must be KEY=VALUE"),
            ("--metrics-label bucket=b", "is taken"),
        ]),
    ]
}

pub(super) fn caching() -> Vec<Row> {
    vec![
        Row::new(
            "--index",
            "",
            Elsewhere("tests/fuse/indexing.rs", "no_listing_and_no_head_at_all"),
        )
        .refused(&[("--index f --allow-delete", "cannot be used with")]),
        Row::new(
            "--cache",
            "--cache /tmp",
            Elsewhere("tests/fuse/caching.rs", "\"--cache\""),
        ),
        Row::new(
            "--max-cache-size",
            "--cache /tmp --max-cache-size 100",
            Elsewhere("tests/fuse/caching.rs", "\"--max-cache-size\""),
        )
        .refused(&[
            ("--max-cache-size 100", "--cache <DIRECTORY>"),
            ("--cache /tmp --max-cache-size -1", ""),
        ]),
        Row::new(
            "--cache-xz",
            CACHE_XZ,
            Mounted(|run| {
                once_in_five(|number| match number {
                    0 => tried_by_one_object(run),
                    _ => tried_by_one_object(&Run::mount(CACHE_XZ)),
                });
                // What is known is believed for a minute.
                fs::metadata(run.path("hello.txt")).expect("a file");
                assert_quiet(run, || fs::metadata(run.path("hello.txt")).is_ok());
            }),
        )
        .refused(&[
            (
                "--cache-xz s3://cache-bucket/prefix/",
                "cache-xz argument must not contain a prefix",
            ),
            ("--cache-xz b", "3-255 characters"),
            ("--cache-xz some-bucket", "must name another bucket"),
        ]),
        Row::new(
            "--metadata-ttl",
            "--metadata-ttl 60",
            Mounted(|run| {
                fs::metadata(run.path("hello.txt")).expect("a file");
                assert_quiet(run, || fs::metadata(run.path("hello.txt")).is_ok());
            }),
        )
        .refused(&[
            ("--metadata-ttl soon", "must be a number of seconds"),
            ("--metadata-ttl 3153600001", "must be at most"),
        ]),
        Row::new(
            "--negative-metadata-ttl",
            "--negative-metadata-ttl 60",
            Mounted(|run| {
                fs::metadata(run.path("missing")).expect_err("no file");
                assert_quiet(run, || fs::metadata(run.path("missing")).is_err());
            }),
        )
        .refused(&[("--negative-metadata-ttl -1", "")]),
    ]
}

const CACHE_XZ: &str =
    "--cache-xz s3://cache-bucket --sse AES256 --expected-bucket-owner 123456789012";

/// Before it mounts, one object is stored in the cache, and again if there is no answer for 2 seconds.
fn tried_by_one_object(run: &Run) -> Result<(), String> {
    let puts = run.requests("PutObject");
    let [put] = &puts[..] else {
        return Err(format!("one object is stored to try it: {puts:?}"));
    };
    assert_eq!(put.bucket, "cache-bucket");
    assert!(put.key.starts_with("mount-s3-cache/"), "{}", put.key);
    let header = |name: &str| put.headers.get(name).map(String::as_str);
    assert_eq!(header("x-amz-server-side-encryption"), Some("AES256"));
    let owner = header("x-amz-expected-bucket-owner");
    assert_eq!(owner, Some("123456789012"));
    Ok(())
}

/// What is done takes no request, even after all that is believed by default is forgotten. What was done
/// before may have a request to follow.
fn assert_quiet(run: &Run, done: impl Fn() -> bool) {
    once_in_five(|_| {
        thread::sleep(Duration::from_millis(1200));
        let before = run.count();
        assert!(done());
        match run.count() - before {
            0 => Ok(()),
            more => Err(format!("{more} requests")),
        }
    });
}
