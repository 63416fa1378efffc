//! A mount that is handed over as a file descriptor, as the node plugin of the Mountpoint CSI driver
//! does it: mounted there, sent over a Unix socket, served here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use s3_test_server::{Config, Fault, Model, Rule, Server};

use crate::store::{BUCKET, MountPoint, store};
use crate::support::{end_of, kill, mount_s3, run};
use crate::umount::umount;
use crate::wait::{LONG, wait_for};

/// What is mounted before it is served.
struct Handed {
    mount_point: MountPoint,
    device: OwnedFd,
}

impl Handed {
    /// Mounts as the node plugin does, and hands the descriptor over a socket.
    fn new() -> Self {
        let mount_point = MountPoint::new();
        let device = open_device();
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
            device.as_raw_fd()
        );
        mount(
            Some("mountpoint-s3"),
            mount_point.path(),
            Some("fuse"),
            MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME,
            Some(options.as_str()),
        )
        .expect("mounted");
        let device = over_a_socket(&device);
        Self {
            mount_point,
            device,
        }
    }

    /// Serves it: what becomes of the descriptor is known to the process alone.
    fn serve(self, wrapper: &str, flags: &[&str]) -> (MountPoint, Child) {
        self.serve_from(&store().endpoint(), wrapper, flags)
    }

    /// As [`Self::serve`], from another store with the same objects and users.
    fn serve_from(self, endpoint: &str, wrapper: &str, flags: &[&str]) -> (MountPoint, Child) {
        let args = [&["/dev/fd/3", "--foreground"], flags].concat();
        let mut command = serving(self.device, wrapper, &args);
        command.env("AWS_ENDPOINT_URL", endpoint);
        let child = command.spawn().expect("it starts");
        // From here on the process alone has the descriptor: with it, the mount ends.
        drop(command);
        let file = self.mount_point.path().join("hello.txt");
        // The kernel lets readers wait until somebody serves the mount.
        assert_eq!(fs::read_to_string(file).expect("it is served"), "hello");
        (self.mount_point, child)
    }
}

fn open_device() -> OwnedFd {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    device.expect("/dev/fuse").into()
}

fn over_a_socket(device: &OwnedFd) -> OwnedFd {
    let (plugin, pod) = UnixStream::pair().expect("sockets");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let device = [device.as_fd()];
    assert!(rights.push(SendAncillaryMessage::ScmRights(&device)));
    let request = IoSlice::new(b"{\"bucketName\":\"some-bucket\"}");
    sendmsg(&plugin, &[request], &mut rights, SendFlags::empty()).expect("sent");

    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut received = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 64];
    let mut text = [IoSliceMut::new(&mut text)];
    recvmsg(&pod, &mut text, &mut received, RecvFlags::CMSG_CLOEXEC).expect("received");
    let handed = received.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    handed.expect("a descriptor")
}

/// The command with this file as descriptor 3, called by the shell after `wrapper`.
fn serving(device: OwnedFd, wrapper: &str, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!(
            "exec 3<&0 </dev/null; {wrapper} exec \"$0\" \"$@\""
        ))
        .arg(env!("CARGO_BIN_EXE_mount-s3"))
        .arg(BUCKET)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::from(device));
    store().credentials(&mut command);
    command
}

#[test]
fn mounted_descriptor_is_served_until_it_is_unmounted() {
    let (mount_point, mut child) = Handed::new().serve("", &["--no-log"]);
    let inner = mount_point.path().join("folder/inner.txt");
    assert_eq!(fs::read_to_string(inner).expect("read"), "inner");
    umount(mount_point.path());
    assert_eq!(end_of(&mut child).code(), Some(0));
}

#[test]
fn top_finds_the_mount_by_its_process() {
    let (mount_point, mut child) = Handed::new().serve("", &["--no-log"]);
    let process = child.id().to_string();
    let words = ["top", "--once", "--interval", "0.1", "--process", &process];
    // The mount answers the kernel a moment before it answers its user.
    let report = wait_for("an answer", LONG, || {
        let outcome = run(&mut mount_s3(&words), Duration::from_secs(60));
        (outcome.status == Some(0)).then_some(outcome.stdout)
    });
    assert!(
        report.contains("s3://some-bucket/ at /dev/fd/3"),
        "{report}"
    );
    umount(mount_point.path());
    assert_eq!(end_of(&mut child).code(), Some(0));
    let outcome = run(&mut mount_s3(&words), Duration::from_secs(60));
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
}

/// As in a pod without privileges: another mount namespace, which does not have the mount, and no
/// `/dev/fuse`.
#[test]
fn descriptor_is_served_where_nothing_can_be_mounted() {
    let without_device = "umount -l -a -t fuse; mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && \
                          mknod -m 444 /dev/urandom c 1 9 && \
                          ln -s /proc/self/fd /dev/fd && test ! -e /dev/fuse && exec \"$0\" \"$@\"";
    let wrapper = format!(
        "set -- sh -c '{without_device}' \"$0\" \"$@\"; exec unshare --mount --propagation slave \"$@\";"
    );
    let (mount_point, mut child) = Handed::new().serve(&wrapper, &["--no-log"]);
    umount(mount_point.path());
    assert_eq!(end_of(&mut child).code(), Some(0));
}

#[test]
fn signal_ends_the_process_and_leaves_the_mount_to_its_owner() {
    let (mount_point, mut child) = Handed::new().serve("", &["--no-log"]);
    kill("TERM", child.id());
    assert_eq!(end_of(&mut child).code(), Some(0));
    assert!(mount_point.is_mounted());
    // Such a process has the descriptor, too: whoever asks while it has is cut off when it is gone.
    wait_for("nobody serves it", LONG, || {
        let error = fs::metadata(mount_point.path().join("other")).expect_err("nobody serves it");
        (error.kind() == io::ErrorKind::NotConnected).then_some(())
    });
    umount(mount_point.path());
}

/// A store of a test's own, which takes its time to store what is called `slow`.
fn slow_store() -> Server {
    let (access_key, secret_key) = store().key();
    let server = Server::start(Config {
        keys: vec![(access_key.to_owned(), secret_key.to_owned())],
        ..Config::default()
    });
    let server = server.expect("the server starts");
    server.put_bytes(BUCKET, "hello.txt", b"hello");
    let slow = Rule::new(Fault::Latency { ms: 500 });
    server.set_model(Model {
        rules: vec![slow.on("PutObject").under("slow")],
        ..Model::default()
    });
    server
}

#[test]
fn staged_files_that_are_open_at_a_signal_lose_nothing() {
    let store = slow_store();
    let stage = tempfile::tempdir().expect("a directory");
    let staged = stage.path().to_str().expect("UTF-8");
    let flags = ["--no-log", "--write-mode", "staged", "--stage", staged];
    let (mount_point, mut child) = Handed::new().serve_from(&store.endpoint(), "", &flags);
    let create = |name: &str| {
        let mut file = File::create(mount_point.path().join(name)).expect("made");
        file.write_all(b"one").expect("written");
        file
    };
    let slow: Vec<File> = (0..8).map(|n| create(&format!("slow{n}"))).collect();
    let (mut closed, mut open) = (create("closed"), create("open"));
    kill("TERM", child.id());
    let write = |name: &str, file: &mut File| {
        wait_for("the file is stored", LONG, || {
            store.read_object(BUCKET, name)
        });
        // The last to be stored is not met any more.
        file.write_all(b" two").is_ok()
    };
    let is_kept = write("closed", &mut closed);
    let is_kept = nix::unistd::close(closed).is_ok() && is_kept;
    let is_written = write("open", &mut open);
    assert_eq!(end_of(&mut child).code(), Some(0));
    drop((slow, open));
    umount(mount_point.path());

    let mut left: Vec<String> = Vec::new();
    for session in fs::read_dir(stage.path()).expect("a directory") {
        for file in fs::read_dir(session.expect("a stage").path()).expect("a directory") {
            let path = file.expect("a file").path();
            if path.extension().is_some_and(|ending| ending == "json") {
                left.push(fs::read_to_string(path).expect("a record"));
            }
        }
    }
    for n in 0..8 {
        let name = format!("slow{n}");
        assert_eq!(
            store.read_object(BUCKET, &name).as_deref(),
            Some(&b"one"[..])
        );
        assert!(
            !left.iter().any(|record| record.contains(&name)),
            "{left:?}"
        );
    }
    let two = Some(b"one two".to_vec());
    if is_kept {
        assert_eq!(store.read_object(BUCKET, "closed"), two);
    }
    let is_staged = left.iter().any(|record| record.contains("\"open\""));
    let is_stored = store.read_object(BUCKET, "open") == two;
    assert!(!is_written || is_staged || is_stored, "{left:?}");
}

#[test]
fn file_that_another_process_has_closed_is_not_cut_off_by_a_signal() {
    let store = slow_store();
    let (mount_point, mut child) = Handed::new().serve_from(&store.endpoint(), "", &["--no-log"]);
    let mut file = File::create(mount_point.path().join("half")).expect("made");
    file.write_all(b"the first half").expect("written");
    // A process that is started closes its copies of what is open.
    assert!(Command::new("true").status().expect("it runs").success());
    fs::write(mount_point.path().join("empty"), "").expect("made");
    fs::write(mount_point.path().join("slow"), "whole").expect("made");
    kill("TERM", child.id());
    assert_eq!(end_of(&mut child).code(), Some(0));
    drop(file);
    umount(mount_point.path());
    let mut stored = store.keys(BUCKET);
    stored.sort();
    assert_eq!(stored, ["empty", "hello.txt", "slow"]);
}

#[test]
fn descriptor_survives_the_start_in_the_background() {
    let Handed {
        mount_point,
        device,
    } = Handed::new();
    let mut command = serving(device, "", &["/dev/fd/3", "--no-log"]);
    let status = command.stdout(Stdio::piped()).output().expect("it runs");
    assert!(status.status.success(), "{status:?}");
    let told = String::from_utf8_lossy(&status.stdout);
    assert_eq!(told, format!("bucket {BUCKET} is mounted at /dev/fd/3\n"));
    let text = fs::read_to_string(mount_point.path().join("hello.txt"));
    assert_eq!(text.expect("served"), "hello");
    umount(mount_point.path());
}

#[test]
fn flags_that_the_mount_decides_are_accepted() {
    let logs = tempfile::tempdir().expect("a directory");
    let directory = logs.path().to_str().expect("UTF-8");
    let flags = ["--read-only", "--auto-unmount", "-l", directory];
    let (mount_point, mut child) = Handed::new().serve("", &flags);
    let written = fs::write(mount_point.path().join("new"), "text");
    let error = written.expect_err("read-only").kind();
    assert_eq!(error, io::ErrorKind::ReadOnlyFilesystem);
    umount(mount_point.path());
    assert_eq!(end_of(&mut child).code(), Some(0));
    let log = fs::read_dir(logs.path()).expect("logs").next();
    let log = fs::read_to_string(log.expect("a file").expect("a file").path()).expect("text");
    assert!(log.contains("--auto-unmount has no effect"), "{log}");
}

#[test]
fn descriptor_that_is_no_mount_is_refused_by_name() {
    let file = tempfile::tempfile().expect("a file");
    let read_only = File::open("/dev/fuse").expect("/dev/fuse");
    for (device, place, reason) in [
        (
            open_device(),
            "/dev/fd/9",
            "/dev/fd/9 is not a valid file descriptor",
        ),
        (
            file.into(),
            "/dev/fd/3",
            "expected mount point /dev/fd/3 to be a /dev/fuse device file descriptor but got /",
        ),
        (
            read_only.into(),
            "/dev/fd/3",
            "expected mount point /dev/fd/3 to have read and write permissions",
        ),
        (
            open_device(),
            "/dev/fd/3",
            "/dev/fd/3 does not serve a mount",
        ),
    ] {
        let mut command = serving(device, "", &[place, "--foreground", "--no-log"]);
        let output = command.stderr(Stdio::piped()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(reason), "{error}");
    }
}
