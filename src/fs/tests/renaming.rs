//! Renaming by copying.

use super::*;

pub(super) const CREATE: i32 = libc::O_WRONLY | libc::O_CREAT;

/// Another process.
const OTHER: Pid = Pid(u32::MAX);

/// Bytes that a file may have before it is uploaded in parts.
const PART: u64 = 1000;

pub(super) fn mounted(store: &FakeStore, allow: impl FnOnce(&mut FsConfig)) -> Fs {
    // Long, so that what is seen at once is not seen because it was forgotten.
    let ttl = Ttl::For(Duration::from_secs(3600));
    let tree = TreeConfig {
        prefix: crate::s3::Prefix::default(),
        ttl,
        negative_ttl: ttl,
        details: false,
        pages: true,
        ordered: true,
    };
    let mut config = FsConfig {
        allow_delete: true,
        rename_by_copy: true,
        ..CONFIG
    };
    allow(&mut config);
    let write = WriteConfig {
        part_size: PART,
        ..WriteConfig::default()
    };
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let tree = Tree::new(Arc::clone(&shared), tree);
    Fs::new(shared, tree, ReadConfig::default(), write, config)
}

pub(super) fn bucket(objects: &[(&str, &str)]) -> FakeStore {
    let store = FakeStore::new();
    for (key, body) in objects {
        store.put(key, body.to_string());
    }
    store
}

/// The directory of a path, and the name in it.
pub(super) fn place<'a>(fs: &Fs, path: &'a str) -> Result<(InodeNo, &'a OsStr), Errno> {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut at = ROOT;
    for name in above.split('/').filter(|name| !name.is_empty()) {
        at = found(block_on(fs.lookup(at, OsStr::new(name), ME)))?
            .attr
            .ino;
    }
    Ok((at, OsStr::new(name)))
}

pub(super) fn find(fs: &Fs, path: &str) -> Result<Attr, Errno> {
    let (parent, name) = place(fs, path)?;
    found(block_on(fs.lookup(parent, name, ME))).map(|entry| entry.attr)
}

pub(super) fn rename(fs: &Fs, from: &str, to: &str) -> Result<(), Errno> {
    rename_as(fs, from, to, RenameMode::Replace).map_err(|error| error.errno())
}

fn rename_as(fs: &Fs, from: &str, to: &str, mode: RenameMode) -> Result<(), Error> {
    let (from, to) = (place(fs, from), place(fs, to));
    let (from, to) = (from.expect("it is reached"), to.expect("it is reached"));
    block_on(fs.rename(from, to, mode))
}

/// Reads a file as the kernel does: after `ESTALE` the name is looked up once more.
pub(super) fn text(fs: &Fs, path: &str) -> String {
    let try_open = || {
        let attr = find(fs, path).expect("it is there");
        open(fs, attr.ino, libc::O_RDONLY).map(|file| (file, attr.size))
    };
    let opened = match try_open() {
        Err(Errno::ESTALE) => try_open(),
        opened => opened,
    };
    let (file, size) = opened.expect("it opens");
    let bytes = read(fs, file, 0, 1 << 16).expect("it reads");
    assert_eq!(bytes.len() as u64, size, "{path}");
    block_on(fs.release(file)).expect("it closes");
    String::from_utf8(bytes.to_vec()).expect("text")
}

pub(super) fn create(fs: &Fs, path: &str) -> Result<HandleNo, Errno> {
    let (parent, name) = place(fs, path)?;
    block_on(fs.create(parent, name, CREATOR, OpenFlags(CREATE), ME))
        .map(|(_entry, opened)| opened.file)
        .map_err(|error| error.errno())
}

pub(super) fn write(fs: &Fs, file: HandleNo, offset: u64, data: &[u8]) {
    let written = fs.write_now(file, offset, data);
    let data = Bytes::copy_from_slice(data);
    written
        .unwrap_or_else(|| block_on(fs.write(file, offset, data)))
        .expect("it is written");
}

pub(super) fn close(fs: &Fs, file: HandleNo) -> Result<(), Errno> {
    let flushed = block_on(fs.flush(file, ME));
    let released = block_on(fs.release(file));
    flushed.and(released).map_err(|error| error.errno())
}

pub(super) fn mkdir(fs: &Fs, path: &str) -> Result<(), Errno> {
    let (parent, name) = place(fs, path)?;
    block_on(fs.mkdir(parent, name))
        .map(drop)
        .map_err(|error| error.errno())
}

pub(super) fn rmdir(fs: &Fs, path: &str) -> Result<(), Errno> {
    let (parent, name) = place(fs, path)?;
    block_on(fs.rmdir(parent, name)).map_err(|error| error.errno())
}

pub(super) fn unlink(fs: &Fs, path: &str) -> Result<(), Errno> {
    let (parent, name) = place(fs, path)?;
    block_on(fs.unlink(parent, name)).map_err(|error| error.errno())
}

pub(super) fn list(fs: &Fs, path: &str) -> Vec<String> {
    let ino = match path {
        "" => ROOT,
        path => find(fs, path).expect("a directory").ino,
    };
    let dir = block_on(fs.opendir(ino)).expect("it opens").dir;
    let all = names(fs, dir, 100).expect("it is read");
    fs.releasedir(dir).expect("it closes");
    all.into_iter().skip(2).collect()
}

#[test]
fn s29_without_the_flag_renaming_is_unknown() {
    let store = bucket(&[("a", "1")]);
    let fs = mounted(&store, |config| config.rename_by_copy = false);
    assert_eq!(rename(&fs, "a", "b"), Err(Errno::ENOSYS));
    assert_eq!(store.keys(), ["a"]);
}

#[test]
fn file_has_its_new_name_at_once_for_a_copy_a_head_and_a_delete() {
    let store = bucket(&[("a", "text"), ("d/x", "1")]);
    let fs = mounted(&store, |_| {});
    assert_eq!(find(&fs, "d/b"), Err(Errno::ENOENT));
    assert_eq!(find(&fs, "a").expect("there").size, 4);
    store.clear_log();
    assert_eq!(rename(&fs, "a", "d/b"), Ok(()));
    let mut asked = requests(&store);
    // The absence of the new name is known for good only to S3.
    asked.retain(|op| !matches!(op, Op::List));
    assert_eq!(asked, [Op::Copy, Op::Head, Op::Delete]);
    assert_eq!(find(&fs, "a"), Err(Errno::ENOENT));
    assert_eq!(text(&fs, "d/b"), "text");
    assert_eq!(list(&fs, ""), ["d"]);
    assert_eq!(list(&fs, "d"), ["b", "x"]);
    assert_eq!(store.keys(), ["d/b", "d/x"]);
}

#[test]
fn file_replaces_another_one_only_where_that_is_allowed() {
    let store = bucket(&[("a", "new"), ("b", "older")]);
    let fs = mounted(&store, |_| {});
    assert_eq!(rename(&fs, "a", "b"), Err(Errno::EEXIST));
    let fs = mounted(&store, |config| config.allow_overwrite = true);
    let as_mode = |mode| rename_as(&fs, "a", "b", mode).map_err(|error| error.errno());
    assert_eq!(as_mode(RenameMode::KeepTarget), Err(Errno::EEXIST));
    assert_eq!(as_mode(RenameMode::Other), Err(Errno::EINVAL));
    assert_eq!(rename(&fs, "a", "a"), Ok(()));
    assert_eq!(store.count(Op::Copy), 0);
    assert_eq!(text(&fs, "b"), "older");
    assert_eq!(as_mode(RenameMode::Replace), Ok(()));
    assert_eq!(text(&fs, "b"), "new");
    assert_eq!(store.keys(), ["b"]);
}

#[test]
fn target_that_appears_unseen_is_not_replaced() {
    let store = bucket(&[("a", "mine")]);
    let fs = mounted(&store, |_| {});
    assert_eq!(find(&fs, "b"), Err(Errno::ENOENT));
    store.put("b", "theirs");
    assert_eq!(rename(&fs, "a", "b"), Err(Errno::EEXIST));
    assert_eq!(
        (text(&fs, "a"), text(&fs, "b")),
        ("mine".into(), "theirs".into())
    );
}

#[test]
fn open_reader_of_a_renamed_file_is_stale_and_never_wrong() {
    let store = bucket(&[("a", "text")]);
    let fs = mounted(&store, |_| {});
    let file = open_name(&fs, "a");
    assert_eq!(rename(&fs, "a", "b"), Ok(()));
    assert_eq!(read(&fs, file, 0, 9), Err(Errno::ESTALE));
    assert_eq!(text(&fs, "b"), "text");
    block_on(fs.release(file)).expect("it closes");
}

#[test]
fn reader_may_open_the_old_and_the_replaced_file_while_the_copy_is_made() {
    let store = bucket(&[("a", "new"), ("b", "old")]);
    let fs = mounted(&store, |config| config.allow_overwrite = true);
    store.hold_next(Op::Copy, None, 1);
    let (from, to) = ((ROOT, OsStr::new("a")), (ROOT, OsStr::new("b")));
    let mut renaming = Box::pin(fs.rename(from, to, RenameMode::Replace));
    assert!((&mut renaming).now_or_never().is_none());
    assert_eq!(
        (text(&fs, "a"), text(&fs, "b")),
        ("new".into(), "old".into())
    );
    for name in ["a", "b"] {
        let ino = find(&fs, name).expect("there").ino;
        let flags = libc::O_WRONLY | libc::O_TRUNC;
        assert_eq!(open(&fs, ino, flags), Err(Errno::EPERM), "{name}");
        assert_eq!(unlink(&fs, name), Err(Errno::EPERM), "{name}");
    }
    store.release();
    assert!(block_on(renaming).is_ok());
    assert_eq!(text(&fs, "b"), "new");
    assert_eq!(unlink(&fs, "b"), Ok(()));
}

#[test]
fn failed_copy_changes_nothing() {
    for (kind, errno) in [
        (ErrorKind::Denied, Errno::EACCES),
        (ErrorKind::Archived, Errno::EACCES),
        (ErrorKind::Throttled, Errno::EIO),
        (ErrorKind::Timeout, Errno::EIO),
        (ErrorKind::NotFound, Errno::ENOENT),
    ] {
        let store = bucket(&[("a", "1"), ("d/x", "2")]);
        let fs = mounted(&store, |_| {});
        store.fail_next(Op::Copy, None, kind, 1);
        assert_eq!(rename(&fs, "a", "b"), Err(errno), "{kind:?}");
        store.fail_next(Op::Copy, None, kind, 1);
        let failed = rename(&fs, "d", "e");
        let errno = if kind == ErrorKind::NotFound {
            Errno::EBUSY
        } else {
            errno
        };
        assert_eq!(failed, Err(errno), "{kind:?}");
        assert_eq!(store.count(Op::Delete), 0);
        assert_eq!((text(&fs, "a"), text(&fs, "d/x")), ("1".into(), "2".into()));
    }
}

#[test]
fn failed_delete_leaves_both_names_and_says_so() {
    let store = bucket(&[("a", "1"), ("d/x", "2"), ("d/y", "3")]);
    let fs = mounted(&store, |_| {});
    for (from, to, named) in [("a", "b", "a to b"), ("d", "e", "d/ to e/")] {
        store.fail_next(Op::Delete, None, ErrorKind::Denied, 1);
        let error = rename_as(&fs, from, to, RenameMode::Replace).expect_err("it failed");
        assert_eq!(error.errno(), Errno::EACCES);
        assert_eq!(error.level(), log::Level::Warn);
        let said = error.to_string();
        assert!(said.contains("both names may be there"), "{said}");
        assert!(said.contains(named), "{said}");
    }
    assert_eq!((text(&fs, "a"), text(&fs, "b")), ("1".into(), "1".into()));
    for path in ["e/x", "e/y"] {
        assert!(!text(&fs, path).is_empty());
    }
    assert!(list(&fs, "d").contains(&"x".to_owned()));
}

#[test]
fn source_that_changes_before_its_copy_is_looked_up_anew() {
    let store = bucket(&[("a", "old")]);
    let fs = mounted(&store, |_| {});
    assert!(find(&fs, "a").is_ok());
    store.put("a", "newer");
    assert_eq!(rename(&fs, "a", "b"), Err(Errno::ESTALE));
    assert_eq!(rename(&fs, "a", "b"), Ok(()));
    assert_eq!(text(&fs, "b"), "newer");
    assert_eq!(store.keys(), ["b"]);
}

#[test]
fn source_that_changes_after_its_copy_is_not_deleted() {
    let store = bucket(&[("a", "old")]);
    let fs = mounted(&store, |_| {});
    assert!(find(&fs, "a").is_ok() && find(&fs, "b").is_err());
    store.hold_next(Op::Head, Some("a"), 1);
    let (from, to) = ((ROOT, OsStr::new("a")), (ROOT, OsStr::new("b")));
    let mut renaming = Box::pin(fs.rename(from, to, RenameMode::Replace));
    assert!((&mut renaming).now_or_never().is_none());
    assert_eq!(store.keys(), ["a", "b"]);
    store.put("a", "newer");
    store.release();
    let error = block_on(renaming).expect_err("it was changed");
    assert_eq!(error.errno(), Errno::EBUSY, "{error}");
    assert_eq!(
        (text(&fs, "a"), text(&fs, "b")),
        ("newer".into(), "old".into())
    );
}

#[test]
fn dropped_rename_loses_nothing() {
    for op in [Op::Copy, Op::Head, Op::Delete] {
        let store = bucket(&[("a", "text")]);
        let fs = mounted(&store, |_| {});
        assert!(find(&fs, "a").is_ok() && find(&fs, "b").is_err());
        store.hold_next(op, Some("a"), 1);
        let (from, to) = ((ROOT, OsStr::new("a")), (ROOT, OsStr::new("b")));
        let mut renaming = Box::pin(fs.rename(from, to, RenameMode::Replace));
        assert!((&mut renaming).now_or_never().is_none());
        drop(renaming);
        store.release();
        assert_eq!(text(&fs, "a"), "text", "{op:?}");
        if op != Op::Copy {
            assert_eq!(text(&fs, "b"), "text", "{op:?}");
            assert_eq!(unlink(&fs, "b"), Ok(()));
        }
        assert_eq!(rename(&fs, "a", "b"), Ok(()), "{op:?}");
        assert_eq!(store.keys(), ["b"]);
    }
}

#[test]
fn s34_archived_file_is_not_renamed_until_it_is_restored() {
    let store = bucket(&[("a", "1"), ("d/x", "1"), ("d/y", "1")]);
    for key in ["a", "d/y"] {
        store.set_storage(key, StorageClass::Archived, Restore::None);
    }
    let fs = mounted(&store, |_| {});
    assert_eq!(rename(&fs, "a", "b"), Err(Errno::EACCES));
    assert_eq!(rename(&fs, "d", "e"), Err(Errno::EACCES));
    assert_eq!(store.count(Op::Copy), 0);
    store.set_storage("d/y", StorageClass::Archived, Restore::Done);
    assert_eq!(rename(&fs, "d", "e"), Ok(()));
    assert_eq!(store.keys(), ["a", "e/x", "e/y"]);
}

#[test]
fn open_file_that_was_not_sent_goes_to_its_new_name_by_one_upload() {
    let store = bucket(&[("d/x", "1"), ("old.html", "replaced")]);
    let fs = mounted(&store, |config| {
        config.allow_overwrite = true;
        config.infer_content_type = true;
    });
    for to in ["d/new.html", "old.html"] {
        store.clear_log();
        let file = create(&fs, "tmp").expect("it is made");
        write(&fs, file, 0, b"some ");
        assert_eq!(rename(&fs, "tmp", to), Ok(()));
        assert_eq!(find(&fs, "tmp"), Err(Errno::ENOENT));
        assert_eq!(find(&fs, to).expect("there").size, 5);
        write(&fs, file, 5, b"text");
        assert_eq!(close(&fs, file), Ok(()));
        assert_eq!(text(&fs, to), "some text");
        assert_eq!(store.content_type(to).as_deref(), Some("text/html"));
        let changes = [Op::Put, Op::Copy, Op::Delete].map(|op| store.count(op));
        assert_eq!(changes, [1, 0, 0]);
    }
    assert_eq!(store.keys(), ["d/new.html", "d/x", "old.html"]);
}

#[test]
fn closed_file_that_was_not_sent_costs_one_upload() {
    let store = bucket(&[]);
    let fs = mounted(&store, |_| {});
    let file = create(&fs, "touched").expect("it is made");
    block_on(fs.flush(file, ME)).expect("it is closed");
    assert_eq!(rename(&fs, "touched", "a"), Ok(()));
    block_on(fs.release(file)).expect("it is released");
    let file = create(&fs, "written").expect("it is made");
    write(&fs, file, 0, b"text");
    block_on(fs.flush(file, OTHER)).expect("somebody else closes it");
    assert_eq!(rename(&fs, "written", "b"), Ok(()));
    assert_eq!(rename(&fs, "b", "c"), Ok(()));
    assert_eq!(text(&fs, "c"), "text");
    assert_eq!(close(&fs, file), Ok(()));
    assert_eq!(store.keys(), ["a", "c"]);
    assert_eq!((store.count(Op::Put), store.count(Op::Copy)), (2, 0));
}

#[test]
fn file_whose_upload_has_begun_is_renamed_when_it_is_closed() {
    let store = bucket(&[]);
    store.set_upload_part_size(100);
    let fs = mounted(&store, |_| {});
    let file = create(&fs, "large").expect("it is made");
    write(&fs, file, 0, &[7; 3000]);
    let error = rename_as(&fs, "large", "a", RenameMode::Replace).expect_err("it is open");
    assert_eq!(error.errno(), Errno::EPERM);
    assert!(error.to_string().contains("close it first"), "{error}");
    block_on(fs.flush(file, OTHER)).expect("somebody else closes it");
    assert_eq!(rename(&fs, "large", "a"), Ok(()));
    assert_eq!(store.body("a").expect("stored"), vec![7; 3000]);
    assert_eq!(store.keys(), ["a"]);
    assert_eq!((store.count(Op::Complete), store.count(Op::Copy)), (1, 1));
}

#[test]
fn file_that_was_synced_and_is_still_open_is_renamed() {
    let store = bucket(&[("final", "old")]);
    let fs = mounted(&store, |config| config.allow_overwrite = true);
    let file = create(&fs, "tmp").expect("it is made");
    write(&fs, file, 0, b"text");
    block_on(fs.fsync(file)).expect("it is stored");
    assert_eq!(rename(&fs, "tmp", "final"), Ok(()));
    assert_eq!(close(&fs, file), Ok(()));
    assert_eq!(text(&fs, "final"), "text");
    assert_eq!(store.keys(), ["final"]);
}

#[test]
fn file_that_is_being_replaced_is_renamed_only_when_it_is_closed() {
    let store = bucket(&[("f", "old")]);
    let fs = mounted(&store, |config| config.allow_overwrite = true);
    let ino = find(&fs, "f").expect("there").ino;
    let file = open(&fs, ino, libc::O_WRONLY | libc::O_TRUNC).expect("it opens");
    write(&fs, file, 0, b"new");
    assert_eq!(rename(&fs, "f", "g"), Err(Errno::EPERM));
    assert_eq!(close(&fs, file), Ok(()));
    assert_eq!(rename(&fs, "f", "g"), Ok(()));
    assert_eq!(text(&fs, "g"), "new");
    // The same is true of a new file that has taken the place of another one.
    let file = create(&fs, "tmp").expect("it is made");
    assert_eq!(rename(&fs, "tmp", "g"), Ok(()));
    assert_eq!(rename(&fs, "g", "h"), Err(Errno::EPERM));
    assert_eq!(close(&fs, file), Ok(()));
    assert_eq!(
        (text(&fs, "g"), store.keys()),
        (String::new(), vec!["g".to_owned()])
    );
}

#[test]
fn failed_upload_of_a_renamed_file_leaves_what_it_would_have_replaced() {
    let store = bucket(&[("final", "old")]);
    let fs = mounted(&store, |config| config.allow_overwrite = true);
    let file = create(&fs, "tmp").expect("it is made");
    write(&fs, file, 0, b"text");
    assert_eq!(rename(&fs, "tmp", "final"), Ok(()));
    store.fail_next(Op::Put, Some("final"), ErrorKind::Denied, 1);
    assert_eq!(close(&fs, file), Err(Errno::EACCES));
    assert_eq!(text(&fs, "final"), "old");
    assert_eq!(list(&fs, ""), ["final"]);
}
