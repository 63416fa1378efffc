//! Renaming by copying, and directories that are kept, with the real binary, as programs do it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use s3_test_server::{Fault, Model, Rule};

use crate::namespace::{assert_errno, names, on_all_stores};
use crate::reading::{MIB, bytes};
use crate::support::local::Local;
use crate::support::mount::Mount;
use crate::support::store::TestStore;
use crate::writing::sh;

on_all_stores!(
    mv_of_a_file_shows_its_new_name_at_once,
    mv_of_a_directory_takes_everything_along,
    written_and_renamed_files_replace_older_ones,
    editors_and_copying_programs_find_what_they_expect,
    rename_refuses_what_posix_refuses,
);

const ALL: [&str; 3] = ["--allow-delete", "--allow-overwrite", "--allow-rename"];

fn mount(store: &dyn TestStore, bucket: &str, further: &[&str]) -> Mount {
    store.mounting(bucket).with(&ALL).with(further).mount()
}

fn mv_of_a_file_shows_its_new_name_at_once(store: &dyn TestStore) {
    let large = bytes(3, 0, 9 * MIB + 7);
    let objects: &[(&str, &[u8])] = &[("a", b"text"), ("d/x", b"1"), ("large", &large)];
    for ttl in ["minimal", "3600"] {
        let bucket = store.bucket_with(objects);
        let mount = mount(store, &bucket, &["--metadata-ttl", ttl]);
        assert_eq!(fs::read(mount.join("a")).unwrap(), b"text");
        assert_errno(fs::metadata(mount.join("d/b")), Errno::NOENT);
        fs::rename(mount.join("a"), mount.join("d/b")).unwrap();
        assert_errno(fs::metadata(mount.join("a")), Errno::NOENT);
        assert_eq!(fs::metadata(mount.join("d/b")).unwrap().len(), 4);
        assert_eq!(fs::read(mount.join("d/b")).unwrap(), b"text");
        sh(
            &mount,
            "mv large d/x; mv d/x d/y; test ! -e large -a ! -e d/x",
        );
        assert!(fs::read(mount.join("d/y")).unwrap() == large);
        assert_eq!(names(mount.path()), ["d"]);
        assert_eq!(names(&mount.join("d")), ["b", "y"]);
        drop(mount);
        let mount = store.mounting(&bucket).mount();
        assert_eq!(names(&mount.join("d")), ["b", "y"]);
        assert!(fs::read(mount.join("d/y")).unwrap() == large);
    }
}

fn mv_of_a_directory_takes_everything_along(store: &dyn TestStore) {
    let bucket = store.fresh_bucket();
    for index in 0..50 {
        let key = format!("d/{}/{}/f{index}", index % 3, index % 4);
        store.put(&bucket, &key, index.to_string().as_bytes());
    }
    let mount = mount(store, &bucket, &["--metadata-ttl", "3600"]);
    sh(&mount, "find d -type f | xargs cat > /dev/null; mkdir e");
    let inside = fs::metadata(mount.join("d/1/1")).unwrap().ino();
    let mut open = File::open(mount.join("d/1/1/f1")).unwrap();
    sh(&mount, "mv d e/; test ! -e d; mv e/d f; test ! -e e/d");
    assert_eq!(fs::metadata(mount.join("f/1/1")).unwrap().ino(), inside);
    for index in 0..50 {
        let path = mount.join(&format!("f/{}/{}/f{index}", index % 3, index % 4));
        assert_eq!(fs::read_to_string(path).unwrap(), index.to_string());
    }
    // What is open was read before, so that the kernel may have it; if not, it is stale.
    let mut body = String::new();
    match open.read_to_string(&mut body) {
        Ok(_) => assert_eq!(body, "1"),
        Err(error) => assert_eq!(error.raw_os_error(), Some(Errno::STALE.raw_os_error())),
    }
    drop((open, mount));
    let mount = store.mounting(&bucket).mount();
    // SeaweedFS shows directories for a while after their last key is gone.
    sh(
        &mount,
        "test $(find . -type f | wc -l) = 50; test $(find f -type f | wc -l) = 50",
    );
    assert_eq!(names(&mount.join("f")), ["0", "1", "2"]);
}

fn written_and_renamed_files_replace_older_ones(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("d/final", b"old")]);
    let mount = mount(store, &bucket, &[]);
    let (temporary, target) = (mount.join("d/.tmp"), mount.join("d/final"));
    for size in [5, MIB, 20 * MIB + 1] {
        let body = bytes(size, 0, size);
        let mut file = File::create(&temporary).unwrap();
        file.write_all(&body).unwrap();
        file.sync_all().unwrap();
        drop(file);
        fs::rename(&temporary, &target).unwrap();
        assert!(fs::read(&target).unwrap() == body, "{size}");
        // The file is renamed before it is closed, as when the name of a temporary file is given
        // up in time.
        let mut file = File::create(&temporary).unwrap();
        file.write_all(&body).unwrap();
        file.sync_all().unwrap();
        fs::rename(&temporary, &target).unwrap();
        drop(file);
        assert!(fs::read(&target).unwrap() == body, "{size}");
    }
    let mut file = File::create(&temporary).unwrap();
    file.write_all(b"not ").unwrap();
    fs::rename(&temporary, &target).unwrap();
    file.write_all(b"sent yet").unwrap();
    drop(file);
    assert_eq!(fs::read(&target).unwrap(), b"not sent yet");
    assert_eq!(names(&mount.join("d")), ["final"]);
}

fn editors_and_copying_programs_find_what_they_expect(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("f", b"first\n")]);
    let mount = mount(store, &bucket, &[]);
    // As vim saves a file: the old one is renamed, a new one is written, the old one goes.
    sh(
        &mount,
        "mv f f~; echo second > f; sync f; rm f~; grep -q second f",
    );
    sh(&mount, "sed -i s/second/third/ f; grep -q third f");
    sh(
        &mount,
        "touch empty; mv empty moved; test -f moved; test ! -e empty",
    );
    let python = "import os, tempfile\n\
        with tempfile.NamedTemporaryFile('w', dir='.', delete=False) as file:\n\
        \x20   file.write('fourth'); file.flush(); os.fsync(file.fileno())\n\
        \x20   os.replace(file.name, 'f')\n\
        assert open('f').read() == 'fourth'\n";
    sh(&mount, &format!("python3 -c \"{python}\""));
    assert_eq!(names(mount.path()), ["f", "moved"]);
}

fn rename_refuses_what_posix_refuses(store: &dyn TestStore) {
    let bucket = store.bucket_with(&[("d/x", b"1"), ("e/y", b"1"), ("f", b"1"), ("g", b"1")]);
    let mount = mount(store, &bucket, &[]);
    let rename = |from: &str, to: &str| fs::rename(mount.join(from), mount.join(to));
    assert_errno(rename("d", "f"), Errno::NOTDIR);
    assert_errno(rename("f", "d"), Errno::ISDIR);
    assert_errno(rename("d", "e"), Errno::NOTEMPTY);
    assert_errno(rename("d", "d/below"), Errno::INVAL);
    assert_errno(rename("missing", "h"), Errno::NOENT);
    assert_errno(rename("f", &"n".repeat(256)), Errno::NAMETOOLONG);
    rename("f", "f").unwrap();
    for (flags, errno) in [
        (RenameFlags::NOREPLACE, Errno::EXIST),
        (RenameFlags::EXCHANGE, Errno::INVAL),
    ] {
        let renamed = renameat_with(CWD, mount.join("f"), CWD, mount.join("g"), flags);
        assert_eq!(renamed, Err(errno));
    }
    let writer = Writer::of(&mount.join("e/new"));
    assert_errno(rename("e", "h"), Errno::PERM);
    writer.end();
    rename("e", "h").unwrap();
    assert_eq!(names(&mount.join("h")), ["new", "y"]);
    drop(mount);
    let mount = store
        .mounting(&bucket)
        .with(&["--allow-delete", "--allow-rename"])
        .mount();
    let replaced = fs::rename(mount.join("f"), mount.join("g"));
    assert_errno(replaced, Errno::EXIST);
}

/// Another process, which has a file open. Of a file that this process has open, those that other tests
/// start close copies, and a file that was closed keeps nobody out.
struct Writer(Child);

impl Writer {
    /// The file is new, and has one byte.
    fn of(path: &Path) -> Self {
        let script = "import sys\n\
            file = open(sys.argv[1], 'xb', buffering=0)\n\
            file.write(b'x')\n\
            print('open', flush=True)\n\
            sys.stdin.read()\n\
            file.close()\n";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut line).expect("a line");
        assert_eq!(line, "open\n");
        Self(child)
    }

    /// Lets it close the file.
    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("it ends").success());
    }
}

#[test]
fn s29_without_the_flag_renaming_is_unknown() {
    let store = Local::shared();
    let bucket = store.bucket_with(&[("f", b"1")]);
    let flags = ["--allow-delete", "--allow-overwrite"];
    let mount = store.mounting(&bucket).with(&flags).mount();
    let renamed = fs::rename(mount.join("f"), mount.join("g"));
    assert_errno(renamed, Errno::NOSYS);
    assert_eq!(store.keys(&bucket), ["f"]);
}

#[test]
fn failed_step_of_a_renaming_loses_nothing() {
    for operation in ["CopyObject", "DeleteObject"] {
        let store = Local::start();
        let bucket = store.bucket_with(&[("a", b"1"), ("d/x", b"2"), ("d/y", b"3")]);
        let mount = mount(&store, &bucket, &[]);
        for (from, to) in [("a", "b"), ("d", "e")] {
            let denied = Rule::new(Fault::Error {
                status: 403,
                code: "AccessDenied".to_owned(),
            });
            store.set_model(Model {
                rules: vec![denied.on(operation).times(1)],
                ..Model::default()
            });
            let renamed = fs::rename(mount.join(from), mount.join(to));
            assert_errno(renamed, Errno::ACCESS);
        }
        store.set_model(Model::default());
        for (either, or, body) in [("a", "b", b"1"), ("d/x", "e/x", b"2"), ("d/y", "e/y", b"3")] {
            let read = |path| fs::read(mount.join(path));
            let read = read(either).or_else(|_moved| read(or));
            assert_eq!(read.unwrap(), body, "{operation}");
        }
    }
}

#[test]
fn kept_directories_stay_until_they_are_removed() {
    let store = Local::start();
    let bucket = store.bucket_with(&[("old/last", b"1")]);
    let mount = mount(&store, &bucket, &["--keep-directories"]);
    sh(
        &mount,
        "mkdir -p a/b; if mkdir a; then exit 1; fi; rm old/last; test -d old",
    );
    assert_eq!(store.keys(&bucket), ["a/", "a/b/", "old/"]);
    sh(
        &mount,
        "touch a/b/f; mv a c; rm c/b/f; test -d c/b; if rmdir c; then exit 1; fi",
    );
    drop(mount);
    let mount = self::mount(&store, &bucket, &["--keep-directories"]);
    assert_eq!(names(mount.path()), ["c", "old"]);
    assert_eq!(names(&mount.join("c")), ["b"]);
    sh(
        &mount,
        "rmdir c/b; test -d c; rm -r c; rmdir old; test ! -e c -a ! -e old",
    );
    assert_eq!(store.keys(&bucket), [""; 0]);
    sh(
        &mount,
        "mkdir -p t/u/v; touch t/u/v/f t/g; rm -r t; test ! -e t",
    );
    assert_eq!(store.keys(&bucket), [""; 0]);
    drop(mount);
    let mount = store
        .mounting(&bucket)
        .with(&["--keep-directories"])
        .mount();
    fs::create_dir(mount.join("d")).unwrap();
    assert_errno(fs::remove_dir(mount.join("d")), Errno::PERM);
}
