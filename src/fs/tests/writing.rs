//! Writing, statement by statement (`sNN`).

mod failing;

use super::*;
use crate::write::Places;

const OTHER: Pid = Pid(u32::MAX);

const WRITE: i32 = libc::O_WRONLY;
const REPLACE: i32 = libc::O_WRONLY | libc::O_TRUNC;
const CREATE: i32 = libc::O_WRONLY | libc::O_CREAT;

pub(super) fn allowing(store: &FakeStore, ttl: Ttl, allow: impl FnOnce(&mut FsConfig)) -> Fs {
    let tree = TreeConfig {
        prefix: crate::s3::Prefix::default(),
        ttl,
        negative_ttl: ttl,
        details: false,
        pages: true,
        ordered: true,
    };
    let mut config = CONFIG;
    allow(&mut config);
    let write = WriteConfig {
        part_size: PART as u64,
        places: Places::new(2),
        ..WriteConfig::default()
    };
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let tree = Tree::new(Arc::clone(&shared), tree);
    Fs::new(shared, tree, ReadConfig::default(), write, config)
}

fn store() -> FakeStore {
    let store = FakeStore::new();
    store.set_upload_part_size(PART);
    store
}

const PART: usize = 1000;

fn create(fs: &Fs, name: &str) -> Result<(Entry, HandleNo), Errno> {
    block_on(fs.create(ROOT, OsStr::new(name), CREATOR, OpenFlags(CREATE), ME))
        .map(|(entry, opened)| (entry, opened.file))
        .map_err(|error| error.errno())
}

fn write(fs: &Fs, file: HandleNo, offset: u64, data: &[u8]) -> Result<(), Errno> {
    let written = fs.write_now(file, offset, data);
    let written =
        written.unwrap_or_else(|| block_on(fs.write(file, offset, Bytes::copy_from_slice(data))));
    written.map_err(|error| error.errno())
}

fn flush(fs: &Fs, file: HandleNo, by: Pid) -> Result<(), Errno> {
    block_on(fs.flush(file, by)).map_err(|error| error.errno())
}

fn fsync(fs: &Fs, file: HandleNo) -> Result<(), Errno> {
    block_on(fs.fsync(file)).map_err(|error| error.errno())
}

fn release(fs: &Fs, file: HandleNo) -> Result<(), Errno> {
    block_on(fs.release(file)).map_err(|error| error.errno())
}

fn unlink(fs: &Fs, name: &str) -> Result<(), Errno> {
    block_on(fs.unlink(ROOT, OsStr::new(name))).map_err(|error| error.errno())
}

fn rename(fs: &Fs, from: &str, to: &str, mode: RenameMode) -> Result<(), Errno> {
    let (from, to) = (OsStr::new(from), OsStr::new(to));
    block_on(fs.rename((ROOT, from), (ROOT, to), mode)).map_err(|error| error.errno())
}

fn listed(fs: &Fs) -> Vec<String> {
    let dir = block_on(fs.opendir(ROOT)).expect("a directory").dir;
    names(fs, dir, 100).expect("it is read").split_off(2)
}

#[test]
fn s06_local_files_and_directories_are_listed_once() {
    let store = store();
    for key in ["a", "c", "d/x"] {
        store.put(key, "x");
    }
    let fs = allowing(&store, Ttl::Minimal, |allow| allow.allow_overwrite = true);
    let (_, file) = create(&fs, "b").expect("it is made");
    let ino = lookup(&fs, "c").expect("a file").attr.ino;
    open(&fs, ino, REPLACE).expect("it opens");
    block_on(fs.mkdir(ROOT, OsStr::new("e"))).expect("it is made");
    assert_eq!(listed(&fs), ["a", "c", "d", "b", "e"]);
    write(&fs, file, 0, b"x").expect("it is written");
    flush(&fs, file, ME).expect("it is stored");
    assert_eq!(listed(&fs), ["a", "b", "c", "d", "e"]);
}

#[test]
fn s06_file_that_is_stored_while_it_is_listed_is_listed_once() {
    for stored_after in 0..4 {
        let store = store();
        store.set_page_size(1);
        for key in ["a", "c", "e"] {
            store.put(key, "x");
        }
        let fs = allowing(&store, Ttl::Minimal, |_| {});
        let files = ["b", "z"].map(|name| create(&fs, name).expect("it is made").1);
        let dir = block_on(fs.opendir(ROOT)).expect("a directory").dir;
        let (mut names, mut offset) = (Vec::new(), 0);
        for turn in 0.. {
            if turn == stored_after {
                for file in files {
                    fsync(&fs, file).expect("it is stored");
                }
            }
            let before = names.len();
            block_on(fs.readdir(dir, offset, true, &mut |entry| {
                names.push(entry.name.to_str().expect("UTF-8").to_owned());
                offset = entry.next_offset;
                Emit::Taken
            }))
            .expect("it is read");
            if names.len() == before {
                break;
            }
        }
        names.sort_unstable();
        assert_eq!(
            names,
            [".", "..", "a", "b", "c", "e", "z"],
            "{stored_after}"
        );
    }
}

#[test]
fn s12_changes_of_this_mount_show_at_once_whatever_the_ttl() {
    let store = store();
    store.put("old", "x");
    let hour = Ttl::For(Duration::from_secs(3600));
    let fs = allowing(&store, hour, |allow| {
        (allow.allow_delete, allow.allow_overwrite, allow.can_rename) = (true, true, true);
    });
    assert_eq!(lookup(&fs, "new").err(), Some(Errno::ENOENT));
    let (entry, file) = create(&fs, "new").expect("it is made");
    assert_eq!(entry.valid_for, Duration::ZERO);
    write(&fs, file, 0, b"12345").expect("it is written");
    assert_eq!(lookup(&fs, "new").expect("a file").attr.size, 5);
    flush(&fs, file, ME).expect("it is stored");
    assert_eq!(lookup(&fs, "new").expect("a file").attr.size, 5);
    let stale = block_on(fs.getattr(lookup(&fs, "new").expect("a file").attr.ino));
    assert_eq!(stale.expect("attributes").attr.size, 5);
    let old = lookup(&fs, "old").expect("a file").attr.ino;
    rename(&fs, "old", "new", RenameMode::Replace).expect("it is renamed");
    assert_eq!(lookup(&fs, "old").err(), Some(Errno::ENOENT));
    assert_eq!(lookup(&fs, "new").expect("a file").attr.size, 1);
    assert_eq!(block_on(fs.getattr(old)).expect("moved along").attr.size, 1);
    unlink(&fs, "new").expect("it is deleted");
    assert_eq!(lookup(&fs, "new").err(), Some(Errno::ENOENT));
    assert_eq!(listed(&fs), [""; 0]);
}

#[test]
fn s12_answer_that_was_asked_for_before_a_change_does_not_outlive_it() {
    let store = store();
    let fs = allowing(&store, Ttl::Minimal, |_| {});
    let (_, file) = create(&fs, "f").expect("it is made");
    write(&fs, file, 0, b"12345").expect("it is written");
    // There is no object yet, and that is not said before the release.
    store.hold_next(Op::List, Some(""), 1);
    let mut lookup_before = Box::pin(fs.lookup(ROOT, OsStr::new("f"), ME));
    assert!((&mut lookup_before).now_or_never().is_none());
    flush(&fs, file, ME).expect("it is stored");
    store.release();
    let entry = found(block_on(lookup_before)).expect("it is stored by now");
    assert_eq!(entry.attr.size, 5);
    assert_eq!(lookup(&fs, "f").expect("a file").attr.size, 5);
}

#[test]
fn s15_new_file_opened_for_both_writes_and_cannot_be_read() {
    let fs = allowing(&store(), Ttl::Minimal, |_| {});
    let flags = OpenFlags(libc::O_RDWR | libc::O_CREAT);
    let (_, opened) =
        block_on(fs.create(ROOT, OsStr::new("f"), CREATOR, flags, ME)).expect("it is made");
    assert_eq!(opened.kind, OpenKind::Writes);
    write(&fs, opened.file, 0, b"x").expect("it is written");
    assert_eq!(read(&fs, opened.file, 0, 1), Err(Errno::EBADF));
    let flags = OpenFlags(libc::O_WRONLY | libc::O_CREAT | libc::O_SYNC);
    let synchronous = block_on(fs.create(ROOT, OsStr::new("g"), CREATOR, flags, ME));
    assert_eq!(
        synchronous.map(drop).map_err(|e| e.errno()),
        Err(Errno::EINVAL)
    );
    assert_eq!(lookup(&fs, "g").err(), Some(Errno::ENOENT));
}

#[test]
fn s17_file_that_was_made_and_not_opened_cannot_be_read_but_written() {
    let store = store();
    let fs = allowing(&store, Ttl::Minimal, |allow| allow.allow_delete = true);
    let make = |mode| {
        let creator = Creator { mode, ..CREATOR };
        block_on(fs.mknod(ROOT, OsStr::new("f"), creator)).map_err(|e| e.errno())
    };
    for mode in [libc::S_IFIFO, libc::S_IFCHR, libc::S_IFSOCK] {
        assert_eq!(make(mode | 0o600).err(), Some(Errno::EINVAL));
    }
    let ino = make(libc::S_IFREG | 0o600).expect("it is made").attr.ino;
    assert_eq!(make(libc::S_IFREG).err(), Some(Errno::EEXIST));
    assert_eq!(open(&fs, ino, libc::O_RDONLY), Err(Errno::EPERM));
    assert_eq!(unlink(&fs, "f"), Err(Errno::EPERM));
    assert_eq!(listed(&fs), ["f"]);
    let file = open(&fs, ino, WRITE).expect("it opens");
    assert_eq!(open(&fs, ino, WRITE), Err(Errno::EPERM));
    release(&fs, file).expect("it is stored");
    assert_eq!(store.body("f").as_deref(), Some(&b""[..]));
}

#[test]
fn s18_reader_that_was_closed_gives_way_and_its_duplicate_is_invalid() {
    let store = store();
    store.put("f", "old");
    let fs = allowing(&store, Ttl::Minimal, |allow| allow.allow_overwrite = true);
    let ino = lookup(&fs, "f").expect("a file").attr.ino;
    let reader = open(&fs, ino, libc::O_RDONLY).expect("it opens");
    assert_eq!(open(&fs, ino, REPLACE), Err(Errno::EPERM));
    flush(&fs, reader, ME).expect("it closes");
    assert_eq!(read(&fs, reader, 0, 9), Ok(Bytes::from("old")));
    assert_eq!(
        open(&fs, ino, REPLACE),
        Err(Errno::EPERM),
        "it is in use again"
    );
    flush(&fs, reader, ME).expect("it closes");
    let writer = open(&fs, ino, REPLACE).expect("it opens");
    assert_eq!(read(&fs, reader, 0, 9), Err(Errno::EBADF));
    write(&fs, writer, 0, b"new").expect("it is written");
    flush(&fs, writer, ME).expect("it is stored");
    assert_eq!(read(&fs, open_name(&fs, "f"), 0, 9), Ok(Bytes::from("new")));
}

#[test]
fn s18_open_that_finishes_a_closed_writer_is_told_of_its_failure_once() {
    let store = store();
    let fs = allowing(&store, Ttl::Minimal, |_| {});
    let (entry, file) = create(&fs, "f").expect("it is made");
    write(&fs, file, 0, b"x").expect("it is written");
    flush(&fs, file, OTHER).expect("it waits for its release");
    store.fail_next(Op::Put, Some("f"), ErrorKind::Denied, 1);
    let ino = entry.attr.ino;
    assert_eq!(open(&fs, ino, libc::O_RDONLY), Err(Errno::EACCES));
    assert_eq!(open(&fs, ino, libc::O_RDONLY), Err(Errno::ESTALE));
    assert_eq!(lookup(&fs, "f").err(), Some(Errno::ENOENT));
    assert_eq!(write(&fs, file, 1, b"y"), Err(Errno::EBADF));
    assert_eq!(release(&fs, file), Err(Errno::EACCES));
    create(&fs, "f").expect("it can be made anew");
}

#[test]
fn s19_more_writers_than_there_is_memory_for_are_refused() {
    let store = store();
    let fs = allowing(&store, Ttl::Minimal, |_| {});
    let (_, first) = create(&fs, "a").expect("it is made");
    create(&fs, "b").expect("it is made");
    assert_eq!(create(&fs, "c").err(), Some(Errno::ENOMEM));
    assert_eq!(lookup(&fs, "c").err(), Some(Errno::ENOENT));
    flush(&fs, first, ME).expect("it waits for its release");
    assert_eq!(create(&fs, "c").err(), Some(Errno::ENOMEM));
    release(&fs, first).expect("it is stored");
    create(&fs, "c").expect("it is made");
}

#[test]
fn s23_file_beyond_ten_thousand_parts_is_efbig_and_its_fsync_enospc() {
    let store = store();
    let fs = allowing(&store, Ttl::Minimal, |_| {});
    let (_, file) = create(&fs, "f").expect("it is made");
    let most = 10_000 * PART as u64;
    let block = vec![7; 1 << 20];
    for offset in (0..most).step_by(block.len()) {
        let length = block
            .len()
            .min(usize::try_from(most - offset).expect("small"));
        write(&fs, file, offset, &block[..length]).expect("it is written");
    }
    assert_eq!(write(&fs, file, most, b"x"), Err(Errno::EFBIG));
    assert_eq!(write(&fs, file, most, b"x"), Err(Errno::EFBIG));
    assert_eq!(fsync(&fs, file), Err(Errno::ENOSPC));
    assert_eq!(flush(&fs, file, ME), Err(Errno::ENOSPC));
    assert_eq!(store.body("f"), None);
}

#[test]
fn s25_close_waits_when_nothing_is_written_or_another_process_closes() {
    let store = store();
    let fs = allowing(&store, Ttl::Minimal, |_| {});
    let (_, file) = create(&fs, "f").expect("it is made");
    flush(&fs, file, ME).expect("nothing is written");
    write(&fs, file, 0, b"one ").expect("it is written");
    flush(&fs, file, OTHER).expect("another process");
    write(&fs, file, 4, b"two").expect("it goes on");
    assert_eq!(store.count(Op::Put), 0);
    flush(&fs, file, ME).expect("it is stored");
    assert_eq!(store.body("f").as_deref(), Some(&b"one two"[..]));
    assert_eq!(write(&fs, file, 7, b"x"), Err(Errno::EIO));
    flush(&fs, file, ME).expect("it is stored already");
    release(&fs, file).expect("it is stored already");
    assert_eq!(store.count(Op::Put), 1);
}

#[test]
fn end_of_a_mount_that_is_in_use_does_not_wait_for_who_writes() {
    let store = store();
    store.set_upload_part_size(100);
    let fs = allowing(&store, Ttl::Minimal, |_| {});
    let (_, file) = create(&fs, "f").expect("it is made");
    write(&fs, file, 0, &[7; 100]).expect("it is written");
    store.hold_next(Op::Upload, None, 1);
    let mut writing = fs.write(file, 100, Bytes::from(vec![7; 1 << 20])).boxed();
    assert!((&mut writing).now_or_never().is_none());
    // A process that was started meanwhile closes its copy.
    let mut closing = fs.flush(file, OTHER).boxed();
    assert!((&mut closing).now_or_never().is_none());
    assert!(fs.awaits_release());
    assert!(fs.finish_released_writers().now_or_never().is_some());
    store.release();
    block_on(writing).expect("it is written");
    block_on(closing).expect("it waits for its release");
    assert_eq!(store.body("f"), None);
    release(&fs, file).expect("it is stored");
    assert_eq!(
        store.body("f").map(|body| body.len()),
        Some(100 + (1 << 20))
    );
}

#[test]
fn s26_empty_file_is_stored_at_its_release() {
    let store = store();
    let fs = allowing(&store, Ttl::Minimal, |allow| {
        allow.infer_content_type = true
    });
    let (_, file) = create(&fs, "f.html").expect("it is made");
    flush(&fs, file, ME).expect("it waits");
    assert_eq!(store.body("f.html"), None);
    release(&fs, file).expect("it is stored");
    assert_eq!(store.body("f.html").as_deref(), Some(&b""[..]));
    assert_eq!(store.content_type("f.html").as_deref(), Some("text/html"));
}

#[test]
fn s28_unlink_needs_its_flag_which_the_message_names() {
    let store = store();
    store.put("f", "x");
    store.put("d/x", "x");
    let fs = allowing(&store, Ttl::Minimal, |_| {});
    let error = block_on(fs.unlink(ROOT, OsStr::new("f"))).expect_err("refused");
    assert_eq!(error.errno(), Errno::EPERM);
    assert!(error.to_string().contains("--allow-delete"), "{error}");
    let fs = allowing(&store, Ttl::Minimal, |allow| allow.allow_delete = true);
    assert_eq!(unlink(&fs, "d"), Err(Errno::EISDIR));
    assert_eq!(unlink(&fs, "missing"), Err(Errno::ENOENT));
    store.fail_next(Op::Delete, Some("f"), ErrorKind::Denied, 1);
    assert_eq!(unlink(&fs, "f"), Err(Errno::EACCES));
    assert!(lookup(&fs, "f").is_ok());
    unlink(&fs, "f").expect("it is deleted");
}

#[test]
fn s29_rename_follows_its_rules() {
    let store = store();
    for key in ["a", "b", "d/x"] {
        store.put(key, key.to_owned());
    }
    let plain = allowing(&store, Ttl::Minimal, |_| {});
    let mode = RenameMode::Replace;
    assert_eq!(rename(&plain, "a", "c", mode), Err(Errno::ENOSYS));
    for overwrite in [false, true] {
        let fs = allowing(&store, Ttl::Minimal, |allow| {
            (allow.can_rename, allow.allow_overwrite) = (true, overwrite);
        });
        assert_eq!(rename(&fs, "d", "e", mode), Err(Errno::EPERM));
        assert_eq!(rename(&fs, "a", "d", mode), Err(Errno::EISDIR));
        assert_eq!(rename(&fs, "missing", "c", mode), Err(Errno::ENOENT));
        assert_eq!(
            rename(&fs, "a", &"n".repeat(256), mode),
            Err(Errno::ENAMETOOLONG)
        );
        assert_eq!(rename(&fs, "a", "c", RenameMode::Other), Err(Errno::EINVAL));
        assert_eq!(
            rename(&fs, "a", "b", RenameMode::KeepTarget),
            Err(Errno::EEXIST)
        );
        let (_, file) = create(&fs, "w").expect("it is made");
        assert_eq!(rename(&fs, "w", "c", mode), Err(Errno::EPERM));
        assert_eq!(rename(&fs, "a", "w", mode), Err(Errno::EPERM));
        write(&fs, file, 0, b"x").expect("it is written");
        flush(&fs, file, ME).expect("it is stored");
        rename(&fs, "w", "moved", mode).expect("it is renamed");
        assert_eq!(store.body("moved").as_deref(), Some(&b"x"[..]));
        store.remove("moved");
        store.fail_next(Op::Rename, Some("a"), ErrorKind::NotFound, 1);
        assert_eq!(rename(&fs, "a", "c", mode), Err(Errno::ENOENT));
        let replaced = rename(&fs, "a", "b", mode);
        assert_eq!(
            replaced,
            if overwrite {
                Ok(())
            } else {
                Err(Errno::EEXIST)
            }
        );
    }
    assert_eq!(store.body("b").as_deref(), Some(&b"a"[..]));
}

#[test]
fn s30_attributes_of_what_is_in_s3_cannot_be_changed() {
    let store = store();
    store.put("f", "x");
    store.put("d/x", "x");
    let fs = allowing(&store, Ttl::Minimal, |_| {});
    let set = |ino| block_on(fs.setattr(ino, SetAttr::default())).map_err(|e| e.errno());
    for name in ["f", "d"] {
        let ino = lookup(&fs, name).expect("it is there").attr.ino;
        assert_eq!(set(ino).err(), Some(Errno::EPERM), "{name}");
    }
    let made = block_on(fs.mkdir(ROOT, OsStr::new("e"))).expect("it is made");
    assert!(set(made.attr.ino).is_ok());
    let (entry, file) = create(&fs, "g").expect("it is made");
    assert!(set(entry.attr.ino).is_ok());
    fsync(&fs, file).expect("it is stored");
    assert_eq!(set(entry.attr.ino).err(), Some(Errno::EPERM));
}

#[test]
fn changes_on_a_read_only_mount_are_refused_as_such() {
    let store = store();
    store.put("f", "x");
    let fs = allowing(&store, Ttl::Minimal, |allow| {
        (allow.read_only, allow.allow_delete, allow.can_rename) = (true, true, true);
    });
    let ino = lookup(&fs, "f").expect("a file").attr.ino;
    let name = OsStr::new("g");
    for refused in [
        create(&fs, "g").map(drop),
        block_on(fs.mknod(ROOT, name, CREATOR))
            .map(drop)
            .map_err(|e| e.errno()),
        block_on(fs.mkdir(ROOT, name))
            .map(drop)
            .map_err(|e| e.errno()),
        block_on(fs.rmdir(ROOT, name)).map_err(|e| e.errno()),
        unlink(&fs, "f"),
        rename(&fs, "f", "g", RenameMode::Replace),
        block_on(fs.setattr(ino, SetAttr::default()))
            .map(drop)
            .map_err(|e| e.errno()),
    ] {
        assert_eq!(refused, Err(Errno::EROFS));
    }
}

#[test]
fn creation_asks_nothing_that_the_lookup_before_it_has_asked() {
    let store = store();
    let fs = allowing(&store, Ttl::Minimal, |_| {});
    assert_eq!(lookup(&fs, "f").err(), Some(Errno::ENOENT));
    store.clear_log();
    let (_, file) = create(&fs, "f").expect("it is made");
    write(&fs, file, 0, b"x").expect("it is written");
    flush(&fs, file, ME).expect("it is stored");
    release(&fs, file).expect("it is closed");
    assert_eq!(requests(&store), [Op::Put]);
}

#[test]
fn inodes_of_written_files_are_forgotten() {
    let store = store();
    let fs = allowing(&store, Ttl::Minimal, |_| {});
    for _ in 0..3 {
        let (entry, file) = create(&fs, "f").expect("it is made");
        write(&fs, file, 0, b"x").expect("it is written");
        flush(&fs, file, ME).expect("it is stored");
        release(&fs, file).expect("it is closed");
        fs.forget(entry.attr.ino, 1);
        let gone = block_on(fs.getattr(entry.attr.ino)).map_err(|error| error.errno());
        assert_eq!(gone.err(), Some(Errno::ESTALE));
        store.remove("f");
    }
}
