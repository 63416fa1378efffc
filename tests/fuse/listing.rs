//! Large listings and walks through many directories on all stores: nothing is missing, nothing
//! comes twice, and it costs few requests more than a serial listing.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::thread;

use crate::namespace::on_all_stores;
use crate::passthrough::drop_pages;
use crate::support::local::Local;
use crate::support::store::TestStore;
use crate::support::wait::{LONG, once_in_five, wait_for};

on_all_stores!(
    large_directory_is_listed_whole,
    walk_through_many_directories_finds_every_file,
);

fn large_directory_is_listed_whole(store: &dyn TestStore) {
    let bucket = store.fresh_bucket();
    let mut keys: Vec<String> = (0..6_500).map(|i| format!("d/n{i:05}")).collect();
    // Directories and files whose order depends on whether a `/` counts.
    for i in (0..6_500).step_by(61) {
        keys.push(format!("d/n{i:05}-x"));
        keys.push(format!("d/n{i:05}_y/z"));
        keys.push(format!("d/n{i:05}_y-x"));
    }
    put_all(store, &bucket, &keys);
    let expected: BTreeSet<String> = keys.iter().map(|key| component(key, 1)).collect();
    let mount = store.mounting(&bucket).mount();
    for _ in 0..2 {
        let names = entries(&mount.join("d"));
        let found: BTreeSet<String> = names.iter().cloned().collect();
        assert_eq!(found.len(), names.len(), "a name comes twice");
        assert!(
            found == expected,
            "{} names are missing",
            expected.len() - found.len()
        );
    }
}

fn walk_through_many_directories_finds_every_file(store: &dyn TestStore) {
    let bucket = store.fresh_bucket();
    let keys: Vec<String> = (0..40)
        .flat_map(|i| (0..5).map(move |j| format!("w/c{i:02}/f{j}")))
        .collect();
    put_all(store, &bucket, &keys);
    let mount = store.mounting(&bucket).mount();
    let mut found = Vec::new();
    for directory in entries(&mount.join("w")) {
        for file in entries(&mount.join("w").join(&directory)) {
            found.push(format!("w/{directory}/{file}"));
        }
    }
    found.sort_unstable();
    assert_eq!(found, keys);
}

#[test]
fn large_directory_costs_a_fifth_more_requests_at_most() {
    once_in_five(|_| {
        let server = Local::start();
        server.create_bucket("large");
        server.plant_many("large", "d/", 30_000, 1);
        let mount = server.mounting("large").mount();
        let directory = mount.join("d");
        assert!(fs::metadata(&directory).unwrap().is_dir());
        let before = server.count("ListObjectsV2");
        // The directory itself is asked for once more when this comes a second later.
        let names = entries(&directory);
        assert!(names.is_sorted() && names.len() == 30_000);
        match server.count("ListObjectsV2") - before {
            30..=36 => Ok(()),
            requests => Err(format!("{requests} for 30 pages")),
        }
    });
}

/// Every reader gets every entry though the kernel, which has kept them, drops them meanwhile.
#[test]
fn directory_that_the_kernel_forgets_is_read_on() {
    let server = Local::start();
    server.create_bucket("large");
    server.plant_many("large", "d/", 5_000, 1);
    let flags = ["--metadata-ttl", "60", "--allow-delete"];
    let mount = server.mounting("large").with(&flags).mount();
    let directory = mount.join("d");
    let name = |entry: io::Result<DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    // Longer than one answer of the kernel to who reads a directory.
    for removed in [0, 500] {
        // Another test may let it drop them.
        let (names, lists, mut found, reader) =
            wait_for("the kernel has the entries", LONG, || {
                let names = entries(&directory);
                assert_eq!(names.len(), 5_000);
                let lists = server.count("ListObjectsV2");
                let mut reader = fs::read_dir(&directory).unwrap();
                let found: Vec<String> = reader.by_ref().take(removed + 10).map(name).collect();
                let is_kept = server.count("ListObjectsV2") == lists;
                is_kept.then_some((names, lists, found, reader))
            });
        for name in &found[..removed] {
            fs::remove_file(directory.join(name)).unwrap();
        }
        drop_pages();
        found.extend(reader.map(name));
        assert!(
            server.count("ListObjectsV2") > lists,
            "the kernel has forgotten them"
        );
        if removed == 0 {
            assert!(found == names);
        } else {
            let found: BTreeSet<String> = found.into_iter().collect();
            assert!(found.iter().eq(&names), "{} names came", found.len());
        }
    }
}

/// The names in a directory, as they come.
fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

fn component(key: &str, at: usize) -> String {
    key.split('/').nth(at).unwrap().to_owned()
}

fn put_all(store: &dyn TestStore, bucket: &str, keys: &[String]) {
    thread::scope(|scope| {
        for some in keys.chunks(keys.len().div_ceil(8)) {
            scope.spawn(move || some.iter().for_each(|key| store.put(bucket, key, b"1")));
        }
    });
}
