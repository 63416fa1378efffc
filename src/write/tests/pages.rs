//! Handles that take pages, beside a page cache that writes back as the kernel's does.

use std::collections::BTreeSet;
use std::ops::Range;

use super::*;

/// As the kernel's, of a machine with pages of this size or less.
fn page() -> usize {
    rustix::param::page_size()
}

fn paged(store: &FakeStore, config: &WriteConfig) -> WriteHandle {
    open(store, Target::Whole, config).in_pages()
}

/// A file in a page cache, which may have been given a length before it is written.
#[derive(Default)]
struct Cached {
    body: Vec<u8>,
    written: usize,
    dirty: BTreeSet<usize>,
}

impl Cached {
    fn append(&mut self, data: &[u8]) {
        let start = self.written;
        self.written += data.len();
        self.body.resize(self.body.len().max(self.written), 0);
        self.body[start..self.written].copy_from_slice(data);
        if !data.is_empty() {
            self.dirty
                .extend(start / page()..=(self.written - 1) / page());
        }
    }

    /// The bytes of dirty pages, each request with up to `most` pages that follow each other, from page
    /// `from` on, and, if it is to be `all`, then those before.
    fn write_back(&mut self, from: usize, most: usize, all: bool) -> Vec<Range<usize>> {
        let dirty = std::mem::take(&mut self.dirty);
        let (mut before, behind): (Vec<_>, Vec<_>) =
            dirty.into_iter().partition(|page| *page < from);
        if !all {
            self.dirty.extend(before.drain(..));
        }
        let mut requests: Vec<Range<usize>> = Vec::new();
        for page in behind.into_iter().chain(before) {
            match requests.last_mut() {
                Some(last) if last.end == page && last.len() < most => last.end += 1,
                _ => requests.push(page..page + 1),
            }
        }
        let bytes =
            |pages: Range<usize>| pages.start * page()..(pages.end * page()).min(self.body.len());
        requests.into_iter().map(bytes).collect()
    }
}

proptest! {
    /// Whatever the sizes of writes, whatever length was set before, and whenever and in whichever order
    /// pages are written back, the object has the bytes of the file; and a page that the cache has dropped is
    /// had again.
    #[test]
    fn prop_object_is_what_the_page_cache_had(
        steps in prop::collection::vec(
            (prop_oneof![1usize..200, 1usize..40_000], any::<bool>(), 0usize..12, 1usize..9, any::<u64>()),
            1..30,
        ),
        part_size in 200usize..60_000,
        length in prop_oneof![Just(0), 0usize..=1000],
    ) {
        let store = FakeStore::deterministic();
        store.set_upload_part_size(part_size);
        let mut config = config(Budget::new(1 << 20, 1));
        config.part_size = part_size as u64;
        let handle = paged(&store, &config);
        let total: usize = steps.iter().map(|(size, ..)| size).sum();
        let mut file = Cached {
            body: vec![0; total * length / 1000],
            ..Cached::default()
        };
        prop_assert!(block_on(handle.set_length(file.body.len() as u64)));
        for (index, (size, written_back, from, most, order)) in steps.iter().enumerate() {
            match order % 7 {
                0 => file.append(&vec![0; *size]),
                _ => file.append(&bytes(*size as u64, index as u64)),
            }
            if !written_back && index + 1 < steps.len() {
                continue;
            }
            let all = order % 3 > 0 || index + 1 == steps.len();
            let mut requests = file.write_back(*from, *most, all);
            let count = requests.len().max(1);
            requests.rotate_left(usize::try_from(*order).unwrap_or_default() % count);
            if order % 2 == 0 {
                requests.reverse();
            }
            for request in requests {
                write(&handle, request.start as u64, &file.body[request]).expect("it is taken");
            }
            if !all {
                continue;
            }
            let last = file.written / page() * page();
            let mut again = block_on(handle.read_page(last as u64, page())).expect("it is there").to_vec();
            let expected = &file.body[last..file.body.len().min(last + page())];
            prop_assert!(again.len() <= expected.len());
            again.resize(expected.len(), 0);
            prop_assert_eq!(again, expected);
        }
        block_on(handle.complete()).expect("it is stored");
        prop_assert!(store.body("f").expect("stored")[..] == file.body[..]);
        prop_assert_eq!(config.budget.used(), 0);
    }
}

#[test]
fn gap_is_a_failure_at_the_end_and_not_before() {
    for start in [0, 100] {
        let store = store();
        let handle = paged(&store, &config(Budget::unlimited()));
        write(&handle, 0, &bytes(start, 1)).expect("taken");
        write(&handle, 9000, b"far").expect("kept");
        assert!(matches!(block_on(handle.progress()), Progress::Written));
        let error = block_on(handle.complete()).expect_err("a gap");
        assert!(
            matches!(error, Error::NotAtEnd { offset: 9000, end } if end == start),
            "{error}"
        );
        assert_eq!(store.log(), []);
        assert!(matches!(block_on(handle.progress()), Progress::Failed(_)));
    }
}

#[test]
fn bytes_that_were_taken_cannot_be_others_afterwards() {
    let size = 3 * page() as u64 + 10;
    let body = bytes(size, 1);
    let last = 3 * page();
    let other = [!body[last]; 20];
    let other_page = [&body[page()..2 * page()], &vec![!body[2 * page()]; page()]].concat();
    for (offset, data, is_taken) in [
        (last, &body[last..], true),
        (last, &body[last..last + 3], true),
        (last + 4, &body[last + 4..], true),
        (last, &other[..], false),
        (2 * page(), &body[2 * page()..], true),
        (page(), &other_page[..], false),
    ] {
        let store = store();
        let handle = paged(&store, &config(Budget::unlimited()));
        write(&handle, 0, &body).expect("taken");
        let again = write(&handle, offset as u64, data);
        assert_eq!(again.is_ok(), is_taken, "{offset}");
        assert_eq!(block_on(handle.complete()).is_ok(), is_taken, "{offset}");
        assert_eq!(store.body("f").is_some(), is_taken, "{offset}");
    }
}

#[test]
fn what_came_early_is_not_lost_to_a_part_of_it_that_comes_again() {
    let body = bytes(4 * page() as u64, 1);
    let store = store();
    let handle = paged(&store, &config(Budget::unlimited()));
    let early = page() as u64;
    write(&handle, early, &body[page()..]).expect("kept");
    write(&handle, early, &body[page()..2 * page()]).expect("known");
    write(&handle, 0, &body[..page()]).expect("taken");
    block_on(handle.complete()).expect("stored");
    assert!(store.body("f").expect("stored") == body);
}

#[test]
fn what_came_early_may_still_be_changed() {
    let mut body = bytes(4 * page() as u64, 1).to_vec();
    let store = store();
    let handle = paged(&store, &config(Budget::unlimited()));
    write(&handle, page() as u64, &body[page()..]).expect("kept");
    body[2 * page()..3 * page()].fill(7);
    write(&handle, 2 * page() as u64, &body[2 * page()..3 * page()]).expect("kept");
    // All of it in one piece, with what was kept in part.
    body[page()..2 * page()].fill(8);
    write(&handle, 0, &body[..2 * page()]).expect("taken");
    block_on(handle.complete()).expect("stored");
    assert!(store.body("f").expect("stored") == body);
}

#[test]
fn early_bytes_are_paid_for_until_they_are_taken() {
    let store = store();
    let config = config(Budget::new(4096, 1));
    let handle = paged(&store, &config);
    let body = bytes(100_000, 1);
    write(&handle, 50_000, &body[50_000..]).expect("kept");
    assert_eq!(config.budget.used(), 50_000);
    write(&handle, 60_000, &body[60_000..]).expect("kept");
    assert_eq!(config.budget.used(), 50_000);
    drop(handle);
    assert_eq!(config.budget.used(), 0);
    assert_eq!(store.log(), []);
}

#[test]
fn page_that_comes_after_the_end_is_told_by_every_later_end() {
    let store = store();
    let handle = paged(&store, &config(Budget::unlimited()));
    write(&handle, 0, b"one").expect("taken");
    block_on(handle.complete()).expect("stored");
    block_on(handle.complete()).expect("stored already");
    let refused = write(&handle, 0, b"onetwo").expect_err("too late");
    assert!(matches!(refused, Error::Stored), "{refused}");
    for _ in 0..2 {
        let error = block_on(handle.complete()).expect_err("not all is stored");
        assert!(matches!(error, Error::Stored), "{error}");
    }
    assert_eq!(store.body("f").as_deref(), Some(&b"one"[..]));
}

#[test]
fn pages_that_came_early_are_read_again_as_far_as_is_asked() {
    let store = store();
    let handle = paged(&store, &config(Budget::unlimited()));
    let size = page() as u64;
    let body = bytes(7 * size, 1);
    let read = |start: u64, length: usize| {
        let page = block_on(handle.read_page(start, length));
        page.expect("it is there")
    };
    // With a hole of one page.
    write(&handle, 0, &body[..100]).expect("taken");
    write(&handle, size, &body[page()..4 * page()]).expect("kept");
    write(&handle, 2 * size, &body[2 * page()..3 * page()]).expect("kept");
    write(&handle, 5 * size, &body[5 * page()..]).expect("kept");
    assert_eq!(read(0, page()), body[..100]);
    assert_eq!(read(size, page()), body[page()..2 * page()]);
    assert_eq!(read(size + 5, 10), body[page() + 5..][..10]);
    assert_eq!(read(size, 3 * page()), body[page()..4 * page()]);
    assert_eq!(read(6 * size, 9 * page()), body[6 * page()..]);
    assert_eq!(read(4 * size, page()), b""[..]);
    let with_hole = [&vec![0; page()][..], &body[5 * page()..6 * page()]].concat();
    assert_eq!(read(4 * size, 2 * page()), with_hole);
    let with_start = [&body[..100], &vec![0; page() - 100], &body[page()..][..7]].concat();
    assert_eq!(read(0, page() + 7), with_start);
}

#[test]
fn failed_file_keeps_nothing_that_came_early() {
    type Fail = fn(&WriteHandle, &FakeStore);
    let failures: [(&str, Fail); 4] = [
        ("other bytes", |handle, _| {
            write(handle, 0, b"two").expect_err("one was taken");
        }),
        ("too large", |handle, _| {
            write(handle, u64::MAX, b"x").expect_err("too large");
        }),
        ("a hole", |handle, _| {
            block_on(handle.complete()).expect_err("a hole");
        }),
        ("the store", |handle, store| {
            store.fail_next(Op::Part, None, ErrorKind::Denied, 1);
            let _any = write(handle, 3, &bytes(3 * PART, 1)[..]);
            block_on(handle.complete()).expect_err("denied");
        }),
    ];
    for (failure, fail) in failures {
        let store = store();
        let config = config(Budget::new(4096, 1));
        let handle = paged(&store, &config);
        write(&handle, 0, b"one").expect("taken");
        write(&handle, 4 * PART, &bytes(50_000, 1)).expect("kept");
        assert!(config.budget.used() >= 50_000);
        fail(&handle, &store);
        assert_eq!(config.budget.used(), 0, "{failure}");
        assert!(
            block_on(handle.read_page(4 * PART, 10)).is_none(),
            "{failure}"
        );
    }
}

#[test]
fn length_that_is_set_is_reached_or_the_file_fails() {
    for (written, length, set_before, stored) in [
        (b"one".to_vec(), 3, true, Some(3)),
        (b"one\0\0".to_vec(), 5, true, Some(5)),
        (b"one\0\0".to_vec(), 4, false, None),
        (b"one".to_vec(), 0, true, Some(3)),
        (b"one".to_vec(), 4, true, None),
        (b"one".to_vec(), 4, false, None),
        (b"one".to_vec(), 1 << 40, false, None),
        (b"".to_vec(), 1, true, None),
        (b"".to_vec(), 0, true, Some(0)),
    ] {
        let case = format!("{written:?} of {length}, {set_before}");
        let store = store();
        let handle = paged(&store, &config(Budget::unlimited()));
        if set_before {
            assert!(block_on(handle.set_length(length)), "{case}");
        }
        write(&handle, 0, &written).expect("taken");
        if !set_before {
            let is_longer = length >= written.len() as u64;
            assert_eq!(block_on(handle.set_length(length)), is_longer, "{case}");
            if !is_longer {
                continue;
            }
        }
        let is_untouched = matches!(block_on(handle.progress()), Progress::Untouched);
        assert_eq!(is_untouched, written.is_empty() && length == 0, "{case}");
        match (block_on(handle.complete()), stored) {
            (Ok(()), Some(size)) => assert_eq!(store.body("f").expect(&case).len(), size),
            (Err(Error::TooShort { .. }), None) => assert_eq!(store.log(), [], "{case}"),
            (other, _) => panic!("{case}: {other:?}"),
        }
    }
}

#[test]
fn length_cuts_off_what_was_not_taken() {
    let body = bytes(3 * page() as u64, 1);
    let store = store();
    let handle = paged(&store, &config(Budget::unlimited()));
    let size = page() as u64;
    assert!(block_on(handle.set_length(9 * size)));
    write(&handle, 2 * size, &body[2 * page()..]).expect("kept");
    let filled_up = [&body[..page() + 100], &vec![0; page() - 100]].concat();
    write(&handle, 0, &filled_up).expect("taken");
    assert!(!block_on(handle.set_length(size - 1)));
    assert!(block_on(handle.set_length(size + 100)));
    write(&handle, size, &body[page()..2 * page()]).expect("written on");
    block_on(handle.complete()).expect("stored");
    assert!(store.body("f").expect("stored") == body[..2 * page()]);
}

#[test]
fn page_that_is_handed_over_while_it_is_written_comes_again() {
    let body = bytes(3 * page() as u64, 1);
    let store = store();
    let handle = paged(&store, &config(Budget::unlimited()));
    assert!(block_on(handle.set_length(3 * page() as u64)));
    let mut torn = body[..2 * page()].to_vec();
    torn[page() + 100..page() + 2000].fill(0);
    write(&handle, 0, &torn).expect("taken");
    // It overtakes the page before.
    write(&handle, 2 * page() as u64, &body[2 * page()..]).expect("kept");
    write(&handle, page() as u64, &body[page()..2 * page()]).expect("known");
    block_on(handle.complete()).expect("stored");
    assert!(store.body("f").expect("stored") == body);
}

#[test]
fn bytes_are_not_kept_back_without_end() {
    let store = store();
    let config = config(Budget::new(1 << 30, 1));
    let handle = paged(&store, &config);
    let (size, step) = (100 << 20, 1 << 20);
    assert!(block_on(handle.set_length(size)));
    let mut body = bytes(size, 1).to_vec();
    body[5 << 20..45 << 20].fill(0);
    for (number, data) in body.chunks(step).enumerate() {
        write(&handle, (number * step) as u64, data).expect("taken");
        let used = config.budget.used();
        assert!(used <= (17 << 20) + 9 * PART, "{used} at {number}");
    }
    block_on(handle.complete()).expect("stored");
    assert!(store.body("f").expect("stored") == body);
}
