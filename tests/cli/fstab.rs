//! Mounts that mount(8) makes: by a line of a table, and by hand.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::{self, Command};
use std::time::Duration;

use crate::store::{BUCKET, MountPoint, store};
use crate::support::{Outcome, mount_s3, run};
use crate::umount::umount;

const LIMIT: Duration = Duration::from_secs(120);
const NOTICE: &str = "Using 'fstab' style options as detected use of `-o` argument.\n";

/// A type of file system whose helper, as mount(8) looks for it, is the program of this build.
struct Kind {
    name: String,
    helper: PathBuf,
}

impl Kind {
    /// One that no installation and no other test has.
    fn new(test: &str) -> Self {
        let name = format!("mount-s3-{test}-{}", process::id());
        let helper = PathBuf::from(format!("/sbin/mount.{name}"));
        symlink(env!("CARGO_BIN_EXE_mount-s3"), &helper).expect("a link in /sbin");
        Self { name, helper }
    }

    /// Runs mount(8), with good credentials.
    fn mount(&self, args: &[&str]) -> Outcome {
        let mut command = Command::new("mount");
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        run(store().credentials(&mut command), LIMIT)
    }

    /// Mounts by hand.
    fn mount_at(&self, mount_point: &MountPoint, args: &[&str]) -> Outcome {
        let start = ["-t", &self.name, BUCKET, mount_point.text()];
        self.mount(&[&start, args].concat())
    }

    /// Mounts what a table of one line says.
    fn mount_line(&self, source: &str, mount_point: &MountPoint, options: &str) -> Outcome {
        let table = tempfile::NamedTempFile::new().expect("a file");
        let line = format!(
            "{source} {} {} {options} 0 0\n",
            mount_point.text(),
            self.name
        );
        fs::write(table.path(), line).expect("written");
        let path = table.path().to_str().expect("UTF-8");
        self.mount(&["--all", "--fstab", path])
    }
}

impl Drop for Kind {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.helper);
    }
}

/// A field of each line of the kernel's table of mounts that tells of this place.
fn field_of(mount_point: &MountPoint, field: usize) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mounts").expect("a table");
    let lines = table
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    lines
        .filter(|fields| fields[1] == mount_point.text())
        .map(|fields| fields[field].to_owned())
        .collect()
}

/// The options of what is mounted here.
fn options_of(mount_point: &MountPoint) -> String {
    let mut options = field_of(mount_point, 3);
    options.pop().expect("it is mounted")
}

/// The sources of what is mounted here.
fn sources_of(mount_point: &MountPoint) -> Vec<String> {
    field_of(mount_point, 0)
}

#[test]
fn line_of_a_table_is_mounted() {
    let kind = Kind::new("line");
    let mount_point = MountPoint::new();
    let options = "_netdev,nosuid,nodev,nofail,rw,x-systemd.device-timeout=1,allow-delete,uid=7,\
                   gid=8,file-mode=0640,no-log";
    let source = format!("s3://{BUCKET}/folder/");
    let outcome = kind.mount_line(&source, &mount_point, options);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let told = format!(
        "{NOTICE}prefix folder/ of bucket {BUCKET} is mounted at {}\n",
        mount_point.text()
    );
    assert_eq!(outcome.stdout, told);
    let file = fs::metadata(mount_point.path().join("inner.txt")).expect("a file");
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (7, 8, 0o640));
    let options = options_of(&mount_point);
    for expected in ["rw", "nosuid", "nodev", "noatime"] {
        assert!(
            options.split(',').any(|option| option == expected),
            "{options}"
        );
    }

    // What is mounted is not mounted a second time: mount(8) knows the line by its source.
    let outcome = kind.mount_line(&source, &mount_point, "nosuid,nodev,no-log");
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(sources_of(&mount_point), [source]);
    let outcome = kind.mount_at(&mount_point, &["-o", "no-log"]);
    assert_ne!(outcome.status, Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains("is already mounted"), "{outcome:?}");

    umount(mount_point.path());
    assert!(!mount_point.is_mounted());
}

#[test]
fn every_way_of_mount_works() {
    let kind = Kind::new("ways");
    for (args, is_mounted) in [
        (&["-o", "no-log"][..], true),
        (&["-o", "defaults,noatime,no-log"], true),
        (&["-v", "-o", "no-log"], true),
        (&["-n", "-s", "-o", "no-log"], true),
        (&["-f", "-o", "no-log"], false),
        (&["-o", r"no-log,user-agent-prefix=a\,b"], true),
        (&[], true),
    ] {
        let mount_point = MountPoint::new();
        let outcome = kind.mount_at(&mount_point, args);
        assert_eq!(outcome.status, Some(0), "{args:?}: {outcome:?}");
        assert_eq!(
            mount_point.is_mounted(),
            is_mounted,
            "{args:?}: {outcome:?}"
        );
        let read = fs::read_to_string(mount_point.path().join("hello.txt"));
        assert_eq!(read.is_ok(), is_mounted, "{args:?}: {outcome:?}");
    }
}

#[test]
fn ro_is_read_only() {
    let kind = Kind::new("ro");
    let mount_point = MountPoint::new();
    let outcome = kind.mount_at(&mount_point, &["-o", "ro,no-log"]);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert!(options_of(&mount_point).starts_with("ro,"));
    let written = fs::write(mount_point.path().join("new"), "text");
    let error = written.expect_err("read-only").kind();
    assert_eq!(error, io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn options_that_cannot_be_meant_are_refused() {
    let kind = Kind::new("refused");
    for (options, reason) in [
        ("no-such-option", "unexpected argument '--no-such-option'"),
        ("foreground", "'foreground' can not be used with -o"),
        ("read-only", "Use 'ro' instead"),
        ("remount,no-log", "umount and mount it again"),
        ("-d", "must not start with '-'"),
        (r"profile=\a", r"'\a'"),
        ("uid=0", "0 is not in 1.."),
    ] {
        let mount_point = MountPoint::new();
        let outcome = kind.mount_at(&mount_point, &["-o", options]);
        assert!(!mount_point.is_mounted(), "{options}");
        assert_ne!(outcome.status, Some(0), "{options}: {outcome:?}");
        assert!(outcome.stderr.contains(reason), "{options}: {outcome:?}");
    }
}

#[test]
fn wrong_option_exits_2() {
    let mount_point = MountPoint::new();
    for (options, reason) in [
        ("ro,rw", "Cannot use 'ro' flag combined with 'rw' flag."),
        ("no-such-option", "unexpected argument '--no-such-option'"),
        ("rw,\\", "lone backslash"),
        ("rw,dev", "write nodev instead"),
        ("rw,suid", "write nosuid instead"),
    ] {
        let outcome = run(
            &mut mount_s3(&[BUCKET, mount_point.text(), "-o", options]),
            LIMIT,
        );
        assert_eq!(outcome.status, Some(2), "{outcome:?}");
        assert_eq!(outcome.stdout, NOTICE);
        assert!(outcome.stderr.contains(reason), "{outcome:?}");
    }
}
