//! Reads that fit into the memory they were given.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;

use crate::lifecycle::status_bytes;
use crate::reading::{MIB, bytes};
use crate::support::local::Local;
use crate::support::mount::Mount;
use crate::support::store::TestStore;
use crate::support::wait::{LONG, once_in_five};

#[test]
fn sixty_four_streams_in_512_mib_read_right_bytes() {
    const STREAMS: u64 = 64;
    const LENGTH: u64 = 32 * MIB;
    let store = Local::start();
    let bucket = store.fresh_bucket();
    for number in 0..STREAMS {
        store.plant(&bucket, &format!("f{number}"), LENGTH, number);
    }
    once_in_five(|_| {
        let mount = mount(&store, &bucket);
        let before = store.body_bytes_sent();
        without_a_hang(|done| {
            thread::scope(|scope| {
                for number in 0..STREAMS {
                    let path = mount.join(&format!("f{number}"));
                    scope.spawn(move || {
                        let mut file = File::open(path).unwrap();
                        let mut buffer = vec![0; 1 << 20];
                        for offset in (0..LENGTH).step_by(1 << 20) {
                            file.read_exact(&mut buffer).unwrap();
                            assert!(buffer == bytes(number, offset, MIB), "bytes at {offset}");
                            done.send(()).unwrap();
                        }
                    });
                }
            });
        });
        let peak = status_bytes(mount.pid(), "VmHWM");
        assert!(peak <= 600 * MIB, "{} MiB", peak / MIB);
        assert_eq!(mount.unmount().code(), Some(0));
        // Who reads nothing for a second makes room for others, and what he had is fetched again.
        let (asked, sent) = (STREAMS * LENGTH, store.body_bytes_sent() - before);
        if sent < asked + asked / 4 {
            Ok(())
        } else {
            let (sent, asked) = (sent / MIB, asked / MIB);
            Err(format!("{sent} MiB were fetched for {asked} MiB"))
        }
    });
}

#[test]
fn four_hundred_open_files_do_not_stop_another_one() {
    const FILES: u64 = 400;
    let store = Local::start();
    let bucket = store.fresh_bucket();
    for number in 0..=FILES {
        store.plant(&bucket, &format!("f{number}"), 1 << 30, number);
    }
    let mount = mount(&store, &bucket);
    without_a_hang(|done| {
        let read = |file: &File, number, offset, length: u64| {
            let mut buffer = vec![0; usize::try_from(length).unwrap()];
            file.read_exact_at(&mut buffer, offset).unwrap();
            done.send(()).unwrap();
            assert!(
                buffer == bytes(number, offset, length),
                "bytes of {number} at {offset}"
            );
        };
        let open = |number: u64| File::open(mount.join(&format!("f{number}"))).unwrap();
        let files: Vec<_> = (0..FILES)
            .map(|number| {
                let file = open(number);
                (0..3).for_each(|block| read(&file, number, block * MIB, MIB));
                file
            })
            .collect();
        let another = open(FILES);
        (0..64).for_each(|block| read(&another, FILES, block * MIB, MIB));
        for (number, file) in (0..).zip(&files) {
            read(file, number, 3 * MIB, MIB);
        }
    });
    let peak = status_bytes(mount.pid(), "VmHWM");
    assert!(peak <= 600 * MIB, "{} MiB", peak / MIB);
    assert_eq!(mount.unmount().code(), Some(0));
}

fn mount(store: &Local, bucket: &str) -> Mount {
    store
        .mounting(bucket)
        .with(&["--memory-target", "512"])
        .mount()
}

/// Runs `test`, which tells of each read that is done; if none is for long, the process ends, as a read
/// that hangs cannot be stopped.
fn without_a_hang(test: impl FnOnce(&Sender<()>)) {
    let (done, reads) = channel();
    let watch = thread::spawn(move || {
        loop {
            match reads.recv_timeout(LONG) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("a read hangs");
                    std::process::abort();
                }
            }
        }
    });
    test(&done);
    drop(done);
    watch.join().unwrap();
}
