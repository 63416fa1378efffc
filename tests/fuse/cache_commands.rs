//! `mount-s3 cache`: caches of mounts that are filled, counted, checked and emptied, also while a mount
//! uses them.

mod scene;

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use s3_test_server::{Fault, Model, Rule};
use serde_json::Value;

use self::scene::{Scene, name};
use crate::reading::{MIB, bytes};
use crate::support::mount::Mount;
use crate::support::store::TestStore;
use crate::support::wait::{LONG, once_in_five, wait_for};

fn check(mount: &Mount, i: u64, size: u64) {
    let read = fs::read(mount.join(&name(i))).expect("read");
    assert!(read == bytes(i, 0, size), "bytes of file {i}");
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id()).expect("a process");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("sent");
}

fn flip(path: &Path, place: u64) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).expect("read");
    file.write_all_at(&[byte[0] ^ 1], place).expect("written");
}

#[test]
fn mounts_read_what_was_warmed_without_a_get() {
    let scene = Scene::with_set(300, 5000);
    let large = 70 * MIB + 123;
    scene.store.plant(&scene.bucket, "large/one", large, 1000);
    scene.store.put(&scene.bucket, "large/empty", b"");
    scene.store.put(&scene.bucket, "large/marker/", b"");
    // It is there before, during and after.
    let mount = scene.mount(&["--read-only"]);
    check(&mount, 7, 5000);
    let text = scene.warm(&[&scene.uri("set/")]);
    assert!(
        text.contains("300 objects were fetched") || text.contains("299 objects"),
        "{text}"
    );
    let text = scene.warm(&[&scene.uri("")]);
    assert!(
        text.starts_with("302 of 303 objects are in the cache"),
        "{text}"
    );
    assert!(text.contains("1 objects were fetched: 70.0 MiB"), "{text}");
    let gets = scene.gets();
    let text = scene.warm(&[&scene.uri("")]);
    assert!(
        text.starts_with("303 of 303 objects are in the cache"),
        "{text}"
    );
    assert!(!text.contains("fetched"), "{text}");
    let later = scene.mount(&[]);
    for mount in [&mount, &later] {
        for i in 0..300 {
            check(mount, i, 5000);
        }
        let read = fs::read(mount.join("large/one")).expect("read");
        assert!(read == bytes(1000, 0, large));
        assert_eq!(fs::read(mount.join("large/empty")).expect("read"), b"");
    }
    assert_eq!(scene.gets(), gets, "all is read from the disk");
}

#[test]
fn replaced_object_is_warmed_again() {
    let scene = Scene::with_set(3, MIB);
    scene.warm(&[&scene.uri("")]);
    scene.store.plant(&scene.bucket, &name(1), MIB, 77);
    let text = scene.warm(&[&scene.uri("set/")]);
    assert!(text.contains("1 objects were fetched"), "{text}");
    let (_, stat) = scene.json("stat");
    assert_eq!(
        (&stat["objects"], &stat["complete"], &stat["replaced"]),
        (&3.into(), &4.into(), &1.into())
    );
    let gets = scene.gets();
    let read = fs::read(scene.mount(&[]).join(&name(1))).expect("read");
    assert!(read == bytes(77, 0, MIB));
    assert_eq!(scene.gets(), gets);
}

#[test]
fn objects_are_named_by_a_list() {
    let scene = Scene::with_set(50, 5000);
    scene.store.plant_archived(&scene.bucket, "cold", 5000);
    let list = scene.directory.path().join("list");
    fs::write(
        &list,
        format!("0003\n0007\n\n{}\n0003\n", scene.uri(&name(9))),
    )
    .expect("written");
    let list = list.to_str().expect("UTF-8");
    let text = scene.warm(&[&scene.uri("set/"), "--list", list]);
    assert!(text.contains("3 objects were fetched"), "{text}");
    assert_eq!(scene.gets(), 3);
    assert!(
        scene
            .warm(&[&scene.uri(&name(11))])
            .contains("1 objects were fetched")
    );

    fs::write(
        list,
        format!("{}\n{}\n", scene.uri("none"), scene.uri("cold")),
    )
    .expect("written");
    let output = scene.run("warm", &["--list", list]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = error_of(&output);
    assert!(text.contains("list:1: there is no object none"), "{text}");
    assert!(text.contains("cold: is archived"), "{text}");
    let output = scene.run("warm", &[&scene.uri("sets/")]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        error_of(&output).contains("there are no objects below"),
        "{output:?}"
    );
    let output = scene.run("warm", &[&scene.uri("set")]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let hint = format!("for all that is below it: {}", scene.uri("set/"));
    assert!(error_of(&output).contains(&hint), "{output:?}");

    for (lines, reason) in [
        (
            &b"set/0001\nset/0002\xff\n"[..],
            "list:1: must be s3://bucket/key",
        ),
        (
            b"s3://bucket-one/a\n\ns3://bucket-two/a\n",
            "list:3: s3://bucket-two/a is not in",
        ),
        (b"s3://bucket-one/a\n\xff\n", "list:2: not UTF-8"),
        (b"\n", "names no object"),
    ] {
        fs::write(list, lines).expect("written");
        let output = scene.run("warm", &["--list", list]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(error_of(&output).contains(reason), "{output:?}");
    }
    assert_eq!(scene.gets(), 4);
}

#[test]
fn rate_is_kept_and_an_interrupted_run_is_taken_up() {
    const COUNT: u64 = 40;
    let words = ["--rate", "10", "--progress"];
    let mut interrupted = None;
    once_in_five(|_| {
        let scene = Scene::with_set(COUNT, 2 * MIB);
        let begun = Instant::now();
        let child = scene
            .command("warm", &[&[&*scene.uri("")], &words[..]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        wait_for("something to be fetched", LONG, || {
            (scene.store.body_bytes_sent() > 12 * MIB).then_some(())
        });
        interrupt(&child);
        let output = child.wait_with_output().expect("it ends");
        assert!(
            begun.elapsed() >= Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        if output.status.code() == Some(0) {
            return Err("it has ended before it was interrupted".to_owned());
        }
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = error_of(&output);
        assert!(
            text.contains("interrupted: ") && text.contains("run the same command again"),
            "{text}"
        );
        assert!(text.contains(" of 80.00 MiB, "), "the progress: {text}");
        let (_, stat) = scene.json("stat");
        let complete = stat["complete"].as_u64().expect("a number");
        interrupted = Some((scene, complete));
        // The disk has five seconds for what has come.
        match (5..COUNT).contains(&complete) {
            true => Ok(()),
            false => Err(stat.to_string()),
        }
    });

    let (scene, complete) = interrupted.expect("interrupted");
    // What was sent to it is counted by then.
    scene.store.wait_for_no_connection();
    let sent = scene.store.body_bytes_sent();
    let begun = Instant::now();
    let output = scene.run("warm", &[&[&*scene.uri("")], &words[..]].concat());
    let took = begun.elapsed();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.starts_with(&format!("{complete} of {COUNT} objects are in the cache")),
        "{text}"
    );
    let fetched = scene.store.body_bytes_sent() - sent;
    assert!(fetched <= (COUNT - complete) * 2 * MIB, "{fetched} bytes");
    let least = Duration::from_millis(fetched * 1000 / (10 * MIB));
    assert!(took >= least, "{took:?} for {fetched} bytes");
    assert_eq!(scene.json("verify").0, Some(0));
}

#[test]
fn what_does_not_fit_is_not_fetched_and_does_not_push_out_the_rest() {
    let scene = Scene::with_set(40, MIB);
    let words = [&*scene.uri(""), "--max-cache-size", "20"];
    let output = scene.run("warm", &words);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = error_of(&output);
    assert!(text.contains("the cache is full: 22 objects"), "{text}");
    assert!(text.contains("--max-cache-size"), "{text}");
    // What was sent is counted by then.
    scene.store.wait_for_no_connection();
    let fetched = scene.store.body_bytes_sent();
    assert_eq!(fetched, 18 * MIB);
    let (_, stat) = scene.json("stat");
    assert_eq!(stat["complete"], 18, "{stat}");
    // A mount with that limit keeps them. It is one that fetches no others ahead.
    let mount = scene.mount(&["--max-cache-size", "20", "--metadata-ttl", "minimal"]);
    for i in 0..18 {
        check(&mount, i, MIB);
    }
    assert_eq!(scene.store.body_bytes_sent(), fetched);
    let again = scene.run("warm", &words);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(
        String::from_utf8_lossy(&again.stdout).starts_with("18 of 40"),
        "{again:?}"
    );
}

#[test]
fn objects_that_vanish_or_fail_meanwhile_are_named() {
    let scene = Scene::with_set(10, MIB);
    let gone = Fault::Error {
        status: 404,
        code: "NoSuchKey".to_owned(),
    };
    scene.store.set_model(Model {
        rules: vec![
            Rule::new(gone).on("GetObject").under("set/0003"),
            Rule::new(Fault::Deny).on("GetObject").under("set/0005"),
        ],
        ..Model::default()
    });
    let output = scene.run("warm", &[&scene.uri("set/")]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = error_of(&output);
    assert!(text.contains("set/0003: was deleted meanwhile"), "{text}");
    assert!(
        text.contains("set/0005: ") && text.contains("AccessDenied"),
        "{text}"
    );
    assert_eq!(scene.json("stat").1["complete"], 8);
}

#[test]
fn flipped_bits_are_found_once_and_fetched_again() {
    let scene = Scene::with_set(6, 3 * MIB);
    scene.warm(&[&scene.uri("")]);
    let mount = scene.mount(&[]);
    let (status, good) = scene.json("verify");
    assert_eq!(
        (status, &good["ok"]),
        (Some(0), &Value::Bool(true)),
        "{good}"
    );
    assert_eq!(
        (&good["entries"], &good["good_blocks"]),
        (&6.into(), &144.into())
    );
    let data = scene.files("data");
    flip(&data[1], 5);
    flip(&data[1], 2 * MIB);
    flip(&data[4], 3 * MIB - 1);
    flip(&scene.files("map")[2], 50);
    let (status, bad) = scene.json("verify");
    assert_eq!(
        (status, &bad["ok"]),
        (Some(3), &Value::Bool(false)),
        "{bad}"
    );
    assert_eq!(
        (&bad["bad_blocks"], &bad["unusable"]),
        (&3.into(), &1.into())
    );
    assert_eq!(bad["good_blocks"], 144 - 24 - 3);
    let output = scene.run("verify", &[]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "what was bad is forgotten: {output:?}"
    );
    let gets = scene.gets();
    for i in 0..6 {
        check(&mount, i, 3 * MIB);
    }
    assert!(scene.gets() > gets);
    let text = scene.warm(&[&scene.uri("")]);
    assert!(text.contains(" of 6 objects are in the cache"), "{text}");
    assert_eq!(scene.json("stat").1["complete"], 6);
    let text = String::from_utf8(scene.run("stat", &[]).stdout).expect("text");
    assert!(
        text.contains("objects        6; versions: 6 complete, 0 in part"),
        "{text}"
    );
    assert!(
        text.contains("18.0 MiB of 18.0 MiB") && text.contains(" free"),
        "{text}"
    );
}

#[test]
fn evicted_files_stay_readable_for_who_has_them_open() {
    let scene = Scene::with_set(10, 2 * MIB);
    scene.warm(&[&scene.uri("")]);
    let mount = scene.mount(&["--read-only"]);
    let mut open = File::open(mount.join(&name(4))).expect("opened");
    let mut begin = vec![0; 1000];
    open.read_exact(&mut begin).expect("read");
    let evict = |words: &[&str]| {
        let output = scene.run("evict", words);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        text.split(' ')
            .next()
            .expect("a word")
            .parse::<u64>()
            .expect("a number")
    };
    assert_eq!(evict(&["--older-than", "1h"]), 0);
    assert_eq!(evict(&[&scene.uri(&name(0))]), 1);
    let list = scene.directory.path().join("list");
    fs::write(&list, "0001\n0002\nnone\n").expect("written");
    assert_eq!(
        evict(&[&scene.uri("set/"), "--list", list.to_str().expect("UTF-8")]),
        2
    );
    assert_eq!(evict(&["--to-size", "11"]), 2);
    assert_eq!(scene.json("stat").1["complete"], 5);
    assert_eq!(evict(&[&scene.uri("set/")]), 5);
    assert_eq!(scene.json("stat").1["complete"], 0);
    scene.warm(&[&scene.uri("")]);
    assert_eq!(evict(&["--all"]), 10);
    assert_eq!(evict(&["--older-than", "0s"]), 0);
    assert_eq!(scene.files("data").len() + scene.files("map").len(), 0);
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).expect("read");
    assert!(rest == bytes(4, 1000, 2 * MIB - 1000));
    for i in 0..10 {
        check(&mount, i, 2 * MIB);
    }
    assert_eq!(scene.run("evict", &[]).status.code(), Some(2));
    assert_eq!(
        scene
            .run("evict", &["--all", "--to-size", "1"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn all_commands_at_once_beside_a_mount_never_give_wrong_bytes() {
    let scene = Scene::with_set(20, MIB + 1);
    let mount = scene.mount(&[]);
    thread::scope(|scope| {
        let begun = Instant::now();
        let goes_on = move || begun.elapsed() < Duration::from_secs(5);
        for action in ["warm", "evict", "verify", "stat"] {
            let scene = &scene;
            scope.spawn(move || {
                let words = match action {
                    "warm" => vec![scene.uri("")],
                    "evict" => vec!["--to-size".to_owned(), "7".to_owned()],
                    _ => Vec::new(),
                };
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                while goes_on() {
                    let output = scene.run(action, &words);
                    // What was evicted meanwhile is not in the cache.
                    let is_good = output.status.code() == Some(0) || action == "warm";
                    assert!(
                        is_good && output.status.code() != Some(101),
                        "{action}: {output:?}"
                    );
                }
            });
        }
        for worker in 0..2 {
            let mount = &mount;
            scope.spawn(move || {
                while goes_on() {
                    for i in 0..10 {
                        check(mount, worker * 10 + i, MIB + 1);
                    }
                }
            });
        }
    });
    scene.warm(&[&scene.uri("")]);
    assert_eq!(scene.json("verify").0, Some(0));
}

#[test]
fn directories_that_are_no_cache_of_ones_own_are_refused_with_the_remedy() {
    let scene = Scene::with_set(1, 100);
    let refused = |actions: &[&str], reason: &str| {
        for action in actions {
            let uri = scene.uri("");
            let words: &[&str] = match *action {
                "warm" => &[&uri],
                "evict" => &["--all"],
                _ => &[],
            };
            let output = scene.run(action, words);
            assert_eq!(output.status.code(), Some(1), "{action}: {output:?}");
            let text = error_of(&output);
            assert!(text.contains(reason), "{action}: {text}");
        }
    };
    let all = ["warm", "stat", "verify", "evict"];
    let own = scene.directory.path().join("mount-s3-cache");
    let output = scene.run("stat", &[]);
    assert!(
        error_of(&output).contains("To fix it: name the directory"),
        "{output:?}"
    );
    assert!(!own.exists(), "looking makes nothing");
    refused(&all[1..], "there is no cache in");
    scene.warm(&[&scene.uri("")]);
    fs::set_permissions(&own, Permissions::from_mode(0o755)).expect("set");
    refused(&all, "can be used by others: chmod 700");
    fs::set_permissions(&own, Permissions::from_mode(0o700)).expect("set");
    chown(&own, Some(1), Some(1)).expect("given away");
    refused(&all, "belongs to another user");
    fs::remove_dir_all(&own).expect("removed");
    symlink("/tmp", &own).expect("linked");
    refused(&all, "is a symbolic link");
    fs::remove_file(&own).expect("removed");
    fs::set_permissions(scene.directory.path(), Permissions::from_mode(0o777)).expect("set");
    fs::create_dir(&own).expect("made");
    refused(&all, "can be written by others");
    assert_eq!(scene.gets(), 1, "that of the cache that was made");
}
