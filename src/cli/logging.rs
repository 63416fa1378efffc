//! Where log records go: standard error, a file, syslog or nowhere.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::panic;
use std::path::{Path, PathBuf};
use std::process;

use env_logger::fmt::Formatter;
use env_logger::{Builder, Target};
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::config::{LogOptions, LogTarget};
use super::exit::Failure;
use super::log_file::LogFile;
use super::log_level::LogLevel;

/// Starts logging, panics included. Call it once. What it gives changes later what is logged; it is
/// nothing if nothing is logged.
///
/// # Errors
/// The log directory cannot be made or written to. A missing syslog is no error: the mount works
/// without it, and the reason goes to standard error.
pub(super) fn start(options: &LogOptions) -> Result<Option<LogLevel>, Failure> {
    let mut builder = Builder::new();
    // What is logged is decided before.
    builder.filter_level(LevelFilter::Trace);
    match &options.target {
        LogTarget::Nowhere => return Ok(None),
        LogTarget::StandardError => {
            builder.target(Target::Stderr);
        }
        LogTarget::Directory(directory) => {
            let file = LogFile::create(directory)?;
            builder.target(Target::Pipe(Box::new(file)));
        }
        LogTarget::Syslog => match Syslog::connect(Path::new(SYSLOG_SOCKET)) {
            Ok(syslog) => {
                builder
                    .target(Target::Pipe(Box::new(syslog)))
                    .format(format_for_syslog);
            }
            Err(error) => {
                _ = writeln!(
                    io::stderr(),
                    "Warning: nothing will be logged, as there is no syslog at {SYSLOG_SOCKET} \
                     ({error}); use --log-directory for log files, or --no-log"
                );
                return Ok(None);
            }
        },
    }
    let level = LogLevel::new(&options.filter);
    let logger = Sifting {
        logger: builder.build(),
        level: level.clone(),
    };
    log::set_boxed_logger(Box::new(logger))
        .map_err(|error| Failure::new("Failed to start logging").caused_by(&error))?;
    log::set_max_level(level.most());
    log_panics(options.target != LogTarget::StandardError);
    Ok(Some(level))
}

/// A logger that leaves out what is too detailed now, and what looks like a failure and is none.
struct Sifting<L> {
    logger: L,
    level: LogLevel,
}

impl<L: Log> Log for Sifting<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.level.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.level.matches(record) && !is_late_reply(record.target(), record.args()) {
            self.logger.log(record);
        }
    }

    fn flush(&self) {
        self.logger.flush();
    }
}

/// Whether a record tells of a reply that the kernel waits for no longer, as the mount ended in
/// the meantime: `ENOENT`. Other replies that cannot be sent are failures.
fn is_late_reply(target: &str, text: &fmt::Arguments<'_>) -> bool {
    target == "fuser::reply" && {
        let text = text.to_string();
        text.starts_with("Failed to send FUSE reply") && text.ends_with("(os error 2)")
    }
}

/// Makes every panic a record of the log, beside its report on standard error if that is another
/// place.
fn log_panics(also_report: bool) {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        log::error!("{info}");
        if also_report {
            report(info);
        }
    }));
}

/// Sends each record as one datagram. The socket never blocks: a syslog that is stuck loses
/// records, it does not stop the file system.
struct Syslog {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Syslog {
    fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(path)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
        })
    }
}

impl Write for Syslog {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = record.trim_ascii_end();
        if self
            .socket
            .send(text)
            .is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
        {
            // The service was restarted: its socket is another one now.
            if let Ok(fresh) = Self::connect(&self.path) {
                *self = fresh;
                _ = self.socket.send(text);
            }
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// RFC 3164, without time and host: the receiver on the same host knows both.
fn format_for_syslog(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    writeln!(
        out,
        "<{}>mount-s3[{}]: [{}] {}: {}",
        DAEMON_FACILITY | severity(record.level()),
        process::id(),
        record.level(),
        record.target(),
        record.args()
    )
}

fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

const SYSLOG_SOCKET: &str = "/dev/log";

/// RFC 3164, 4.1.1: facility 3, "system daemons", times 8.
const DAEMON_FACILITY: u8 = 3 << 3;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn is_late_reply_spares_every_other_failure() {
        for (target, error, expected) in [
            ("fuser::reply", libc::ENOENT, true),
            ("fuser::reply", libc::EINVAL, false),
            ("fuser::session", libc::ENOENT, false),
        ] {
            let error = io::Error::from_raw_os_error(error);
            assert_eq!(
                is_late_reply(target, &format_args!("Failed to send FUSE reply: {error}")),
                expected,
                "{target}: {error}"
            );
        }
        let text = "Reply not sent for operation 7, replying with I/O error";
        assert!(!is_late_reply("fuser::reply", &format_args!("{text}")));
    }

    #[test]
    fn syslog_sends_one_datagram_a_record_and_survives_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let receive = |server: &UnixDatagram| {
            let mut buffer = [0; 64];
            server
                .set_read_timeout(Some(Duration::from_secs(10)))
                .expect("set");
            let length = server.recv(&mut buffer).expect("a datagram");
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let server = UnixDatagram::bind(&path).expect("bound");
        let mut syslog = Syslog::connect(&path).expect("connected");
        syslog.write_all(b"<27>one\n").expect("sent");
        assert_eq!(receive(&server), "<27>one");

        drop(server);
        syslog.write_all(b"<27>lost\n").expect("never fails");
        std::fs::remove_file(&path).expect("removed");
        let server = UnixDatagram::bind(&path).expect("bound");
        syslog.write_all(b"<27>two\n").expect("sent");
        assert_eq!(receive(&server), "<27>two");
    }
}
