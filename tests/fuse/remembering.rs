//! Mounts with a cache know the names that mounts before them knew, for as long as these would have.

use std::fs;
use std::io::Write;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use s3_test_server::synthetic;
use tempfile::TempDir;

use crate::caching::settle;
use crate::reading::Random;
use crate::support::local::Local;
use crate::support::mount::{Mount, Mounting};
use crate::support::store::TestStore;
use crate::support::wait::{LONG, once_in_five, wait_for, within};

const SIZE: u64 = 300_000;
const DEEP: &str = "a/b/deep";

/// A bucket with a few files, and a cache.
struct Scene {
    store: Local,
    bucket: String,
    cache: TempDir,
}

impl Scene {
    fn new() -> Self {
        let store = Local::start();
        let bucket = store.fresh_bucket();
        let scene = Self {
            store,
            bucket,
            cache: tempfile::tempdir().expect("a directory"),
        };
        scene.plant(DEEP, 1);
        scene.plant("top", 1);
        scene
    }

    fn plant(&self, key: &str, seed: u64) {
        self.store.plant(&self.bucket, key, SIZE, seed);
    }

    fn mounting(&self, bucket: &str, more: &[&str]) -> Mounting {
        let cache = self.cache.path().to_str().expect("UTF-8");
        let mounting = self.store.mounting(bucket);
        mounting.with(&["--cache", cache]).with(more)
    }

    fn mount(&self, more: &[&str]) -> Mount {
        self.mounting(&self.bucket, more).mount()
    }

    /// Reads both files with a mount of its own, which is ended then.
    fn read_and_end(&self, more: &[&str]) {
        let mount = self.mount(more);
        for key in [DEEP, "top"] {
            assert_is(&mount, key, 1);
        }
        settle(self.cache.path(), 2);
        assert!(mount.unmount().success());
    }

    /// What is asked for while `work` is done: HEAD, LIST and GET requests. What was begun before, as by
    /// fetching ahead, has come to its end by then.
    fn asked<T>(&self, work: impl FnOnce() -> T) -> [u64; 3] {
        let count = || {
            let operations = ["HeadObject", "ListObjectsV2", "GetObject"];
            operations.map(|operation| self.store.count(operation))
        };
        let mut before = count();
        wait_for("nothing is asked", LONG, || {
            thread::sleep(Duration::from_millis(300));
            let earlier = mem::replace(&mut before, count());
            (before == earlier).then_some(())
        });
        work();
        let after = count();
        [0, 1, 2].map(|index| after[index] - before[index])
    }
}

fn bytes(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(SIZE).expect("small")];
    synthetic::fill(seed, 0, &mut bytes);
    bytes
}

fn assert_is(mount: &Mount, key: &str, seed: u64) {
    let read = fs::read(mount.join(key)).expect("read");
    assert!(read == bytes(seed), "{key} of seed {seed}");
}

fn read_both(mount: &Mount) {
    assert_is(mount, DEEP, 1);
    assert_is(mount, "top", 1);
}

#[test]
fn cached_files_are_read_without_any_request_after_a_restart() {
    let scene = Scene::new();
    scene.read_and_end(&[]);
    for round in 0..3 {
        let mount = scene.mount(&[]);
        assert_eq!(
            scene.asked(|| read_both(&mount)),
            [0, 0, 0],
            "round {round}"
        );
        let found = fs::metadata(mount.join(DEEP)).expect("there");
        assert!(found.is_file() && found.len() == SIZE);
        assert!(mount.unmount().success());
    }
    // What the kernel knows is no more than that.
    let mount = scene.mount(&["--xattrs"]);
    assert_eq!(scene.asked(|| read_both(&mount)), [0, 0, 0]);
    assert!(mount.unmount().success());
    // A part of the bucket has the same names.
    let part = scene
        .mounting(&format!("s3://{}/a/", scene.bucket), &[])
        .mount();
    let read = || assert!(fs::read(part.join("b/deep")).expect("read") == bytes(1));
    assert_eq!(scene.asked(read), [0, 0, 0]);
}

#[test]
fn many_small_files_are_read_without_asking_for_any_of_them_after_a_restart() {
    const FILES: u64 = 500;
    let scene = Scene::new();
    scene
        .store
        .plant_many(&scene.bucket, "set/one/", FILES, 5000);
    let names = || (0..FILES).map(|number| format!("set/one/{number:07}"));
    let mount = scene.mount(&[]);
    let read = |mount: &Mount| -> Vec<_> {
        let read = names().map(|name| fs::read(mount.join(&name)).expect("read"));
        read.collect()
    };
    let expected = read(&mount);
    settle(scene.cache.path(), FILES);
    assert!(mount.unmount().success());
    let mount = scene.mount(&[]);
    let [heads, lists, gets] = scene.asked(|| assert!(read(&mount) == expected));
    // What fetches ahead lists the directory, to know what comes next.
    assert!(heads + gets == 0 && lists <= 1, "{heads} {lists} {gets}");
}

#[test]
fn listed_files_are_known_after_a_restart() {
    let scene = Scene::new();
    scene.read_and_end(&[]);
    let mount = scene.mount(&[]);
    let listed = fs::read_dir(mount.join("a/b")).expect("listed").count();
    assert_eq!(listed, 1);
    assert!(mount.unmount().success());
    let mount = scene.mount(&[]);
    assert_eq!(scene.asked(|| read_both(&mount)), [0, 0, 0]);
}

#[test]
fn mount_that_believes_nothing_or_less_asks() {
    let scene = Scene::new();
    scene.read_and_end(&["--metadata-ttl", "indefinite"]);
    for options in [
        &["--metadata-ttl", "minimal"][..],
        &["--metadata-ttl", "1"],
        &["--posix-metadata"],
    ] {
        thread::sleep(Duration::from_millis(1100));
        let mount = scene.mount(options);
        let [heads, lists, _] = scene.asked(|| read_both(&mount));
        assert!(heads + lists >= 2, "{options:?}: {heads} {lists}");
        assert!(mount.unmount().success());
    }
    let mount = scene.mount(&["--metadata-ttl", "indefinite"]);
    assert_eq!(scene.asked(|| read_both(&mount)), [0, 0, 0]);
}

#[test]
fn object_that_was_replaced_meanwhile_is_seen_when_the_time_is_over() {
    const TTL: &[&str] = &["--metadata-ttl", "4"];
    let scene = Scene::new();
    let begun = Instant::now();
    scene.read_and_end(TTL);
    let known = Instant::now();
    scene.plant(DEEP, 2);
    scene.store.delete(&scene.bucket, "top");
    let mount = scene.mount(TTL);
    let seed = if fs::read(mount.join(DEEP)).expect("read") == bytes(1) {
        1
    } else {
        2
    };
    // On a machine that is so slow that the time is over there is nothing to see.
    assert!(seed == 1 || begun.elapsed() > Duration::from_secs(4));
    wait_for("the time is over", LONG, || {
        (known.elapsed() > Duration::from_millis(4100)).then_some(())
    });
    assert_is(&mount, DEEP, 2);
    assert!(fs::read(mount.join("top")).is_err());
    assert!(mount.unmount().success());
    let mount = scene.mount(TTL);
    assert_is(&mount, DEEP, 2);
    assert!(fs::read(mount.join("top")).is_err());
}

#[test]
fn what_a_mount_has_seen_to_be_otherwise_is_not_seen_again() {
    let scene = Scene::new();
    scene.read_and_end(&[]);
    scene.plant(DEEP, 2);
    scene.store.delete(&scene.bucket, "top");
    let mount = scene.mount(&["--metadata-ttl", "minimal"]);
    assert_is(&mount, DEEP, 2);
    assert!(fs::read(mount.join("top")).is_err());
    assert!(mount.unmount().success());
    // That one notes nothing, so that a mount which believes for a minute does so.
    let mount = scene.mount(&[]);
    assert_is(&mount, DEEP, 1);
    let direct = Command::new("dd")
        .arg(format!("if={}", mount.join(DEEP).display()))
        .args(["of=/dev/null", "bs=1M", "iflag=direct", "status=none"])
        .status();
    // Its open asks S3 in any case, and finds another version.
    assert!(direct.expect("dd runs").success());
    assert_is(&mount, DEEP, 2);
    assert!(mount.unmount().success());
    assert_is(&scene.mount(&[]), DEEP, 2);
}

#[test]
fn own_changes_are_seen_by_the_next_mount() {
    const CHANGING: &[&str] = &[
        "--allow-overwrite",
        "--allow-delete",
        "--allow-rename",
        "--metadata-ttl",
        "indefinite",
    ];
    let scene = Scene::new();
    for key in ["removed", "renamed", "d/last", "large", "killed"] {
        scene.plant(key, 1);
    }
    let all = [
        DEEP, "top", "removed", "renamed", "d/last", "large", "killed",
    ];
    // They know all names, and one of them ends after the changes.
    let late = scene.mount(&["--metadata-ttl", "indefinite"]);
    let first = scene.mount(&["--metadata-ttl", "indefinite"]);
    for mount in [&late, &first] {
        for key in all {
            assert_is(mount, key, 1);
        }
    }
    settle(scene.cache.path(), all.len() as u64);
    assert!(first.unmount().success());
    let mut changing = scene.mount(CHANGING);
    for key in all {
        assert_is(&changing, key, 1);
    }
    fs::write(changing.join("top"), bytes(2)).expect("written");
    let large = bytes(2).repeat(60);
    fs::write(changing.join("large"), &large).expect("written");
    fs::remove_file(changing.join("removed")).expect("removed");
    fs::rename(changing.join("renamed"), changing.join("elsewhere")).expect("renamed");
    fs::remove_file(changing.join("d/last")).expect("removed");
    fs::write(changing.join("killed"), bytes(2)).expect("written");
    fs::write(changing.join("new"), bytes(2)).expect("written");
    changing.kill();
    drop(changing);
    assert!(late.unmount().success());
    for options in [&["--metadata-ttl", "indefinite"][..], CHANGING] {
        let mount = scene.mount(options);
        for key in ["top", "killed", "new"] {
            assert_is(&mount, key, 2);
        }
        assert!(fs::read(mount.join("large")).expect("read") == large);
        assert_is(&mount, "elsewhere", 1);
        for key in ["removed", "renamed", "d"] {
            assert!(fs::metadata(mount.join(key)).is_err(), "{key}");
        }
        assert_eq!(scene.asked(|| assert_is(&mount, DEEP, 1)), [0, 0, 0]);
        assert!(mount.unmount().success());
    }
}

#[test]
fn files_that_a_killed_mount_has_read_are_right() {
    let scene = Scene::new();
    for round in 1..6 {
        let mut mount = scene.mount(&["--metadata-ttl", "indefinite", "--allow-overwrite"]);
        let seed = if round == 1 { 1 } else { round - 1 };
        assert_is(&mount, "top", seed);
        assert_is(&mount, DEEP, 1);
        fs::write(mount.join("top"), bytes(round)).expect("written");
        if round % 2 == 0 {
            assert_is(&mount, "top", round);
        }
        mount.kill();
    }
}

#[test]
fn no_mount_shows_what_was_there_before_a_killed_one_changed_it() {
    const OBJECTS: u64 = 6;
    let indefinite = ["--metadata-ttl", "indefinite"];
    let scene = Scene::new();
    let mut random = Random(u64::from(std::process::id()));
    let name = |object: u64| format!("d{}/o{object}", object % 2);
    for object in 0..OBJECTS {
        scene.plant(&name(object), 1);
    }
    let mut believed = 0;
    for round in 0..20 {
        let reading = scene.mount(&indefinite);
        let mut changing = scene.mount(&[&indefinite[..], &["--allow-overwrite"]].concat());
        let directory = changing.path().to_owned();
        thread::scope(|scope| {
            let mut random = Random(random.below(u64::MAX));
            scope.spawn(move || {
                loop {
                    let seed = 2 + random.below(1000);
                    let written =
                        fs::write(directory.join(name(random.below(OBJECTS))), bytes(seed));
                    if written.is_err() {
                        return;
                    }
                }
            });
            for object in 0..OBJECTS {
                _ = fs::read(reading.join(&name(object)));
            }
            thread::sleep(Duration::from_millis(50 + round * 7));
            changing.kill();
        });
        drop(changing);
        assert!(reading.unmount().success());
        // What was asked for is done then.
        scene.store.wait_for_no_connection();
        let mount = scene.mount(&indefinite);
        for object in 0..OBJECTS {
            let name = name(object);
            let mut read = Vec::new();
            let asked = scene.asked(|| read = fs::read(mount.join(&name)).expect("read"));
            assert!(
                scene.store.body(&scene.bucket, &name) == Some(read),
                "{name} in round {round}"
            );
            believed += u64::from(asked[0] + asked[1] == 0);
        }
        assert!(mount.unmount().success());
    }
    eprintln!("{believed} of {} were believed", 20 * OBJECTS);
    assert!(believed > 0);
}

#[test]
fn files_that_were_staged_and_recovered_are_seen_by_the_next_mount() {
    let scene = Scene::new();
    let stage = tempfile::tempdir().expect("a directory");
    let path = stage.path().to_str().expect("UTF-8");
    let mut mount = scene.mount(&[
        "--metadata-ttl",
        "indefinite",
        "--write-mode",
        "staged",
        "--stage",
        path,
        "--allow-overwrite",
    ]);
    read_both(&mount);
    let known = scene.mount(&["--metadata-ttl", "indefinite"]);
    read_both(&known);
    let file = fs::OpenOptions::new().write(true).open(mount.join("top"));
    let mut file = file.expect("opened");
    file.write_all(&bytes(2)).expect("written");
    mount.kill();
    drop((file, mount));
    assert!(known.unmount().success());
    let recovered = Command::new(env!("CARGO_BIN_EXE_mount-s3"))
        .args(["staged", "recover", "--all", "--stage", path])
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .output();
    let recovered = recovered.expect("it runs");
    assert!(
        recovered.status.success() && recovered.stderr.is_empty(),
        "{recovered:?}"
    );
    let mount = scene.mount(&["--metadata-ttl", "indefinite"]);
    assert_is(&mount, "top", 2);
    assert_eq!(scene.asked(|| assert_is(&mount, DEEP, 1)), [0, 0, 0]);
}

#[test]
fn commands_for_the_cache_leave_and_remove_what_is_known() {
    let scene = Scene::new();
    scene.read_and_end(&[]);
    let names = scene.cache.path().join("mount-s3-cache/v1/names");
    let command = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mount-s3"));
        command.arg("cache").arg(words[0]);
        command.arg("--cache").arg(scene.cache.path());
        let output = command.args(&words[1..]).output().expect("it runs");
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(command(&["stat"]).contains("objects        2; versions: 2 complete"));
    assert!(command(&["verify"]).contains("everything is what was written"));
    command(&["evict", "--older-than", "1h"]);
    command(&["evict", "--to-size", "1000"]);
    let mount = scene.mount(&[]);
    assert_eq!(scene.asked(|| read_both(&mount)), [0, 0, 0]);
    command(&["evict", "--all"]);
    assert!(!names.exists());
    assert!(mount.unmount().success());
    let mount = scene.mount(&[]);
    let [heads, lists, gets] = scene.asked(|| read_both(&mount));
    assert!(lists >= 1 && gets >= 2, "{heads} {lists} {gets}");
    let blocks = fs::metadata(&names).expect("there").blocks();
    assert!(blocks < 100);
}

#[test]
fn mount_with_much_to_remember_is_ready_at_once() {
    const FILES: u64 = 200_000;
    let scene = Scene::new();
    scene.store.plant_many(&scene.bucket, "many/", FILES, 10);
    let mount = scene.mount(&["--metadata-ttl", "indefinite"]);
    let listed = Command::new("ls")
        .arg("-l")
        .arg(mount.join("many"))
        .output();
    assert!(listed.expect("ls runs").stdout.len() > 1_000_000);
    assert!(mount.unmount().success());
    let names = scene.cache.path().join("mount-s3-cache/v1/names");
    let files = fs::read_dir(names).expect("there");
    let sizes = files.map(|file| file.expect("an entry").metadata().expect("there").len());
    assert!(sizes.sum::<u64>() > 16 << 20);
    let (mut begun, mut mount) = (Instant::now(), None);
    once_in_five(|_| {
        drop(mount.take());
        begun = Instant::now();
        mount = Some(scene.mount(&["--metadata-ttl", "indefinite"]));
        within(begun.elapsed(), Duration::from_secs(2))
    });
    let mount = mount.expect("mounted");
    let name = |number: u64| mount.join(&format!("many/{number:07}"));
    let mut number = 0;
    wait_for("it is remembered", LONG, || {
        // Of a page that is at hand it would be known as well. There are numbers for 133 seconds.
        number += 1501;
        thread::sleep(Duration::from_millis(700));
        let stat = || fs::metadata(name(number)).expect("there").len();
        (scene.asked(stat) == [0, 0, 0]).then_some(())
    });
    eprintln!("remembered after {:?}", begun.elapsed());
    let stats = || {
        (1001..FILES)
            .step_by(1999)
            .all(|number| fs::metadata(name(number)).is_ok())
    };
    assert_eq!(scene.asked(stats), [0, 0, 0]);
}
