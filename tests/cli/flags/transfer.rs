//! Rows of the flags that say how bytes travel, and what objects get.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use super::Effect::{Elsewhere, Fails, Mounted};
use super::rows::SWITCH;
use super::{Row, Run};
use crate::wait::{LONG, wait_for};

const ARN: &str = "arn:aws:kms:us-east-1:1:key/0a-1b";

pub(super) fn client() -> Vec<Row> {
    vec![
        Row::new(
            "--maximum-throughput-gbps",
            "--maximum-throughput-gbps 40 --debug",
            Mounted(|run| run.has_logged("aiming at 40 Gbit/s")),
        )
        .refused(&[("--maximum-throughput-gbps 0", "0 is not in 1..")]),
        Row::new(
            "--max-threads",
            "--max-threads 3",
            Mounted(|run| {
                let three = ["fuser-0", "fuser-1", "fuser-2"].map(str::to_owned);
                let three = BTreeSet::from(three);
                // The mount answers as soon as one of them does.
                wait_for("three threads", LONG, || {
                    serving(run).is_superset(&three).then_some(())
                });
                // What else were started would be by then.
                thread::sleep(Duration::from_millis(500));
                assert_eq!(serving(run), three);
            }),
        )
        .refused(&[("--max-threads 0", "0 is not in 1..")]),
        Row::new(
            "--memory-target",
            "--memory-target 512 --read-part-size 1073741824",
            Fails("exceeds the memory"),
        )
        .refused(&[("--memory-target 511", "511 is not in 512..")]),
        Row::new(
            "--part-size",
            "--part-size 5242880",
            Mounted(|run| {
                upload(run);
                assert_eq!(part_sizes(run), ["5242880", "5242880", "2097152"]);
                assert_eq!(largest_range(run), 5_242_880);
            }),
        )
        .refused(&[
            ("--part-size 0", "0 is not in 1.."),
            (
                "--part-size 8388608 --read-part-size 8388608",
                "cannot be used with",
            ),
        ]),
        Row::new(
            "--read-part-size",
            "--read-part-size 6291456",
            Mounted(|run| {
                assert_eq!(largest_range(run), 6_291_456);
            }),
        )
        .refused(&[("--read-part-size 5368709121", "is not in")]),
        Row::new(
            "--write-part-size",
            "--write-part-size 6291456",
            Mounted(|run| {
                upload(run);
                assert_eq!(part_sizes(run), ["6291456", "6291456"]);
            }),
        )
        .refused(&[("--write-part-size 5368709121", "is not in")]),
        Row::new(
            "--ca-bundle",
            "--ca-bundle /nonexistent/ca.pem",
            Elsewhere(
                "tests/cli/connecting.rs",
                "ca_bundle_makes_a_certificate_trusted",
            ),
        )
        .refused(&[("--ca-bundle", "a value is required")]),
        Row::new(
            "--bind",
            "--bind lo --bind lo",
            Elsewhere("tests/fuse/binding.rs", "--bind"),
        )
        .refused(&[("--bind", "a value is required")]),
        Row::new(
            "--user-agent-prefix",
            "--user-agent-prefix my-program/7",
            Mounted(|run| {
                let agent = run.header("ListObjectsV2", "user-agent").expect("an agent");
                assert!(agent.starts_with("my-program/7 "), "{agent}");
            }),
        )
        .refused(&[("--user-agent-prefix \u{fc}", "printable ASCII")]),
    ]
}

pub(super) fn objects() -> Vec<Row> {
    vec![
        Row::new(
            "--storage-class",
            "--storage-class STANDARD_IA",
            Mounted(|run| {
                let class = run.header_of_new("x-amz-storage-class");
                assert_eq!(class.as_deref(), Some("STANDARD_IA"));
            }),
        )
        .refused(&[("--storage-class \u{fc}", "printable ASCII")]),
        Row::new(
            "--sse",
            "--sse aws:kms",
            Mounted(|run| {
                let sse = run.header_of_new("x-amz-server-side-encryption");
                assert_eq!(sse.as_deref(), Some("aws:kms"));
            }),
        )
        .refused(&[(
            "--sse rot13",
            "[possible values: aws:kms, aws:kms:dsse, AES256]",
        )]),
        Row::new(
            "--sse-kms-key-id",
            "--sse aws:kms --sse-kms-key-id arn:aws:kms:us-east-1:1:key/0a-1b",
            Mounted(|run| {
                let key = run.header_of_new("x-amz-server-side-encryption-aws-kms-key-id");
                assert_eq!(key.as_deref(), Some(ARN));
            }),
        )
        .refused(&[
            (
                "--sse aws:kms --sse-kms-key-id 0a-1b",
                "must be the ARN of a key",
            ),
            (
                "--sse-kms-key-id arn:aws:kms:us-east-1:1:key/0a-1b",
                "--sse <ENCRYPTION>",
            ),
            (
                "--sse AES256 --sse-kms-key-id arn:aws:kms:us-east-1:1:key/0a-1b",
                "--sse-kms-key-id can not be used with --sse AES256",
            ),
        ]),
        Row::new(
            "--upload-checksums",
            "--upload-checksums crc64nvme",
            Mounted(|run| {
                fs::write(run.path("new"), "text").expect("written");
                let headers = run.headers("PutObject");
                let names: Vec<_> = headers
                    .iter()
                    .flat_map(|(name, value)| [name, value])
                    .collect();
                assert!(
                    names.iter().any(|name| name.contains("checksum-crc64nvme")),
                    "{headers:?}"
                );
            }),
        )
        .refused(&[(
            "--upload-checksums md5",
            "[possible values: crc32c, crc64nvme, off]",
        )]),
        Row::new(
            "--infer-content-type",
            "--infer-content-type",
            Mounted(|run| {
                let kind = run.header_of_new("content-type");
                assert_eq!(kind.as_deref(), Some("text/plain"));
            }),
        )
        .refused(&[("--infer-content-type=1", SWITCH)]),
    ]
}

/// The names of the threads that take requests from the kernel. A thread has that of the one which
/// started it until it takes its own, so there may be more than one of a name.
fn serving(run: &Run) -> BTreeSet<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", run.pid())).expect("it runs");
    let names = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok())
        .map(|name| name.trim().to_owned());
    let is_one = |name: &String| {
        let number = name.strip_prefix("fuser-");
        number.is_some_and(|n| n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    names.filter(is_one).collect()
}

fn upload(run: &Run) {
    fs::write(run.path("uploaded"), vec![7; 12 << 20]).expect("written");
}

fn part_sizes(run: &Run) -> Vec<String> {
    let mut parts: Vec<_> = run
        .requests("UploadPart")
        .into_iter()
        .map(|mut part| {
            let size = ["x-amz-decoded-content-length", "content-length"]
                .into_iter()
                .find_map(|name| part.headers.remove(name));
            (part.query, size.expect("a length"))
        })
        .collect();
    parts.sort();
    parts.into_iter().map(|(_query, size)| size).collect()
}

/// The most bytes that one GET asks for when a large file is read in order.
fn largest_range(run: &Run) -> u64 {
    let mut file = fs::File::open(run.path("large")).expect("it opens");
    io::copy(&mut file, &mut io::sink()).expect("it is read");
    let gets = run.requests("GetObject");
    let sizes = gets.iter().filter_map(|get| {
        let (first, last) = get.range.strip_prefix("bytes=")?.split_once('-')?;
        Some(last.parse::<u64>().ok()? - first.parse::<u64>().ok()? + 1)
    });
    sizes.max().expect("ranges")
}
