//! Daemons that are killed while they fill a cache, and make room in it: whoever uses it next reads the
//! right bytes.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use s3_test_server::synthetic;

use crate::reading::Random;
use crate::support::local::Local;
use crate::support::mount::Mount;
use crate::support::store::TestStore;
use crate::support::wait::{LONG, wait_for};

/// Rounds, at least, in each of which two daemons are killed.
const ROUNDS: u64 = 100;

/// The length of each object, in bytes; together they are more than the cache may take.
const LENGTHS: [u64; 8] = [
    1, 100_000, 131_072, 400_000, 1_000_000, 1_048_576, 3_000_000, 5_000_001,
];

/// The objects of a bucket, and in which version each is.
struct Objects<'a> {
    store: &'a Local,
    bucket: String,
    seeds: Mutex<[u64; LENGTHS.len()]>,
    /// Decides what is read, and when daemons are killed.
    random: u64,
    /// Objects that were read to their end, and were right.
    read: AtomicU64,
}

impl Objects<'_> {
    fn replace(&self, object: usize, seed: u64) {
        self.store
            .plant(&self.bucket, &format!("o{object}"), LENGTHS[object], seed);
        self.seeds.lock().expect("not poisoned")[object] = seed;
    }

    /// Reads objects one after the other until that fails, and checks every byte.
    fn read_until_killed(&self, directory: &Path, mut random: Random) {
        loop {
            let object = usize::try_from(random.below(LENGTHS.len() as u64)).expect("small");
            let Ok(bytes) = fs::read(directory.join(format!("o{object}"))) else {
                return;
            };
            self.check(object, &bytes);
        }
    }

    fn check(&self, object: usize, bytes: &[u8]) {
        let seed = self.seeds.lock().expect("not poisoned")[object];
        let mut expected = vec![0; usize::try_from(LENGTHS[object]).expect("small")];
        synthetic::fill(seed, 0, &mut expected);
        let random = self.random;
        assert!(
            bytes == expected,
            "object {object} of seed {seed} is wrong; random numbers began with {random}"
        );
        self.read.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn killed_daemons_leave_a_cache_that_gives_the_right_bytes() {
    let store = Local::start();
    let objects = Objects {
        store: &store,
        bucket: store.fresh_bucket(),
        seeds: Mutex::default(),
        random: u64::from(std::process::id()),
        read: AtomicU64::new(0),
    };
    for object in 0..LENGTHS.len() {
        objects.replace(object, object as u64);
    }
    let cache = tempfile::tempdir().expect("a directory");
    let path = cache.path().to_str().expect("UTF-8");
    let options = ["--cache", path, "--max-cache-size", "8"];
    let mounting = store.mounting(&objects.bucket).with(&options);
    let mounting = mounting.with(&["--metadata-ttl", "minimal", "--read-only"]);
    let mut random = Random(objects.random);
    let mut round = 0;
    // A machine that is slow takes more of them to read as much.
    while round < ROUNDS || objects.read.load(Ordering::Relaxed) <= ROUNDS * 4 {
        let mut mounts = [mounting.mount(), mounting.mount()];
        thread::scope(|scope| {
            let objects = &objects;
            let readers: Vec<_> = mounts
                .iter()
                .flat_map(|mount| [mount, mount])
                .map(|mount| {
                    let directory = mount.path().to_owned();
                    let random = Random(random.below(u64::MAX));
                    scope.spawn(move || objects.read_until_killed(&directory, random))
                })
                .collect();
            for mount in &mut mounts {
                thread::sleep(Duration::from_millis(random.below(150)));
                mount.kill();
            }
            for reader in readers {
                reader.join().expect("every byte was right");
            }
        });
        drop(mounts);
        if round % 5 == 0 {
            let object = usize::try_from(random.below(LENGTHS.len() as u64)).expect("small");
            objects.replace(object, 1000 + round);
        }
        round += 1;
        let read = objects.read.load(Ordering::Relaxed);
        assert!(round < 5 * ROUNDS, "only {read} objects were read in whole");
    }
    // It is of use still, once there is room.
    let mount = mounting.mount();
    wait_for("it is read from the cache", LONG, || {
        let before = store.count("GetObject");
        for _ in 0..20 {
            check_one(&objects, &mount, 3);
        }
        (store.count("GetObject") <= before + 1).then_some(())
    });
}

fn check_one(objects: &Objects<'_>, mount: &Mount, object: usize) {
    // From the daemon each time, not from the page cache.
    let file = File::open(mount.join(&format!("o{object}"))).expect("opened");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advised");
    drop(file);
    let bytes = fs::read(mount.join(&format!("o{object}"))).expect("read");
    objects.check(object, &bytes);
}
