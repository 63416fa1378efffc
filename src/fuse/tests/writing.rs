//! Writing through real mounts, as programs do it. `sNN` names a statement of the semantics.

use std::io::{Seek, SeekFrom, Write};
use std::time::SystemTime;

use super::*;
use crate::s3::ErrorKind;

/// A mount that allows `allow`, and its store.
fn writable(allow: impl FnOnce(&mut FsConfig)) -> (FakeStore, Mount) {
    let store = FakeStore::new();
    let shared = Arc::new(store.clone());
    let mount = Mount::allowing(shared, Ttl::Minimal, |_| {}, allow);
    (store, mount)
}

/// Runs a shell script in the root of the mount.
fn sh(mount: &Mount, script: &str) -> String {
    let output = Command::new("bash")
        .args(["-ec", script])
        .current_dir(mount.dir.path())
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at * 7 % 251).expect("a byte"))
        .collect()
}

#[test]
fn s23_written_file_is_visible_at_its_end_and_not_before() {
    let (store, mount) = writable(|_| {});
    let path = mount.path("f");
    let mut file = File::create(&path).expect("it is made");
    file.write_all(b"hello ").expect("it is written");
    file.write_all(b"world").expect("it is written");
    assert_eq!(file.metadata().expect("a file").len(), 11);
    assert_eq!(fs::metadata(&path).expect("a file").len(), 11);
    assert_eq!(store.body("f"), None);
    drop(file);
    assert_eq!(store.body("f").as_deref(), Some(&b"hello world"[..]));
    assert_eq!(fs::read(&path).expect("it reads"), b"hello world");
    assert_eq!(fs::metadata(&path).expect("a file").len(), 11);
    assert_eq!(store.count(Op::Put), 1);
}

#[test]
fn s23_large_file_goes_up_in_parts_whatever_the_size_of_its_writes() {
    let (store, mount) = writable(|_| {});
    let body = pattern((21 << 20) + 12_345);
    for (name, piece) in [("a", 1 << 20), ("b", 4 << 20), ("c", 100_003)] {
        let mut file = File::create(mount.path(name)).expect("it is made");
        for piece in body.chunks(piece) {
            file.write_all(piece).expect("it is written");
        }
        drop(file);
        assert!(store.body(name).expect("stored") == body, "{name}");
        assert!(
            fs::read(mount.path(name)).expect("it reads") == body,
            "{name}"
        );
    }
    assert_eq!((store.count(Op::Put), store.count(Op::Complete)), (0, 3));
}

#[test]
fn s25_programs_that_write_find_their_files_stored() {
    let (store, mount) = writable(|_| {});
    let source = tempfile::NamedTempFile::new().expect("a file");
    let body = pattern(3 << 20);
    fs::write(source.path(), &body).expect("written");
    let source = source.path().display();
    sh(&mount, "echo text > redirected; cat redirected");
    sh(&mount, "(echo one; echo two) > group");
    sh(&mount, "echo teed | tee tee-a tee-b > tee-c");
    sh(&mount, &format!("cp {source} copied; cmp {source} copied"));
    sh(&mount, &format!("cp -p {source} kept; cmp {source} kept"));
    sh(&mount, &format!("cat {source} | dd of=dd bs=64k 2>&1"));
    sh(
        &mount,
        &format!("dd if={source} of=direct bs=2M oflag=direct 2>&1"),
    );
    sh(
        &mount,
        &format!("mkdir -p a/b; cp {source} a/b/c; test -f a/b/c"),
    );
    for name in ["copied", "kept", "dd", "direct", "a/b/c"] {
        assert!(store.body(name).expect(name) == body, "{name}");
    }
    for (name, text) in [
        ("redirected", "text\n"),
        ("group", "one\ntwo\n"),
        ("tee-a", "teed\n"),
        ("tee-c", "teed\n"),
    ] {
        assert_eq!(store.body(name).expect(name), text, "{name}");
    }
}

#[test]
fn s25_s26_touched_file_is_there_at_once_and_stored_at_its_release() {
    let (store, mount) = writable(|_| {});
    sh(
        &mount,
        "touch t; test -f t; cat t; ls -l t; touch -d 2001-01-01 u",
    );
    eventually("both are stored", || {
        store.body("t").is_some() && store.body("u").is_some()
    });
    assert_eq!(store.body("t").as_deref(), Some(&b""[..]));
}

#[test]
fn s25_child_that_closes_does_not_complete_what_its_parent_writes() {
    let (store, mount) = writable(|_| {});
    let mut file = File::create(mount.path("f")).expect("it is made");
    file.write_all(b"before ").expect("it is written");
    // The child has a copy of every descriptor, and closes them when it becomes another program.
    let status = Command::new("true").status().expect("it runs");
    assert!(status.success());
    assert_eq!(store.body("f"), None);
    file.write_all(b"after").expect("it is written");
    drop(file);
    eventually("it is stored", || store.body("f").is_some());
    assert_eq!(store.body("f").as_deref(), Some(&b"before after"[..]));
}

#[test]
fn s25_close_of_a_duplicate_before_the_first_write_completes_nothing() {
    let (store, mount) = writable(|_| {});
    let mut file = File::create(mount.path("f")).expect("it is made");
    drop(file.try_clone().expect("a duplicate"));
    assert_eq!(store.body("f"), None);
    file.write_all(b"late").expect("it is written");
    drop(file);
    assert_eq!(store.body("f").as_deref(), Some(&b"late"[..]));
}

#[test]
fn s18_new_open_wins_over_a_closed_duplicate() {
    let (store, mount) = writable(|look| look.allow_overwrite = true);
    let path = mount.path("f");
    let mut file = File::create(&path).expect("it is made");
    // Nothing was written: the close leaves the file to whoever opens it next.
    drop(file.try_clone().expect("a duplicate"));
    assert_eq!(fs::read(&path).expect("it is stored, and reads"), b"");
    assert_eq!(store.body("f").as_deref(), Some(&b""[..]));
    assert_eq!(errno(file.write_all(b"x")), Some(libc::EBADF));
    drop(file);
    fs::write(&path, b"again").expect("it is written anew");
    assert_eq!(store.body("f").as_deref(), Some(&b"again"[..]));
}

#[test]
fn s17_one_writer_keeps_everybody_else_out() {
    let (_store, mount) = writable(|look| look.allow_overwrite = true);
    let path = mount.path("f");
    let mut file = File::create(&path).expect("it is made");
    file.write_all(b"x").expect("it is written");
    assert_eq!(errno(File::open(&path)), Some(libc::EPERM));
    assert_eq!(errno(File::create(&path)), Some(libc::EPERM));
    drop(file);
    let reader = File::open(&path).expect("it opens");
    let other = File::open(&path).expect("it opens again");
    assert_eq!(errno(File::create(&path)), Some(libc::EPERM));
    drop((reader, other));
    File::create(&path).expect("it is free");
}

#[test]
fn s16_overwriting_shows_the_new_version_at_once_whatever_the_ttl() {
    for ttl in [Ttl::Minimal, Ttl::For(Duration::from_secs(3600))] {
        let store = FakeStore::new();
        store.put("f", "the old version");
        let shared = Arc::new(store.clone());
        let mount = Mount::allowing(shared, ttl, |_| {}, |look| look.allow_overwrite = true);
        let path = mount.path("f");
        assert_eq!(fs::read(&path).expect("it reads"), b"the old version");
        for text in ["new", "newer, and longer than before", ""] {
            fs::write(&path, text).expect("it is written");
            assert_eq!(
                fs::metadata(&path).expect("a file").len(),
                text.len() as u64
            );
            assert_eq!(fs::read_to_string(&path).expect("it reads"), text);
            assert_eq!(store.body("f").expect("stored"), text);
        }
    }
}

#[test]
fn s22_write_elsewhere_fails_for_good_and_stores_nothing() {
    let (store, mount) = writable(|_| {});
    let path = mount.path("f");
    let mut file = File::create(&path).expect("it is made");
    file.write_all(b"0123456789").expect("it is written");
    file.seek(SeekFrom::Start(3)).expect("it seeks");
    assert_eq!(errno(file.write_all(b"x")), Some(libc::EINVAL));
    file.seek(SeekFrom::Start(10)).expect("it seeks");
    assert_eq!(errno(file.write_all(b"x")), Some(libc::EINVAL));
    assert_eq!(errno(file.sync_all()), Some(libc::EINVAL));
    drop(file);
    assert_eq!(store.body("f"), None);
    assert_eq!(errno(fs::metadata(&path)), Some(libc::ENOENT));
    fs::write(&path, "anew").expect("it is written");
    assert_eq!(store.body("f").as_deref(), Some(&b"anew"[..]));
}

#[test]
fn s24_fsync_stores_the_file_and_ends_it() {
    let (store, mount) = writable(|_| {});
    let mut file = File::create(mount.path("f")).expect("it is made");
    file.write_all(b"kept").expect("it is written");
    file.sync_all().expect("it is stored");
    assert_eq!(store.body("f").as_deref(), Some(&b"kept"[..]));
    assert_eq!(file.metadata().expect("a file").len(), 4);
    assert_eq!(errno(file.write_all(b"more")), Some(libc::EIO));
    file.sync_data().expect("it is stored");
    drop(file);
    assert_eq!(store.body("f").as_deref(), Some(&b"kept"[..]));
    assert_eq!(store.count(Op::Put), 1);
}

#[test]
fn s24_s27_incremental_upload_appends_at_each_fsync() {
    let (store, mount) = writable(|look| look.incremental_upload = true);
    store.put("f", "old ");
    let open = || OpenOptions::new().append(true).open(mount.path("f"));
    let mut file = open().expect("it opens");
    file.write_all(b"one ").expect("it is written");
    file.sync_all().expect("it is stored");
    assert_eq!(store.body("f").as_deref(), Some(&b"old one "[..]));
    assert_eq!(errno(File::open(mount.path("f"))), Some(libc::EPERM));
    file.write_all(b"two").expect("it is written on");
    drop(file);
    assert_eq!(store.body("f").as_deref(), Some(&b"old one two"[..]));
    assert_eq!(fs::read(mount.path("f")).expect("it reads"), b"old one two");
    let mut file = open().expect("it opens");
    store.put("f", "by somebody else");
    file.write_all(b"lost").expect("it is written");
    assert_eq!(errno(file.sync_all()), Some(libc::ESTALE));
    drop(file);
    assert_eq!(
        fs::read(mount.path("f")).expect("it reads"),
        b"by somebody else"
    );
    sh(&mount, "echo 1 > log; echo 2 >> log; echo 3 >> log");
    assert_eq!(store.body("log").as_deref(), Some(&b"1\n2\n3\n"[..]));
}

#[test]
fn s07_s08_local_directories_come_and_go() {
    let (store, mount) = writable(|_| {});
    store.put("remote/f", "x");
    store.clear_log();
    fs::create_dir(mount.path("d")).expect("it is made");
    fs::create_dir(mount.path("d/e")).expect("it is made");
    assert_eq!(errno(fs::create_dir(mount.path("d"))), Some(libc::EEXIST));
    assert_eq!(
        errno(fs::remove_dir(mount.path("d"))),
        Some(libc::ENOTEMPTY)
    );
    assert_eq!(sh(&mount, "ls -p").trim(), "d/\nremote/");
    assert_eq!(sh(&mount, "ls d").trim(), "e");
    fs::remove_dir(mount.path("d/e")).expect("it is removed");
    fs::remove_dir(mount.path("d")).expect("it is removed");
    assert_eq!(errno(fs::metadata(mount.path("d"))), Some(libc::ENOENT));
    assert_eq!(
        errno(fs::remove_dir(mount.path("remote"))),
        Some(libc::EPERM)
    );
    assert_eq!(store.keys(), ["remote/f"]);
    fs::create_dir(mount.path("full")).expect("it is made");
    fs::write(mount.path("full/f"), "x").expect("it is written");
    assert_eq!(errno(fs::remove_dir(mount.path("full"))), Some(libc::EPERM));
}

#[test]
fn s09_s28_deleting_removes_objects_and_then_their_directories() {
    let (store, mount) = writable(|look| look.allow_delete = true);
    store.put("d/a", "x");
    store.put("d/b", "x");
    store.put("d", "hidden");
    fs::remove_file(mount.path("d/a")).expect("it is deleted");
    assert_eq!(errno(fs::metadata(mount.path("d/a"))), Some(libc::ENOENT));
    fs::remove_file(mount.path("d/b")).expect("it is deleted");
    assert_eq!(store.keys(), ["d"]);
    eventually("the object shows", || {
        fs::read(mount.path("d")).is_ok_and(|body| body == b"hidden")
    });
    let mut file = File::create(mount.path("new")).expect("it is made");
    file.write_all(b"x").expect("it is written");
    assert_eq!(errno(fs::remove_file(mount.path("new"))), Some(libc::EPERM));
    drop(file);
    sh(&mount, "rm new; touch t; rm t; ! test -e t");
    assert_eq!(store.keys(), ["d"]);
}

#[test]
fn s29_rename_moves_the_object_and_its_name_at_once() {
    let (store, mount) = writable(|look| look.can_rename = true);
    store.put("a", "text");
    store.put("b", "other");
    fs::create_dir(mount.path("d")).expect("it is made");
    assert_eq!(fs::read(mount.path("a")).expect("it reads"), b"text");
    fs::rename(mount.path("a"), mount.path("d/c")).expect("it is renamed");
    assert_eq!(fs::read(mount.path("d/c")).expect("it reads"), b"text");
    assert_eq!(errno(fs::metadata(mount.path("a"))), Some(libc::ENOENT));
    assert_eq!(
        errno(fs::rename(mount.path("d/c"), mount.path("b"))),
        Some(libc::EEXIST)
    );
    assert_eq!(
        errno(fs::rename(mount.path("d"), mount.path("e"))),
        Some(libc::EPERM)
    );
    assert_eq!(store.keys(), ["b", "d/c"]);
    sh(&mount, "echo x > tmp; mv tmp final; cat final");
    assert_eq!(store.keys(), ["b", "d/c", "final"]);
}

#[test]
fn s30_attributes_of_a_file_that_is_written_can_be_set() {
    let (store, mount) = writable(|_| {});
    let path = mount.path("f");
    let mut file = File::create(&path).expect("it is made");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    file.set_modified(time).expect("it is set");
    assert_eq!(
        file.metadata().expect("a file").modified().expect("a time"),
        time
    );
    file.set_permissions(Permissions::from_mode(0o600))
        .expect("it is ignored");
    file.set_len(100).expect("it is ignored");
    file.write_all(b"0123456789").expect("it is written");
    assert_eq!(errno(file.set_len(3)), Some(libc::EPERM));
    drop(file);
    assert_eq!(store.body("f").as_deref(), Some(&b"0123456789"[..]));
    let file = File::open(&path).expect("it opens");
    assert_eq!(errno(file.set_modified(time)), Some(libc::EPERM));
    assert_eq!(
        errno(fs::set_permissions(&path, Permissions::from_mode(0o600))),
        Some(libc::EPERM)
    );
}

#[test]
fn failed_upload_is_told_by_close_and_leaves_nothing() {
    let (store, mount) = writable(|_| {});
    let path = mount.path("f");
    store.fail_next(Op::Put, Some("f"), ErrorKind::Denied, 1);
    let file = File::create(&path).expect("it is made");
    nix::unistd::write(&file, b"lost").expect("it is buffered");
    let closed = nix::unistd::close(file);
    assert_eq!(closed, Err(nix::errno::Errno::EACCES));
    assert_eq!(errno(fs::metadata(&path)), Some(libc::ENOENT));
    assert_eq!(sh(&mount, "ls"), "");
    fs::write(&path, "kept").expect("it is written");
    assert_eq!(store.body("f").as_deref(), Some(&b"kept"[..]));
}

#[test]
fn file_that_was_closed_is_stored_though_the_mount_ends() {
    let (store, mut mount) = writable(|_| {});
    sh(&mount, "touch a b c; exec 3> d; (echo x >&3); exec 3>&-");
    mount
        .session
        .as_ref()
        .expect("mounted")
        .unmounter()
        .unmount();
    mount.wait();
    assert_eq!(store.keys(), ["a", "b", "c", "d"]);
}
