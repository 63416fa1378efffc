//! What opening a file asks of the store, and fetches already.

use super::*;

/// The ranges of the GETs since the log was cleared, in the order of their offsets.
fn ranges(store: &FakeStore) -> Vec<(u64, u64)> {
    let ranges = store.log().into_iter().filter_map(|logged| logged.range);
    let mut ranges: Vec<_> = ranges.map(|range| (range.start, range.end)).collect();
    ranges.sort_unstable();
    ranges
}

#[test]
fn cold_small_file_costs_one_lookup_and_one_get() {
    for flags in [0, libc::O_DIRECT] {
        let store = FakeStore::new();
        store.put_synthetic("f", 1 << 20, 3);
        let fs = mount(&store, Ttl::Minimal);
        let ino = lookup(&fs, "f").expect("a file").attr.ino;
        assert_eq!(requests(&store), [Op::List]);
        store.clear_log();
        let file = open(&fs, ino, libc::O_RDONLY | flags).expect("it opens");
        for offset in (0..1 << 20).step_by(128 << 10) {
            let bytes = read(&fs, file, offset, 128 << 10).expect("it reads");
            assert!(bytes == synthetic(3, offset..offset + (128 << 10)));
        }
        assert_eq!(requests(&store), [Op::Get]);
    }
}

#[test]
fn cold_file_of_less_than_a_part_is_read_in_disjoint_pieces() {
    for size in [5 << 20, (5 << 20) + 12_345, 8 << 20] {
        let store = FakeStore::new();
        store.put_synthetic("f", size, 3);
        let fs = mount(&store, Ttl::Minimal);
        let ino = lookup(&fs, "f").expect("a file").attr.ino;
        store.clear_log();
        let file = open(&fs, ino, libc::O_RDONLY).expect("it opens");
        for offset in (0..size).step_by(128 << 10) {
            let bytes = read(&fs, file, offset, 128 << 10).expect("it reads");
            assert!(bytes == synthetic(3, offset..size.min(offset + (128 << 10))));
        }
        assert_eq!(store.count(Op::Head) + store.count(Op::List), 0);
        let ranges = ranges(&store);
        assert_eq!(ranges[0], (0, 64 << 10), "{ranges:?}");
        let pieces = (size - (64 << 10)).div_ceil(1 << 20);
        assert_eq!(ranges.len() as u64, 1 + pieces, "{ranges:?}");
        let ends = ranges.iter().map(|range| range.1);
        let starts = ranges.iter().skip(1).map(|range| range.0);
        assert!(ends.eq(starts.chain([size])), "{ranges:?}");
        block_on(fs.release(file)).expect("it closes");
        assert_eq!(store.bodies().in_flight, 0);
    }
}

#[test]
fn random_reads_of_a_small_file_fetch_what_they_ask_for() {
    const SIZE: u64 = 5 << 20;
    let store = FakeStore::new();
    store.put_synthetic("f", SIZE, 3);
    let fs = mount(&store, Ttl::For(Duration::from_secs(60)));
    let file = open_name(&fs, "f");
    for index in 1..20 {
        let offset = index * 7 % 20 * (256 << 10);
        let bytes = read(&fs, file, offset, 4096).expect("it reads");
        assert!(bytes == synthetic(3, offset..offset + 4096));
    }
    assert_eq!(store.bodies().delivered_bytes, 19 * 4096);
}

#[test]
fn open_with_a_ttl_fetches_nothing() {
    let store = FakeStore::new();
    store.put("f", "x");
    let fs = mount(&store, Ttl::For(Duration::from_secs(60)));
    open_name(&fs, "f");
    assert_eq!(store.count(Op::Get), 0);
}

#[test]
fn open_of_an_empty_a_large_or_a_known_file_asks_by_head() {
    let store = FakeStore::new();
    store.put("empty", "");
    store.put_synthetic("large", (8 << 20) + 1, 3);
    store.put("known", "x");
    let fs = mount(&store, Ttl::Minimal);
    open_name(&fs, "known");
    for name in ["empty", "large", "known"] {
        let ino = lookup(&fs, name).expect("a file").attr.ino;
        store.clear_log();
        open(&fs, ino, libc::O_RDONLY).expect("it opens");
        assert_eq!(requests(&store), [Op::Head], "{name}");
    }
}

#[test]
fn s13_cold_open_of_a_replaced_object_is_stale_and_the_next_reads_new_bytes() {
    for new in ["new!", ""] {
        let store = FakeStore::new();
        store.put("f", "old");
        let fs = mount(&store, Ttl::Minimal);
        let old = lookup(&fs, "f").expect("a file").attr.ino;
        store.put("f", new);
        store.clear_log();
        assert_eq!(open(&fs, old, libc::O_RDONLY), Err(Errno::ESTALE));
        assert_eq!(requests(&store), [Op::Get]);
        let file = open_name(&fs, "f");
        assert_eq!(read(&fs, file, 0, 10).as_deref(), Ok(new.as_bytes()));
        assert_eq!(open(&fs, old, libc::O_RDONLY), Err(Errno::ESTALE));
    }
}

#[test]
fn cold_open_of_another_version_that_is_shorter_asks_by_head() {
    let store = FakeStore::new();
    store.put("f", "old");
    let fs = mount(&store, Ttl::Minimal);
    let ino = lookup(&fs, "f").expect("a file").attr.ino;
    store.put("f", "");
    store.fail_next(Op::Get, Some("f"), ErrorKind::InvalidRange, 1);
    assert_eq!(open(&fs, ino, libc::O_RDONLY), Err(Errno::ESTALE));
}

#[test]
fn cold_open_that_the_store_refuses_fails_as_the_store_says() {
    let kinds = [
        (ErrorKind::Denied, Errno::EACCES),
        (ErrorKind::Archived, Errno::EACCES),
        (ErrorKind::Timeout, Errno::EIO),
    ];
    for (kind, errno) in kinds {
        let store = FakeStore::new();
        store.put("f", "x");
        let fs = mount(&store, Ttl::Minimal);
        let ino = lookup(&fs, "f").expect("a file").attr.ino;
        store.fail_next(Op::Get, Some("f"), kind, 1);
        assert_eq!(open(&fs, ino, libc::O_RDONLY), Err(errno), "{kind:?}");
        let file = open(&fs, ino, libc::O_RDONLY).expect("the inode still stands");
        assert_eq!(read(&fs, file, 0, 10), Ok(Bytes::from("x")));
    }
}

#[test]
fn cold_open_of_a_deleted_object_finds_nothing() {
    let store = FakeStore::new();
    store.put("f", "x");
    let fs = mount(&store, Ttl::Minimal);
    let ino = lookup(&fs, "f").expect("a file").attr.ino;
    store.remove("f");
    assert_eq!(open(&fs, ino, libc::O_RDONLY), Err(Errno::ENOENT));
    assert_eq!(store.bodies().in_flight, 0);
}

#[test]
fn dropped_open_and_release_cancel_what_the_open_fetches() {
    let store = FakeStore::new();
    store.set_part_size(1000);
    store.put_synthetic("f", 1 << 20, 3);
    let fs = mount(&store, Ttl::Minimal);
    let ino = lookup(&fs, "f").expect("a file").attr.ino;
    store.stall_get_after("f", 0);
    let mut opening = Box::pin(fs.open(ino, OpenFlags(libc::O_RDONLY | libc::O_DIRECT), ME));
    assert!((&mut opening).now_or_never().is_none());
    assert_eq!(store.bodies().in_flight, 1);
    drop(opening);
    assert_eq!(store.bodies().in_flight, 0);
    store.stall_get_after("f", 1000);
    let file = open(&fs, ino, libc::O_RDONLY | libc::O_DIRECT).expect("the first bytes are here");
    assert_eq!(store.bodies().in_flight, 1);
    block_on(fs.release(file)).expect("it closes");
    assert_eq!(store.bodies().in_flight, 0);
}

#[test]
fn cold_open_without_memory_asks_by_head() {
    let store = FakeStore::new();
    store.put("f", "x");
    let config = TreeConfig {
        prefix: crate::s3::Prefix::default(),
        ttl: Ttl::Minimal,
        negative_ttl: Ttl::Minimal,
        details: false,
        pages: true,
        ordered: true,
    };
    let budget = crate::memory::Budget::new(0, 1);
    let reads = ReadConfig::for_throughput(8 << 20, 10.0, budget);
    let writes = WriteConfig::default();
    let tree = Tree::new(Arc::new(store.clone()), config);
    let fs = Fs::new(Arc::new(store.clone()), tree, reads, writes, CONFIG);
    let ino = lookup(&fs, "f").expect("a file").attr.ino;
    store.clear_log();
    let file = open(&fs, ino, libc::O_RDONLY).expect("it opens");
    assert_eq!(requests(&store), [Op::Head]);
    assert_eq!(read(&fs, file, 0, 10), Ok(Bytes::from("x")));
}
