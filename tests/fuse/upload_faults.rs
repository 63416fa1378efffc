//! Every failure of every step of an upload, on a real mount: each reaches the writer as the right
//! errno, leaves nothing, and does not keep the next write from succeeding.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use s3_test_server::{Fault, Model, Rule};

use crate::namespace::assert_errno;
use crate::reading::{MIB, bytes};
use crate::support::local::Local;
use crate::support::mount::Mount;
use crate::support::store::TestStore;
use crate::support::wait::{LONG, wait_for};

/// How a writer ends its file.
#[derive(Debug, Clone, Copy)]
enum End {
    Fsync,
    Close,
}

/// What happens to a step, and what the writer has to hear of it.
#[derive(Debug, Clone)]
struct Row {
    step: &'static str,
    fault: Fault,
    errno: Errno,
    end: End,
}

impl Row {
    /// The directory of the row with this number, which only its fault strikes.
    fn directory(index: usize) -> String {
        format!("row-{index:02}")
    }

    /// How much to write so that the step is done: two parts, or less than one.
    fn size(&self) -> u64 {
        if self.step == "PutObject" {
            MIB
        } else {
            11 * MIB
        }
    }

    /// Writes the file and ends it, which must fail.
    fn fails(&self, path: &Path) {
        let mut file = File::create(path).expect("it opens");
        if let Err(error) = file.write_all(&bytes(1, 0, self.size())) {
            assert_errno(Err::<(), _>(error), self.errno);
        }
        let ended = match self.end {
            End::Fsync => file.sync_all(),
            End::Close => nix::unistd::close(file).map_err(Into::into),
        };
        assert_errno(ended, self.errno);
        assert_errno(fs::metadata(path), Errno::NOENT);
    }
}

/// Every step, with all that can happen to it.
fn rows() -> Vec<Row> {
    let error = |status, code: &str| Fault::Error {
        status,
        code: code.to_owned(),
    };
    let mut rows = Vec::new();
    for step in [
        "PutObject",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
    ] {
        let is_of_an_upload = matches!(step, "UploadPart" | "CompleteMultipartUpload");
        let gone = if is_of_an_upload {
            "NoSuchUpload"
        } else {
            "NoSuchBucket"
        };
        let mut faults = vec![
            (error(403, "AccessDenied"), Errno::ACCESS),
            (error(404, gone), Errno::IO),
            (error(500, "InternalError"), Errno::IO),
            (Fault::SlowDown, Errno::IO),
            (Fault::Reset { after_bytes: None }, Errno::IO),
            (Fault::Latency { ms: 120_000 }, Errno::IO),
        ];
        if matches!(step, "PutObject" | "UploadPart") {
            faults.push((Fault::CorruptUpload { offset: 77 }, Errno::IO));
        }
        if step == "UploadPart" {
            faults.push((Fault::WrongChecksum, Errno::IO));
        }
        for (fault, errno) in faults {
            for end in [End::Fsync, End::Close] {
                let fault = fault.clone();
                rows.push(Row {
                    step,
                    fault,
                    errno,
                    end,
                });
            }
        }
    }
    rows
}

#[test]
fn every_failure_of_every_step_is_told_and_leaves_nothing() {
    let local = Local::start();
    let bucket = local.fresh_bucket();
    let mut mounting = local
        .mounting(&bucket)
        .with(&["--write-part-size", "5242880"]);
    let few = ("AWS_MAX_ATTEMPTS".to_owned(), "2".to_owned());
    mounting.environment.push(few);
    let mount = mounting.mount();
    let rows = rows();
    let rules = rows.iter().enumerate().map(|(index, row)| {
        let rule = Rule::new(row.fault.clone()).on(row.step);
        rule.under(&Row::directory(index))
    });
    local.set_model(Model {
        rules: rules.collect(),
        ..Model::default()
    });
    for_each_row(&mount, &rows, |row, path| row.fails(path));
    assert_eq!(local.keys(&bucket), [""; 0]);
    for (index, row) in rows.iter().enumerate() {
        assert!(local.matched(index) > 0, "{row:?} was never struck");
    }
    wait_for("uploads to be aborted", LONG, || {
        local.uploads(&bucket).is_empty().then_some(())
    });
    local.set_model(Model::default());
    for_each_row(&mount, &rows, |row, path| {
        fs::write(path, bytes(2, 0, row.size())).expect("the next write works");
    });
    for (index, row) in rows.iter().enumerate() {
        let body = local.body(&bucket, &format!("{}/f", Row::directory(index)));
        assert!(
            body.expect("it is stored") == bytes(2, 0, row.size()),
            "{row:?}"
        );
    }
    assert!(mount.unmount().success());
    assert_eq!(local.uploads(&bucket), [""; 0]);
}

/// Does something with the file of each row, all at the same time. Names the rows that fail.
fn for_each_row(mount: &Mount, rows: &[Row], run: impl Fn(&Row, &Path) + Sync) {
    let run = &run;
    let failed: Vec<_> = thread::scope(|scope| {
        let running = rows.iter().enumerate().map(|(index, row)| {
            let directory = mount.join(&Row::directory(index));
            scope.spawn(move || {
                fs::create_dir_all(&directory).expect("a directory");
                run(row, &directory.join("f"));
            })
        });
        let running: Vec<_> = running.collect();
        let ended = running.into_iter().map(thread::ScopedJoinHandle::join);
        let ended = rows.iter().zip(ended);
        ended
            .filter_map(|(row, ended)| ended.is_err().then_some(row))
            .collect()
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Tells of a failed close, too.
fn write_and_close(path: &Path, body: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(body)?;
    Ok(nix::unistd::close(file)?)
}

#[test]
fn killed_daemon_leaves_the_old_version_or_the_new_one_whole() {
    let local = Local::start();
    local.set_model(Model {
        first_byte_ms: 5,
        ..Model::default()
    });
    let (old, new) = (bytes(1, 0, 6 * MIB), bytes(2, 0, 30 * MIB));
    for wait in [0, 10, 20, 40, 80, 160, 320] {
        let bucket = local.bucket_with(&[("f", &old)]);
        let mut mount = local.mounting(&bucket).with(&["--allow-overwrite"]).mount();
        let path = mount.join("f");
        let written = thread::scope(|scope| {
            let writing = scope.spawn(|| write_and_close(&path, &new).is_ok());
            thread::sleep(Duration::from_millis(wait));
            mount.kill();
            writing.join().expect("it ends with the daemon")
        });
        // What the daemon has asked for may be done after its end.
        local.wait_for_no_connection();
        let body = local.body(&bucket, "f").expect("one version");
        assert!(body == new || body == old && !written, "{wait} ms");
        assert_eq!(local.keys(&bucket), ["f"]);
        drop(mount);
        let mount = local.mounting(&bucket).mount();
        assert!(fs::read(mount.join("f")).unwrap() == body, "{wait} ms");
    }
}
