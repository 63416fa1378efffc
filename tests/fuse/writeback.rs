//! Files that the kernel gathers in its page cache before it hands them over (`--writeback-cache`).

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::thread;
use std::time::Duration;

use rustix::fs::{Advice, fadvise, syncfs};
use rustix::io::Errno;
use s3_test_server::{Fault, Model, Rule};

use crate::lifecycle::io_count;
use crate::namespace::assert_errno;
use crate::reading::{MIB, bytes};
use crate::support::alone::alone;
use crate::support::local::Local;
use crate::support::mount::Mount;
use crate::support::store::TestStore;
use crate::support::wait::{LONG, once_in_five, wait_for};
use crate::writing::sh;

/// A store, a bucket of it that is empty, and a mount of that, with these flags, too.
pub(crate) fn mounted(flags: &[&str]) -> (Local, String, Mount) {
    let local = Local::start();
    let bucket = local.fresh_bucket();
    let mounting = local.mounting(&bucket).with(&["--writeback-cache"]);
    let mount = mounting.with(flags).mount();
    (local, bucket, mount)
}

/// Ends a file as `close` does, and says what that says.
pub(crate) fn close(file: File) -> std::io::Result<()> {
    nix::unistd::close(file).map_err(Into::into)
}

/// What the daemon has read, which is from the kernel: bytes (`rchar`), or how often (`syscr`).
pub(crate) fn taken(mount: &Mount, what: &str) -> u64 {
    io_count(mount.pid(), what)
}

/// What is given up is removed a little later.
pub(crate) fn wait_for_no_upload(local: &Local, bucket: &str) {
    wait_for("no upload is left", LONG, || {
        local.uploads(bucket).is_empty().then_some(())
    });
}

#[test]
fn small_writes_become_few_requests_and_the_object_has_their_bytes() {
    let (local, bucket, mount) = mounted(&[]);
    let size = 20 * MIB + 5;
    let body = bytes(7, 0, size);
    // The kernel gathers less while others write much.
    once_in_five(|round| {
        let name = format!("f{round}");
        let before = taken(&mount, "syscr");
        let mut file = File::create(mount.join(&name)).unwrap();
        for block in body.chunks(1000) {
            file.write_all(block).unwrap();
        }
        assert_eq!(file.metadata().unwrap().len(), size);
        close(file).expect("it is stored");
        let requests = taken(&mount, "syscr") - before;
        assert!(local.body(&bucket, &name).expect("stored") == body);
        assert_eq!(fs::metadata(mount.join(&name)).unwrap().len(), size);
        assert!(fs::read(mount.join(&name)).unwrap() == body);
        match requests < 2000 {
            true => Ok(()),
            false => Err(format!("{requests} of 20,972 writes")),
        }
    });
}

#[test]
fn programs_that_write_find_their_files_stored() {
    let (local, bucket, mount) = mounted(&["--allow-overwrite"]);
    let source = tempfile::NamedTempFile::new().unwrap();
    let body = bytes(5, 0, 20 * MIB + 5);
    fs::write(source.path(), &body).unwrap();
    let source = source.path().display();
    sh(
        &mount,
        "echo text > redirected; (echo 1; echo 2) > group; : > empty",
    );
    sh(&mount, &format!("cp {source} copied; cmp {source} copied"));
    sh(&mount, &format!("cp -p {source} kept; cmp {source} kept"));
    sh(&mount, &format!("dd if={source} of=small bs=100 2>&1"));
    sh(
        &mount,
        &format!("dd if={source} of=synced bs=4k conv=fsync 2>&1"),
    );
    sh(
        &mount,
        &format!("dd if={source} of=direct bs=4M oflag=direct 2>&1"),
    );
    sh(
        &mount,
        &format!("echo old > over; cp {source} over; cmp {source} over"),
    );
    for key in ["copied", "kept", "small", "synced", "direct", "over"] {
        assert!(local.body(&bucket, key).expect(key) == body, "{key}");
    }
    for (key, text) in [("redirected", "text\n"), ("group", "1\n2\n"), ("empty", "")] {
        assert_eq!(
            local.body(&bucket, key).as_deref(),
            Some(text.as_bytes()),
            "{key}"
        );
    }
    assert_eq!(local.uploads(&bucket), [""; 0]);
}

#[test]
fn pages_that_were_written_back_in_part_and_dropped_are_written_on() {
    let (local, bucket, mount) = mounted(&[]);
    let root = File::open(mount.path()).unwrap();
    let size = 9 * MIB + 77;
    let body = bytes(3, 0, size);
    let mut file = File::create(mount.join("f")).unwrap();
    let (mut rest, mut step) = (&body[..], 0);
    while !rest.is_empty() {
        let len = [1, 4095, 100_001, 8192, 300_000, 4097][step % 6].min(rest.len());
        file.write_all(&rest[..len]).unwrap();
        rest = &rest[len..];
        // To the mount, but the file is not complete.
        syncfs(&root).unwrap();
        if step % 2 == 0 {
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        }
        step += 1;
    }
    close(file).expect("it is stored");
    assert!(local.body(&bucket, "f").expect("stored") == body);
}

#[test]
fn many_writers_at_once_store_what_they_write() {
    let (local, bucket, mount) = mounted(&[]);
    let root = File::open(mount.path()).unwrap();
    let size = |writer: u64| 6 * MIB + writer * (3 * MIB + 17);
    thread::scope(|scope| {
        for writer in 0..8 {
            let path = mount.join(&format!("f{writer}"));
            scope.spawn(move || {
                let mut file = File::create(path).expect("it opens");
                for block in bytes(writer, 0, size(writer)).chunks(5000) {
                    file.write_all(block).expect("it is taken");
                }
                close(file).expect("it is stored");
            });
        }
        for _ in 0..20 {
            syncfs(&root).expect("written back");
            thread::sleep(Duration::from_millis(20));
        }
    });
    for writer in 0..8 {
        let body = local.body(&bucket, &format!("f{writer}")).expect("stored");
        assert!(body == bytes(writer, 0, size(writer)), "{writer}");
    }
}

#[test]
fn gap_is_told_at_the_end_and_leaves_nothing() {
    let (local, bucket, mount) = mounted(&[]);
    for (name, size, offset) in [("gap", 10 * MIB, 12 * MIB), ("hole", 0, MIB)] {
        for fsync in [true, false] {
            let mut file = File::create(mount.join(name)).unwrap();
            file.write_all(&bytes(1, 0, size)).unwrap();
            file.write_all_at(b"far", offset)
                .expect("the kernel keeps it");
            if fsync {
                assert_errno(file.sync_all(), Errno::INVAL);
            }
            assert_errno(close(file), Errno::INVAL);
            assert_errno(fs::metadata(mount.join(name)), Errno::NOENT);
        }
    }
    assert_eq!(local.keys(&bucket), [""; 0]);
    wait_for_no_upload(&local, &bucket);
    fs::write(mount.join("next"), "fine").unwrap();
    assert_eq!(local.body(&bucket, "next").as_deref(), Some(&b"fine"[..]));
}

#[test]
fn what_is_changed_after_it_was_handed_over_is_told_and_what_was_not_is_stored() {
    let (local, bucket, mount) = mounted(&[]);
    let mut told = 0;
    for round in 0..20 {
        let name = format!("f{round}");
        let mut body = bytes(round, 0, 10 * MIB);
        let before = taken(&mount, "rchar");
        let mut file = File::create(mount.join(&name)).unwrap();
        file.write_all(&body).unwrap();
        wait_for("it is handed over", LONG, || {
            // This does not wait for pages, and may tell of a file before.
            let _told = syncfs(File::open(mount.path()).unwrap());
            (taken(&mount, "rchar") > before + 10 * MIB).then_some(())
        });
        let offset = 5 * MIB / (round % 3 + 1);
        file.write_all_at(b"other", offset).expect("kept");
        body[usize::try_from(offset).unwrap()..][..5].copy_from_slice(b"other");
        let (ended, errno) = match round % 2 {
            0 => {
                let synced = file.sync_all();
                drop(file);
                (synced, Errno::INVAL)
            }
            // What a page could not be written for is no more than an error then.
            _ => (close(file), Errno::IO),
        };
        // Where pages overtook each other, it may have come in time.
        if ended.is_ok() {
            assert!(
                local.body(&bucket, &name).expect("stored") == body,
                "{name}"
            );
        } else {
            assert_errno(ended, errno);
            // The kernel releases it some time after.
            wait_for("it is gone", LONG, || {
                fs::metadata(mount.join(&name)).is_err().then_some(())
            });
            told += 1;
        }
    }
    assert!(told > 0, "nothing was told");
    assert_eq!(local.keys(&bucket).len(), 20 - told);
    wait_for_no_upload(&local, &bucket);
}

// The kernel hands a file over when a process that another test starts closes it, too.
#[test]
fn bytes_that_were_not_handed_over_can_still_be_changed() {
    alone(
        "writeback::bytes_that_were_not_handed_over_can_still_be_changed",
        change_what_was_not_handed_over,
    );
}

fn change_what_was_not_handed_over() {
    let (local, bucket, mount) = mounted(&[]);
    let mut file = File::create(mount.join("header")).unwrap();
    file.write_all(b"length ?, then the rest").unwrap();
    file.seek(SeekFrom::Start(7)).unwrap();
    file.write_all(b"9").unwrap();
    close(file).expect("it is stored");
    let body = local.body(&bucket, "header").expect("stored");
    assert_eq!(body, b"length 9, then the rest");
}

#[test]
fn length_that_is_set_keeps_what_was_written_or_is_refused() {
    alone(
        "writeback::length_that_is_set_keeps_what_was_written_or_is_refused",
        set_the_length,
    );
}

fn set_the_length() {
    let (local, bucket, mount) = mounted(&[]);
    let root = File::open(mount.path()).unwrap();
    for (length, expected) in [(10, &b"0123456789"[..]), (4, b"0123")] {
        let name = format!("f{length}");
        let mut file = File::create(mount.join(&name)).unwrap();
        file.write_all(b"0123456789").unwrap();
        file.set_len(length).unwrap();
        assert_eq!(file.metadata().unwrap().len(), length);
        close(file).expect("it is stored");
        assert_eq!(local.body(&bucket, &name).as_deref(), Some(expected));
    }
    let mut file = File::create(mount.join("g")).unwrap();
    file.write_all(b"0123456789").unwrap();
    syncfs(&root).unwrap();
    assert_errno(file.set_len(4), Errno::PERM);
    file.set_len(10).unwrap();
    file.write_all(b"abc").unwrap();
    close(file).expect("it is stored");
    assert_eq!(
        local.body(&bucket, "g").as_deref(),
        Some(&b"0123456789abc"[..])
    );
}

#[test]
fn handles_that_are_not_gathered_refuse_at_once_what_is_out_of_order() {
    let (_local, _bucket, mount) = mounted(&["--allow-overwrite"]);
    let read_write = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(mount.join("rw"))
    };
    let direct = || {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .custom_flags(libc::O_DIRECT);
        options.open(mount.join("direct"))
    };
    fs::write(mount.join("old"), "old").unwrap();
    let replace = || File::create(mount.join("old"));
    for file in [read_write().unwrap(), direct().unwrap(), replace().unwrap()] {
        file.write_all_at(&[1; 4096], 0).unwrap();
        assert_errno(file.write_all_at(&[1; 4096], 0), Errno::INVAL);
    }
}

#[test]
fn failure_of_an_upload_reaches_the_writer_and_leaves_nothing() {
    let (local, bucket, mount) = mounted(&[]);
    for (step, size) in [
        ("PutObject", MIB),
        ("CreateMultipartUpload", 30 * MIB),
        ("UploadPart", 30 * MIB),
        ("CompleteMultipartUpload", 30 * MIB),
    ] {
        let denied = Fault::Error {
            status: 403,
            code: "AccessDenied".to_owned(),
        };
        local.set_model(Model {
            rules: vec![Rule::new(denied).on(step)],
            ..Model::default()
        });
        for fsync in [false, true] {
            let mut file = File::create(mount.join(step)).unwrap();
            let written = file.write_all(&bytes(1, 0, size));
            let ended = match fsync {
                true => file.sync_all(),
                false => Ok(()),
            };
            let failed = written.and(ended).and_then(|()| close(file));
            let error = failed.expect_err("it is not stored");
            assert!(
                matches!(
                    Errno::from_io_error(&error),
                    Some(Errno::IO | Errno::ACCESS)
                ),
                "{step}: {error}"
            );
            assert_errno(fs::metadata(mount.join(step)), Errno::NOENT);
        }
        assert!(local.faults_fired() > 0, "{step}");
        local.set_model(Model::default());
        fs::write(mount.join(&format!("next-{step}")), step).expect("it is stored");
    }
    wait_for_no_upload(&local, &bucket);
}

#[test]
fn objects_that_are_replaced_have_their_new_length() {
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path().to_str().expect("text");
    let flags = ["--cache", cache, "--metadata-ttl", "1"];
    let (local, bucket, mount) = mounted(&flags);
    for size in [10, 3 * MIB, 5, 100_000] {
        local.plant(&bucket, "f", size, size);
        thread::sleep(Duration::from_millis(1100));
        for _ in 0..2 {
            assert!(
                fs::read(mount.join("f")).unwrap() == bytes(size, 0, size),
                "{size}"
            );
            assert_eq!(fs::metadata(mount.join("f")).unwrap().len(), size);
        }
    }
}

#[test]
fn killed_mount_stores_nothing_of_what_was_gathered() {
    let (local, bucket, mut mount) = mounted(&[]);
    let mut file = File::create(mount.join("f")).unwrap();
    file.write_all(&bytes(1, 0, 20 * MIB)).unwrap();
    mount.kill();
    file.sync_all().expect_err("nobody stores it");
    drop(file);
    assert_eq!(local.keys(&bucket), [""; 0]);
}
