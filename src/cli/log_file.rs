//! The file that a process logs to.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use time::OffsetDateTime;

use super::exit::Failure;

/// A file of its own for this run. It is only appended to, so that it can be copied and truncated
/// (logrotate(8), `copytruncate`) while it is in use.
///
/// A file that cannot be written to, as its disk is full, does not stop the file system: records are
/// lost, which standard error tells once, and the file when it can be written to again.
#[derive(Debug)]
pub(super) struct LogFile<F = File> {
    file: F,
    path: PathBuf,
    lost: u64,
}

impl LogFile {
    /// Makes the directory, if it is not there, and the file.
    ///
    /// # Errors
    /// One of them cannot be made.
    pub(super) fn create(directory: &Path) -> Result<Self, Failure> {
        let failure = |path: &Path, error: io::Error| {
            Failure::new("Failed to start logging")
                .because(format!("{} cannot be created", path.display()))
                .caused_by(&error)
                .with_remedy("choose another --log-directory, or use --no-log")
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(directory)
            .map_err(|error| failure(directory, error))?;
        let path = directory.join(file_name(OffsetDateTime::now_utc(), process::id()));
        let file = open_new(&path).map_err(|error| failure(&path, error))?;
        Ok(Self {
            file,
            path,
            lost: 0,
        })
    }
}

impl<F: Write> Write for LogFile<F> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let lost = self.lost;
        let written = match lost {
            0 => self.file.write_all(record),
            _ => writeln!(
                self.file,
                "({lost} records were lost: they could not be written)"
            )
            .and_then(|()| {
                self.lost = 0;
                self.file.write_all(record)
            }),
        };
        if let Err(error) = written {
            if lost == 0 {
                _ = writeln!(
                    io::stderr(),
                    "Warning: the log {} cannot be written to, and records are lost: {error}",
                    self.path.display()
                );
            }
            self.lost += 1;
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o640)
        .open(path)
}

fn file_name(now: OffsetDateTime, pid: u32) -> PathBuf {
    PathBuf::from(format!(
        "mountpoint-s3-{:04}-{:02}-{:02}T{:02}-{:02}-{:02}Z.{pid}.log",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second()
    ))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn file_name_holds_time_and_process() {
        let time = OffsetDateTime::from_unix_timestamp(1_700_000_000).expect("valid");
        let expected = PathBuf::from("mountpoint-s3-2023-11-14T22-13-20Z.42.log");
        assert_eq!(file_name(time, 42), expected);
    }

    #[test]
    fn create_makes_directory_and_file_private() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("logs");
        let file = LogFile::create(&directory).expect("opened").file;
        let mode = |metadata: std::fs::Metadata| metadata.permissions().mode() & 0o7777;
        assert_eq!(mode(directory.metadata().expect("exists")) & !0o750, 0);
        assert_eq!(mode(file.metadata().expect("exists")) & !0o640, 0);
    }

    #[test]
    fn create_in_a_file_fails_with_the_path() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let failure = LogFile::create(&file.path().join("logs")).expect_err("no directory");
        assert!(
            failure.to_string().contains("logs cannot be created"),
            "{failure}"
        );
    }

    #[test]
    fn lost_records_are_counted_and_told_of() {
        struct Disk<'t> {
            is_full: &'t Cell<bool>,
            text: Vec<u8>,
        }
        impl Write for Disk<'_> {
            fn write(&mut self, text: &[u8]) -> io::Result<usize> {
                if self.is_full.get() {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.text.write(text)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let is_full = Cell::new(false);
        let mut log = LogFile {
            file: Disk {
                is_full: &is_full,
                text: Vec::new(),
            },
            path: PathBuf::from("test"),
            lost: 0,
        };
        for (record, full) in [("a\n", false), ("b\n", true), ("c\n", true), ("d\n", false)] {
            is_full.set(full);
            log.write_all(record.as_bytes()).expect("never fails");
        }
        let text = String::from_utf8(log.file.text).expect("text");
        assert_eq!(
            text,
            "a\n(2 records were lost: they could not be written)\nd\n"
        );
    }
}
