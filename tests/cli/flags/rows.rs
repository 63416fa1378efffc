//! The rows: one a flag, in the order of `--help`. Here: what is mounted, and how it looks.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use super::Effect::{Elsewhere, Mounted};
use super::{Row, Run, answers, transfer};
use crate::support::kill;
use crate::wait::{LONG, once_in_five, wait_for};

/// What is said of a value where there is none to give.
pub(super) const SWITCH: &str = "unexpected value";

pub(super) fn rows() -> Vec<Row> {
    [
        general(),
        bucket(),
        mount(),
        transfer::client(),
        transfer::objects(),
        answers::logging(),
        answers::metrics(),
        answers::caching(),
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
                assert_eq!(run.read("hello.txt"), b"hello");
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
                run.read("hello.txt");
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
                run.read("hello.txt");
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
                // The first one of a mount may try out what the store does.
                assert!(!run.requests("RenameObject").is_empty());
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
                run.read("hello.txt");
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
                assert_eq!(run.read("hello.txt"), b"other");
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
                let file = File::create(run.path("new")).expect("it opens");
                file.write_all_at(b"text", 0).expect("written");
                let staged = fs::read_dir(run.directory()).expect("the stage").count();
                assert!(staged > 0);
            }),
        )
        .refused(&[("--stage /tmp", "--write-mode staged")]),
        Row::new(
            "--writeback-cache",
            "--writeback-cache",
            Mounted(gathered_by_the_kernel),
        )
        .refused(&[
            ("--writeback-cache --read-only", "cannot be used with"),
            ("--writeback-cache --posix-metadata", "cannot be used with"),
            (
                "--writeback-cache --incremental-upload",
                "cannot be used with",
            ),
            (
                "--writeback-cache --write-mode staged --stage {dir}",
                "cannot be used with",
            ),
        ]),
        Row::new(
            "--auto-unmount",
            "--auto-unmount",
            Mounted(|run| {
                kill("KILL", run.pid());
                wait_for("the mount is gone", LONG, || {
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

fn mode(run: &Run, name: &str) -> u32 {
    let metadata = fs::metadata(run.path(name)).expect("it is there");
    metadata.permissions().mode() & 0o7777
}

/// The kernel may write a page at any moment, when others have changed many: then what comes after it is
/// refused as out of order, at the `fsync`.
fn gathered_by_the_kernel(run: &Run) {
    once_in_five(|number| {
        let path = run.path(&format!("gathered-{number}"));
        let mut file = File::create(&path).expect("it opens");
        file.write_all(b"length 1").expect("written");
        // In the kernel still, and not refused as out of order.
        file.write_all_at(b"2", 7).expect("written");
        if let Err(error) = file.sync_all() {
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
            return Err(error.to_string());
        }
        let stored = fs::read_to_string(path);
        assert_eq!(stored.expect("it is read"), "length 2");
        Ok(())
    });
}

fn written_backwards(run: &Run) {
    let file = File::create(run.path("new")).expect("it opens");
    file.write_all_at(b"you", 6).expect("written");
    file.write_all_at(b"hello ", 0).expect("written");
    drop(file);
    assert_eq!(run.read("new"), b"hello you");
}
