//! How a mount begins and ends.

use super::*;

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
    assert_eq!(Arc::strong_count(&store), 1, "somebody holds the store");
    let read = file.read_at(&mut [0], 0);
    assert_eq!(errno(read), Some(libc::ENOTCONN));
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
fn mount_of_a_missing_directory_is_an_error_that_names_it() {
    let tree = TreeConfig {
        prefix: Prefix::default(),
        ttl: Ttl::Minimal,
        negative_ttl: Ttl::Minimal,
        details: false,
        pages: true,
    };
    let fs = Fs::new(
        Arc::new(FakeStore::new()),
        tree,
        ReadConfig::default(),
        WriteConfig::default(),
        FsConfig::new(1, 1),
    );
    let config = MountConfig {
        directory: "/nonexistent/mount/point".into(),
        read_only: false,
        access: Access::Owner,
        auto_unmount: false,
        max_threads: 1,
    };
    let error = Session::mount(fs, &config).expect_err("no directory");
    assert!(
        error.to_string().contains("/nonexistent/mount/point"),
        "{error}"
    );
}
