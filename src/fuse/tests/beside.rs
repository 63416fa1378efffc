//! Extended attributes, and attributes kept in metadata, through real mounts.

use std::os::unix::fs::{chown, lchown};
use std::time::SystemTime;

use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};
use rustix::io::Errno;

use super::*;
use crate::s3::fake::Logged;

/// A mount with extended attributes.
fn mount_of(store: &FakeStore, ttl: Ttl, allow: impl FnOnce(&mut FsConfig)) -> Mount {
    let allow = |look: &mut FsConfig| {
        look.xattrs = true;
        allow(look);
    };
    Mount::allowing(Arc::new(store.clone()), ttl, |_| {}, allow)
}

/// A mount that keeps attributes, and its store.
fn keeping() -> (FakeStore, Mount) {
    let store = FakeStore::new();
    let mount = mount_of(&store, Ttl::Minimal, |look| look.posix_metadata = true);
    (store, mount)
}

fn value(path: &Path, name: &str) -> Result<String, Errno> {
    let mut buffer = [0; 512];
    let length = getxattr(path, name, &mut buffer)?;
    Ok(String::from_utf8(buffer[..length].to_vec()).expect("UTF-8"))
}

fn list(path: &Path) -> Vec<String> {
    let mut buffer = [0; 1024];
    let length = listxattr(path, &mut buffer).expect("a list");
    let names = std::str::from_utf8(&buffer[..length]).expect("UTF-8");
    names.split_terminator('\0').map(str::to_owned).collect()
}

fn requests(store: &FakeStore, op: Op) -> Vec<Logged> {
    let log = store.log().into_iter();
    log.filter(|logged| logged.op == op).collect()
}

fn after(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

const NAMES: [&str; 5] = [
    "user.s3.content-type",
    "user.s3.etag",
    "user.s3.storage-class",
    "user.s3.meta.color",
    "user.s3.meta.name",
];

#[test]
fn extended_attributes_are_what_the_lookup_has_brought() {
    let store = FakeStore::new();
    let metadata = [("color", "red"), ("name", "Zoë")];
    let etag = store.put_with_metadata("f", "x", &metadata);
    let mount = mount_of(&store, Ttl::Minimal, |_| {});
    let path = mount.path("f");
    assert_eq!(list(&path), NAMES);
    assert_eq!(value(&path, NAMES[0]).as_deref(), Ok("text/plain"));
    assert_eq!(
        value(&path, NAMES[1]).as_deref(),
        Ok(etag.text().trim_matches('"'))
    );
    assert_eq!(value(&path, NAMES[2]).as_deref(), Ok("STANDARD"));
    assert_eq!(value(&path, NAMES[3]).as_deref(), Ok("red"));
    assert_eq!(value(&path, NAMES[4]).as_deref(), Ok("Zoë"));
    // Seven walks of the path, and not more than the lookups of 700 ms.
    assert!(requests(&store, Op::Head).len() <= 7);
    assert_eq!(store.count(Op::Get), 0);
}

#[test]
fn listed_file_is_asked_for_once_and_only_by_a_name() {
    let store = FakeStore::new();
    store.put_with_metadata("f", "x", &[("color", "red")]);
    let mount = mount_of(&store, Ttl::For(Duration::from_secs(60)), |_| {});
    output("ls", &["-l".as_ref(), mount.dir.path().as_ref()]);
    let path = mount.path("f");
    assert_eq!(list(&path), [NAMES[1]]);
    assert!(value(&path, NAMES[1]).is_ok());
    assert_eq!(store.count(Op::Head), 0);
    assert_eq!(value(&path, "user.s3.meta.color").as_deref(), Ok("red"));
    assert_eq!(list(&path), NAMES[..4]);
    assert_eq!(
        value(&path, "user.s3.content-type").as_deref(),
        Ok("text/plain")
    );
    assert_eq!(store.count(Op::Head), 1);
}

#[test]
fn extended_attribute_asks_for_its_length_and_for_room() {
    let store = FakeStore::new();
    store.put_with_metadata("f", "x", &[("color", "red"), ("empty", "")]);
    let mount = mount_of(&store, Ttl::Minimal, |_| {});
    let path = mount.path("f");
    let name = "user.s3.meta.color";
    assert_eq!(rustix::fs::getxattr_query(&path, name), Ok(3));
    assert_eq!(getxattr(&path, name, &mut [0; 2]), Err(Errno::RANGE));
    assert_eq!(getxattr(&path, name, &mut [0; 3]), Ok(3));
    assert_eq!(value(&path, "user.s3.meta.empty").as_deref(), Ok(""));
    let length = rustix::fs::listxattr_query(&path).expect("a length");
    assert_eq!(list(&path).join("\0").len() + 1, length);
    let mut short = vec![0; length - 1];
    assert_eq!(listxattr(&path, &mut short[..]), Err(Errno::RANGE));
}

#[test]
fn other_extended_attributes_cost_no_request() {
    let store = FakeStore::new();
    store.put("f", "x");
    store.put("d/f", "x");
    let mount = mount_of(&store, Ttl::For(Duration::from_secs(60)), |_| {});
    output("ls", &["-lR".as_ref(), mount.dir.path().as_ref()]);
    store.clear_log();
    let path = mount.path("f");
    for (name, errno) in [
        ("security.capability", Errno::NODATA),
        ("security.selinux", Errno::NODATA),
        ("trusted.x", Errno::NODATA),
        ("user.x", Errno::NODATA),
        ("user.s3.x", Errno::NODATA),
        ("user.s3.metadata", Errno::NODATA),
        ("system.posix_acl_access", Errno::OPNOTSUPP),
    ] {
        assert_eq!(value(&path, name), Err(errno), "{name}");
    }
    for directory in [mount.path("d"), mount.dir.path().to_owned()] {
        assert_eq!(list(&directory), [""; 0]);
        assert_eq!(value(&directory, NAMES[1]), Err(Errno::NODATA));
    }
    let flags = XattrFlags::empty();
    let set = setxattr(&path, "user.x", b"1", flags);
    assert_eq!(set, Err(Errno::OPNOTSUPP));
    assert_eq!(removexattr(&path, NAMES[1]), Err(Errno::OPNOTSUPP));
    assert_eq!(store.log(), []);
}

#[test]
fn usual_programs_cost_what_they_did_before_extended_attributes() {
    let store = FakeStore::new();
    for index in 0..20 {
        store.put_with_metadata(&format!("d/f{index}"), "x", &[("color", "red")]);
    }
    let mount = mount_of(&store, Ttl::For(Duration::from_secs(60)), |_| {});
    let copy = tempfile::tempdir().expect("a directory");
    output("ls", &["-l".as_ref(), mount.path("d").as_ref()]);
    let from = mount.path("d");
    output("cp", &["-a".as_ref(), from.as_ref(), copy.path().as_ref()]);
    assert_eq!(store.count(Op::Head), 0);
    assert_eq!(store.count(Op::Get), 20);
}

#[test]
fn written_file_has_no_extended_attributes_and_writing_asks_for_none() {
    let store = FakeStore::new();
    let mount = mount_of(&store, Ttl::Minimal, |_| {});
    let path = mount.path("f");
    let file = File::create(&path).expect("it is made");
    store.clear_log();
    for offset in 0..4 {
        file.write_all_at(&[7; 1000], offset * 1000)
            .expect("written");
    }
    let mut buffer = [0; 64];
    let asked = rustix::fs::fgetxattr(&file, NAMES[1], &mut buffer);
    assert_eq!(asked, Err(Errno::NODATA));
    assert_eq!(rustix::fs::flistxattr(&file, &mut buffer), Ok(0));
    assert_eq!(store.log(), []);
    drop(file);
    assert!(value(&path, NAMES[1]).is_ok());
}

#[test]
fn metadata_of_other_tools_is_shown() {
    let (store, mount) = keeping();
    let metadata = [
        ("mode", "33188"),
        ("uid", "12"),
        ("gid", "34"),
        ("mtime", "1000000.5"),
    ];
    store.put_with_metadata("s3fs", "x", &metadata);
    store.put_with_metadata("rclone", "x", &[("mode", "100600"), ("mtime", "5")]);
    store.put_with_metadata(
        "wrong",
        "x",
        &[("mode", "rw"), ("uid", "-1"), ("mtime", "")],
    );
    store.put("none", "x");
    let stat = |name: &str| fs::metadata(mount.path(name)).expect("a file");
    let s3fs = stat("s3fs");
    assert_eq!(s3fs.mode(), 0o100_644);
    assert_eq!((s3fs.uid(), s3fs.gid()), (12, 34));
    assert_eq!((s3fs.mtime(), s3fs.mtime_nsec()), (1_000_000, 500_000_000));
    let rclone = stat("rclone");
    assert_eq!((rclone.mode(), rclone.mtime()), (0o100_600, 5));
    for name in ["wrong", "none"] {
        let file = stat(name);
        assert_eq!(file.mode(), 0o100_755, "{name}");
        assert_eq!((file.uid(), file.gid()), mount.owner, "{name}");
        assert!(file.mtime() > 1_600_000_000, "{name}");
    }
    let listed = output("ls", &["-ln".as_ref(), mount.dir.path().as_ref()]);
    let line = listed.lines().find(|line| line.ends_with("s3fs"));
    let line = line.expect("it is listed");
    assert!(line.starts_with("-rw-r--r-- 1 12 34 1 "), "{line}");
}

#[test]
fn without_the_flag_metadata_is_ignored() {
    let store = FakeStore::new();
    store.put_with_metadata(
        "f",
        "x",
        &[("mode", "41471"), ("uid", "12"), ("mtime", "5")],
    );
    let mount = mount_of(&store, Ttl::Minimal, |_| {});
    let file = fs::symlink_metadata(mount.path("f")).expect("a file");
    assert_eq!(file.mode(), 0o100_755);
    assert_eq!(file.uid(), mount.owner.0);
    assert!(file.mtime() > 5);
    let link = symlink("f", mount.path("l"));
    assert_eq!(errno(link), Some(libc::EPERM));
}

#[test]
fn new_file_goes_up_with_its_creator_and_what_was_set_while_it_was_written() {
    let (store, mount) = keeping();
    let path = mount.path("f");
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&path)
        .expect("it is made");
    let metadata = file.metadata().expect("a file");
    assert_eq!(metadata.mode(), 0o100_640);
    file.write_all_at(b"x", 0).expect("it is written");
    file.set_modified(after(1_000_000)).expect("it is set");
    file.set_permissions(Permissions::from_mode(0o600))
        .expect("it is set");
    drop(file);
    let kept = store.metadata("f").expect("it is stored");
    assert_eq!(kept["mode"], "33152");
    assert_eq!(kept["uid"], mount.owner.0.to_string());
    assert_eq!(kept["gid"], mount.owner.1.to_string());
    assert_eq!(kept["mtime"], "1000000.000000000");
    assert_eq!(store.count(Op::Copy), 0);
    let file = fs::metadata(&path).expect("a file");
    assert_eq!((file.mode(), file.mtime()), (0o100_600, 1_000_000));
}

#[test]
fn large_file_is_copied_if_its_attributes_came_late() {
    for is_late in [false, true] {
        let (store, mount) = keeping();
        let path = mount.path("f");
        let file = File::create(&path).expect("it is made");
        let set = || file.set_modified(after(7)).expect("it is set");
        if !is_late {
            set();
        }
        for offset in 0..9_u64 {
            file.write_all_at(&vec![1; 1 << 20], offset << 20)
                .expect("written");
        }
        if is_late {
            set();
        }
        nix::unistd::close(file).expect("it is stored");
        assert_eq!(store.metadata("f").expect("stored")["mtime"], "7.000000000");
        assert_eq!(store.count(Op::Copy), usize::from(is_late));
        assert_eq!(fs::metadata(&path).expect("a file").len(), 9 << 20);
    }
}

#[test]
fn attributes_of_an_object_are_changed_by_a_copy_that_keeps_the_rest() {
    for keeps_etag in [false, true] {
        let (store, mount) = keeping();
        if keeps_etag {
            store.let_copies_keep_etags();
        }
        store.put_with_metadata("f", "text", &[("color", "red"), ("mtime", "9")]);
        let path = mount.path("f");
        let reader = File::open(&path).expect("it opens");
        fs::set_permissions(&path, Permissions::from_mode(0o400)).expect("it is set");
        let file = fs::metadata(&path).expect("a file");
        assert_eq!((file.mode(), file.mtime()), (0o100_400, 9));
        let kept = store.metadata("f").expect("an object");
        assert_eq!(kept["color"], "red");
        assert_eq!((&*kept["mode"], &*kept["mtime"]), ("33024", "9"));
        assert_eq!(store.content_type("f").as_deref(), Some("text/plain"));
        assert_eq!(store.body("f").as_deref(), Some(&b"text"[..]));
        let owner = mount.owner;
        chown(&path, Some(owner.0), Some(owner.1)).expect("nothing changes");
        let now = fs::metadata(&path).expect("a file").mode();
        assert_eq!(now, 0o100_400);
        if keeps_etag {
            assert_eq!(reader.metadata().expect("a file").mode(), 0o100_400);
            assert_eq!(io::read_to_string(&reader).expect("it reads"), "text");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).expect("nothing changes");
        let copies = store.count(Op::Copy);
        File::open(&path)
            .expect("it opens")
            .set_modified(after(12))
            .expect("it is set");
        assert_eq!(store.count(Op::Copy), copies + 1);
        let file = fs::metadata(&path).expect("a file");
        assert_eq!((file.mode(), file.mtime()), (0o100_400, 12));
        assert_eq!(fs::read_to_string(&path).expect("it reads"), "text");
    }
}

#[test]
fn changed_attributes_keep_the_time_of_the_bytes() {
    let (store, mount) = keeping();
    store.put("f", "text");
    let path = mount.path("f");
    let before = fs::metadata(&path).expect("a file").mtime();
    thread::sleep(Duration::from_millis(10));
    fs::set_permissions(&path, Permissions::from_mode(0o444)).expect("it is set");
    assert_eq!(fs::metadata(&path).expect("a file").mtime(), before);
    assert!(
        store
            .metadata("f")
            .expect("an object")
            .contains_key("mtime")
    );
}

#[test]
fn change_of_a_version_that_is_gone_fails_or_finds_the_new_one() {
    let (store, mount) = keeping();
    store.put("f", "old");
    let file = File::open(mount.path("f")).expect("it opens");
    store.put_with_metadata("f", "new!", &[("color", "red")]);
    let set = file.set_permissions(Permissions::from_mode(0o400));
    assert_eq!(errno(set), Some(libc::ESTALE));
    assert_eq!(store.count(Op::Copy), 0);
    fs::set_permissions(mount.path("f"), Permissions::from_mode(0o400)).expect("the new one");
    assert_eq!(store.body("f").as_deref(), Some(&b"new!"[..]));
    assert_eq!(store.metadata("f").expect("an object")["color"], "red");
}

#[test]
fn refused_copy_is_told_and_changes_nothing() {
    let (store, mount) = keeping();
    store.put("f", "text");
    store.fail_next(Op::Copy, Some("f"), crate::s3::ErrorKind::Denied, 1);
    let path = mount.path("f");
    let set = fs::set_permissions(&path, Permissions::from_mode(0o400));
    assert_eq!(errno(set), Some(libc::EACCES));
    assert_eq!(fs::metadata(&path).expect("a file").mode(), 0o100_755);
    fs::set_permissions(&path, Permissions::from_mode(0o400)).expect("it is set");
    assert_eq!(fs::metadata(&path).expect("a file").mode(), 0o100_400);
}

#[test]
fn symbolic_link_is_an_object_that_holds_its_target() {
    let (store, mount) = keeping();
    store.put("d/f", "text");
    symlink("../d/f", mount.path("d/l")).expect("it is made");
    assert_eq!(store.body("d/l").as_deref(), Some(&b"../d/f"[..]));
    assert_eq!(store.metadata("d/l").expect("an object")["mode"], "41471");
    let link = fs::symlink_metadata(mount.path("d/l")).expect("a link");
    assert_eq!((link.mode(), link.len()), (0o120_777, 6));
    let target = fs::read_link(mount.path("d/l")).expect("it reads");
    assert_eq!(target, Path::new("../d/f"));
    let read = fs::read_to_string(mount.path("d/l")).expect("it is followed");
    assert_eq!(read, "text");
    let again = symlink("x", mount.path("d/l"));
    assert_eq!(errno(again), Some(libc::EEXIST));
    lchown(mount.path("d/l"), Some(12), Some(34)).expect("it is set");
    let link = fs::symlink_metadata(mount.path("d/l")).expect("a link");
    assert_eq!((link.mode(), link.uid(), link.gid()), (0o120_777, 12, 34));
    assert_eq!(fs::read_link(mount.path("d/l")).expect("it reads"), target);
}

#[test]
fn strange_targets_are_bytes_and_what_cannot_be_one_is_a_file() {
    use std::os::unix::ffi::OsStrExt;
    let (store, mount) = keeping();
    let longest = "n/".repeat(2047) + "n";
    for (index, target) in [&b"\xff\xfe \n"[..], b" ", longest.as_bytes()]
        .into_iter()
        .enumerate()
    {
        let path = mount.path(&format!("l{index}"));
        symlink(OsStr::from_bytes(target), &path).expect("it is made");
        let read = fs::read_link(&path).expect("it reads");
        assert_eq!(read.as_os_str().as_bytes(), target);
    }
    let link = [("mode", "41471")];
    store.put_with_metadata("empty", "", &link);
    store.put_with_metadata("long", vec![b'x'; 4096], &link);
    for (name, length) in [("empty", 0), ("long", 4096)] {
        let kind = fs::symlink_metadata(mount.path(name)).expect("a file");
        assert!(kind.is_file(), "{name}");
        assert_eq!(fs::read(mount.path(name)).expect("it reads").len(), length);
        assert_eq!(errno(fs::read_link(mount.path(name))), Some(libc::EINVAL));
    }
}

#[test]
fn directory_that_is_read_shows_what_every_entry_is_by_one_request_each() {
    let (store, mount) = keeping();
    for index in 0..100 {
        store.put(&format!("f{index:03}"), "x");
    }
    store.put_with_metadata("l", "f000", &[("mode", "41471")]);
    let links = || {
        let entries = fs::read_dir(mount.dir.path()).expect("a directory");
        let kinds = entries.map(|entry| entry.expect("an entry").file_type().expect("a type"));
        let kinds: Vec<_> = kinds.collect();
        assert_eq!(kinds.len(), 101);
        kinds.into_iter().filter(|kind| kind.is_symlink()).count()
    };
    assert_eq!(links(), 1);
    let heads = store.count(Op::Head);
    assert!((101..=110).contains(&heads), "{heads}");
    assert_eq!(links(), 1);
    assert_eq!(store.count(Op::Head), heads);
}

#[test]
fn permissions_are_enforced_by_the_kernel() {
    let (store, mount) = keeping();
    let other = (mount.owner.0 + 1).to_string();
    let metadata = [("mode", "33024"), ("uid", other.as_str())];
    store.put_with_metadata("f", "x", &metadata);
    let opened = File::open(mount.path("f"));
    if nix::unistd::getuid().is_root() {
        assert!(opened.is_ok(), "root may");
    } else {
        assert_eq!(errno(opened), Some(libc::EACCES));
    }
}

#[test]
fn attributes_of_directories_are_taken_and_not_kept() {
    let (store, mount) = keeping();
    store.put("d/f", "x");
    let path = mount.path("d");
    fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("it is ignored");
    assert_eq!(fs::metadata(&path).expect("a directory").mode(), 0o040_755);
    assert_eq!(store.keys(), ["d/f"]);
}

#[test]
fn truncated_and_written_anew_keeps_its_mode() {
    let store = FakeStore::new();
    let mount = mount_of(&store, Ttl::Minimal, |look| {
        look.posix_metadata = true;
        look.allow_overwrite = true;
    });
    store.put_with_metadata("f", "old", &[("mode", "33261"), ("mtime", "5")]);
    fs::write(mount.path("f"), "new").expect("it is written");
    let kept = store.metadata("f").expect("an object");
    assert_eq!(kept["mode"], "33261");
    assert_eq!(kept.get("mtime"), None);
    assert_eq!(store.body("f").as_deref(), Some(&b"new"[..]));
}
