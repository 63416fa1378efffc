//! How a mount begins and ends.

use std::io::Write;
use std::process::Stdio;

use futures::executor::block_on;

use super::*;
use crate::fs::Error;
use crate::fuse::served::Served;

#[test]
fn umount_from_outside_ends_the_session() {
    let mut mount = Mount::new(&FakeStore::new());
    output("umount", &[mount.dir.path().as_ref()]);
    mount.wait();
    assert!(!mount.is_mounted());
}

#[test]
fn unmounter_ends_the_session() {
    let mut mount = Mount::new(&FakeStore::new());
    let unmounter = mount.session.as_ref().expect("a session").unmounter();
    unmounter.unmount();
    assert!(!mount.is_mounted());
    mount.wait();
    unmounter.unmount();
}

#[test]
fn unmounter_detaches_a_mount_that_is_in_use() {
    let store = FakeStore::new();
    store.put("f", "x");
    let store: Arc<dyn Store> = Arc::new(store);
    let mut mount = Mount::with(Arc::clone(&store), Ttl::Minimal, |_| {});
    let file = File::open(mount.path("f")).expect("it opens");
    mount
        .session
        .as_ref()
        .expect("a session")
        .unmounter()
        .unmount();
    assert!(!mount.is_mounted());
    mount.wait();
    // A thread that has answered lets go a little later.
    eventually("nobody holds the store", || Arc::strong_count(&store) == 1);
    let read = file.read_at(&mut [0], 0);
    assert_eq!(errno(read), Some(libc::ENOTCONN));
}

#[test]
fn file_that_was_closed_for_good_is_stored_though_another_one_is_open() {
    let store = FakeStore::new();
    store.put("open", "x");
    let mut mount = Mount::new(&store);
    let _open = File::open(mount.path("open")).expect("it opens");
    store.hold_next(Op::Put, Some("new"), 1);
    // What another process than the opener's closes last is stored when it is released.
    let mut cat = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(File::create(mount.path("new")).expect("made"))
        .spawn()
        .expect("it runs");
    let mut input = cat.stdin.take().expect("piped");
    input.write_all(b"text").expect("written");
    drop(input);
    assert!(cat.wait().expect("it ends").success());
    eventually("it is being stored", || store.waiting() == 1);
    let session = mount.session.take().expect("it is mounted");
    session.unmounter().unmount();
    let ending = thread::spawn(move || session.wait());
    // Longer than users of open files are waited for.
    thread::sleep(Duration::from_secs(4));
    assert!(!ending.is_finished());
    store.release();
    ending.join().expect("no panic").expect("a clean end");
    assert_eq!(store.body("new").as_deref(), Some(&b"text"[..]));
}

#[test]
fn dropped_session_unmounts() {
    let mut mount = Mount::new(&FakeStore::new());
    drop(mount.session.take());
    assert!(!mount.is_mounted());
}

#[test]
fn auto_unmount_mounts_and_unmounts() {
    let store = FakeStore::new();
    store.put("f", "x");
    let mut mount = Mount::with(Arc::new(store), Ttl::Minimal, |config| {
        config.auto_unmount = true;
    });
    assert_eq!(fs::read(mount.path("f")).expect("it reads"), b"x");
    mount
        .session
        .as_ref()
        .expect("a session")
        .unmounter()
        .unmount();
    mount.wait();
    assert!(!mount.is_mounted());
}

#[test]
fn operation_that_fails_because_of_the_end_is_told_of_the_end() {
    let served = Served::new(file_system());
    let failed = block_on(served.run(async |_fs| Err::<(), _>(Error::Replaced)));
    assert!(matches!(failed, Err(Error::Replaced)), "{failed:?}");
    let cut_short = async |_fs| {
        served.close();
        Err::<(), _>(Error::Replaced)
    };
    let failed = block_on(served.run(cut_short));
    assert!(matches!(failed, Err(Error::Unmounted)), "{failed:?}");
}

#[test]
fn operation_that_succeeds_in_spite_of_the_end_has_its_result() {
    let served = Served::new(file_system());
    let done = async |_fs| {
        served.close();
        Ok(1)
    };
    assert_eq!(block_on(served.run(done)).ok(), Some(1));
}

#[test]
fn mount_of_a_missing_directory_is_an_error_that_names_it() {
    let fs = file_system();
    let config = MountConfig {
        directory: "/nonexistent/mount/point".into(),
        source: None,
        read_only: false,
        access: Access::Owner,
        auto_unmount: false,
        max_threads: 1,
        background: Background::default(),
    };
    let error = Session::mount(fs, &config).expect_err("no directory");
    assert!(
        error.to_string().contains("/nonexistent/mount/point"),
        "{error}"
    );
}

/// A file system of an empty bucket.
fn file_system() -> Fs {
    let tree = TreeConfig {
        prefix: Prefix::default(),
        ttl: Ttl::Minimal,
        negative_ttl: Ttl::Minimal,
        details: false,
        pages: true,
        ordered: true,
    };
    let store: Arc<dyn Store> = Arc::new(FakeStore::new());
    let tree = Tree::new(Arc::clone(&store), tree);
    Fs::new(
        store,
        tree,
        ReadConfig::default(),
        WriteConfig::default(),
        FsConfig::new(1, 1),
    )
}
