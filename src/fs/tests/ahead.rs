//! Files that are fetched before they are opened.

use std::time::Instant;

use super::renaming::{CREATE, find, mounted, place, rename, text};
use super::*;
use crate::prefetch::{PrefetchCounters, Prefetcher};
use crate::s3::Prefix;
use crate::wait::LONG;

const SIZE: u32 = 10_000;
const FILES: usize = 60;
const READ: usize = 6;

fn name(i: usize) -> String {
    format!("d/{i:03}")
}

/// A directory of files of distinct bytes, and a mount that may change them.
fn scene() -> (FakeStore, Fs) {
    let store = FakeStore::new();
    for i in 0..FILES {
        store.put_synthetic(&name(i), u64::from(SIZE), i as u64);
    }
    let fs = mounted(&store, |config| config.allow_overwrite = true);
    let fs = ahead(&store, fs);
    (store, fs)
}

fn ahead(store: &FakeStore, fs: Fs) -> Fs {
    let shared = Arc::new(store.clone());
    let prefetcher = Prefetcher::start(shared, ReadConfig::default(), &Prefix::default());
    fs.prefetching(Arc::new(prefetcher.expect("a thread")))
}

fn counters(fs: &Fs) -> PrefetchCounters {
    fs.prefetcher.as_ref().expect("a prefetcher").counters()
}

/// Opens, reads and closes a file.
fn bytes(fs: &Fs, name: &str) -> Result<Bytes, Errno> {
    let ino = find(fs, name)?.ino;
    let file = open(fs, ino, libc::O_RDONLY)?;
    let bytes = read(fs, file, 0, SIZE);
    block_on(fs.release(file)).expect("it closes");
    bytes
}

fn original(i: usize) -> Bytes {
    synthetic(i as u64, 0..u64::from(SIZE))
}

/// Reads the first files, and waits until the GETs of the next two have ended.
fn begin(store: &FakeStore, fs: &Fs) {
    for i in 0..READ {
        assert_eq!(bytes(fs, &name(i)), Ok(original(i)));
    }
    let end = Instant::now() + LONG;
    while gets(store, READ + 1) == 0 || store.bodies().in_flight > 0 {
        assert!(Instant::now() < end, "{:?}", counters(fs));
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn gets(store: &FakeStore, i: usize) -> usize {
    let log = store.log().into_iter();
    log.filter(|one| one.op == Op::Get && one.key == name(i))
        .count()
}

#[test]
fn files_in_order_are_read_from_what_was_fetched_ahead() {
    let (store, fs) = scene();
    begin(&store, &fs);
    for i in READ..FILES {
        assert_eq!(bytes(&fs, &name(i)), Ok(original(i)), "{i}");
    }
    // How many of them were there in time is the machine's to say.
    assert!(counters(&fs).hits > 0, "{:?}", counters(&fs));
}

#[test]
fn object_replaced_after_it_was_fetched_is_old_as_a_whole_or_new() {
    let (store, fs) = scene();
    let known = find(&fs, &name(READ)).expect("it is there");
    begin(&store, &fs);
    store.put(&name(READ), vec![0xff; SIZE as usize]);
    store.put(&name(READ + 1), vec![0xff; SIZE as usize]);
    // The version is believed in, and its bytes are here.
    let file = open(&fs, known.ino, libc::O_RDONLY).expect("it opens");
    for offset in (0..SIZE).step_by(1000) {
        let range = u64::from(offset)..u64::from(offset) + 1000;
        let expected = synthetic(READ as u64, range.clone());
        assert_eq!(read(&fs, file, range.start, 1000), Ok(expected));
    }
    // As long as the old version is believed in, its bytes; from then on those of the new one.
    let either = bytes(&fs, &name(READ + 1)).expect("it reads");
    assert!(either == original(READ + 1) || either == vec![0xff; SIZE as usize]);
}

#[test]
fn object_replaced_after_it_was_fetched_is_new_once_the_ttl_is_over() {
    let store = FakeStore::new();
    for i in 0..FILES {
        store.put_synthetic(&name(i), u64::from(SIZE), i as u64);
    }
    let fs = ahead(&store, mount(&store, Ttl::For(Duration::from_millis(200))));
    begin(&store, &fs);
    store.put(&name(READ), vec![0xff; SIZE as usize]);
    let end = Instant::now() + LONG;
    loop {
        // Never anything but one of the two.
        match bytes(&fs, &name(READ)) {
            Ok(old) if old == original(READ) => {}
            Ok(new) => {
                assert!(new == vec![0xff; SIZE as usize]);
                break;
            }
            Err(errno) => assert_eq!(errno, Errno::ESTALE),
        }
        assert!(Instant::now() < end, "the old version is read for ever");
    }
}

#[test]
fn object_fetched_before_it_was_replaced_here_is_read_as_it_is_now() {
    let (store, fs) = scene();
    begin(&store, &fs);
    let ino = find(&fs, &name(READ)).expect("it is there").ino;
    let file = open(&fs, ino, CREATE | libc::O_TRUNC).expect("it opens");
    assert_eq!(
        block_on(fs.write(file, 0, Bytes::from("new"))).ok(),
        Some(())
    );
    block_on(fs.flush(file, ME)).expect("it is stored");
    block_on(fs.release(file)).expect("it closes");
    assert_eq!(text(&fs, &name(READ)), "new");
}

#[test]
fn object_fetched_before_it_was_deleted_here_is_gone() {
    let (store, fs) = scene();
    begin(&store, &fs);
    let path = name(READ);
    let (parent, file) = place(&fs, &path).expect("a directory");
    let wasted = counters(&fs).wasted;
    block_on(fs.unlink(parent, file)).expect("it is deleted");
    assert!(counters(&fs).wasted >= wasted + u64::from(SIZE));
    assert_eq!(bytes(&fs, &path), Err(Errno::ENOENT));
}

#[test]
fn objects_fetched_before_they_were_renamed_here_are_where_they_are_now() {
    let (store, fs) = scene();
    begin(&store, &fs);
    rename(&fs, &name(READ), &name(READ + 1)).expect("it is renamed");
    assert_eq!(bytes(&fs, &name(READ)), Err(Errno::ENOENT));
    assert_eq!(bytes(&fs, &name(READ + 1)), Ok(original(READ)));
    rename(&fs, "d", "e").expect("it is renamed");
    assert_eq!(bytes(&fs, &name(READ + 2)), Err(Errno::ENOENT));
    for i in READ + 2..FILES {
        assert_eq!(bytes(&fs, &format!("e/{i:03}")), Ok(original(i)), "{i}");
    }
}

#[test]
fn open_without_a_read_leaves_the_file_to_the_next_one() {
    let (store, fs) = scene();
    begin(&store, &fs);
    let ino = find(&fs, &name(READ)).expect("it is there").ino;
    let wasted = counters(&fs).wasted;
    let file = open(&fs, ino, libc::O_RDONLY).expect("it opens");
    block_on(fs.release(file)).expect("it closes");
    assert!(counters(&fs).wasted >= wasted + u64::from(SIZE), "not read");
    assert_eq!(bytes(&fs, &name(READ)), Ok(original(READ)));
}

#[test]
fn direct_open_does_not_take_what_was_fetched() {
    let (store, fs) = scene();
    begin(&store, &fs);
    let ino = find(&fs, &name(READ)).expect("it is there").ino;
    store.clear_log();
    let file = open(&fs, ino, libc::O_RDONLY | libc::O_DIRECT).expect("it opens");
    assert!(!store.log().is_empty(), "a direct open must ask S3");
    assert_eq!(read(&fs, file, 0, SIZE), Ok(original(READ)));
}
