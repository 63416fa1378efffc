//! `mount-s3 top`: shows what a mount does.

mod report;
mod screen;
mod text;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::args_top::TopArgs;
use super::channel;
use super::exit::Failure;
use super::status::Status;
use report::Report;
use screen::Screen;

/// Shows what was asked for.
pub(super) fn main(args: &TopArgs) -> ExitCode {
    let shown = match &args.directory {
        None => list(),
        Some(directory) => {
            let is_plain = args.once || !io::stdout().is_terminal();
            show(directory, args.interval, is_plain)
        }
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            _ = writeln!(io::stderr(), "Error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The status of a mount, and when it was told.
struct Look {
    status: Status,
    at: Instant,
}

impl Look {
    fn at(device: u64) -> io::Result<Self> {
        Ok(Self {
            status: channel::ask_status(device)?,
            at: Instant::now(),
        })
    }
}

/// Prints the mounts of this user.
fn list() -> Result<(), Failure> {
    let devices = channel::devices().into_iter();
    // One that does not answer was killed, or has just ended.
    let found: Vec<_> = devices
        .filter_map(|device| channel::ask_status(device).ok())
        .collect();
    let lines = report::list(&found);
    print(&lines)
}

fn show(directory: &Path, interval: Duration, is_plain: bool) -> Result<(), Failure> {
    let unknown = |error: io::Error| {
        Failure::new(format!(
            "Failed to find the mount of {}",
            directory.display()
        ))
        .caused_by(&error)
        .with_remedy("name a directory that this user has mounted: `mount-s3 top` lists them")
    };
    let device = fs::metadata(directory).map_err(unknown)?.dev();
    let first = Look::at(device).map_err(unknown)?;
    if is_plain {
        thread::sleep(interval);
        let second = Look::at(device).map_err(|error| ended(directory, &error))?;
        return print(&Report::new(&first, &second).lines());
    }
    let screen = |error: io::Error| {
        Failure::new("Failed to use the terminal")
            .caused_by(&error)
            .with_remedy("use --once")
    };
    let last = watch(device, first, interval).map_err(screen)?;
    match last {
        Some(error) => Err(ended(directory, &error)),
        None => Ok(()),
    }
}

/// Shows the mount until the user has seen enough, or it does not answer any more, which is told.
fn watch(device: u64, first: Look, interval: Duration) -> io::Result<Option<io::Error>> {
    let mut screen = Screen::open()?;
    let (mut before, mut now) = (None, first);
    loop {
        let report = Report::new(before.as_ref().unwrap_or(&now), &now);
        if screen.show(&report.lines(), interval)?.is_break() {
            return Ok(None);
        }
        match Look::at(device) {
            Ok(next) => before = Some(std::mem::replace(&mut now, next)),
            Err(error) => return Ok(Some(error)),
        }
    }
}

fn ended(directory: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(format!("The mount at {} has ended", directory.display()));
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => failure,
        _ => failure.caused_by(error),
    }
}

fn print(lines: &[report::Line]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for line in lines {
        // A caller who closed the pipe does not want to know more.
        if writeln!(out, "{}", line.text().trim_end()).is_err() {
            break;
        }
    }
    Ok(())
}
