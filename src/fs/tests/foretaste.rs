//! Lookups that fetch what is opened next.

use std::time::Instant;

use super::*;
use crate::wait::{once_in_five, within};

const OTHER: Pid = Pid(2);

/// A file system over `f0` to `f9`, in which a file was read and a second has passed.
fn reading() -> (FakeStore, Fs) {
    let store = FakeStore::new();
    for number in 0..10 {
        store.put(&format!("f{number}"), format!("text {number}"));
    }
    let fs = mount(&store, Ttl::Minimal);
    assert_eq!(text(&fs, "f0"), "text 0");
    std::thread::sleep(Duration::from_millis(1010));
    store.clear_log();
    (store, fs)
}

/// Such a file system after `act`, which took less time than what was looked up is fresh.
fn after(act: impl Fn(&Fs)) -> (FakeStore, Fs) {
    let mut after = None;
    once_in_five(|_| {
        let (store, fs) = reading();
        let begun = Instant::now();
        act(&fs);
        after = Some((store, fs));
        within(begun.elapsed(), Duration::from_secs(1))
    });
    after.expect("it was in time")
}

fn text(fs: &Fs, name: &str) -> String {
    let file = open_name(fs, name);
    let bytes = read(fs, file, 0, 100).expect("it reads");
    block_on(fs.release(file)).expect("it closes");
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn each_file_that_was_listed_costs_one_get() {
    let (store, _fs) = after(|fs| {
        for number in 1..10 {
            assert_eq!(text(fs, &format!("f{number}")), format!("text {number}"));
        }
    });
    assert_eq!(requests(&store), [Op::Get; 9]);
}

#[test]
fn s13_open_sees_the_newest_version_though_another_was_listed() {
    let (store, fs) = reading();
    store.remove("f2");
    store.put("f1", "another text");
    assert_eq!(lookup(&fs, "f2"), Err(Errno::ENOENT));
    assert_eq!(text(&fs, "f1"), "another text");
    // Between the lookup and the open of a thread that has not looked it up.
    let entry = lookup(&fs, "f3").expect("it is there");
    store.put("f3", "and another");
    let opened = block_on(fs.open(entry.attr.ino, OpenFlags(libc::O_RDONLY), OTHER));
    let errno = opened.map_err(|error| error.errno()).err();
    assert_eq!(errno, Some(Errno::ESTALE));
    assert_eq!(text(&fs, "f3"), "and another");
}

#[test]
fn direct_open_asks_for_itself() {
    let (store, fs) = reading();
    let entry = lookup(&fs, "f1").expect("it is there");
    assert_eq!(requests(&store), [Op::Get]);
    store.clear_log();
    let file = open(&fs, entry.attr.ino, libc::O_RDONLY | libc::O_DIRECT).expect("it opens");
    assert_eq!(requests(&store), [Op::Get]);
    assert_eq!(read(&fs, file, 0, 4), Ok(Bytes::from("text")));
}

#[test]
fn files_that_nobody_opens_are_not_fetched_for_long() {
    let (store, _fs) = after(|fs| {
        for number in 1..10 {
            let entry = lookup(fs, &format!("f{number}")).expect("it is there");
            assert_eq!(entry.attr.size, 6);
        }
    });
    assert_eq!(requests(&store), [Op::Get, Op::Get, Op::List]);
    assert_eq!(store.bodies().in_flight, 0);
}

#[test]
fn file_that_may_not_be_read_is_looked_up_all_the_same() {
    let (store, fs) = reading();
    store.fail_next(Op::Get, None, ErrorKind::Denied, 2);
    let entry = lookup(&fs, "f1").expect("it is there");
    assert_eq!(
        open(&fs, entry.attr.ino, libc::O_RDONLY),
        Err(Errno::EACCES)
    );
    assert_eq!(text(&fs, "f1"), "text 1");
}

#[test]
fn thread_that_cannot_be_told_from_others_gets_nothing_ahead() {
    let (store, fs) = reading();
    let name = OsStr::new("f1");
    let entry = found(block_on(fs.lookup(ROOT, name, Pid(0)))).expect("it is there");
    assert_eq!((requests(&store), entry.attr.size), (vec![Op::List], 6));
}
