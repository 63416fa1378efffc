//! Every failure of every step of an upload.

use super::*;

/// Every failure of every step reaches `close` or `fsync`, nothing is visible, nothing stays
/// behind, and the next file of that name works.
#[test]
fn failure_of_each_step_reaches_close_and_fsync() {
    let steps = [
        (Op::Put, PART / 2),
        (Op::Upload, 3 * PART),
        (Op::Part, 3 * PART),
        (Op::Complete, 3 * PART),
    ];
    let kinds = [
        (ErrorKind::NotFound, Errno::EIO),
        (ErrorKind::NoSuchBucket, Errno::EIO),
        (ErrorKind::Denied, Errno::EACCES),
        (ErrorKind::NoCredentials, Errno::EIO),
        (ErrorKind::BadCredentials, Errno::EIO),
        (ErrorKind::WrongRegion, Errno::EIO),
        (ErrorKind::Precondition, Errno::ESTALE),
        (ErrorKind::Throttled, Errno::EIO),
        (ErrorKind::Dns, Errno::EIO),
        (ErrorKind::Connection, Errno::EIO),
        (ErrorKind::Tls, Errno::EIO),
        (ErrorKind::Timeout, Errno::EIO),
        (ErrorKind::Integrity, Errno::EIO),
        (ErrorKind::Protocol, Errno::EIO),
        (ErrorKind::Invalid, Errno::EIO),
        (ErrorKind::TooLarge, Errno::ENOSPC),
        (ErrorKind::Canceled, Errno::EIO),
        (ErrorKind::Other, Errno::EIO),
    ];
    for (step, size) in steps {
        for (kind, errno) in kinds {
            for is_fsync in [false, true] {
                let store = store();
                let fs = allowing(&store, Ttl::Minimal, |_| {});
                let (_, file) = create(&fs, "f").expect("it is made");
                store.fail_next(step, Some("f"), kind, 1);
                // Writes may tell first; whoever looks at the end only must hear of it as well.
                _ = write(&fs, file, 0, &vec![7; size]);
                let told = if is_fsync {
                    fsync(&fs, file)
                } else {
                    flush(&fs, file, ME)
                };
                assert_eq!(told, Err(errno), "{step:?} {kind:?} {is_fsync}");
                assert_eq!(
                    flush(&fs, file, ME),
                    Err(errno),
                    "{step:?} {kind:?} {is_fsync}"
                );
                _ = release(&fs, file);
                assert_eq!(store.body("f"), None);
                assert_eq!(lookup(&fs, "f").err(), Some(Errno::ENOENT));
                assert_eq!(listed(&fs), [""; 0]);
                assert_eq!(store.uploads().in_flight, 0);
                let (_, file) = create(&fs, "f").expect("it is made anew");
                write(&fs, file, 0, b"kept").expect("it is written");
                flush(&fs, file, ME).expect("it is stored");
                assert_eq!(store.body("f").as_deref(), Some(&b"kept"[..]));
            }
        }
    }
}

#[test]
fn failed_overwrite_leaves_the_old_version() {
    let store = store();
    store.put("f", "old");
    let fs = allowing(&store, Ttl::For(Duration::from_secs(3600)), |allow| {
        allow.allow_overwrite = true;
    });
    let ino = lookup(&fs, "f").expect("a file").attr.ino;
    let file = open(&fs, ino, REPLACE).expect("it opens");
    assert_eq!(block_on(fs.getattr(ino)).expect("open").attr.size, 0);
    write(&fs, file, 0, b"new").expect("it is written");
    store.fail_next(Op::Put, Some("f"), ErrorKind::Throttled, 1);
    assert_eq!(flush(&fs, file, ME), Err(Errno::EIO));
    release(&fs, file).expect_err("the same failure");
    let again = lookup(&fs, "f").expect("a file");
    assert_eq!(again.attr.size, 3);
    assert_eq!(read(&fs, open_name(&fs, "f"), 0, 9), Ok(Bytes::from("old")));
}
