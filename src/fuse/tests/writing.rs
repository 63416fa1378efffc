//! Writing through real mounts.

use std::io::Write;

use super::*;

fn writable(store: &FakeStore, allow: impl FnOnce(&mut FsConfig)) -> Mount {
    Mount::allowing(Arc::new(store.clone()), Ttl::Minimal, |_| {}, allow)
}

#[test]
fn written_file_is_stored_and_read_back() {
    let store = FakeStore::new();
    let mount = writable(&store, |_| {});
    let path = mount.path("f");
    let mut file = File::create(&path).expect("it is made");
    file.write_all(b"hello ").expect("it is written");
    file.write_all(b"world").expect("it is written");
    assert_eq!(store.body("f"), None, "nothing is visible before the end");
    drop(file);
    assert_eq!(store.body("f").as_deref(), Some(&b"hello world"[..]));
    assert_eq!(fs::read(&path).expect("it reads"), b"hello world");
    assert_eq!(fs::metadata(&path).expect("a file").len(), 11);
}
