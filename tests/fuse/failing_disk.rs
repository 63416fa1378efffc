//! Mounts whose cache is on a disk that fails: the right bytes all the same, as S3 has them.

mod disk;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use s3_test_server::synthetic;
use tempfile::TempDir;

use self::disk::Disk;
use crate::passthrough::{drop_pages, is_read_by_the_kernel, wait_until_backed};
use crate::support::local::Local;
use crate::support::mount::{Mount, Mounting};
use crate::support::store::TestStore;
use crate::support::wait::wait_for;

const LIMIT: Duration = Duration::from_secs(120);

/// Objects of one block, of some, and of many: what is written with others goes by way of the page cache.
const SIZES: [u64; 4] = [20_000, 100_000, 300_000, (5 << 20) + 12_345];

/// A store with a bucket, and a disk for the cache.
struct Scene {
    store: Local,
    bucket: String,
    disk: Disk,
    /// Where mounts write their logs and serve their figures.
    place: TempDir,
}

impl Scene {
    fn new() -> Self {
        let store = Local::start();
        let bucket = store.fresh_bucket();
        Self {
            store,
            bucket,
            disk: Disk::new(),
            place: tempfile::tempdir().expect("a directory"),
        }
    }

    /// Puts an object of each size, and gives the names.
    fn plant(&self, set: &str) -> Vec<String> {
        let planted = SIZES.iter().map(|&size| {
            let name = format!("{set}-{size}");
            self.store.plant(&self.bucket, &name, size, size);
            name
        });
        planted.collect()
    }

    fn mounting(&self, more: &[&str]) -> Mounting {
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let cache = text(self.disk.path());
        let socket = format!("unix:{}", text(&self.socket()));
        let logs = text(self.place.path());
        let mounting = self.store.mounting(&self.bucket);
        mounting
            .with(&["--cache", &cache, "--read-only"])
            .with(&["--metrics-listen", &socket, "--log-directory", &logs])
            .with(more)
    }

    /// As [`Self::mounting`], where the kernel reads no file of the cache by itself.
    fn served(&self) -> Mount {
        let mut mounting = self.mounting(&[]);
        let off = ("MOUNT_S3_CACHE_PASSTHROUGH".to_owned(), "off".to_owned());
        mounting.environment.push(off);
        mounting.mount()
    }

    fn socket(&self) -> PathBuf {
        self.place.path().join("socket")
    }

    /// A figure of the mount.
    fn figure(&self, name: &str) -> u64 {
        let mut stream = UnixStream::connect(self.socket()).expect("connected");
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let line = answer
            .lines()
            .find(|line| !line.starts_with('#') && line.contains(name));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value
            .and_then(|value| value.parse().ok())
            .expect("a figure")
    }

    fn log(&self) -> String {
        let files = fs::read_dir(self.place.path()).expect("there").flatten();
        let logs = files.filter(|file| file.file_name() != "socket");
        let texts = logs.map(|file| fs::read_to_string(file.path()).expect("text"));
        texts.collect()
    }

    fn gets(&self) -> u64 {
        self.store.count("GetObject")
    }

    /// `mount-s3 cache ACTION` for the cache on the disk.
    fn command(&self, action: &str, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mount-s3"));
        command
            .args(["cache", action, "--cache"])
            .arg(self.disk.path());
        command.args(words).env("AWS_ACCESS_KEY_ID", "test");
        command.env("AWS_SECRET_ACCESS_KEY", "test");
        command.output().expect("it runs")
    }

    fn warm(&self) -> Output {
        let (uri, endpoint) = (format!("s3://{}/", self.bucket), self.store.endpoint());
        let words = ["--endpoint-url", &endpoint, "--force-path-style"];
        self.command(
            "warm",
            &[&[&*uri, "--region", "us-east-1"], &words[..]].concat(),
        )
    }
}

fn expected(name: &str) -> Vec<u8> {
    let (_set, size) = name.rsplit_once('-').expect("a name");
    let size = size.parse().expect("a number");
    let mut bytes = vec![0; usize::try_from(size).expect("small")];
    synthetic::fill(size, 0, &mut bytes);
    bytes
}

/// Reads them, as the disk has them if it has.
fn read(mount: &Mount, names: &[String]) {
    drop_pages();
    for name in names {
        let bytes = fs::read(mount.join(name)).expect("read");
        assert!(bytes == expected(name), "{name}");
    }
}

/// Unmounts, which must not wait for the disk.
fn end(mount: Mount) {
    let began = Instant::now();
    assert!(mount.unmount().success());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
}

fn text(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    texts.concat()
}

#[test]
fn disk_that_fails_never_fails_a_read_and_is_used_again_when_it_works() {
    let scene = Scene::new();
    let mut known = scene.plant("known");
    let faults = [(true, false), (false, true), (true, true)];
    let sets = [1, 2, 3].map(|number| scene.plant(&format!("new{number}")));
    let late = scene.plant("late");
    let mount = scene.served();
    read(&mount, &known);
    // Without a journal a directory is damaged for good if its first block was lost, and then dropped
    // from memory.
    let mut lost = Vec::new();
    for ((reads, writes), new) in faults.into_iter().zip(sets) {
        // What was written before is on the disk.
        scene.disk.sync();
        let errors = scene.figure("cache_errors");
        scene.disk.fail(reads, writes);
        for _ in 0..3 {
            read(&mount, &new);
            read(&mount, &known);
        }
        // What was written is lost without a word to who wrote it, unless somebody asks. What was still
        // to be written when the disk began to fail, memory has at first.
        wait_for("the failure is counted", LIMIT, || {
            read(&mount, &known);
            (scene.figure("cache_errors") > errors).then_some(())
        });
        scene.disk.fail(false, false);
        if writes {
            lost.extend(new);
        } else {
            known.extend(new);
        }
        // What was lost is noticed when it is read, and fetched once more.
        wait_for("all is read from the disk", LIMIT, || {
            read(&mount, &lost);
            let gets = scene.gets();
            read(&mount, &known);
            thread::sleep(Duration::from_millis(100));
            scene.disk.sync();
            (scene.gets() == gets).then_some(())
        });
    }
    wait_for("more is written to the disk", LIMIT, || {
        late.iter().find(|name| {
            let gets = scene.gets();
            read(&mount, std::slice::from_ref(name));
            thread::sleep(Duration::from_millis(100));
            scene.gets() == gets
        })
    });
    assert_eq!(
        scene
            .log()
            .matches("more of this is logged as debug")
            .count(),
        1
    );
    scene.disk.fail(true, true);
    end(mount);
}

#[test]
fn files_that_the_kernel_reads_are_served_by_the_mount_once_the_disk_fails() {
    let scene = Scene::new();
    let names = scene.plant("set");
    let mount = scene.mounting(&[]).mount();
    for name in &names {
        drop(wait_until_backed(&mount, &mount.join(name)));
    }
    let path = mount.join(&names[3]);
    let open = File::open(&path).expect("opened");
    // The last time that the mount has looked for itself.
    thread::sleep(Duration::from_millis(1100));
    drop_pages();
    scene.disk.fail(true, false);
    // The mount has no part in this.
    let error = open.read_exact_at(&mut [0; 4096], 1 << 20);
    let error = error.expect_err("the disk has failed");
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    // It finds out by itself when a file is opened; also for those who open the same one.
    wait_for("the mount serves the file", LIMIT, || {
        fs::read(&path)
            .ok()
            .filter(|bytes| *bytes == expected(&names[3]))
    });
    assert!(scene.figure("cache_errors") > 0);
    assert!(open.read_exact_at(&mut [0; 4096], 1 << 20).is_err());
    read(&mount, &names);
    let gets = scene.gets();
    read(&mount, &names);
    assert!(scene.gets() > gets, "the disk has nothing");
    scene.disk.fail(false, false);
    drop(open);
    let file = wait_until_backed(&mount, &path);
    let mut bytes = vec![0; expected(&names[3]).len()];
    file.read_exact_at(&mut bytes, 0).expect("read");
    assert!(bytes == expected(&names[3]));
    drop(file);
    end(mount);
}

#[test]
fn what_the_disk_has_lost_is_never_read_by_the_kernel() {
    let scene = Scene::new();
    let names = scene.plant("set");
    for restarts in [false, true] {
        let output = scene.command("evict", &["--all"]);
        assert!(!restarts || output.status.success(), "{}", text(&output));
        let mut mount = scene.mounting(&[]).mount();
        let errors = scene.figure("cache_errors");
        scene.disk.fail(false, true);
        read(&mount, &names);
        // It has tried to prove them.
        wait_for("the failure is counted", LIMIT, || {
            (scene.figure("cache_errors") > errors).then_some(())
        });
        scene.disk.fail(false, false);
        if restarts {
            end(mount);
            mount = scene.mounting(&[]).mount();
        }
        // Memory may have what the disk has not.
        for name in &names {
            drop(fs::read(mount.join(name)).expect("read"));
        }
        for name in &names {
            let file = wait_until_backed(&mount, &mount.join(name));
            drop_pages();
            let mut bytes = vec![0; expected(name).len()];
            file.read_exact_at(&mut bytes, 0).expect("read");
            assert!(is_read_by_the_kernel(&mount, &file), "{name}");
            assert!(bytes == expected(name), "{name}");
        }
        end(mount);
    }
}

#[test]
fn commands_tell_of_a_disk_that_fails() {
    let scene = Scene::new();
    let names = scene.plant("set");
    let mount = scene.served();
    read(&mount, &names);
    end(mount);
    scene.disk.sync();

    drop_pages();
    scene.disk.fail(true, false);
    for (action, words) in [("stat", &[][..]), ("verify", &[]), ("evict", &["--all"])] {
        let output = scene.command(action, words);
        assert!(
            matches!(output.status.code(), Some(1 | 3)),
            "{action}: {output:?}"
        );
        assert!(
            text(&output).contains("Input/output error"),
            "{}",
            text(&output)
        );
        assert!(!text(&output).contains("panicked"), "{}", text(&output));
    }
    // The directories can be read, and the files cannot.
    scene.disk.fail(false, false);
    drop_pages();
    assert_eq!(scene.command("stat", &[]).status.code(), Some(0));
    scene.disk.fail(true, false);
    let output = scene.command("verify", &[]);
    // Another test may have dropped the pages of the directories.
    assert!(
        matches!(output.status.code(), Some(1 | 3)),
        "{}",
        text(&output)
    );
    assert!(
        text(&output).contains("Input/output error"),
        "{}",
        text(&output)
    );

    scene.disk.fail(false, true);
    let output = scene.command("evict", &["--all"]);
    assert!(output.status.success(), "{}", text(&output));
    let output = scene.warm();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    scene.disk.fail(false, false);
    let output = scene.warm();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    drop_pages();
    let output = scene.command("verify", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}
