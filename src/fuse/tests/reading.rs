//! Reading files, also those that somebody replaces.

use super::*;

#[test]
fn s21_reads_sequentially_at_random_and_past_the_end() {
    const SIZE: u64 = (24 << 20) + 321;
    let store = FakeStore::new();
    store.put_synthetic("big", SIZE, 42);
    store.put("empty", "");
    let mount = Mount::new(&store);
    let file = File::open(mount.path("big")).expect("it opens");
    let mut read = Vec::new();
    (&file).read_to_end(&mut read).expect("it reads");
    assert!(read == synthetic(42, 0..SIZE), "other bytes");
    for offset in [SIZE - 5, 17 << 20, 4097, 1 << 20, 0] {
        let end = (offset + 10_000).min(SIZE);
        let mut buffer = vec![0; 10_000];
        let got = file.read_at(&mut buffer, offset).expect("it reads");
        assert!(buffer[..got] == synthetic(42, offset..end), "at {offset}");
    }
    assert_eq!(file.read_at(&mut [0; 8], SIZE).expect("it reads"), 0);
    assert_eq!(file.read_at(&mut [0; 8], SIZE + 99).expect("it reads"), 0);
    assert_eq!(fs::read(mount.path("empty")).expect("it reads"), b"");
}

#[test]
fn s21_direct_reads_give_the_same_bytes() {
    const SIZE: u64 = (8 << 20) + 321;
    let store = FakeStore::new();
    store.put_synthetic("big", SIZE, 5);
    let mount = Mount::new(&store);
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(mount.path("big"))
        .expect("it opens");
    let mut read = Vec::new();
    file.read_to_end(&mut read).expect("it reads");
    assert!(read == synthetic(5, 0..SIZE), "other bytes");
}

#[test]
fn concurrent_reads_of_one_handle_give_the_right_bytes() {
    const SIZE: u64 = 32 << 20;
    const CHUNK: u64 = 256 << 10;
    let store = FakeStore::new();
    store.put_synthetic("big", SIZE, 7);
    let mount = Mount::new(&store);
    let file = File::open(mount.path("big")).expect("it opens");
    thread::scope(|scope| {
        for thread in 0..8 {
            let file = &file;
            scope.spawn(move || {
                let mut buffer = vec![0; usize::try_from(CHUNK).expect("small")];
                for index in (thread..SIZE / CHUNK).step_by(8) {
                    let offset = index * CHUNK;
                    file.read_exact_at(&mut buffer, offset).expect("it reads");
                    assert!(
                        buffer == synthetic(7, offset..offset + CHUNK),
                        "at {offset}"
                    );
                }
            });
        }
    });
}

#[test]
fn s21_program_runs_from_the_mount() {
    // Running a program maps its file into memory: page faults instead of reads.
    let program = fs::read("/bin/true").expect("a program");
    let store = FakeStore::new();
    store.put("program", program);
    let mount = Mount::new(&store);
    output(mount.path("program").to_str().expect("UTF-8"), &[]);
}

#[test]
fn second_open_reads_from_the_page_cache() {
    let store = FakeStore::new();
    store.put_synthetic("f", 1 << 20, 3);
    let mount = Mount::new(&store);
    let first = fs::read(mount.path("f")).expect("it reads");
    store.clear_log();
    assert!(fs::read(mount.path("f")).expect("it reads") == first);
    assert_eq!(store.count(Op::Get), 0);
}

#[test]
fn s13_reopened_file_has_the_new_bytes_at_once() {
    let store = FakeStore::new();
    store.put("f", "version 0");
    let mount = Mount::new(&store);
    let path = mount.path("f");
    // No pause: the kernel still believes its entry, opens the old inode, is told ESTALE and
    // looks the name up again by itself.
    for version in 0..200 {
        let body = format!("version {version}");
        store.put("f", body.clone());
        assert_eq!(fs::read_to_string(&path).expect("it reads"), body);
        assert_eq!(
            fs::metadata(&path).expect("it is there").len(),
            body.len() as u64
        );
    }
}

#[test]
fn s13_open_file_keeps_its_version_or_is_stale() {
    const SIZE: u64 = 1 << 30;
    let store = FakeStore::new();
    store.put_synthetic("f", SIZE, 1);
    let mount = Mount::new(&store);
    let file = File::open(mount.path("f")).expect("it opens");
    let mut buffer = vec![0; 4096];
    file.read_exact_at(&mut buffer, 0).expect("it reads");
    store.put("f", "new bytes");
    thread::sleep(Duration::from_millis(150));
    assert_eq!(file.metadata().expect("still open").len(), SIZE);
    for offset in (0..SIZE).step_by(64 << 20) {
        match file.read_exact_at(&mut buffer, offset) {
            Ok(()) => assert!(buffer == synthetic(1, offset..offset + 4096), "at {offset}"),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ESTALE)),
        }
    }
    let far = file.read_at(&mut buffer, SIZE - 4096);
    assert_eq!(errno(far), Some(libc::ESTALE), "it was never fetched");
    let new = fs::read_to_string(mount.path("f")).expect("it reads");
    assert_eq!(new, "new bytes");
}

#[test]
fn s11_direct_open_sees_the_new_version_in_spite_of_a_ttl() {
    let store = FakeStore::new();
    store.put("f", "old");
    let ttl = Ttl::For(Duration::from_secs(60));
    let mount = Mount::with(Arc::new(store.clone()), ttl, |_| {});
    assert_eq!(
        fs::read_to_string(mount.path("f")).expect("it reads"),
        "old"
    );
    store.put("f", "newer");
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(mount.path("f"))
        .expect("it opens");
    let mut read = String::new();
    file.read_to_string(&mut read).expect("it reads");
    assert_eq!(read, "newer");
}
