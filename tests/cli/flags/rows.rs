//! The rows: one a flag, in the order of `--help`.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::thread;
use std::time::Duration;

use super::Effect::{Elsewhere, Fails, Mounted};
use super::{Row, Run};
use crate::support::kill;
use crate::wait::wait_for;

const ARN: &str = "arn:aws:kms:us-east-1:1:key/0a-1b";
const SWITCH: &str = "unexpected value";

pub(super) fn rows() -> Vec<Row> {
    [
        general(),
        bucket(),
        mount(),
        client(),
        objects(),
        logging(),
        caching(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn general() -> Vec<Row> {
    vec![
        Row::new("--help", "", Elsewhere("tests/cli/usage.rs", "\"--help\"")),
        Row::new(
            "--version",
            "",
            Elsewhere("tests/cli/usage.rs", "\"--version\""),
        ),
    ]
}

fn bucket() -> Vec<Row> {
    vec![
        Row::new(
            "--prefix",
            "--prefix folder/",
            Mounted(|run| {
                assert!(run.path("inner.txt").exists());
                assert!(!run.path("hello.txt").exists());
            }),
        )
        .refused(&[("--prefix a", "prefix must end in '/'")]),
        Row::new(
            "--region",
            "--region eu-west-3",
            Mounted(|run| {
                let signed = run
                    .header("ListObjectsV2", "authorization")
                    .expect("signed");
                assert!(signed.contains("/eu-west-3/s3/"), "{signed}");
            }),
        )
        .refused(&[("--region eu\u{fc}", "printable ASCII")]),
        Row::new(
            "--endpoint-url",
            "--endpoint-url http://127.0.0.1:{port}",
            Mounted(|run| {
                assert_eq!(read(run, "hello.txt"), b"hello");
            }),
        )
        .refused(&[
            ("--endpoint-url host", "must start with https:// or http://"),
            (
                "--endpoint-url https://a:b@host",
                "must not contain a user name",
            ),
        ]),
        Row::new(
            "--force-path-style",
            "--force-path-style --endpoint-url http://localhost:{port}",
            Mounted(|run| {
                let host = run.header("ListObjectsV2", "host").expect("a host");
                assert!(host.starts_with("localhost:"), "{host}");
            }),
        )
        .refused(&[("--force-path-style=1", SWITCH)]),
        Row::new(
            "--transfer-acceleration",
            "--transfer-acceleration",
            Elsewhere("src/s3/endpoint/tests.rs", "accelerate"),
        )
        .refused(&[("--transfer-acceleration=1", SWITCH)]),
        Row::new(
            "--dual-stack",
            "--dual-stack",
            Elsewhere("src/s3/endpoint/tests.rs", "dual"),
        )
        .refused(&[("--dual-stack=1", SWITCH)]),
        Row::new(
            "--requester-pays",
            "--requester-pays",
            Mounted(|run| {
                read(run, "hello.txt");
                for operation in ["ListObjectsV2", "GetObject"] {
                    let payer = run.header(operation, "x-amz-request-payer");
                    assert_eq!(payer.as_deref(), Some("requester"), "{operation}");
                }
            }),
        )
        .refused(&[("--requester-pays=1", SWITCH)]),
        Row::new(
            "--expected-bucket-owner",
            "--expected-bucket-owner 123456789012",
            Mounted(|run| {
                read(run, "hello.txt");
                for operation in ["ListObjectsV2", "GetObject"] {
                    let owner = run.header(operation, "x-amz-expected-bucket-owner");
                    assert_eq!(owner.as_deref(), Some("123456789012"), "{operation}");
                }
            }),
        )
        .refused(&[("--expected-bucket-owner \u{fc}", "printable ASCII")]),
        Row::new(
            "--bucket-type",
            "--bucket-type directory --allow-delete",
            Mounted(|run| {
                fs::rename(run.path("hello.txt"), run.path("moved")).expect("renamed");
                assert_eq!(run.requests("RenameObject").len(), 1);
            }),
        )
        .refused(&[(
            "--bucket-type small",
            "[possible values: general-purpose, directory]",
        )]),
        Row::new(
            "--no-sign-request",
            "--no-sign-request",
            Mounted(|run| {
                read(run, "hello.txt");
                assert_eq!(run.header("GetObject", "authorization"), None);
            }),
        )
        .refused(&[("--no-sign-request=1", SWITCH)]),
        Row::new(
            "--profile",
            "--profile other",
            Mounted(|run| {
                let signed = run
                    .header("ListObjectsV2", "authorization")
                    .expect("signed");
                assert!(signed.contains("Credential=test/"), "{signed}");
            }),
        )
        .refused(&[("--profile", "a value is required")]),
    ]
}

fn mount() -> Vec<Row> {
    vec![
        Row::new(
            "--read-only",
            "--read-only",
            Mounted(|run| {
                let error = fs::write(run.path("new"), "text").expect_err("read-only");
                assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
                assert!(run.options().starts_with("ro,"));
            }),
        )
        .refused(&[("--read-only=1", SWITCH)]),
        Row::new(
            "--allow-delete",
            "--allow-delete",
            Mounted(|run| {
                fs::remove_file(run.path("hello.txt")).expect("deleted");
                assert_eq!(run.requests("DeleteObject").len(), 1);
            }),
        )
        .refused(&[("--allow-delete=1", SWITCH)]),
        Row::new(
            "--allow-overwrite",
            "--allow-overwrite",
            Mounted(|run| {
                fs::write(run.path("hello.txt"), "other").expect("replaced");
                assert_eq!(read(run, "hello.txt"), b"other");
            }),
        )
        .refused(&[("--allow-overwrite=1", SWITCH)]),
        Row::new(
            "--allow-rename",
            "--allow-delete --allow-rename",
            Mounted(|run| {
                fs::rename(run.path("hello.txt"), run.path("moved")).expect("renamed");
                assert_eq!(run.requests("CopyObject").len(), 1);
            }),
        )
        .refused(&[("--allow-rename", "--allow-delete")]),
        Row::new(
            "--keep-directories",
            "--keep-directories",
            Mounted(|run| {
                fs::create_dir(run.path("kept")).expect("made");
                let put = run.requests("PutObject").pop().expect("stored");
                assert_eq!(put.key, "kept/");
            }),
        )
        .refused(&[("--keep-directories=1", SWITCH)]),
        Row::new(
            "--incremental-upload",
            "--bucket-type directory --incremental-upload",
            Mounted(|run| {
                let file = OpenOptions::new().append(true).open(run.path("hello.txt"));
                let mut file = file.expect("it opens");
                file.write_all(b" you").expect("written");
                file.sync_all().expect("stored");
                assert_eq!(
                    run.header("PutObject", "x-amz-write-offset-bytes")
                        .as_deref(),
                    Some("5")
                );
            }),
        )
        .refused(&[(
            "--incremental-upload",
            "only possible in a directory bucket",
        )]),
        Row::new(
            "--write-mode",
            "--write-mode staged --stage {dir}",
            Mounted(written_backwards),
        )
        .refused(&[
            ("--write-mode fast", "[possible values: streaming, staged]"),
            ("--write-mode staged", "--stage DIRECTORY"),
        ]),
        Row::new(
            "--stage",
            "--write-mode staged --stage {dir}",
            Mounted(|run| {
                let file = fs::File::create(run.path("new")).expect("it opens");
                file.write_all_at(b"text", 0).expect("written");
                let staged = fs::read_dir(run.directory()).expect("the stage").count();
                assert!(staged > 0);
            }),
        )
        .refused(&[("--stage /tmp", "--write-mode staged")]),
        Row::new(
            "--auto-unmount",
            "--auto-unmount",
            Mounted(|run| {
                kill("KILL", run.pid());
                wait_for("the mount is gone", Duration::from_secs(5), || {
                    (!run.is_mounted()).then_some(())
                });
            }),
        )
        .refused(&[("--auto-unmount=1", SWITCH)]),
        Row::new(
            "--allow-root",
            "--allow-root",
            Mounted(|run| {
                assert!(run.options().contains(",allow_other"));
            }),
        )
        .refused(&[("--allow-root --allow-other", "cannot be used with")]),
        Row::new(
            "--allow-other",
            "--allow-other",
            Mounted(|run| {
                assert!(run.options().contains(",allow_other"));
            }),
        )
        .refused(&[("--allow-other --allow-root", "cannot be used with")]),
        Row::new(
            "--uid",
            "--uid 1234",
            Mounted(|run| {
                assert_eq!(
                    fs::metadata(run.path("hello.txt")).expect("a file").uid(),
                    1234
                );
            }),
        )
        .refused(&[
            ("--uid 0", "0 is not in 1.."),
            ("--uid me", "invalid digit"),
        ]),
        Row::new(
            "--gid",
            "--gid 1234",
            Mounted(|run| {
                assert_eq!(
                    fs::metadata(run.path("hello.txt")).expect("a file").gid(),
                    1234
                );
            }),
        )
        .refused(&[
            ("--gid 0", "0 is not in 1.."),
            ("--gid 4294967296", "is not in"),
        ]),
        Row::new(
            "--dir-mode",
            "--dir-mode 0711",
            Mounted(|run| {
                assert_eq!(mode(run, "folder"), 0o711);
            }),
        )
        .refused(&[("--dir-mode 4755", "only user/group/other permissions")]),
        Row::new(
            "--file-mode",
            "--file-mode 600",
            Mounted(|run| {
                assert_eq!(mode(run, "hello.txt"), 0o600);
            }),
        )
        .refused(&[("--file-mode 9", "must be a valid octal number")]),
        Row::new(
            "--posix-metadata",
            "--posix-metadata",
            Mounted(|run| {
                let mode = Permissions::from_mode(0o611);
                fs::set_permissions(run.path("hello.txt"), mode).expect("changed");
                let stored = run.header("CopyObject", "x-amz-meta-mode");
                assert_eq!(stored, Some((0o100_611).to_string()));
            }),
        )
        .refused(&[("--posix-metadata=1", SWITCH)]),
        Row::new(
            "--xattrs",
            "--xattrs",
            Mounted(|run| {
                let mut value = [0; 100];
                let length =
                    rustix::fs::getxattr(run.path("hello.txt"), "user.s3.etag", &mut value);
                assert!(length.expect("an attribute") > 30);
            }),
        )
        .refused(&[("--xattrs=1", SWITCH)]),
        Row::new(
            "--foreground",
            "--foreground",
            Mounted(|run| {
                let shown = fs::read(format!("/proc/{}/cmdline", run.pid())).expect("it runs");
                assert!(String::from_utf8_lossy(&shown).contains("--foreground"));
                assert!(run.is_mounted());
            }),
        )
        .refused(&[("--foreground=1", SWITCH)]),
    ]
}

fn client() -> Vec<Row> {
    vec![
        Row::new(
            "--maximum-throughput-gbps",
            "--maximum-throughput-gbps 40 --debug",
            Mounted(|run| has_logged(run, "aiming at 40 Gbit/s")),
        )
        .refused(&[("--maximum-throughput-gbps 0", "0 is not in 1..")]),
        Row::new(
            "--max-threads",
            "--max-threads 3",
            Mounted(|run| {
                let threads = fs::read_dir(format!("/proc/{}/task", run.pid())).expect("it runs");
                let names = threads
                    .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
                let is_one = |name: &String| {
                    let number = name.trim().strip_prefix("fuser-");
                    number.is_some_and(|n| n.bytes().all(|byte| byte.is_ascii_digit()))
                };
                assert_eq!(names.filter(is_one).count(), 3);
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

fn objects() -> Vec<Row> {
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

fn logging() -> Vec<Row> {
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
                has_logged(run, "DEBUG mount_s3");
                let log = run.log().expect("a log");
                assert!(!log.contains("DEBUG crt"), "{log}");
            }),
        )
        .refused(&[("--debug --no-log", "cannot be used with")]),
        Row::new(
            "--debug-crt",
            "--debug-crt",
            Mounted(|run| has_logged(run, "DEBUG crt::")),
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

fn caching() -> Vec<Row> {
    vec![
        Row::new(
            "--index",
            "",
            Elsewhere(
                "tests/fuse/indexing.rs",
                "no_listing_and_no_head_after_the_mount",
            ),
        )
        .refused(&[("--index f --allow-delete", "cannot be used with")]),
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

fn read(run: &Run, name: &str) -> Vec<u8> {
    fs::read(run.path(name)).expect("it is read")
}

fn mode(run: &Run, name: &str) -> u32 {
    let metadata = fs::metadata(run.path(name)).expect("it is there");
    metadata.permissions().mode() & 0o7777
}

fn has_logged(run: &Run, text: &str) {
    wait_for(text, Duration::from_secs(5), || {
        run.log()?.contains(text).then_some(())
    });
}

/// What is done takes no request, even after all that is believed by default is forgotten.
fn assert_quiet(run: &Run, done: impl Fn() -> bool) {
    thread::sleep(Duration::from_millis(1200));
    let before = run.count();
    assert!(done());
    assert_eq!(run.count(), before);
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

fn written_backwards(run: &Run) {
    let file = fs::File::create(run.path("new")).expect("it opens");
    file.write_all_at(b"you", 6).expect("written");
    file.write_all_at(b"hello ", 0).expect("written");
    drop(file);
    assert_eq!(read(run, "new"), b"hello you");
}
