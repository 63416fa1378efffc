//! The operations, over the in-memory store, without a mount.

mod ahead;
mod directories;
mod foretaste;
mod gathering;
mod keeping;
mod model;
mod opening;
mod renaming;
mod staged;
mod writing;

use std::time::Duration;

use futures::FutureExt;
use futures::executor::block_on;

use super::*;
use crate::read::ReadConfig;
use crate::s3::fake::{FakeStore, Op, synthetic};
use crate::s3::{ErrorKind, Restore, StorageClass};
use crate::tree::{ROOT, TreeConfig, Ttl};

const CONFIG: FsConfig = FsConfig::new(7, 8);

const ME: Pid = Pid(1);

const CREATOR: Creator = Creator {
    mode: 0o100_600,
    uid: 5,
    gid: 6,
};

fn mount(store: &FakeStore, ttl: Ttl) -> Fs {
    let tree = TreeConfig {
        prefix: crate::s3::Prefix::default(),
        ttl,
        negative_ttl: ttl,
        details: false,
        pages: true,
        ordered: true,
    };
    let (read, write) = (ReadConfig::default(), WriteConfig::default());
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let tree = Tree::new(Arc::clone(&store), tree);
    Fs::new(store, tree, read, write, CONFIG)
}

fn lookup(fs: &Fs, name: &str) -> Result<Entry, Errno> {
    found(block_on(fs.lookup(ROOT, OsStr::new(name), ME)))
}

/// What a lookup has found, if anything.
fn found(lookup: Result<Lookup, Error>) -> Result<Entry, Errno> {
    match lookup.map_err(|error| error.errno())? {
        Lookup::Found(entry) => Ok(entry),
        Lookup::Missing { .. } => Err(Errno::ENOENT),
    }
}

fn open(fs: &Fs, ino: InodeNo, flags: i32) -> Result<HandleNo, Errno> {
    block_on(fs.open(ino, OpenFlags(flags), ME))
        .map(|opened| opened.file)
        .map_err(|error| error.errno())
}

/// Opens by name as the kernel does: after `ESTALE` the name is looked up once more.
fn open_name(fs: &Fs, name: &str) -> HandleNo {
    let try_open = || {
        let entry = lookup(fs, name).expect("it exists");
        open(fs, entry.attr.ino, libc::O_RDONLY)
    };
    match try_open() {
        Err(Errno::ESTALE) => try_open(),
        result => result,
    }
    .expect("it opens")
}

fn read(fs: &Fs, file: HandleNo, offset: u64, size: u32) -> Result<Bytes, Errno> {
    block_on(fs.read(file, offset, size)).map_err(|error| error.errno())
}

/// All names of a directory, read anew, `room` entries a call.
fn names(fs: &Fs, dir: HandleNo, room: usize) -> Result<Vec<String>, Errno> {
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let before = names.len();
        block_on(fs.readdir(dir, offset, false, &mut |entry| {
            if names.len() - before == room {
                return Emit::Full;
            }
            names.push(entry.name.to_str().expect("UTF-8").to_owned());
            offset = entry.next_offset;
            Emit::Taken
        }))
        .map_err(|error| error.errno())?;
        if names.len() == before {
            return Ok(names);
        }
    }
}

/// The kinds of the requests since the log was cleared.
fn requests(store: &FakeStore) -> Vec<Op> {
    store.log().iter().map(|logged| logged.op).collect()
}

#[test]
fn s11_minimal_validity_is_short_and_every_open_asks() {
    let store = FakeStore::new();
    store.put("f", "x");
    store.put("d/f", "x");
    let fs = mount(&store, Ttl::Minimal);
    let (file, dir) = (lookup(&fs, "f"), lookup(&fs, "d"));
    let (file, dir) = (file.expect("a file"), dir.expect("a directory"));
    assert!(file.valid_for <= Duration::from_millis(100));
    assert!(dir.valid_for <= Duration::from_secs(1));
    for _ in 0..2 {
        store.clear_log();
        open(&fs, file.attr.ino, libc::O_RDONLY).expect("it opens");
        assert!(!store.log().is_empty(), "an open must ask S3");
    }
}

#[test]
fn s11_with_a_ttl_opens_are_served_from_what_is_known_but_direct_ones() {
    let store = FakeStore::new();
    store.put("f", "x");
    let fs = mount(&store, Ttl::For(Duration::from_secs(60)));
    let ino = lookup(&fs, "f").expect("a file").attr.ino;
    store.clear_log();
    open(&fs, ino, libc::O_RDONLY).expect("it opens");
    assert_eq!(store.log(), []);
    open(&fs, ino, libc::O_RDONLY | libc::O_DIRECT).expect("it opens");
    assert!(!store.log().is_empty(), "a direct open must ask S3");
}

#[test]
fn s12_new_objects_are_visible_at_once() {
    let store = FakeStore::new();
    let fs = mount(&store, Ttl::Minimal);
    assert_eq!(lookup(&fs, "f"), Err(Errno::ENOENT));
    let dir = block_on(fs.opendir(ROOT)).expect("a directory").dir;
    assert_eq!(names(&fs, dir, 10), Ok(vec![".".into(), "..".into()]));
    store.put("f", "x");
    assert!(lookup(&fs, "f").is_ok());
    assert_eq!(
        names(&fs, dir, 10),
        Ok(vec![".".into(), "..".into(), "f".into()])
    );
}

#[test]
fn s13_handle_of_a_replaced_object_gives_old_bytes_or_estale() {
    let store = FakeStore::new();
    store.put_synthetic("f", 64 << 20, 1);
    let fs = mount(&store, Ttl::Minimal);
    let file = open_name(&fs, "f");
    let old = read(&fs, file, 0, 4096).expect("it reads");
    store.put("f", vec![0xff_u8; 64 << 20]);
    for offset in [0, 4096, 60 << 20] {
        match read(&fs, file, offset, 4096) {
            Ok(bytes) => assert!(
                bytes.iter().any(|byte| *byte != 0xff),
                "bytes of the new one"
            ),
            Err(errno) => assert_eq!(errno, Errno::ESTALE),
        }
    }
    assert_eq!(read(&fs, file, 60 << 20, 4096), Err(Errno::ESTALE));
    let new = read(&fs, open_name(&fs, "f"), 0, 4096).expect("it reads");
    assert_ne!(old, new);
    assert!(new.iter().all(|byte| *byte == 0xff));
}

#[test]
fn s13_open_of_a_replaced_object_is_stale_until_looked_up_again() {
    let store = FakeStore::new();
    store.put("f", "old");
    let fs = mount(&store, Ttl::Minimal);
    let old = lookup(&fs, "f").expect("a file").attr.ino;
    store.put("f", "new!");
    assert_eq!(open(&fs, old, libc::O_RDONLY), Err(Errno::ESTALE));
    let new = lookup(&fs, "f").expect("a file");
    assert_ne!(new.attr.ino, old);
    assert_eq!(new.attr.size, 4);
    assert!(open(&fs, new.attr.ino, libc::O_RDONLY).is_ok());
}

#[test]
fn s13_read_that_meets_a_replaced_object_ends_what_the_ttl_promised() {
    let store = FakeStore::new();
    store.put("f", "old");
    let fs = mount(&store, Ttl::For(Duration::from_secs(3600)));
    let ino = lookup(&fs, "f").expect("it exists").attr.ino;
    store.put("f", "new!");
    let file = open(&fs, ino, libc::O_RDONLY).expect("the old version is believed in");
    assert_eq!(read(&fs, file, 0, 10), Err(Errno::ESTALE));
    assert_eq!(open(&fs, ino, libc::O_RDONLY), Err(Errno::ESTALE));
    let file = open_name(&fs, "f");
    assert_eq!(read(&fs, file, 0, 10).as_deref(), Ok(&b"new!"[..]));
}

#[test]
fn s13_getattr_of_an_open_file_is_of_its_version_and_costs_no_request() {
    let store = FakeStore::new();
    store.put("f", "old");
    let fs = mount(&store, Ttl::Minimal);
    let entry = lookup(&fs, "f").expect("a file");
    let file = open(&fs, entry.attr.ino, libc::O_RDONLY).expect("it opens");
    store.put("f", "newer");
    store.clear_log();
    let attr = block_on(fs.getattr(entry.attr.ino))
        .expect("attributes")
        .attr;
    assert_eq!(attr, entry.attr);
    assert_eq!(store.log(), []);
    block_on(fs.release(file)).expect("it closes");
    store.remove("f");
    std::thread::sleep(Duration::from_millis(110));
    let gone = block_on(fs.getattr(entry.attr.ino)).map_err(|error| error.errno());
    assert_eq!(gone, Err(Errno::ENOENT));
}

#[test]
fn s15_handle_that_reads_refuses_writes() {
    let store = FakeStore::new();
    store.put("f", "x");
    let fs = mount(&store, Ttl::Minimal);
    let ino = lookup(&fs, "f").expect("a file").attr.ino;
    let file = open(&fs, ino, libc::O_RDWR).expect("it opens for reading");
    let written = fs.write_now(file, 0, b"y").expect("an answer");
    assert_eq!(written.map_err(|error| error.errno()), Err(Errno::EBADF));
    assert_eq!(read(&fs, file, 0, 9), Ok(Bytes::from("x")));
    assert!(block_on(fs.flush(file, ME)).is_ok());
    for flags in [libc::O_SYNC, libc::O_DSYNC] {
        assert_eq!(open(&fs, ino, flags), Err(Errno::EINVAL));
    }
    assert_eq!(open(&fs, ino, libc::O_WRONLY), Err(Errno::EPERM));
}

#[test]
fn s20_opening_a_directory_as_a_file_and_the_other_way_fails() {
    let store = FakeStore::new();
    store.put("d/f", "x");
    store.put("f", "x");
    let fs = mount(&store, Ttl::Minimal);
    let dir = lookup(&fs, "d").expect("a directory").attr.ino;
    assert_eq!(open(&fs, dir, libc::O_RDONLY), Err(Errno::EISDIR));
    let file = lookup(&fs, "f").expect("a file").attr.ino;
    let opened = block_on(fs.opendir(file)).map_err(|error| error.errno());
    assert_eq!(opened, Err(Errno::ENOTDIR));
    assert_eq!(lookup(&fs, "missing"), Err(Errno::ENOENT));
}

#[test]
fn s21_reads_anywhere_and_stops_at_the_end() {
    let store = FakeStore::new();
    store.put("f", "0123456789");
    store.put("empty", "");
    let fs = mount(&store, Ttl::Minimal);
    let file = open_name(&fs, "f");
    let text = |offset, size| read(&fs, file, offset, size).expect("it reads");
    assert_eq!(text(0, 4), "0123");
    assert_eq!(text(8, 4), "89");
    assert_eq!(text(2, 3), "234");
    assert_eq!(text(10, 4), "");
    assert_eq!(text(u64::MAX - 1, 4), "");
    let empty = open_name(&fs, "empty");
    assert_eq!(read(&fs, empty, 0, 4), Ok(Bytes::new()));
}

#[test]
fn s21_failed_get_is_an_io_error() {
    for kind in [ErrorKind::Connection, ErrorKind::Integrity] {
        let store = FakeStore::new();
        store.put("f", "0123456789");
        let fs = mount(&store, Ttl::For(Duration::from_secs(60)));
        let file = open_name(&fs, "f");
        store.fail_next(Op::Get, Some("f"), kind, usize::MAX);
        assert_eq!(read(&fs, file, 0, 4), Err(Errno::EIO), "{kind:?}");
    }
}

#[test]
fn s32_s33_attributes_and_statfs_are_those_of_the_contract() {
    let store = FakeStore::new();
    store.put("f", vec![0_u8; 513]);
    let fs = mount(&store, Ttl::Minimal);
    let attr = lookup(&fs, "f").expect("a file").attr;
    assert_eq!((attr.size, attr.blocks, attr.nlink), (513, 2, 1));
    assert_eq!((attr.uid, attr.gid, attr.mode), (7, 8, 0o644));
    let stat = fs.statfs();
    assert_eq!(stat.capacity, u64::MAX / 1024);
    assert_eq!((stat.block_size, stat.name_max), (512, 255));
}

#[test]
fn s34_archived_object_is_shown_without_permissions_and_not_opened() {
    let store = FakeStore::new();
    store.put("f", "x");
    store.set_storage("f", StorageClass::Archived, Restore::None);
    let fs = mount(&store, Ttl::Minimal);
    let attr = lookup(&fs, "f").expect("a file").attr;
    assert_eq!(attr.mode, 0);
    assert_eq!(open(&fs, attr.ino, libc::O_RDONLY), Err(Errno::EACCES));
    store.set_storage("f", StorageClass::Archived, Restore::Done);
    // A listing is believed for a second.
    std::thread::sleep(Duration::from_millis(1010));
    let attr = lookup(&fs, "f").expect("a file").attr;
    assert_eq!(attr.mode, 0o644);
    assert_eq!(read(&fs, open_name(&fs, "f"), 0, 1), Ok(Bytes::from("x")));
}

#[test]
fn s35_denied_listing_is_eacces_and_long_names_are_enametoolong() {
    let store = FakeStore::new();
    store.put("f", "x");
    let fs = mount(&store, Ttl::Minimal);
    store.fail_next(Op::List, None, ErrorKind::Denied, 1);
    assert_eq!(lookup(&fs, "f"), Err(Errno::EACCES));
    assert_eq!(lookup(&fs, &"n".repeat(256)), Err(Errno::ENAMETOOLONG));
}

#[test]
fn s06_directory_is_read_in_pieces_rewound_and_not_sought() {
    let store = FakeStore::new();
    store.set_page_size(3);
    for index in 0..10 {
        store.put(&format!("f{index}"), "x");
    }
    let fs = mount(&store, Ttl::Minimal);
    let dir = block_on(fs.opendir(ROOT)).expect("a directory").dir;
    let mut expected = vec![String::from("."), String::from("..")];
    expected.extend((0..10).map(|index| format!("f{index}")));
    assert_eq!(names(&fs, dir, 4).as_ref(), Ok(&expected));
    assert_eq!(names(&fs, dir, 100).as_ref(), Ok(&expected));
    let sought = block_on(fs.readdir(dir, 999, false, &mut |_| Emit::Taken));
    assert_eq!(sought.map_err(|error| error.errno()), Err(Errno::EBADF));
    fs.releasedir(dir).expect("it closes");
    assert_eq!(names(&fs, dir, 4), Err(Errno::EINVAL));
}

#[test]
fn readdir_that_fails_midway_says_so_to_the_next_read_only() {
    let store = FakeStore::new();
    store.set_page_size(3);
    for index in 0..6 {
        store.put(&format!("f{index}"), "x");
    }
    let fs = mount(&store, Ttl::Minimal);
    let dir = block_on(fs.opendir(ROOT)).expect("a directory").dir;
    let (mut taken, mut offset) = (0, 0);
    block_on(fs.readdir(dir, 0, true, &mut |entry| {
        taken += 1;
        offset = entry.next_offset;
        Emit::Taken
    }))
    .expect("the first page");
    store.fail_next(Op::List, None, ErrorKind::Throttled, 1);
    let second = block_on(fs.readdir(dir, offset, true, &mut |_| Emit::Taken));
    assert_eq!(second.map_err(|error| error.errno()), Err(Errno::EIO));
    block_on(fs.readdir(dir, offset, true, &mut |_| {
        taken += 1;
        Emit::Taken
    }))
    .expect("the second page, on another try");
    assert_eq!(taken, 2 + 6);
}

#[test]
fn use_of_a_closed_handle_is_refused() {
    let store = FakeStore::new();
    store.put("f", "x");
    let fs = mount(&store, Ttl::Minimal);
    let file = open_name(&fs, "f");
    block_on(fs.release(file)).expect("it closes");
    assert_eq!(read(&fs, file, 0, 1), Err(Errno::EBADF));
    let written = fs.write_now(file, 0, b"y").expect("an answer");
    assert_eq!(written.map_err(|e| e.errno()), Err(Errno::EBADF));
    let released = block_on(fs.release(file));
    assert_eq!(released.map_err(|e| e.errno()), Err(Errno::EBADF));
}
