//! Files that are fetched before they are opened.

use std::fs;
use std::ops::RangeInclusive;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::lifecycle::status_bytes;
use crate::reading::{MIB, bytes};
use crate::support::local::Local;
use crate::support::mount::Mount;
use crate::support::store::TestStore;
use crate::support::wait::{LONG, once_in_five, wait_for};

const SIZE: u64 = 100 << 10;

fn name(i: u64) -> String {
    format!("set/{i:04}")
}

/// A mount of a directory of `count` files of `size` bytes.
fn scene(count: u64, size: u64, arguments: &[&str]) -> (Local, Mount) {
    let store = Local::start();
    let bucket = store.fresh_bucket();
    for i in 0..count {
        store.plant(&bucket, &name(i), size, i);
    }
    let mount = store.mounting(&bucket).with(arguments).mount();
    (store, mount)
}

fn check(mount: &Mount, i: u64, size: u64) {
    let read = fs::read(mount.join(&name(i))).unwrap();
    assert!(read == bytes(i, 0, size), "bytes of file {i}");
}

/// Whether so many GETs were sent as were `expected`. What takes a second, or much longer than others,
/// is asked for twice.
fn are_gets(store: &Local, expected: RangeInclusive<u64>) -> Result<(), String> {
    let gets = store.count("GetObject");
    if expected.contains(&gets) {
        Ok(())
    } else {
        Err(format!("{gets} GETs instead of {expected:?}"))
    }
}

fn prefetch(mount: &Mount, list: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list");
    fs::write(&path, list).unwrap();
    Command::new(env!("CARGO_BIN_EXE_mount-s3"))
        .args(["prefetch", "--list"])
        .arg(path)
        .arg(mount.join("set"))
        .output()
        .unwrap()
}

#[test]
fn files_in_listing_order_are_right_and_hardly_any_is_fetched_twice() {
    once_in_five(|_| {
        let (store, mount) = scene(1500, SIZE, &["--metadata-ttl", "60"]);
        for i in 0..1500 {
            check(&mount, i, SIZE);
        }
        let are_few = are_gets(&store, 1500..=1599);
        assert_eq!(mount.unmount().code(), Some(0));
        are_few
    });
}

#[test]
fn shuffled_files_that_do_not_fit_into_memory_are_right() {
    const FILES: u64 = 900;
    let arguments = ["--metadata-ttl", "60", "--memory-target", "512"];
    let (store, mount) = scene(FILES, MIB, &arguments);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed) as u64;
                    if i >= FILES {
                        return;
                    }
                    // Every number once: 407 and 900 have no common divisor.
                    check(&mount, i * 407 % FILES, MIB);
                }
            });
        }
    });
    let peak = status_bytes(mount.pid(), "VmHWM");
    assert!(peak <= 600 * MIB, "{} MiB", peak / MIB);
    let (asked, sent) = (FILES * MIB, store.body_bytes_sent());
    assert!(
        sent < asked + asked / 8 + 32 * MIB,
        "{} MiB were fetched for {} MiB",
        sent / MIB,
        asked / MIB
    );
    assert_eq!(mount.unmount().code(), Some(0));
}

#[test]
fn nothing_is_fetched_ahead_unless_answers_are_believed_for_a_while() {
    once_in_five(|_| {
        let (store, mount) = scene(100, SIZE, &[]);
        for i in 0..50 {
            check(&mount, i, SIZE);
        }
        assert_eq!(mount.unmount().code(), Some(0));
        are_gets(&store, 50..=50)
    });
}

#[test]
fn files_are_fetched_in_an_order_that_was_told() {
    let order: Vec<u64> = (0..100).map(|i| i * 77 % 300).collect();
    let list: String = order.iter().map(|i| format!("{i:04}\n")).collect();
    let mut last = None;
    once_in_five(|_| {
        let (store, mount) = scene(300, SIZE, &["--metadata-ttl", "60"]);
        let output = prefetch(&mount, &list);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.starts_with("100 files are fetched"), "{output:?}");
        assert_eq!(output.status.code(), Some(0));
        for &i in &order {
            check(&mount, i, SIZE);
        }
        wait_for("all GETs have ended", LONG, || {
            (store.count("GetObject") >= 100).then_some(())
        });
        let are_few = are_gets(&store, 100..=110);
        // The mount first: it ends before its server.
        last = Some((mount, store));
        are_few
    });
    let last = last.expect("mounted");
    let mount = &last.0;

    let path = mount.join("set/0007");
    let output = prefetch(mount, &format!("{}\n\nnone\n0008\n", path.display()));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("list:3: no file that can be read: set/none"),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(last.0.unmount().code(), Some(0));
}

#[test]
fn mount_that_fetches_nothing_ahead_is_told_nothing() {
    let (_store, mount) = scene(1, SIZE, &[]);
    let output = prefetch(&mount, "0000\n");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("--metadata-ttl"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}
