//! Renaming directories by copying what is in them.

use super::renaming::{
    CREATE, bucket, close, create, find, list, mkdir, mounted, place, rename, text, unlink, write,
};
use super::*;

#[test]
fn directory_is_renamed_with_all_its_keys() {
    let store = bucket(&[
        ("d-", "0"),
        ("d/", ""),
        ("d//hidden", "1"),
        ("d/a", "2"),
        ("e", "3"),
    ]);
    for index in 0..60 {
        store.put(&format!("d/sub/{}/f{index}", index % 7), format!("{index}"));
    }
    store.set_page_size(4);
    let fs = mounted(&store, |_| {});
    assert_eq!(text(&fs, "d/sub/3/f10"), "10");
    let sub = find(&fs, "d/sub").expect("there").ino;
    store.clear_log();
    assert_eq!(mkdir(&fs, "new"), Ok(()));
    assert_eq!(rename(&fs, "d", "new/d"), Ok(()));
    assert_eq!((store.count(Op::Copy), store.count(Op::Delete)), (63, 63));
    assert_eq!(find(&fs, "d"), Err(Errno::ENOENT));
    assert_eq!(text(&fs, "new/d/a"), "2");
    for index in 0..60 {
        let path = format!("new/d/sub/{}/f{index}", index % 7);
        assert_eq!(text(&fs, &path), format!("{index}"));
    }
    assert_eq!(
        find(&fs, "new/d/sub").expect("there").ino,
        sub,
        "it is the same directory"
    );
    assert_eq!(list(&fs, ""), ["d-", "e", "new"]);
    assert_eq!(store.body("new/d//hidden").as_deref(), Some(&b"1"[..]));
    assert!(store.keys().iter().all(|key| !key.starts_with("d/")));
}

#[test]
fn directories_and_files_do_not_replace_each_other() {
    let store = bucket(&[
        ("d/x", "1"),
        ("e/y", "1"),
        ("f", "1"),
        ("empty/", ""),
        ("full/", "!"),
    ]);
    let fs = mounted(&store, |config| config.allow_overwrite = true);
    assert_eq!(rename(&fs, "d", "f"), Err(Errno::ENOTDIR));
    assert_eq!(rename(&fs, "f", "d"), Err(Errno::EISDIR));
    assert_eq!(rename(&fs, "d", "e"), Err(Errno::ENOTEMPTY));
    assert_eq!(rename(&fs, "d", "full"), Err(Errno::ENOTEMPTY));
    assert_eq!(rename(&fs, "missing", "e"), Err(Errno::ENOENT));
    let into_itself = rename(&fs, "d", "d/below");
    assert_eq!(into_itself, Err(Errno::EINVAL));
    assert_eq!(mkdir(&fs, "local"), Ok(()));
    assert_eq!(mkdir(&fs, "local/inside"), Ok(()));
    assert_eq!(rename(&fs, "d", "local"), Err(Errno::ENOTEMPTY));
    assert_eq!(store.count(Op::Copy), 0);
    assert_eq!(rename(&fs, "d", "empty"), Ok(()));
    assert_eq!(rename(&fs, "e", "local/inside"), Ok(()));
    assert_eq!(text(&fs, "empty/x"), "1");
    assert_eq!(text(&fs, "local/inside/y"), "1");
    assert_eq!(
        store.keys(),
        ["empty/", "empty/x", "f", "full/", "local/inside/y"]
    );
}

#[test]
fn keys_that_would_be_too_long_stop_everything_before_it_begins() {
    let long = format!("d/{0}/{0}/{0}/{0}", "n".repeat(240));
    let store = bucket(&[("d/x", "1"), (&long, "1")]);
    let fs = mounted(&store, |_| {});
    assert_eq!(rename(&fs, "d", &"e".repeat(100)), Err(Errno::ENAMETOOLONG));
    assert_eq!(rename(&fs, "d", &"e".repeat(256)), Err(Errno::ENAMETOOLONG));
    assert_eq!(store.count(Op::Copy), 0);
    assert_eq!(rename(&fs, "d", &"e".repeat(40)), Ok(()));
}

#[test]
fn objects_that_change_meanwhile_stop_a_directory_before_any_delete() {
    /// What somebody else does while a copy waits.
    type Act = fn(&FakeStore);
    let acts: [Act; 4] = [
        |store| _ = store.put("d/x", "newer"),
        |store| _ = store.put("d/held", "newer"),
        |store| _ = store.put("d/new", "newer"),
        |store| _ = store.remove("d/x"),
    ];
    for act in acts {
        let store = bucket(&[("d/held", "old"), ("d/x", "old")]);
        let fs = mounted(&store, |_| {});
        store.hold_next(Op::Copy, Some("d/held"), 1);
        let (from, to) = ((ROOT, OsStr::new("d")), (ROOT, OsStr::new("e")));
        let mut renaming = Box::pin(fs.rename(from, to, RenameMode::Replace));
        assert!((&mut renaming).now_or_never().is_none());
        act(&store);
        let now = store.keys().into_iter().filter(|key| key.starts_with("d/"));
        let now: Vec<_> = now.map(|key| (store.body(&key), key)).collect();
        store.release();
        let error = block_on(renaming).expect_err("it was changed");
        assert_eq!(error.errno(), Errno::EBUSY, "{error}");
        assert_eq!(store.count(Op::Delete), 0);
        for (body, key) in now {
            assert_eq!(store.body(&key), body, "{key}");
        }
    }
}

#[test]
fn s29_open_writer_keeps_its_directory_where_it_is() {
    let store = bucket(&[("d/x", "1")]);
    let fs = mounted(&store, |_| {});
    let file = create(&fs, "d/new").expect("it is made");
    assert_eq!(rename(&fs, "d", "e"), Err(Errno::EPERM));
    write(&fs, file, 0, b"text");
    assert_eq!(close(&fs, file), Ok(()));
    // The kernel has not released it yet, but the file is closed.
    let file = create(&fs, "d/touched").expect("it is made");
    block_on(fs.flush(file, ME)).expect("it is closed");
    assert_eq!(rename(&fs, "d", "e"), Ok(()));
    assert_eq!(close(&fs, file), Ok(()));
    assert_eq!(store.keys(), ["e/new", "e/touched", "e/x"]);
}

#[test]
fn nobody_writes_in_a_directory_that_is_being_renamed() {
    let store = bucket(&[("d/sub/x", "1"), ("f", "2")]);
    let fs = mounted(&store, |config| config.keep_directories = true);
    let sub = find(&fs, "d/sub").expect("there").ino;
    store.hold_next(Op::Copy, None, 1);
    let (from, to) = ((ROOT, OsStr::new("d")), (ROOT, OsStr::new("e")));
    let mut renaming = Box::pin(fs.rename(from, to, RenameMode::Replace));
    assert!((&mut renaming).now_or_never().is_none());
    assert_eq!(text(&fs, "d/sub/x"), "1");
    for name in ["new", "x"] {
        let flags = OpenFlags(CREATE);
        let made = block_on(fs.create(sub, OsStr::new(name), CREATOR, flags, ME));
        assert_eq!(made.expect_err("busy").errno(), Errno::EPERM);
    }
    assert_eq!(unlink(&fs, "d/sub/x"), Err(Errno::EPERM));
    assert_eq!(mkdir(&fs, "d/sub/new"), Err(Errno::EPERM));
    assert_eq!(rename(&fs, "f", "d/sub/f"), Err(Errno::EPERM));
    assert_eq!(rename(&fs, "d/sub", "g"), Err(Errno::EPERM));
    store.release();
    assert!(block_on(renaming).is_ok());
    assert_eq!(rename(&fs, "f", "e/sub/f"), Ok(()));
    assert_eq!(store.keys(), ["e/sub/f", "e/sub/x"]);
}

#[test]
fn lookup_under_way_finds_the_file_in_the_renamed_directory() {
    let store = bucket(&[("d/x", "1")]);
    let fs = mounted(&store, |_| {});
    let dir = find(&fs, "d").expect("there").ino;
    store.hold_next(Op::List, Some("d/"), 1);
    let mut lookup = Box::pin(fs.lookup(dir, OsStr::new("x"), ME));
    assert!((&mut lookup).now_or_never().is_none());
    assert_eq!(rename(&fs, "d", "e"), Ok(()));
    store.release();
    assert_eq!(found(block_on(lookup)).expect("it is there").attr.size, 1);
    assert_eq!(text(&fs, "e/x"), "1");
}

#[test]
fn directory_that_is_open_while_it_is_renamed_is_read_under_its_new_name() {
    let store = bucket(&[("d/a", "1"), ("d/b", "1"), ("d/c", "1")]);
    store.set_page_size(2);
    let fs = mounted(&store, |_| {});
    let ino = find(&fs, "d").expect("there").ino;
    let [unread, begun] = [(); 2].map(|()| block_on(fs.opendir(ino)).expect("it opens").dir);
    let mut offset = 0;
    let mut emit = |entry: DirEntry<'_>| {
        offset = entry.next_offset;
        Emit::Taken
    };
    block_on(fs.readdir(begun, 0, false, &mut emit)).expect("the first page");
    assert_eq!(rename(&fs, "d", "e"), Ok(()));
    let all = Ok([".", "..", "a", "b", "c"].map(str::to_owned).to_vec());
    assert_eq!(names(&fs, unread, 10), all);
    let rest = block_on(fs.readdir(begun, offset, false, &mut |_| Emit::Taken));
    assert_eq!(rest.map_err(|error| error.errno()), Err(Errno::ESTALE));
    assert_eq!(names(&fs, begun, 10), all);
}

#[test]
fn local_files_and_directories_are_renamed_without_a_request() {
    let store = bucket(&[]);
    let fs = mounted(&store, |_| {});
    assert_eq!(mkdir(&fs, "d"), Ok(()));
    assert_eq!(mkdir(&fs, "d/sub"), Ok(()));
    let (parent, name) = place(&fs, "d/sub/made").expect("it is reached");
    block_on(fs.mknod(parent, name, CREATOR)).expect("it is made");
    assert_eq!(rename(&fs, "d/sub/made", "d/moved"), Ok(()));
    assert_eq!(rename(&fs, "d", "e"), Ok(()));
    assert_eq!(find(&fs, "d"), Err(Errno::ENOENT));
    assert_eq!(
        (list(&fs, ""), list(&fs, "e")),
        (vec!["e".into()], vec!["moved".into(), "sub".into()])
    );
    let file = find(&fs, "e/moved").expect("there").ino;
    let file = open(&fs, file, libc::O_WRONLY).expect("it opens");
    write(&fs, file, 0, b"text");
    assert_eq!(close(&fs, file), Ok(()));
    assert_eq!(store.keys(), ["e/moved"]);
    let changes = [Op::Put, Op::Copy, Op::Delete].map(|op| store.count(op));
    assert_eq!(changes, [1, 0, 0]);
}
