//! Names that are not there, as the kernel remembers them.

use super::*;

/// Longer than anything here waits.
const HOUR: Ttl = Ttl::For(Duration::from_secs(3600));

fn mount(store: &FakeStore, ttl: Ttl) -> Mount {
    Mount::with(Arc::new(store.clone()), ttl, |_| {})
}

fn absent(mount: &Mount, name: &str) -> bool {
    let error = fs::metadata(mount.path(name)).map_err(|error| error.kind());
    error.is_err_and(|kind| kind == ErrorKind::NotFound)
}

/// Requests of any kind since the last call.
fn asked(store: &FakeStore) -> usize {
    let asked = store.log().len();
    store.clear_log();
    asked
}

#[test]
fn missing_name_is_remembered_by_the_kernel_for_the_ttl() {
    let store = FakeStore::new();
    store.put("here", "x");
    let mount = mount(&store, HOUR);
    assert!(absent(&mount, "there"));
    assert_eq!(asked(&store), 1);
    store.put("there", "x");
    for _ in 0..3 {
        assert!(absent(&mount, "there"));
    }
    assert_eq!(asked(&store), 0);
}

#[test]
fn s11_missing_name_is_not_remembered_without_a_ttl() {
    let store = FakeStore::new();
    let mount = mount(&store, Ttl::Minimal);
    assert!(absent(&mount, "f"));
    store.put("f", "x");
    assert!(!absent(&mount, "f"));
}

#[test]
fn missing_name_is_there_as_soon_as_this_mount_makes_it() {
    let store = FakeStore::new();
    store.put("old", "x");
    let allow = |look: &mut FsConfig| {
        look.allow_delete = true;
        look.can_rename = true;
    };
    let mount = Mount::allowing(Arc::new(store.clone()), HOUR, |_| {}, allow);
    for name in ["made", "directory", "renamed"] {
        assert!(absent(&mount, name));
    }
    fs::write(mount.path("made"), "x").expect("it is written");
    fs::create_dir(mount.path("directory")).expect("it is made");
    fs::rename(mount.path("old"), mount.path("renamed")).expect("it is renamed");
    for name in ["made", "directory", "renamed"] {
        assert!(!absent(&mount, name), "{name}");
    }
    fs::remove_file(mount.path("made")).expect("it is deleted");
    assert!(absent(&mount, "made") && absent(&mount, "old"));
}

#[test]
fn missing_name_is_there_as_soon_as_a_listing_shows_it() {
    let store = FakeStore::new();
    store.put("old", "x");
    let mount = mount(&store, HOUR);
    assert!(absent(&mount, "new"));
    store.put("new", "x");
    assert!(absent(&mount, "new"));
    let names = || fs::read_dir(mount.path("")).expect("it is read").count();
    assert_eq!(names(), 2);
    eventually("it shows", || !absent(&mount, "new"));
}
