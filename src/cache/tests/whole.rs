//! Files that have all of a version.

use std::os::fd::AsFd;

use super::*;
use crate::s3::Key;
use crate::wait::wait_for;

impl Fixture {
    fn whole(&self, etag: &ETag, size: u64) -> Option<WholeFile> {
        self.store.whole(&Key::new("k").expect("valid"), etag, size)
    }

    /// Waits until the version is known to be good as a whole.
    fn wait_until_whole(&self, etag: &ETag, size: u64) -> WholeFile {
        wait_for("it is whole", PATIENCE, || self.whole(etag, size))
    }
}

fn content(file: &WholeFile) -> Vec<u8> {
    let file = File::from(file.as_fd().try_clone_to_owned().expect("a copy"));
    let mut bytes =
        vec![0; usize::try_from(file.metadata().expect("metadata").len()).expect("small")];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

#[test]
fn version_that_was_read_to_its_end_is_a_whole_file() {
    let fixture = Fixture::new();
    let size = 3 * MIB + 77;
    let etag = fixture.fake.put_synthetic("k", size, SEED);
    fixture.read(&etag, size, 0..2 * MIB).expect("read");
    thread::sleep(Duration::from_millis(1500));
    assert!(fixture.whole(&etag, size).is_none(), "some is missing");
    fixture.read(&etag, size, 2 * MIB..size).expect("read");
    let file = fixture.wait_until_whole(&etag, size);
    assert!(content(&file) == synthetic(SEED, 0..size));
    let other = fixture.fake.put_synthetic("k", size, SEED + 1);
    assert!(fixture.whole(&other, size).is_none());
}

#[test]
fn after_a_restart_a_file_is_whole_once_its_blocks_were_read() {
    let mut fixture = Fixture::new();
    let size = 2 * MIB;
    let etag = fixture.fake.put_synthetic("k", size, SEED);
    fixture.read(&etag, size, 0..size).expect("read");
    drop(fixture.wait_until_whole(&etag, size));
    fixture.restart();
    assert!(
        fixture.whole(&etag, size).is_none(),
        "nothing was read since"
    );
    // What nobody reads is read by itself.
    fixture.read(&etag, size, 0..10).expect("read");
    let file = fixture.wait_until_whole(&etag, size);
    assert!(content(&file) == synthetic(SEED, 0..size));
    assert_eq!(fixture.gets(), 1);
}

#[test]
fn file_that_was_changed_is_not_whole_until_it_was_mended() {
    let mut fixture = Fixture::new();
    let size = 2 * MIB;
    let etag = fixture.fake.put_synthetic("k", size, SEED);
    fixture.read(&etag, size, 0..size).expect("read");
    drop(fixture.wait_until_whole(&etag, size));
    for restarts in [false, true] {
        if restarts {
            fixture.restart();
        }
        let data = &fixture.files("data")[0];
        let data = fs::OpenOptions::new()
            .write(true)
            .open(data)
            .expect("there");
        data.write_all_at(b"damaged", MIB + 5).expect("written");
        assert!(fixture.whole(&etag, size).is_none());
        let read = fixture.read(&etag, size, 0..size).expect("read");
        assert!(read == synthetic(SEED, 0..size));
        let file = fixture.wait_until_whole(&etag, size);
        assert!(content(&file) == synthetic(SEED, 0..size));
    }
}

#[test]
fn file_that_is_used_as_a_whole_is_not_removed_to_make_room() {
    let fixture = Fixture::limited(Some(4 * MIB));
    let size = MIB;
    let etag = fixture.fake.put_synthetic("k", size, SEED);
    fixture.read(&etag, size, 0..size).expect("read");
    let used = fixture.wait_until_whole(&etag, size);
    let mut seed = 100;
    let mut fill_until = |is_so: &dyn Fn() -> bool| {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < until, "nothing is removed");
            for _ in 0..12 {
                seed += 1;
                let other = fixture.fake.put_synthetic("k", size, seed);
                fixture.read(&other, size, 0..size).expect("read");
                thread::sleep(Duration::from_millis(50));
            }
        }
    };
    fill_until(&|| fixture.cache.0.metrics.removed.get() > 0);
    // It is the oldest of the versions that were replaced, and the others had to go.
    assert!(fixture.whole(&etag, size).is_some());
    assert!(content(&used) == synthetic(SEED, 0..size));
    drop(used);
    fill_until(&|| fixture.whole(&etag, size).is_none());
}

/// Damages the file with this ending as a disk does, which leaves no trace.
fn rot(fixture: &Fixture, ending: &str, place: u64) {
    let path = fixture.files(ending).remove(0);
    let modified = path.metadata().expect("there").modified().expect("known");
    damage(&path, place, 1 << 40);
    let file = File::options().write(true).open(path).expect("there");
    file.set_modified(modified).expect("set");
}

#[test]
fn file_of_which_a_block_was_bad_is_not_whole_any_more() {
    let fixture = Fixture::new();
    let size = 2 * MIB;
    let etag = fixture.fake.put_synthetic("k", size, SEED);
    fixture.read(&etag, size, 0..size).expect("read");
    drop(fixture.wait_until_whole(&etag, size));
    rot(&fixture, "data", MIB + 5);
    // Whoever finds it has nothing to mend it with.
    fixture.fake.put_synthetic("k", size, SEED + 1);
    fixture.read(&etag, size, 0..size).expect_err("it is gone");
    assert!(fixture.whole(&etag, size).is_none());
}

#[test]
fn bad_block_is_found_of_a_file_that_nobody_reads_here() {
    for (size, ending) in [(BLOCK, "block"), (BLOCK + 1, "data")] {
        let fixture = Fixture::new();
        let etag = fixture.fake.put_synthetic("k", size, SEED);
        fixture.read(&etag, size, 0..size).expect("read");
        let file = fixture.wait_until_whole(&etag, size);
        assert!(fixture.store.is_trusted(&file));
        rot(&fixture, ending, 5);
        let until = Instant::now() + Duration::from_secs(60);
        while fixture.whole(&etag, size).is_some() {
            assert!(Instant::now() < until, "it is still whole after a minute");
            thread::sleep(Duration::from_millis(100));
        }
        assert!(!fixture.store.is_trusted(&file));
        let body = fixture.read(&etag, size, 0..size).expect("read");
        assert!(body == synthetic(SEED, 0..size));
        assert_eq!(fixture.cache.0.metrics.bad_blocks.get(), 1);
        fixture.wait_until_whole(&etag, size);
    }
}

#[test]
fn file_is_not_trusted_after_the_disk_has_failed_until_it_was_read_again() {
    let fixture = Fixture::new();
    let size = 2 * MIB;
    let etag = fixture.fake.put_synthetic("k", size, SEED);
    fixture.read(&etag, size, 0..size).expect("read");
    let file = fixture.wait_until_whole(&etag, size);
    assert!(fixture.store.is_trusted(&file));
    let error = rustix::io::Errno::IO.into();
    fixture.cache.0.failures.note("something", &error);
    assert!(!fixture.store.is_trusted(&file));
    thread::sleep(Duration::from_millis(1500));
    assert!(fixture.whole(&etag, size).is_none(), "nobody has read it");
    fixture.read(&etag, size, 0..size).expect("read");
    let again = fixture.wait_until_whole(&etag, size);
    assert!(fixture.store.is_trusted(&again) && !fixture.store.is_trusted(&file));
    assert_eq!(fixture.gets(), 1);
}
