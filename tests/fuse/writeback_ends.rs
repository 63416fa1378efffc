//! How files end that the kernel gathers (`--writeback-cache`): what their writers and others are told, also
//! when the store hangs and the daemon is killed.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{Advice, fadvise, syncfs};
use rustix::io::Errno;
use s3_test_server::{Fault, Model, Rule};

use crate::namespace::assert_errno;
use crate::reading::{MIB, bytes};
use crate::support::alone::alone;
use crate::support::mount::Mount;
use crate::support::wait::{LONG, wait_for};
use crate::writeback::{close, mounted, taken};
use crate::writing::sh;

/// The kernel's end of a mount. It lets go of everybody when this is dropped, also of a daemon that cannot die.
struct Connection(PathBuf);

impl Connection {
    fn of(mount: &Mount) -> Self {
        let device = fs::metadata(mount.path()).expect("it answers").dev();
        let minor = rustix::fs::minor(device);
        Self(format!("/sys/fs/fuse/connections/{minor}/abort").into())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _gone = fs::write(&self.0, "1");
    }
}

fn slow_uploads(ms: u64) -> Model {
    Model {
        rules: vec![Rule::new(Fault::Latency { ms }).on("UploadPart")],
        ..Model::default()
    }
}

#[test]
fn daemon_that_is_killed_while_the_store_hangs_ends_and_so_does_its_mount() {
    for round in 0..3 {
        let (local, bucket, mut mount) = mounted(&[]);
        let connection = Connection::of(&mount);
        // The writer is faster, so that its pages wait.
        local.set_model(slow_uploads(200));
        let written = Arc::new(AtomicU64::new(0));
        let stopped = Arc::new(AtomicBool::new(false));
        let (count, stop) = (Arc::clone(&written), Arc::clone(&stopped));
        let path = mount.join("f");
        let writer = thread::spawn(move || {
            let mut file = File::create(path)?;
            let block = vec![7; 1 << 20];
            // The kernel takes more even when nobody is there any more.
            while !stop.load(Ordering::Relaxed) {
                file.write_all(&block)?;
                count.fetch_add(MIB, Ordering::Relaxed);
            }
            file.sync_all()
        });
        wait_for("it is written", LONG, || {
            (written.load(Ordering::Relaxed) > (150 + 50 * round) * MIB).then_some(())
        });
        local.set_model(slow_uploads(3_600_000));
        thread::sleep(Duration::from_secs(3));
        kill(
            Pid::from_raw(i32::try_from(mount.pid()).expect("a number")),
            Signal::SIGKILL,
        )
        .expect("it runs");
        mount.wait();
        stopped.store(true, Ordering::Relaxed);
        let ended = writer.join().expect("no panic");
        ended.expect_err("nobody takes it");
        assert_errno(fs::metadata(mount.join("other")), Errno::NOTCONN);
        assert_eq!(local.keys(&bucket), [""; 0]);
        drop(connection);
    }
}

/// Runs a program, which inherits every file that is open, and closes it.
fn run_another() {
    Command::new("true").status().expect("it runs");
}

#[test]
fn write_after_fsync_is_told_by_the_last_close_whoever_has_heard_of_it_before() {
    let (local, bucket, mount) = mounted(&[]);
    let close_twin = |file: &File| drop(close(file.try_clone().expect("a twin")));
    for (name, close_other) in [
        ("none", &(|_: &File| ()) as &dyn Fn(&File)),
        ("twin", &close_twin),
        ("child", &|_| run_another()),
    ] {
        let mut file = File::create(mount.join(name)).unwrap();
        file.write_all(b"one").unwrap();
        file.sync_all().expect("it is stored");
        file.write_all(b"two").expect("the kernel keeps it");
        close_other(&file);
        close_other(&file);
        assert_errno(close(file), Errno::IO);
        assert_eq!(local.body(&bucket, name).as_deref(), Some(&b"one"[..]));
    }
}

#[test]
fn files_that_are_renamed_or_removed_are_closed_without_an_error() {
    let (local, bucket, mount) = mounted(&["--allow-delete", "--allow-rename"]);
    let path = mount.join("f");
    fs::write(&path, "text").unwrap();
    let mut reader = File::open(&path).unwrap();
    let moved = mount.join("moved");
    fs::rename(&path, &moved).unwrap();
    close(reader).expect("it was only renamed");
    for _ in 0..2 {
        reader = File::open(&moved).unwrap();
        assert_eq!(std::io::read_to_string(&reader).unwrap(), "text");
        reader
            .set_modified(UNIX_EPOCH)
            .expect("nothing of it is kept");
        assert_errno(
            reader.set_times(FileTimes::new().set_accessed(UNIX_EPOCH)),
            Errno::PERM,
        );
        close(reader).expect("it was read");
    }
    reader = File::open(&moved).unwrap();
    fs::remove_file(&moved).unwrap();
    close(reader).expect("it was only removed");
    syncfs(File::open(mount.path()).unwrap()).expect("nothing is lost");
    assert_eq!(local.keys(&bucket), [""; 0]);
}

#[test]
fn page_that_came_early_and_was_dropped_is_written_into() {
    let (local, bucket, mount) = mounted(&[]);
    let file = File::create(mount.join("f")).unwrap();
    let mut body = bytes(1, 0, 60 * 4096);
    file.write_all_at(&body[10 * 4096..], 10 * 4096).unwrap();
    syncfs(File::open(mount.path()).unwrap()).unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let place = 20 * 4096 + 5;
    body[place..][..10].fill(b'Z');
    let before = taken(&mount, "rchar");
    file.write_all_at(&[b'Z'; 10], place as u64)
        .expect("its page is there");
    // Not after those that come before it.
    wait_for("it is handed over", LONG, || {
        syncfs(File::open(mount.path()).unwrap()).unwrap();
        (taken(&mount, "rchar") > before + 4096).then_some(())
    });
    file.write_all_at(&body[..10 * 4096], 0).unwrap();
    close(file).expect("it is stored");
    assert!(local.body(&bucket, "f").expect("stored") == body);
}

#[test]
fn file_that_was_given_its_length_before_is_stored_when_it_has_it() {
    let (local, bucket, mount) = mounted(&[]);
    let root = File::open(mount.path()).unwrap();
    for (round, (size, length, piece)) in [
        (10_000, 10_000, 1000),
        (10_000, 1_000_000, 1000),
        (300_000, 300_000, 777),
        (300_001, 200_000, 4096),
        (5 * MIB, 5 * MIB, 10_001),
        (20 * MIB + 5, 20 * MIB + 5, 100_001),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("f{round}");
        let mut body = bytes(1, 0, size);
        // Some of it looks as what was not written yet.
        body.chunks_mut(99_000)
            .for_each(|chunk| chunk[..500].fill(0));
        let mut file = File::create(mount.join(&name)).unwrap();
        file.set_len(length).unwrap();
        for (number, data) in body.chunks(piece).enumerate() {
            file.write_all(data).unwrap();
            if number % 5 == 4 {
                syncfs(&root).unwrap();
            }
            if number % 15 == 14 {
                fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            }
        }
        if length > size {
            file.set_len(size).expect("no more was handed over");
        }
        close(file).unwrap_or_else(|error| panic!("{name} is not stored: {error}"));
        assert!(
            local.body(&bucket, &name).expect("stored") == body,
            "{name}"
        );
    }
}

#[test]
fn file_that_does_not_get_the_length_it_was_given_is_told() {
    // The kernel hands a file over when a process that another test starts closes it, too.
    alone(
        "writeback_ends::file_that_does_not_get_the_length_it_was_given_is_told",
        give_lengths,
    );
}

fn give_lengths() {
    let (local, bucket, mount) = mounted(&[]);
    let root = File::open(mount.path()).unwrap();
    for handed_over in [false, true] {
        for (written, length, is_stored) in
            [(100, MIB, false), (0, 9, false), (100, 200, !handed_over)]
        {
            let name = format!("{written} of {length}, {handed_over}");
            let mut file = File::create(mount.join(&name)).unwrap();
            file.write_all(&bytes(1, 0, written)).unwrap();
            if handed_over {
                syncfs(&root).unwrap();
            }
            file.set_len(length).unwrap();
            if is_stored {
                close(file).expect(&name);
                let mut body = bytes(1, 0, written);
                body.resize(usize::try_from(length).unwrap(), 0);
                assert_eq!(local.body(&bucket, &name), Some(body));
            } else {
                assert_errno(close(file), Errno::INVAL);
                assert_eq!(local.body(&bucket, &name), None);
            }
        }
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create_new(true);
    let mut file = options.open(mount.join("appended")).unwrap();
    file.set_len(100).expect("it says nothing");
    file.write_all(b"text").expect("at the end");
    close(file).expect("it is stored");
    assert_eq!(
        local.body(&bucket, "appended").as_deref(),
        Some(&b"text"[..])
    );
}

#[test]
fn file_that_is_written_on_after_a_close_is_not_stored_for_others() {
    let (local, bucket, mount) = mounted(&["--allow-delete", "--allow-rename"]);
    let close_twin = |file: &File| close(file.try_clone().expect("a twin")).expect("it waits");
    for (name, before, close_other) in [
        (
            "child",
            "one ",
            &(|_: &File| run_another()) as &dyn Fn(&File),
        ),
        ("twin", "", &close_twin),
    ] {
        let path = mount.join(name);
        let mut file = File::create(&path).unwrap();
        file.write_all(before.as_bytes()).unwrap();
        close_other(&file);
        file.write_all(b"two").unwrap();
        assert_errno(File::open(&path), Errno::PERM);
        assert_errno(fs::remove_file(&path), Errno::PERM);
        file.write_all(b" three").unwrap();
        close(file).expect("it is stored");
        let body = format!("{before}two three");
        assert_eq!(local.body(&bucket, name), Some(body.into_bytes()));
    }
}

#[test]
fn file_that_another_process_has_closed_for_good_can_be_used_at_once() {
    let (_local, _bucket, mount) = mounted(&["--allow-delete", "--allow-rename"]);
    for round in 0..20 {
        let path = mount.join(&format!("f{round}"));
        let file = File::create(&path).unwrap();
        let mut child = Command::new("bash")
            .args(["-c", "sleep 0.02; echo text"])
            .stdout(file)
            .spawn()
            .expect("it starts");
        // The descriptor here was closed with the command.
        assert!(child.wait().expect("it ends").success());
        assert_eq!(fs::read_to_string(&path).expect("it is stored"), "text\n");
    }
    sh(
        &mount,
        "for name in a b c; do
            : > $name; cat $name; rm $name
            touch $name; mv $name moved; rm moved
            { cat; } < /etc/hostname > $name; cmp $name /etc/hostname; mv $name moved; rm moved
        done",
    );
}
