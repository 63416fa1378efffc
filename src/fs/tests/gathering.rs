//! Files that the kernel gathers before it hands them over, and names that are believed.

use std::thread;

use super::*;
use crate::wait::once_in_five;

fn gathering(store: &FakeStore) -> Fs {
    writing::allowing(store, Ttl::For(Duration::from_secs(60)), |config| {
        config.writeback_cache = true;
        config.allow_overwrite = true;
    })
}

fn create(fs: &Fs, name: &str, flags: i32) -> (Entry, Opened) {
    let flags = OpenFlags(flags | libc::O_CREAT);
    block_on(fs.create(ROOT, OsStr::new(name), CREATOR, flags, ME)).expect("it opens")
}

#[test]
fn only_new_files_that_are_but_written_are_gathered() {
    let store = FakeStore::new();
    store.put("old", "old");
    let fs = gathering(&store);
    for (name, flags, kind) in [
        ("a", libc::O_WRONLY, OpenKind::WritesInPages),
        ("b", libc::O_RDWR, OpenKind::Writes),
        ("c", libc::O_WRONLY | libc::O_DIRECT, OpenKind::Writes),
        ("old", libc::O_WRONLY | libc::O_TRUNC, OpenKind::Writes),
    ] {
        let (entry, opened) = create(&fs, name, flags);
        assert_eq!(opened.kind, kind, "{name}");
        assert_eq!(
            entry.valid_for,
            Duration::ZERO,
            "{name} is another inode when it is stored"
        );
        let attr = block_on(fs.getattr(entry.attr.ino)).expect("it is open");
        assert!(
            attr.valid_for > Duration::ZERO,
            "{name}: asked before each write otherwise"
        );
        block_on(fs.release(opened.file)).expect("it is stored");
    }
}

#[test]
fn name_of_an_object_that_create_opens_is_believed_as_long_as_any() {
    let store = FakeStore::new();
    store.put("old", "old");
    let ttl = Duration::from_secs(60);
    let fs = gathering(&store);
    let (entry, opened) = create(&fs, "old", libc::O_RDONLY);
    assert_eq!(opened.kind, OpenKind::ReadsUntilClosed);
    assert!(entry.valid_for <= ttl, "{:?}", entry.valid_for);
}

#[test]
fn pages_are_stored_in_order_and_a_length_is_answered_as_it_was_set() {
    let store = FakeStore::new();
    let fs = gathering(&store);
    let (entry, opened) = create(&fs, "a", libc::O_WRONLY);
    let write = |offset, data: &'static [u8]| {
        let now = fs.write_now(opened.file, offset, data);
        now.unwrap_or_else(|| block_on(fs.write(opened.file, offset, Bytes::from_static(data))))
    };
    let set_length = |size| {
        let change = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        let set = block_on(fs.setattr(entry.attr.ino, change));
        set.map(|entry| entry.attr.size)
            .map_err(|error| error.errno())
    };
    write(4, b"behind").expect("kept");
    assert_eq!(set_length(20), Ok(20), "the kernel may have more");
    assert_eq!(set_length(9), Ok(9), "it was not its turn yet");
    write(0, b"now behind").expect("taken");
    assert_eq!(set_length(9), Err(Errno::EPERM), "it was taken");
    let again = block_on(fs.read(opened.file, 0, 4096)).expect("the page is there");
    assert_eq!(&again[..], b"now behind");
    let again = block_on(fs.read(opened.file, 4, 3)).expect("the page is there");
    assert_eq!(&again[..], b"beh");
    block_on(fs.flush(opened.file, ME)).expect("stored");
    assert_eq!(store.body("a").as_deref(), Some(&b"now behind"[..]));
}

#[test]
fn length_that_is_set_says_nothing_to_writers_that_are_not_gathered() {
    let store = FakeStore::new();
    let fs = gathering(&store);
    for flags in [
        libc::O_RDWR | libc::O_APPEND,
        libc::O_WRONLY | libc::O_DIRECT,
    ] {
        let name = format!("{flags}");
        let (entry, opened) = create(&fs, &name, flags);
        let change = SetAttr {
            size: Some(100),
            ..SetAttr::default()
        };
        let set = block_on(fs.setattr(entry.attr.ino, change)).expect("ignored");
        assert_eq!(set.attr.size, 0);
        fs.write_now(opened.file, 0, b"text")
            .expect("at once")
            .expect("taken");
        block_on(fs.flush(opened.file, ME)).expect("stored");
        assert_eq!(store.body(&name).as_deref(), Some(&b"text"[..]));
    }
}

#[test]
fn times_that_the_kernel_writes_back_are_accepted_of_objects_and_nothing_else() {
    let store = FakeStore::new();
    store.put("old", "old");
    let fs = writing::allowing(&store, Ttl::Minimal, |config| {
        (config.writeback_cache, config.allow_delete) = (true, true);
    });
    let set = |ino, change| block_on(fs.setattr(ino, change)).map_err(|error| error.errno());
    let some_time = Some(std::time::UNIX_EPOCH);
    let times = SetAttr {
        modified: some_time,
        ..SetAttr::default()
    };
    let old = lookup(&fs, "old").expect("an object").attr;
    let (new, opened) = create(&fs, "new", libc::O_WRONLY);
    block_on(fs.fsync(opened.file)).expect("stored");
    for ino in [old.ino, new.attr.ino] {
        assert_eq!(set(ino, times).map(|entry| entry.attr.ino), Ok(ino));
        for refused in [
            SetAttr {
                size: Some(0),
                ..times
            },
            SetAttr {
                mode: Some(0o600),
                ..times
            },
            SetAttr {
                uid: Some(1),
                ..times
            },
            SetAttr {
                gid: Some(1),
                ..times
            },
            SetAttr {
                accessed: some_time,
                ..times
            },
        ] {
            assert_eq!(set(ino, refused).err(), Some(Errno::EPERM), "{refused:?}");
        }
    }
    block_on(fs.release(opened.file)).expect("it is closed");
    block_on(fs.unlink(ROOT, OsStr::new("old"))).expect("removed");
    store.clear_log();
    for (ino, size) in [(old.ino, 3), (new.attr.ino, 0)] {
        let entry = set(ino, times).expect("the kernel still has it");
        assert_eq!((entry.attr.size, entry.attr.kind), (size, FileKind::File));
    }
    assert_eq!(store.log(), []);
}

#[test]
fn file_that_was_closed_once_is_its_writers_until_it_is_released() {
    let other = Pid(u32::MAX);
    let open_waits = |name: &str, written: &str, by| {
        let store = FakeStore::new();
        let fs = gathering(&store);
        let (entry, opened) = create(&fs, name, libc::O_WRONLY);
        let end = written.len() as u64;
        if !written.is_empty() {
            let taken = fs.write_now(opened.file, 0, written.as_bytes());
            taken.expect("at once").expect("taken");
        }
        block_on(fs.flush(opened.file, by)).expect("it waits");
        let ino = entry.attr.ino;
        assert_eq!(open(&fs, ino, libc::O_RDONLY), Err(Errno::EPERM));
        let taken = fs.write_now(opened.file, end, b"two");
        taken.expect("at once").expect("taken");
        block_on(fs.flush(opened.file, by)).expect("it waits");
        let opening = thread::scope(|scope| {
            let opening = scope.spawn(|| open(&fs, ino, libc::O_RDONLY));
            thread::sleep(Duration::from_millis(50));
            block_on(fs.release(opened.file)).expect("stored");
            opening.join().expect("no panic")
        });
        let body = format!("{written}two");
        assert_eq!(store.body(name).as_deref(), Some(body.as_bytes()));
        match opening {
            // It is another inode now.
            Err(Errno::ESTALE) => Ok(()),
            Err(Errno::EPERM) => Err(format!("{name}: it has waited in vain")),
            other => panic!("{name}: {other:?}"),
        }
    };
    for (name, written, by) in [("a", "one ", other), ("b", "", ME)] {
        // An open waits for a second only, and the machine may stand still for longer.
        once_in_five(|_| open_waits(name, written, by));
    }
}
