//! The entries of directories, as the kernel keeps them.

use super::*;

const MINUTE: Ttl = Ttl::For(Duration::from_secs(60));

fn names(mount: &Mount) -> BTreeSet<String> {
    let entries = fs::read_dir(mount.path("")).expect("it is read");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    names.collect::<Result<_, _>>().expect("UTF-8")
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn listings(store: &FakeStore) -> usize {
    let count = store.count(Op::List);
    store.clear_log();
    count
}

#[test]
fn entries_are_kept_by_the_kernel_within_the_ttl() {
    let store = FakeStore::new();
    store.put("a", "x");
    let mount = Mount::with(Arc::new(store.clone()), MINUTE, |_| {});
    assert_eq!(names(&mount), set(&["a"]));
    listings(&store);
    store.put("b", "x");
    for _ in 0..3 {
        assert_eq!(names(&mount), set(&["a"]));
    }
    assert_eq!(listings(&store), 0);
}

#[test]
fn entries_are_read_anew_after_the_ttl() {
    let store = FakeStore::new();
    store.put("a", "x");
    let second = Duration::from_secs(1);
    let mount = Mount::with(Arc::new(store.clone()), Ttl::For(second), |_| {});
    assert_eq!(names(&mount), set(&["a"]));
    store.put("b", "x");
    thread::sleep(second);
    assert_eq!(names(&mount), set(&["a", "b"]));
}

#[test]
fn walk_through_entries_that_are_kept_lists_nothing() {
    let store = FakeStore::new();
    for directory in 0..20 {
        store.put(&format!("{directory}/f"), "x");
    }
    let mount = Mount::with(Arc::new(store.clone()), MINUTE, |_| {});
    let find = || output("find", &[mount.dir.path().as_ref()]).lines().count();
    assert_eq!(find(), 41);
    assert!(listings(&store) >= 21);
    assert_eq!(find(), 41);
    assert_eq!(listings(&store), 0);
}

#[test]
fn s12_entries_are_not_kept_without_a_ttl() {
    let store = FakeStore::new();
    store.put("a", "x");
    let mount = Mount::new(&store);
    assert_eq!(names(&mount), set(&["a"]));
    store.put("b", "x");
    assert_eq!(names(&mount), set(&["a", "b"]));
}

#[test]
fn own_changes_show_at_once_in_entries_that_are_kept() {
    let store = FakeStore::new();
    store.put("a", "x");
    store.put("b", "x");
    let allow = |look: &mut FsConfig| {
        look.allow_delete = true;
        look.can_rename = true;
    };
    let mount = Mount::allowing(Arc::new(store.clone()), MINUTE, |_| {}, allow);
    assert_eq!(names(&mount), set(&["a", "b"]));
    fs::write(mount.path("c"), "x").expect("it is written");
    assert_eq!(names(&mount), set(&["a", "b", "c"]));
    fs::remove_file(mount.path("a")).expect("it is deleted");
    assert_eq!(names(&mount), set(&["b", "c"]));
    fs::rename(mount.path("b"), mount.path("d")).expect("it is renamed");
    assert_eq!(names(&mount), set(&["c", "d"]));
    fs::create_dir(mount.path("e")).expect("it is made");
    assert_eq!(names(&mount), set(&["c", "d", "e"]));
}

#[test]
fn entry_that_was_found_gone_shows_at_once_in_entries_that_are_kept() {
    let store = FakeStore::new();
    store.put("a", "x");
    store.put("b", "x");
    let mount = Mount::with(Arc::new(store.clone()), MINUTE, |_| {});
    assert_eq!(names(&mount), set(&["a", "b"]));
    store.remove("b");
    let mut options = OpenOptions::new();
    let opened = options
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(mount.path("b"));
    assert_eq!(
        opened.err().map(|error| error.kind()),
        Some(ErrorKind::NotFound)
    );
    assert_eq!(names(&mount), set(&["a"]));
}
