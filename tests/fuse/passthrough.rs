//! Files that the kernel reads by itself from the cache: the right bytes, whatever else is done with
//! them at the same time.

mod overlay;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::minor;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use s3_test_server::synthetic;
use tempfile::TempDir;

use crate::caching::wait_until_complete;
use crate::indexing::index;
use crate::support::alone::alone;
use crate::support::local::Local;
use crate::support::mount::{Mount, Mounting};
use crate::support::store::TestStore;
use crate::support::wait::{LONG, wait_for};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 3 * MIB + 12_345;

/// A bucket with the object `k`, and a directory for a cache.
struct Fixture {
    store: Local,
    bucket: String,
    cache: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let store = Local::start();
        let bucket = store.fresh_bucket();
        store.plant(&bucket, "k", SIZE, 1);
        Self {
            store,
            bucket,
            cache: tempfile::tempdir().expect("a directory"),
        }
    }

    fn mounting(&self, more: &[&str]) -> Mounting {
        let path = self.cache.path().to_str().expect("UTF-8");
        let mounting = self.store.mounting(&self.bucket);
        mounting.with(&["--cache", path]).with(more)
    }

    /// The one file of the cache that has the bytes of an object.
    fn data(&self) -> PathBuf {
        self.file("data")
    }

    /// The one file of the cache with this ending.
    fn file(&self, expected: &str) -> PathBuf {
        let mut found = Vec::new();
        let places = fs::read_dir(self.cache.path().join("mount-s3-cache/v1")).expect("there");
        for place in places.flatten() {
            let files = fs::read_dir(place.path()).expect("there").flatten();
            found.extend(files.map(|file| file.path()));
        }
        found.retain(|path| path.extension().is_some_and(|ending| ending == expected));
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    /// Waits until the one version in the cache, whose file has this ending, is on the disk again: who
    /// reads what the disk does not take in two seconds fetches it once more.
    fn wait_until_mended(&self, ending: &str, expected: &[u8]) {
        wait_for("it is mended", LONG, || {
            (fs::read(self.file(ending)).expect("there") == expected).then_some(())
        });
        wait_until_complete(self.cache.path(), 1);
    }
}

fn content(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(SIZE).expect("small")];
    synthetic::fill(seed, 0, &mut bytes);
    bytes
}

fn read_all(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(SIZE).expect("small")];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

/// Lets the kernel forget the bytes that it has read, but no names: of those other tests count requests.
pub(crate) fn drop_pages() {
    fs::write("/proc/sys/vm/drop_caches", "1").expect("dropped");
}

/// Whether the bytes of `file` are read without asking its daemon, with nothing of them in the page
/// cache.
pub(crate) fn is_read_by_the_kernel(mount: &Mount, file: &File) -> bool {
    // Where the disk stands still while somebody else asks the daemon, it looks otherwise.
    (0..3).any(|_| seems_read_by_the_kernel(mount, file))
}

/// The same, of one look. The daemon is stopped meanwhile: what it is asked stays unanswered, and can
/// be counted.
fn seems_read_by_the_kernel(mount: &Mount, file: &File) -> bool {
    let daemon = Pid::from_raw(i32::try_from(mount.pid()).expect("a number"));
    let known = file.metadata().expect("known");
    let (device, middle) = (known.dev(), known.len() / 3);
    let reader = file.try_clone().expect("a descriptor");
    drop_pages();
    kill(daemon, Signal::SIGSTOP).expect("told to stop");
    // Until then it may still answer.
    let status = waitpid(daemon, Some(WaitPidFlag::WUNTRACED)).expect("known");
    assert!(matches!(status, WaitStatus::Stopped(..)), "{status:?}");
    let before = unanswered(device);
    let reading = thread::spawn(move || {
        let result = reader.read_exact_at(&mut [0; 4096], middle);
        // The daemon may have to be told that it is closed.
        (result, reader)
    });
    let mut asked = None;
    let is_read = wait_for("a read or a question", LONG, || {
        let is_read = reading.is_finished();
        if unanswered(device) > before {
            asked.get_or_insert_with(Instant::now);
        }
        // Somebody else may have asked: a process that is being started closes what it does not inherit.
        let is_asked = asked.is_some_and(|at| at.elapsed() > Duration::from_secs(2));
        (is_read || is_asked).then_some(is_read)
    });
    kill(daemon, Signal::SIGCONT).expect("continued");
    let (result, _reader) = reading.join().expect("no panic");
    result.expect("read");
    is_read
}

/// How many requests to the daemon of the file system `device` have no answer yet.
fn unanswered(device: u64) -> u64 {
    const CONNECTIONS: &str = "/sys/fs/fuse/connections";
    static MOUNTED: Once = Once::new();
    MOUNTED.call_once(|| {
        let has_any = fs::read_dir(CONNECTIONS)
            .expect("the module is loaded")
            .next();
        if has_any.is_none() {
            let flags = MsFlags::empty();
            mount(
                Some("none"),
                CONNECTIONS,
                Some("fusectl"),
                flags,
                None::<&str>,
            )
            .expect("mounted");
        }
    });
    let waiting = format!("{CONNECTIONS}/{}/waiting", minor(device));
    let waiting = fs::read_to_string(waiting).expect("a connection");
    waiting.trim().parse().expect("a number")
}

/// Reads `path` until the kernel can read it by itself, and gives the file that it reads so.
pub(crate) fn wait_until_backed(mount: &Mount, path: &Path) -> File {
    wait_for("the kernel reads it", LONG, || {
        drop(fs::read(path).expect("read"));
        thread::sleep(Duration::from_millis(300));
        let file = File::open(path).expect("opened");
        seems_read_by_the_kernel(mount, &file).then_some(file)
    })
}

/// A program that maps `file`, closes it, and compares what it has mapped with the file `expected`
/// when it is told to.
fn map(file: File, expected: &Path) -> Child {
    let script = "
import mmap, os, signal, sys
told = {signal.SIGUSR1}
signal.pthread_sigmask(signal.SIG_BLOCK, told)
mapped = mmap.mmap(0, 0, access=mmap.ACCESS_READ)
os.close(0)
print('mapped', flush=True)
signal.sigwait(told)
assert mapped[:] == open(sys.argv[1], 'rb').read()
";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .arg(expected)
        .stdin(file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("run python3");
    let mut word = [0; 6];
    let stdout = child.stdout.as_mut().expect("its output");
    stdout
        .read_exact(&mut word)
        .expect("it has mapped the file");
    child
}

fn compare(mut child: Child) {
    let program = i32::try_from(child.id()).expect("a number");
    kill(Pid::from_raw(program), Signal::SIGUSR1).expect("told");
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{status}");
}

#[test]
fn file_that_was_read_once_is_read_by_the_kernel() {
    let fixture = Fixture::new();
    let mount = fixture.mounting(&["--read-only"]).mount();
    let path = mount.join("k");
    let first = File::open(&path).expect("opened");
    assert!(read_all(&first) == content(1));
    assert!(!is_read_by_the_kernel(&mount, &first));
    // As long as one reads it from the daemon, all do.
    thread::sleep(Duration::from_secs(2));
    let second = File::open(&path).expect("opened");
    assert!(!is_read_by_the_kernel(&mount, &second));
    drop((first, second));
    let file = wait_until_backed(&mount, &path);
    assert!(read_all(&file) == content(1));
    let shared = File::open(&path).expect("opened");
    assert!(is_read_by_the_kernel(&mount, &shared));
    drop((file, shared));
    let gets = fixture.store.count("GetObject");
    assert!(fs::read(&path).expect("read") == content(1));
    let expected = tempfile::NamedTempFile::new().expect("a file");
    fs::write(expected.path(), content(1)).expect("written");
    compare(map(File::open(&path).expect("opened"), expected.path()));
    assert_eq!(fixture.store.count("GetObject"), gets);
    assert!(mount.unmount().success());
}

#[test]
fn small_file_that_was_read_once_is_read_by_the_kernel_until_it_is_damaged() {
    let fixture = Fixture::new();
    let mut expected = vec![0; 100_000];
    synthetic::fill(5, 0, &mut expected);
    fixture.store.plant(&fixture.bucket, "small", 100_000, 5);
    let mount = fixture.mounting(&["--read-only"]).mount();
    let path = mount.join("small");
    assert!(fs::read(&path).expect("read") == expected);
    // What the disk does not take in two seconds is fetched again.
    wait_until_complete(fixture.cache.path(), 1);
    drop(wait_until_backed(&mount, &path));
    assert_eq!(fixture.store.count("GetObject"), 1);
    let data = OpenOptions::new().write(true).open(fixture.file("block"));
    let written = data.expect("there").write_all_at(b"damaged", 5000);
    written.expect("written");
    drop_pages();
    assert!(fs::read(&path).expect("read") == expected);
    fixture.wait_until_mended("block", &expected);
    drop(wait_until_backed(&mount, &path));
    assert!(fs::read(&path).expect("read") == expected);
    assert_eq!(fixture.store.count("GetObject"), 2);
    assert!(mount.unmount().success());
}

#[test]
fn after_a_restart_it_is_read_by_the_kernel_once_it_was_checked() {
    let fixture = Fixture::new();
    let mount = fixture.mounting(&[]).mount();
    drop(wait_until_backed(&mount, &mount.join("k")));
    assert!(mount.unmount().success());
    let gets = fixture.store.count("GetObject");
    // Somebody has damaged it meanwhile, and it is mended by a GET.
    let data = OpenOptions::new().write(true).open(fixture.data());
    data.expect("there")
        .write_all_at(b"damaged", 2 * MIB)
        .expect("written");
    let mount = fixture.mounting(&[]).mount();
    assert!(fs::read(mount.join("k")).expect("read") == content(1));
    fixture.wait_until_mended("data", &content(1));
    let file = wait_until_backed(&mount, &mount.join("k"));
    assert!(read_all(&file) == content(1));
    assert_eq!(fixture.store.count("GetObject"), gets + 1);
}

#[test]
fn others_may_open_it_in_other_ways_at_the_same_time() {
    let fixture = Fixture::new();
    let mount = fixture.mounting(&[]).mount();
    let path = mount.join("k");
    let backed = wait_until_backed(&mount, &path);
    // Not aligned as a disk wants it.
    let mut direct = OpenOptions::new();
    let direct = direct.read(true).custom_flags(libc::O_DIRECT).open(&path);
    let mut bytes = [0; 1001];
    direct
        .expect("opened")
        .read_exact_at(&mut bytes, 777)
        .expect("read");
    assert!(bytes[..] == content(1)[777..1778]);
    let mut both = OpenOptions::new();
    let both = both.read(true).write(true).open(&path).expect("opened");
    assert!(read_all(&both) == content(1));
    let error = both.write_all_at(b"x", 0).expect_err("it only reads");
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    let plain = File::open(&path).expect("opened");
    assert!(read_all(&plain) == content(1));
    assert!(is_read_by_the_kernel(&mount, &backed));
    assert!(read_all(&backed) == content(1));
    drop((both, plain));
    let again = wait_until_backed(&mount, &path);
    assert!(read_all(&again) == content(1));
    let file = fs::read(fixture.data()).expect("there");
    assert!(file == content(1), "the file of the cache was written");
}

#[test]
fn direct_reader_of_an_indexed_file_has_an_inode_of_its_own() {
    let fixture = Fixture::new();
    let index = index(&fixture.store, &fixture.bucket, "");
    let mount = fixture.mounting(&index.flag()).mount();
    let path = mount.join("k");
    let backed = wait_until_backed(&mount, &path);
    let mut direct = OpenOptions::new();
    let direct = direct.read(true).custom_flags(libc::O_DIRECT).open(&path);
    let direct = direct.expect("opened");
    assert!(read_all(&direct) == content(1));
    let number = |file: &File| file.metadata().expect("there").ino();
    assert_ne!(number(&direct), number(&backed));
    assert!(is_read_by_the_kernel(&mount, &backed));
    assert!(read_all(&backed) == content(1));
    drop((direct, backed));
    let again = wait_until_backed(&mount, &path);
    assert!(read_all(&again) == content(1));
}

#[test]
fn object_may_be_replaced_while_it_is_open_and_mapped() {
    alone(
        "passthrough::object_may_be_replaced_while_it_is_open_and_mapped",
        replace_what_is_open_and_mapped,
    );
}

fn replace_what_is_open_and_mapped() {
    let fixture = Fixture::new();
    let options = ["--metadata-ttl", "minimal", "--allow-overwrite"];
    let mount = fixture.mounting(&options).mount();
    let path = mount.join("k");
    let old = wait_until_backed(&mount, &path);
    let expected = tempfile::NamedTempFile::new().expect("a file");
    fs::write(expected.path(), content(1)).expect("written");
    let mapped = map(old.try_clone().expect("a descriptor"), expected.path());
    // By somebody else.
    fixture.store.plant(&fixture.bucket, "k", SIZE, 2);
    assert!(fs::read(&path).expect("read") == content(2));
    assert!(read_all(&old) == content(1));
    drop(old);
    let backed = wait_until_backed(&mount, &path);
    assert!(read_all(&backed) == content(2));
    // Who has it open keeps writers out, unless a descriptor of it was closed; who has mapped it
    // does not.
    let newer = File::open(&path).expect("opened");
    let error = fs::write(&path, "no").expect_err("it is open");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    drop(newer);
    fs::write(expected.path().with_extension("2"), content(2)).expect("written");
    let mapped_newer = map(backed, &expected.path().with_extension("2"));
    fs::write(&path, "by this mount").expect("written");
    assert_eq!(fs::read(&path).expect("read"), b"by this mount");
    drop_pages();
    compare(mapped);
    compare(mapped_newer);
    fs::remove_file(expected.path().with_extension("2")).expect("removed");
}

#[test]
fn files_may_vanish_under_those_who_read_them() {
    let fixture = Fixture::new();
    let mount = fixture.mounting(&[]).mount();
    let path = mount.join("k");
    let backed = wait_until_backed(&mount, &path);
    fs::remove_dir_all(fixture.cache.path().join("mount-s3-cache")).expect("removed");
    assert!(is_read_by_the_kernel(&mount, &backed));
    assert!(read_all(&backed) == content(1));
    assert!(fs::read(&path).expect("read") == content(1));
    drop(backed);
    let again = wait_until_backed(&mount, &path);
    assert!(read_all(&again) == content(1));
}

#[test]
fn file_that_was_damaged_is_not_read_by_the_kernel() {
    let fixture = Fixture::new();
    let mount = fixture.mounting(&[]).mount();
    let path = mount.join("k");
    drop(wait_until_backed(&mount, &path));
    let data = OpenOptions::new().write(true).open(fixture.data());
    data.expect("there")
        .write_all_at(&[0; 100], MIB)
        .expect("written");
    drop_pages();
    let file = File::open(&path).expect("opened");
    assert!(read_all(&file) == content(1));
    drop(file);
    let mended = wait_until_backed(&mount, &path);
    assert!(read_all(&mended) == content(1));
}

#[test]
fn file_that_is_known_to_be_damaged_is_not_shared_with_those_who_have_it_open() {
    let fixture = Fixture::new();
    let mount = fixture.mounting(&[]).mount();
    let path = mount.join("k");
    let mut others = Vec::new();
    // Told by another process, or found out by the mount: then the disk has left no trace.
    for leaves_trace in [true, false] {
        let open = wait_until_backed(&mount, &path);
        let data = fixture.data();
        let modified = data.metadata().expect("there").modified().expect("known");
        let data = OpenOptions::new().write(true).open(data).expect("there");
        data.write_all_at(&vec![0; content(1).len()], 0)
            .expect("written");
        if leaves_trace {
            let mut verify = Command::new(env!("CARGO_BIN_EXE_mount-s3"));
            verify
                .args(["cache", "verify", "--cache"])
                .arg(fixture.cache.path());
            let output = verify.output().expect("it runs");
            assert_eq!(output.status.code(), Some(3), "{output:?}");
            assert!(fs::read(&path).expect("read") == content(1));
        } else {
            data.set_modified(modified).expect("set");
            assert!(read_all(&open) != content(1), "the mount has no part in it");
        }
        wait_for("another open reads what the object has", LONG, || {
            (fs::read(&path).expect("read") == content(1)).then_some(())
        });
        let again = wait_until_backed(&mount, &path);
        assert!(read_all(&again) == content(1));
        others.extend([open, again]);
    }
}

#[test]
fn kernel_that_must_not_read_by_itself_does_not() {
    let fixture = Fixture::new();
    let mut mounting = fixture.mounting(&[]);
    let off = ("MOUNT_S3_CACHE_PASSTHROUGH".to_owned(), "off".to_owned());
    mounting.environment.push(off);
    let mount = mounting.mount();
    assert!(fs::read(mount.join("k")).expect("read") == content(1));
    wait_until_complete(fixture.cache.path(), 1);
    let gets = fixture.store.count("GetObject");
    for _ in 0..2 {
        thread::sleep(Duration::from_secs(1));
        assert!(fs::read(mount.join("k")).expect("read") == content(1));
        assert_eq!(fixture.store.count("GetObject"), gets);
    }
    thread::sleep(Duration::from_secs(1));
    let file = File::open(mount.join("k")).expect("opened");
    assert!(!is_read_by_the_kernel(&mount, &file));
    assert_eq!(fixture.store.count("GetObject"), gets);
}
