//! Mounts that cannot be made: exit status 1, in time, with the cause.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use crate::store::{BUCKET, MountPoint, store};
use crate::support::{FAILURE_LIMIT, Outcome, mount_s3, run};
use crate::wait::once_in_five;

/// Runs the command in the foreground and in the background; both must fail, and tell the same.
pub(crate) fn fail_both_ways(args: &[&str], prepare: impl Fn(&mut Command)) -> String {
    let fail = |more: &[&str]| {
        let mut command = mount_s3(&[args, &["--no-log"], more].concat());
        prepare(&mut command);
        let outcome = run(&mut command, FAILURE_LIMIT);
        assert_eq!(outcome.status, Some(1), "{outcome:?}");
        assert_eq!(outcome.stdout, "", "{outcome:?}");
        assert!(outcome.stderr.starts_with("Error: "), "{outcome:?}");
        outcome.stderr
    };
    let mut told = String::new();
    once_in_five(|_| {
        let both = [&["--foreground"][..], &[]].map(&fail);
        let [foreground, background] = both.each_ref().map(|text| without_request_id(text));
        // On a machine that stands still, one of them may come to the end of its time first.
        if foreground != background && both.iter().any(|text| text.contains(TIME_IS_UP)) {
            return Err(format!("{both:#?}"));
        }
        assert_eq!(foreground, background);
        [told, _] = both;
        Ok(())
    });
    told
}

/// What a start says that has heard nothing.
const TIME_IS_UP: &str = "within 9 seconds";

/// The text without what differs from one request to the next.
fn without_request_id(text: &str) -> String {
    match text.split_once(" (request id ") {
        Some((before, after)) => {
            let (_, after) = after.split_once(')').expect("the end of the id");
            format!("{before}{after}")
        }
        None => text.to_owned(),
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn text(directory: &TempDir) -> &str {
    directory.path().to_str().expect("UTF-8")
}

#[test]
fn missing_mount_point_is_named() {
    let error = fail_both_ways(&["bucket", "/nonexistent/dir"], |_| ());
    assert!(
        error.contains("mount point /nonexistent/dir does not exist"),
        "{error}"
    );
}

#[test]
fn file_as_mount_point_is_refused() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "").expect("written");
    let file = file.to_str().expect("UTF-8");
    let error = fail_both_ways(&["bucket", file], |_| ());
    assert!(
        error.contains(&format!("mount point {file} is not a directory")),
        "{error}"
    );
}

#[test]
fn used_mount_point_is_refused() {
    let error = fail_both_ways(&["bucket", "/proc"], |_| ());
    assert!(
        error.contains("mount point /proc is already mounted"),
        "{error}"
    );
}

#[test]
fn unusable_variable_is_named() {
    let directory = directory();
    let error = fail_both_ways(&["bucket", text(&directory)], |command| {
        command.env("AWS_MAX_ATTEMPTS", "many");
    });
    assert!(error.contains("AWS_MAX_ATTEMPTS"), "{error}");
}

#[test]
fn unusable_log_directory_is_named() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "").expect("written");
    let file = file.to_str().expect("UTF-8");
    let Outcome { status, stderr, .. } = run(
        &mut mount_s3(&["bucket", text(&directory), "-l", file]),
        FAILURE_LIMIT,
    );
    assert_eq!(status, Some(1));
    assert!(stderr.contains("Failed to start logging"), "{stderr}");
    assert!(stderr.contains(file), "{stderr}");
}

#[test]
fn cache_that_others_could_replace_is_refused_but_in_a_pod() {
    const IN_POD: (&str, &str) = ("KUBERNETES_SERVICE_HOST", "10.96.0.1");
    let volume = directory();
    // As Kubernetes makes an `emptyDir`.
    fs::set_permissions(volume.path(), Permissions::from_mode(0o777)).expect("set");
    let mount_point = MountPoint::new();
    let args = [BUCKET, mount_point.text(), "--cache", text(&volume)];
    let error = fail_both_ways(&args, |command| {
        store().credentials(command);
    });
    assert!(error.contains("could replace the cache"), "{error}");
    assert!(error.contains("name a directory of your own"), "{error}");

    let mut command = mount_s3(&[&args[..], &["--no-log"]].concat());
    store().credentials(&mut command).env(IN_POD.0, IN_POD.1);
    let outcome = run(&mut command, FAILURE_LIMIT);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let read = fs::read(mount_point.path().join("hello.txt")).expect("read");
    assert_eq!(read, b"hello");
    let mut stat = mount_s3(&["cache", "stat", "--cache", text(&volume)]);
    let refused = run(&mut stat, FAILURE_LIMIT);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    let outcome = run(stat.env(IN_POD.0, IN_POD.1), FAILURE_LIMIT);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
}
