//! Real mounts of the in-memory store. They need `/dev/fuse` and the right to mount.

mod beside;
mod directories;
mod ending;
mod missing;
mod reading;
mod writing;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures::future::BoxFuture;
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

use super::*;
use crate::fs::{Fs, FsConfig};
use crate::read::ReadConfig;
use crate::s3::fake::{FakeStore, Op, nothing_is_written, synthetic};
use crate::s3::{
    BodySink, Error, GetRequest, InFlight, Key, ListPage, ListRequest, ObjectInfo, Prefix, Store,
};
use crate::tree::{Tree, TreeConfig, Ttl};
use crate::wait::{LONG, once_in_five, wait_for};
use crate::write::WriteConfig;

/// A mount in a directory of its own. Unmounts before the directory goes.
struct Mount {
    session: Option<Session>,
    dir: TempDir,
    /// Everything in the mount belongs to who runs the test, who need not be root.
    owner: (u32, u32),
}

impl Mount {
    fn new(store: &FakeStore) -> Self {
        Self::with(Arc::new(store.clone()), Ttl::Minimal, |_| {})
    }

    fn with(store: Arc<dyn Store>, ttl: Ttl, change: impl FnOnce(&mut MountConfig)) -> Self {
        Self::allowing(store, ttl, change, |_| {})
    }

    fn allowing(
        store: Arc<dyn Store>,
        ttl: Ttl,
        change: impl FnOnce(&mut MountConfig),
        allow: impl FnOnce(&mut FsConfig),
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = MountConfig {
            directory: dir.path().to_owned(),
            source: None,
            read_only: false,
            access: Access::Owner,
            auto_unmount: false,
            max_threads: 4,
            background: Background::default(),
        };
        change(&mut config);
        let owner = dir.path().metadata().expect("a directory");
        let owner = (owner.uid(), owner.gid());
        let mut look = FsConfig {
            file_mode: 0o755,
            read_only: config.read_only,
            ..FsConfig::new(owner.0, owner.1)
        };
        allow(&mut look);
        let tree = TreeConfig {
            prefix: Prefix::default(),
            ttl,
            negative_ttl: ttl,
            details: look.posix_metadata,
            pages: !(look.posix_metadata || look.xattrs),
            ordered: true,
        };
        let (read, write) = (ReadConfig::default(), WriteConfig::default());
        let tree = Tree::new(Arc::clone(&store), tree);
        let fs = Fs::new(store, tree, read, write, look);
        let session = Session::mount(fs, &config).expect("it mounts: is /dev/fuse there?");
        Self {
            session: Some(session),
            dir,
            owner,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn is_mounted(&self) -> bool {
        is_mounted(self.dir.path())
    }

    /// Waits for the session, but not for ever.
    fn wait(&mut self) {
        let session = self.session.take().expect("it is mounted");
        let waiter = thread::spawn(move || session.wait());
        eventually("the session ends", || waiter.is_finished());
        waiter.join().expect("no panic").expect("a clean end");
    }
}

/// Waits for what others do, as the kernel after a close, also on a machine that stands still for a while.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    wait_for(what, LONG, || condition().then_some(()));
}

fn is_mounted(dir: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the list of mounts");
    mounts
        .lines()
        .any(|line| line.split(' ').nth(1).map(Path::new) == Some(dir))
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// Runs a program to its end and gives what it printed.
fn output(program: &str, args: &[&OsStr]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn mount_lists_stats_and_reads() {
    let store = FakeStore::new();
    store.put("hello.txt", "hello\n");
    store.put("dir/inner", "x");
    let mount = Mount::new(&store);
    assert!(mount.is_mounted());
    let listed = output("ls", &["-la".as_ref(), mount.dir.path().as_ref()]);
    assert!(
        listed.contains("hello.txt") && listed.contains(" dir"),
        "{listed}"
    );
    let read = output("cat", &[mount.path("hello.txt").as_ref()]);
    assert_eq!(read, "hello\n");
    let file = fs::metadata(mount.path("hello.txt")).expect("a file");
    assert_eq!((file.len(), file.blocks(), file.nlink()), (6, 1, 1));
    assert_eq!((file.uid(), file.gid()), mount.owner);
    assert_eq!(file.mode(), 0o100_755);
    assert_eq!(file.blksize(), 4096);
    let dir = fs::metadata(mount.path("dir")).expect("a directory");
    assert_eq!((dir.nlink(), dir.mode()), (2, 0o040_755));
    assert_eq!(
        fs::read_dir(mount.path("dir"))
            .expect("a directory")
            .count(),
        1
    );
}

#[test]
fn mount_has_the_options_that_scripts_know() {
    let mount = Mount::new(&FakeStore::new());
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the list of mounts");
    let line = mounts
        .lines()
        .find(|line| line.contains(mount.dir.path().to_str().expect("UTF-8")))
        .expect("it is mounted");
    assert!(line.starts_with("mountpoint-s3 "), "{line}");
    for option in ["rw", "nosuid", "nodev", "noatime", "default_permissions"] {
        assert!(line.contains(option), "{option}: {line}");
    }
}

#[test]
fn s33_statfs_is_without_limits() {
    let mount = Mount::new(&FakeStore::new());
    let stat = statvfs(mount.dir.path()).expect("an answer");
    assert_eq!(stat.blocks(), u64::MAX / 1024);
    assert_eq!(stat.blocks_available(), u64::MAX / 1024);
    assert_eq!(stat.files(), u64::MAX / 1024);
    assert_eq!((stat.block_size(), stat.name_max()), (512, 255));
    output("stat", &["-f".as_ref(), mount.dir.path().as_ref()]);
    output("df", &[mount.dir.path().as_ref()]);
}

#[test]
fn readdir_of_many_entries_is_complete() {
    let store = FakeStore::new();
    let expected: BTreeSet<String> = (0..3000).map(|index| format!("f{index:04}")).collect();
    for name in &expected {
        store.put(&format!("many/{name}"), "x");
    }
    let mount = Mount::new(&store);
    let names = || -> Vec<String> {
        fs::read_dir(mount.path("many"))
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| name.into_string().expect("UTF-8"))
            .collect()
    };
    store.clear_log();
    let found = names();
    assert_eq!(found.len(), 3000);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    // Attributes come with the listing: no request for each name. The kernel believes them for a moment.
    once_in_five(|_| {
        let mount = Mount::new(&store);
        store.clear_log();
        let long = output("ls", &["-l".as_ref(), mount.path("many").as_ref()]);
        assert_eq!(long.lines().count(), 3001);
        match store.log().len() {
            requests if requests < 300 => Ok(()),
            requests => Err(format!("{requests} requests for 3000 names")),
        }
    });
}

#[test]
fn changes_are_refused_with_the_errno_of_the_contract() {
    let store = FakeStore::new();
    store.put("f", "x");
    store.put("d/f", "x");
    let mount = Mount::new(&store);
    let (file, dir, new) = (mount.path("f"), mount.path("d"), mount.path("new"));
    let open = |flags| {
        OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&file)
    };
    let table = [
        ("s15", errno(open(libc::O_SYNC)), libc::EINVAL),
        ("s15", errno(open(libc::O_DSYNC)), libc::EINVAL),
        (
            "s16",
            errno(OpenOptions::new().write(true).open(&file)),
            libc::EPERM,
        ),
        (
            "s16",
            errno(OpenOptions::new().append(true).open(&file)),
            libc::EPERM,
        ),
        ("s16", errno(File::create(&file)), libc::EPERM),
        ("s08", errno(fs::remove_dir(&dir)), libc::EPERM),
        ("s20", errno(File::create(&dir)), libc::EISDIR),
        ("s28", errno(fs::remove_file(&file)), libc::EPERM),
        ("s29", errno(fs::rename(&file, &new)), libc::ENOSYS),
        (
            "s30",
            errno(fs::set_permissions(&file, Permissions::from_mode(0o600))),
            libc::EPERM,
        ),
        ("s31", errno(symlink("f", &new)), libc::EPERM),
        ("s31", errno(fs::hard_link(&file, &new)), libc::EPERM),
        (
            "long",
            errno(File::open(mount.path(&"n".repeat(256)))),
            libc::ENAMETOOLONG,
        ),
    ];
    for (what, errno, expected) in table {
        assert_eq!(errno, Some(expected), "{what}");
    }
    // A handle for both reads; truncating through it is a change of attributes.
    let both = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&file)
        .expect("it opens for reading");
    assert_eq!(errno(both.write_at(b"y", 0)), Some(libc::EBADF));
    assert_eq!(errno(both.set_len(0)), Some(libc::EPERM));
    assert_eq!(fs::read(&file).expect("it reads"), b"x");
    File::open(&dir)
        .expect("it opens")
        .sync_all()
        .expect("the kernel takes ENOSYS for nothing to do");
}

#[test]
fn read_only_mount_refuses_changes_as_such() {
    let store = FakeStore::new();
    store.put("f", "x");
    let mount = Mount::with(Arc::new(store), Ttl::Minimal, |config| {
        config.read_only = true;
    });
    let write = OpenOptions::new().write(true).open(mount.path("f"));
    assert_eq!(errno(write), Some(libc::EROFS));
    assert_eq!(errno(fs::remove_file(mount.path("f"))), Some(libc::EROFS));
    assert_eq!(fs::read(mount.path("f")).expect("it reads"), b"x");
}

#[test]
fn reads_wait_for_s3_without_holding_up_others() {
    let store = FakeStore::new();
    store.put("slow", "slow");
    store.put("fast", "fast");
    let mount = Mount::with(Arc::new(store.clone()), Ttl::Minimal, |config| {
        config.max_threads = 1;
    });
    store.stall_get_after("slow", 0);
    let slow = mount.path("slow");
    let reader = thread::spawn(move || fs::read_to_string(slow));
    while store.waiting() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(fs::read(mount.path("fast")).expect("it reads"), b"fast");
    assert!(!reader.is_finished());
    store.release();
    assert_eq!(reader.join().expect("no panic").expect("it reads"), "slow");
}

#[test]
fn read_ahead_is_raised() {
    let mount = Mount::new(&FakeStore::new());
    let dev = fs::metadata(mount.dir.path()).expect("a directory").dev();
    let setting = format!(
        "/sys/class/bdi/{}:{}/read_ahead_kb",
        libc::major(dev),
        libc::minor(dev)
    );
    // Only root may; for others the mount works all the same.
    if OpenOptions::new().write(true).open(&setting).is_ok() {
        assert_eq!(fs::read_to_string(setting).expect("it reads").trim(), "768");
    }
}

#[test]
fn panic_in_an_operation_is_an_io_error_and_the_mount_lives_on() {
    let store = FakeStore::new();
    store.put("f", "x");
    store.put("bomb", "x");
    let mount = Mount::with(Arc::new(Panicking(store)), Ttl::Minimal, |config| {
        config.max_threads = 1;
    });
    for _ in 0..40 {
        let error = fs::read(mount.path("bomb")).expect_err("the store panics");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    }
    assert_eq!(fs::read(mount.path("f")).expect("it reads"), b"x");
    let missing = fs::read(mount.path("missing")).expect_err("no such object");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

/// Panics when it is asked for the object `bomb`.
#[derive(Debug)]
struct Panicking(FakeStore);

impl Store for Panicking {
    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<ObjectInfo, Error>> {
        assert_ne!(key.as_str(), "bomb", "planted");
        self.0.head(key)
    }

    fn list<'a>(&'a self, request: &'a ListRequest) -> BoxFuture<'a, Result<ListPage, Error>> {
        self.0.list(request)
    }

    fn get(
        &self,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Result<Box<dyn InFlight>, Error> {
        assert_ne!(request.key.as_str(), "bomb", "planted");
        self.0.get(request, sink)
    }

    nothing_is_written!();
}
