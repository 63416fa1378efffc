//! A real mount against the model that the file system is tested with beside a mount, too: every step
//! is done to both, and then all of the tree is compared, as programs and as the store see it. Now and
//! then the daemon is killed, and another one mounted.
//!
//! Each run has a seed, which it prints: `MOUNT_MODEL_SEED=... cargo test --test fuse model::` does
//! the same steps again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::alone::alone;
use crate::support::local::Local;
use crate::support::mount::{Mount, Mounting};
use crate::support::store::TestStore;
use crate::support::wait::LONG;
use reference::{Allow, Kind, Model, Step, nth, steps};

#[path = "../../src/fs/tests/model/reference.rs"]
mod reference;

/// A mount, and the bucket behind it.
struct Mounted<'a> {
    local: &'a Local,
    bucket: String,
    mounting: Mounting,
    mount: Mount,
    /// Objects that somebody else has put.
    puts: u32,
}

impl Mounted<'_> {
    /// Kills the daemon, and mounts anew.
    fn restart(&mut self) {
        self.mount.kill();
        self.local.wait_for_no_connection();
        self.mount = self.mounting.mount();
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.mount.join(path)
    }

    /// Waits until the bucket holds what the model says: an empty file is stored after its close.
    fn settle(&self, model: &Model<File>) {
        let expected: BTreeMap<_, _> = model
            .objects
            .iter()
            .map(|(key, (body, _version))| (key.clone(), body.clone()))
            .collect();
        let deadline = Instant::now() + LONG;
        while self.objects() != expected && Instant::now() < deadline {
            sleep(A_MOMENT);
        }
        assert_eq!(self.objects(), expected, "what the bucket holds in the end");
    }

    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let body = |key: String| self.local.body(&self.bucket, &key).map(|body| (key, body));
        let keys = self.local.keys(&self.bucket).into_iter();
        keys.filter_map(body).collect()
    }

    /// Lets the kernel forget what it believes for a time.
    fn expire(&self) {
        sleep(LONGEST_BELIEVED);
    }
}

/// Does a step to both, and compares what both say of it.
fn step(mounted: &mut Mounted<'_>, model: &mut Model<File>, step: &Step) {
    let both = match step {
        Step::Create(path) => {
            let opened = File::create(mounted.path(path));
            open(model, path, false, opened)
        }
        Step::Append(path) => {
            let mut options = OpenOptions::new();
            let opened = options.append(true).create(true).open(mounted.path(path));
            open(model, path, true, opened)
        }
        Step::Write(at, data) => {
            let Some(path) = nth(model.writers.keys(), *at) else {
                return;
            };
            let Some(writer) = model.writers.get_mut(&path) else {
                return;
            };
            writer.body.extend_from_slice(data);
            (writer.handle.write_all(data), Ok(()))
        }
        Step::Close(at) => {
            let Some(path) = nth(model.writers.keys(), *at) else {
                return;
            };
            let Some(mut writer) = model.writers.remove(&path) else {
                return;
            };
            // The model keeps a handle, which counts for nothing.
            let handle = File::open("/dev/null").expect("it opens");
            let handle = std::mem::replace(&mut writer.handle, handle);
            let closed = nix::unistd::close(handle).map_err(io::Error::from);
            (closed, model.close(&path, writer))
        }
        Step::Mkdir(path) => {
            let said = model.obstacle(path).map_or_else(|| model.mkdir(path), Err);
            (fs::create_dir(mounted.path(path)), said)
        }
        Step::Rmdir(path) => {
            let said = model.obstacle(path).map_or_else(|| model.rmdir(path), Err);
            (fs::remove_dir(mounted.path(path)), said)
        }
        Step::Unlink(path) => {
            let said = model.obstacle(path).map_or_else(|| model.unlink(path), Err);
            (fs::remove_file(mounted.path(path)), said)
        }
        Step::Rename(from, to) => {
            // The kernel answers by itself what has the target above the source.
            let is_above = from.starts_with(&format!("{to}/"));
            let obstacle = model.obstacle(from).or_else(|| model.obstacle(to));
            if from == to || is_above || obstacle.is_some() {
                return;
            }
            let refusal = refusal_of_the_kernel(model, from, to);
            let said = refusal.map_or_else(|| model.rename(from, to), Err);
            (fs::rename(mounted.path(from), mounted.path(to)), said)
        }
        Step::Crash => {
            mounted.settle(model);
            mounted.restart();
            model.crash();
            return;
        }
        Step::CrashInClose(at, _during) => return crash_in_close(mounted, model, *at),
        Step::CrashInRename(from, to, _during) => {
            if let Some(from) = nth(model.paths().iter(), *from) {
                crash_in_rename(mounted, model, &from, to);
            }
            return;
        }
        Step::Put(key, body) => {
            mounted.settle(model);
            // No two have the same bytes: their ETags, which are MD5s, would be the same.
            mounted.puts += 1;
            let body = [body.as_slice(), &mounted.puts.to_le_bytes()].concat();
            mounted.local.put(&mounted.bucket, key, &body);
            model.put(key, body);
            mounted.expire();
            return;
        }
        Step::Remove(at) => {
            if let Some(key) = nth(model.objects.keys(), *at) {
                mounted.settle(model);
                mounted.local.delete(&mounted.bucket, &key);
                model.objects.remove(&key);
                mounted.expire();
            }
            return;
        }
    };
    let done = both.0.map_err(|error| errno(&error));
    assert_eq!(done, both.1, "{step:?}");
}

type Both = (io::Result<()>, Result<(), Errno>);

fn open(model: &mut Model<File>, path: &str, is_append: bool, opened: io::Result<File>) -> Both {
    let (opened, handle) = match opened {
        Ok(file) => (Ok(()), Some(file)),
        Err(error) => (Err(error), None),
    };
    (opened, model.open(path, is_append, handle))
}

/// Kills the daemon while another thread closes a file.
fn crash_in_close(mounted: &mut Mounted<'_>, model: &mut Model<File>, at: proptest::sample::Index) {
    let Some(path) = nth(model.writers.keys(), at) else {
        return;
    };
    let Some(mut writer) = model.writers.remove(&path) else {
        return;
    };
    mounted.settle(model);
    let handle = File::open("/dev/null").expect("it opens");
    let handle = std::mem::replace(&mut writer.handle, handle);
    crash_while(mounted, || drop(handle));
    let before = model.objects.clone();
    let _said = model.close(&path, writer);
    let done = std::mem::replace(&mut model.objects, before);
    model.crash_within(&done, |_key| None, mounted.objects());
}

/// What the kernel says to a rename before it asks the file system, if it refuses it.
fn refusal_of_the_kernel(model: &Model<File>, from: &str, to: &str) -> Option<Errno> {
    let is_directory = |path| model.kind(path).map(|kind| kind == Kind::Directory);
    match (is_directory(from)?, is_directory(to)) {
        (true, _) if to.starts_with(&format!("{from}/")) => Some(Errno::EINVAL),
        (true, Some(false)) => Some(Errno::ENOTDIR),
        (false, Some(true)) => Some(Errno::EISDIR),
        _ => None,
    }
}

/// Kills the daemon while another thread renames.
fn crash_in_rename(mounted: &mut Mounted<'_>, model: &mut Model<File>, from: &str, to: &str) {
    let is_above = from.starts_with(&format!("{to}/"));
    let obstacle = model.obstacle(from).or_else(|| model.obstacle(to));
    if from == to || is_above || obstacle.is_some() {
        return;
    }
    mounted.settle(model);
    let (old, new) = (mounted.path(from), mounted.path(to));
    crash_while(mounted, || drop(fs::rename(old, new)));
    let is_directory = model.kind(from) == Some(Kind::Directory);
    let before = model.objects.clone();
    let _said = model.rename(from, to);
    let done = std::mem::replace(&mut model.objects, before);
    let moved = |key: &str| match key.strip_prefix(from) {
        Some("") if !is_directory => Some(to.to_owned()),
        Some(rest) if is_directory && rest.starts_with('/') => Some(format!("{to}{rest}")),
        _ => None,
    };
    model.crash_within(&done, moved, mounted.objects());
}

/// Kills the daemon a moment after `run` has begun.
fn crash_while(mounted: &mut Mounted<'_>, run: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let running = scope.spawn(run);
        sleep(A_MOMENT);
        mounted.mount.kill();
        running.join().expect("it ends with the daemon");
    });
    // What the daemon has asked for may be done after its death; then it would be seen too late.
    mounted.local.wait_for_no_connection();
    mounted.mount = mounted.mounting.mount();
}

/// All of the tree is as the model says, by lookups and by listings, and every body.
fn compare(mounted: &Mounted<'_>, model: &Model<File>, path: &str) {
    let entries = fs::read_dir(mounted.path(path)).expect("a directory");
    let names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    let distinct: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(distinct.len(), names.len(), "twice in {path:?}: {names:?}");
    assert_eq!(distinct, model.names(path), "in {path:?}");
    for name in names {
        let path = if path.is_empty() {
            name
        } else {
            format!("{path}/{name}")
        };
        let expected = model.kind(&path).expect("it is in the model");
        let found = fs::metadata(mounted.path(&path)).expect("it is there");
        match &expected {
            Kind::Directory => assert!(found.is_dir(), "{path:?}"),
            Kind::Local(size) => assert_eq!(found.len(), *size as u64, "{path:?}"),
            Kind::File(body) => assert_eq!(found.len(), body.len() as u64, "{path:?}"),
        }
        match expected {
            Kind::Directory => compare(mounted, model, &path),
            Kind::File(body) if !model.writers.contains_key(&path) => {
                let read = fs::read(mounted.path(&path)).expect("it reads");
                assert_eq!(read, body, "{path:?}");
            }
            Kind::File(_) | Kind::Local(_) => {}
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().expect("the kernel's"))
}

/// Does the steps of a run.
fn run(local: &Local, allow: Allow, flags: &[&str], steps: &[Step]) {
    let bucket = local.fresh_bucket();
    let mounting = local.mounting(&bucket).with(flags);
    let mount = mounting.mount();
    let mut mounted = Mounted {
        local,
        bucket,
        mounting,
        mount,
        puts: 0,
    };
    let mut model = Model::new(allow, 8 << 20);
    for one in steps {
        step(&mut mounted, &mut model, one);
        model.settle();
        compare(&mounted, &model, "");
    }
    mounted.settle(&model);
}

/// The steps that `seed` stands for.
fn steps_of(seed: u64) -> Vec<Step> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    steps().new_tree(&mut runner).expect("steps").current()
}

fn runs(local: &Local, allow: Allow, flags: &[&str]) {
    let given = std::env::var("MOUNT_MODEL_SEED");
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    let seeds = match given {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (0..RUNS).map(|run| now.as_secs() * 100 + run).collect(),
    };
    for seed in seeds {
        let steps = steps_of(seed);
        eprintln!("MOUNT_MODEL_SEED={seed} {flags:?}: {steps:?}");
        run(local, allow, flags, &steps);
    }
}

#[test]
fn mount_that_renames_by_copying_does_what_the_model_does() {
    let allow = Allow {
        delete: true,
        overwrite: true,
        append: false,
        copy: true,
    };
    let flags = ["--allow-delete", "--allow-overwrite", "--allow-rename"];
    alone(
        "model::mount_that_renames_by_copying_does_what_the_model_does",
        || runs(&Local::start(), allow, &flags),
    );
}

#[test]
fn mount_of_a_directory_bucket_does_what_the_model_does() {
    let allow = Allow {
        delete: true,
        overwrite: false,
        append: true,
        copy: false,
    };
    let flags = [
        "--allow-delete",
        "--bucket-type",
        "directory",
        "--incremental-upload",
    ];
    alone(
        "model::mount_of_a_directory_bucket_does_what_the_model_does",
        || runs(&Local::start_with_directory_buckets(), allow, &flags),
    );
}

/// About as long as one request takes.
const A_MOMENT: Duration = Duration::from_micros(500);

/// How many runs each test makes.
const RUNS: u64 = 8;

/// Longer than the second for which the kernel believes what it knows of a directory.
const LONGEST_BELIEVED: Duration = Duration::from_millis(1100);
