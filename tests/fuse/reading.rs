//! Byte-exact reads in every pattern.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use s3_test_server::synthetic;

use crate::namespace::on_all_stores;
use crate::support::local::Local;
use crate::support::store::TestStore;

on_all_stores!(
    s21_sequential_reads_in_every_block_size,
    s21_random_reads_buffered_and_direct,
    s21_strided_reads,
    s21_backward_reads,
    s21_reads_at_and_past_the_end,
    s21_mapped_file_read_in_order_and_at_random,
    s21_sixteen_threads_share_one_handle,
    s21_twenty_four_files_at_once,
);

/// Uneven on purpose: the last part is a short one.
const LENGTH: u64 = 37 * MIB + 12_345;

fn s21_sequential_reads_in_every_block_size(store: &dyn TestStore) {
    let (mount, content) = mounted(store);
    for block in [4_096, 65_537, 1 << 20, 5 << 20] {
        // A direct read sends each block to the file system as it is; the buffered one goes
        // through the kernel's readahead.
        for flags in [0, libc::O_DIRECT] {
            let mut file = open(&mount.join("f"), flags);
            let (mut buffer, mut offset) = (vec![0; block], 0);
            // Small direct blocks take long over the whole file and show nothing more.
            let end = if block < 65_536 {
                4 << 20
            } else {
                content.len()
            };
            while offset < end {
                let read = file.read(&mut buffer).unwrap();
                assert!(read > 0, "end of file at {offset}");
                assert!(
                    buffer[..read] == content[offset..offset + read],
                    "bytes at {offset}"
                );
                offset += read;
            }
        }
    }
}

fn s21_random_reads_buffered_and_direct(store: &dyn TestStore) {
    let (mount, content) = mounted(store);
    for flags in [0, libc::O_DIRECT] {
        let file = open(&mount.join("f"), flags);
        let mut random = Random(42);
        for _ in 0..120 {
            let length = 1 + random.below(300_000);
            check(&file, &content, random.below(LENGTH), length);
        }
    }
}

fn s21_strided_reads(store: &dyn TestStore) {
    let (mount, content) = mounted(store);
    let file = open(&mount.join("f"), 0);
    for stride in [300_000, 3 * MIB, 17 * MIB] {
        for offset in (0..LENGTH).step_by(usize::try_from(stride).unwrap()) {
            check(&file, &content, offset, 128 << 10);
        }
    }
}

fn s21_backward_reads(store: &dyn TestStore) {
    let (mount, content) = mounted(store);
    let file = open(&mount.join("f"), 0);
    for offset in (0..LENGTH)
        .step_by(700_001)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        check(&file, &content, offset, 256 << 10);
    }
}

fn s21_reads_at_and_past_the_end(store: &dyn TestStore) {
    let (mount, content) = mounted(store);
    for flags in [0, libc::O_DIRECT] {
        let file = open(&mount.join("f"), flags);
        check(&file, &content, LENGTH - 10, 4_096);
        check(&file, &content, LENGTH - 1, 1);
        for offset in [LENGTH, LENGTH + 1, LENGTH + 100 * MIB] {
            assert_eq!(
                file.read_at(&mut [0; 4_096], offset).unwrap(),
                0,
                "past the end"
            );
        }
        let empty = open(&mount.join("empty"), flags);
        assert_eq!(
            empty.read_at(&mut [0; 4_096], 0).unwrap(),
            0,
            "an empty file"
        );
    }
    assert_eq!(fs::read(mount.join("empty")).unwrap(), b"");
}

fn s21_mapped_file_read_in_order_and_at_random(store: &dyn TestStore) {
    let (mount, content) = mounted(store);
    let expected = tempfile::NamedTempFile::new().unwrap();
    fs::write(expected.path(), &content[..]).unwrap();
    let script = "
import mmap, random, sys
def mapped(path):
    with open(path, 'rb') as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
got, want = mapped(sys.argv[1]), mapped(sys.argv[2])
assert len(got) == len(want), (len(got), len(want))
random.seed(7)
for _ in range(300):
    at = random.randrange(len(want))
    assert got[at:at + 5000] == want[at:at + 5000], at
for at in range(0, len(want), 1 << 20):
    assert got[at:at + (1 << 20)] == want[at:at + (1 << 20)], at
";
    let status = Command::new("python3")
        .args(["-c", script])
        .args([mount.join("f"), expected.path().to_owned()])
        .status()
        .expect("run python3");
    assert!(status.success(), "the mapped file differs");
}

fn s21_sixteen_threads_share_one_handle(store: &dyn TestStore) {
    let (mount, content) = mounted(store);
    let file = open(&mount.join("f"), libc::O_DIRECT);
    thread::scope(|scope| {
        for seed in 0..16 {
            let (file, content) = (&file, &content);
            scope.spawn(move || {
                let mut random = Random(seed);
                for _ in 0..20 {
                    check(
                        file,
                        content,
                        random.below(LENGTH),
                        1 + random.below(200_000),
                    );
                }
                // Half of the threads stream a stretch of their own besides.
                if seed % 2 == 0 {
                    for block in 0..16 {
                        check(
                            file,
                            content,
                            seed * 2 * MIB + block * (128 << 10),
                            128 << 10,
                        );
                    }
                }
            });
        }
    });
}

fn s21_twenty_four_files_at_once(store: &dyn TestStore) {
    const FILES: u64 = 24;
    let bucket = store.fresh_bucket();
    let contents: Vec<_> = (0..FILES).map(|i| bytes(100 + i, 0, 3 * MIB + i)).collect();
    for (i, content) in contents.iter().enumerate() {
        store.put(&bucket, &format!("d/{i}"), content);
    }
    let mount = store.mounting(&bucket).mount();
    thread::scope(|scope| {
        for (i, content) in contents.iter().enumerate() {
            let path = mount.join(&format!("d/{i}"));
            scope.spawn(move || assert!(fs::read(path).unwrap() == *content, "file {i}"));
        }
    });
}

#[test]
fn s21_huge_object_is_right_where_it_is_looked_at() {
    const HUGE: u64 = 100 << 30;
    let store = Local::shared();
    let bucket = store.fresh_bucket();
    store.plant(&bucket, "huge", HUGE, 9);
    let mount = store.mounting(&bucket).mount();
    assert_eq!(fs::metadata(mount.join("huge")).unwrap().len(), HUGE);
    let file = open(&mount.join("huge"), 0);
    let mut random = Random(3);
    let spots = (0..60).map(|_| random.below(HUGE));
    // Offsets beyond 32 bits, part boundaries, and the end.
    for offset in spots.chain([0, (4 << 30) - 5, (64 << 30) - 4_096, HUGE - 777]) {
        let mut buffer = vec![0; 300_000];
        let length = file.read_at(&mut buffer, offset).unwrap();
        assert_eq!(
            length as u64,
            (HUGE - offset).min(300_000),
            "length at {offset}"
        );
        assert!(
            buffer[..length] == bytes(9, offset, length as u64),
            "bytes at {offset}"
        );
    }
    // A stretch of streaming far inside.
    for block in 0..64 {
        let offset = (70 << 30) + block * MIB;
        let mut buffer = vec![0; 1 << 20];
        file.read_exact_at(&mut buffer, offset).unwrap();
        assert!(buffer == bytes(9, offset, MIB), "bytes at {offset}");
    }
}

#[test]
fn random_reads_fetch_about_what_they_ask_for() {
    let store = Local::start();
    let bucket = store.fresh_bucket();
    store.plant(&bucket, "big", 4 << 30, 5);
    let mount = store.mounting(&bucket).mount();
    let file = open(&mount.join("big"), libc::O_DIRECT);
    let before = store.body_bytes_sent();
    let (mut random, mut asked) = (Random(11), 0);
    for _ in 0..200 {
        let offset = random.below((4 << 30) - MIB);
        let mut buffer = vec![0; 128 << 10];
        file.read_exact_at(&mut buffer, offset).unwrap();
        assert!(buffer == bytes(5, offset, 128 << 10), "bytes at {offset}");
        asked += buffer.len() as u64;
    }
    let fetched = store.body_bytes_sent() - before;
    assert!(
        fetched < asked + asked / 4,
        "{fetched} bytes fetched for {asked} asked"
    );
}

/// A mount of a bucket that holds `f`, with its content, and the empty file `empty`.
fn mounted(store: &dyn TestStore) -> (crate::support::mount::Mount, Arc<[u8]>) {
    let content = bytes(1, 0, LENGTH);
    let bucket = store.bucket_with(&[("f", &content), ("empty", b"")]);
    (store.mounting(&bucket).mount(), content.into())
}

fn open(path: &Path, flags: i32) -> File {
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .unwrap()
}

/// Reads once at `offset` and compares with the content, whose end may shorten the read.
fn check(file: &File, content: &[u8], offset: u64, length: u64) {
    let start = usize::try_from(offset).unwrap();
    let end = content.len().min(start + usize::try_from(length).unwrap());
    let mut buffer = vec![0; usize::try_from(length).unwrap()];
    let read = file.read_at(&mut buffer, offset).unwrap();
    assert_eq!(read, end - start, "length of the read at {offset}");
    assert!(buffer[..read] == content[start..end], "bytes at {offset}");
}

/// Synthetic content.
pub(crate) fn bytes(seed: u64, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    synthetic::fill(seed, offset, &mut bytes);
    bytes
}

/// Numbers that look random and are the same in every run (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % limit
    }
}

pub(crate) const MIB: u64 = 1 << 20;
