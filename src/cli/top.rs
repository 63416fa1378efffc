//! `mount-s3 top`: shows what a mount does.

mod report;
mod screen;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::args_top::TopArgs;
use super::channel::{self, Place};
use super::exit::Failure;
use super::status::Status;
use report::Report;
use screen::Screen;

/// Shows what was asked for.
pub(super) fn main(args: &TopArgs) -> ExitCode {
    let is_plain = args.once || !io::stdout().is_terminal();
    let shown = match (&args.directory, args.process) {
        (Some(directory), _) => {
            let name = directory.display().to_string();
            let device = fs::metadata(directory).map(|found| found.dev());
            show(&name, device.map(Place::Device), args.interval, is_plain)
        }
        (None, Some(process)) => {
            let name = format!("process {process}");
            show(&name, Ok(Place::Process(process)), args.interval, is_plain)
        }
        (None, None) => {
            list();
            Ok(())
        }
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => super::fail(&failure),
    }
}

/// The status of a mount, and when it was told.
struct Look {
    status: Status,
    at: Instant,
}

impl Look {
    fn at(place: Place) -> io::Result<Self> {
        Ok(Self {
            status: channel::ask_status(place)?,
            at: Instant::now(),
        })
    }
}

/// Prints the mounts of this user.
fn list() {
    let places = channel::places().into_iter();
    // One that does not answer was killed, or has just ended.
    let found: Vec<_> = places
        .filter_map(|place| channel::ask_status(place).ok())
        .collect();
    print(&report::list(&found));
}

/// Shows the mount at `place`, which the user knows as `name`.
fn show(
    name: &str,
    place: io::Result<Place>,
    interval: Duration,
    is_plain: bool,
) -> Result<(), Failure> {
    let unknown = |error: io::Error| {
        Failure::new(format!("Failed to find the mount of {name}"))
            .caused_by(&error)
            .with_remedy("name a directory that this user has mounted: `mount-s3 top` lists them")
    };
    let place = place.map_err(unknown)?;
    let first = Look::at(place).map_err(unknown)?;
    if is_plain {
        thread::sleep(interval);
        let second = Look::at(place).map_err(|error| ended(name, &error))?;
        print(&Report::new(&first, &second).lines());
        return Ok(());
    }
    let unusable = |error: io::Error| {
        Failure::new("Failed to use the terminal")
            .caused_by(&error)
            .with_remedy("use --once")
    };
    match watch(place, first, interval).map_err(unusable)? {
        Some(error) => Err(ended(name, &error)),
        None => Ok(()),
    }
}

/// Shows the mount until the user has seen enough, or it does not answer any more, which is told.
fn watch(place: Place, first: Look, interval: Duration) -> io::Result<Option<io::Error>> {
    let mut screen = Screen::open()?;
    let (mut before, mut now) = (None, first);
    loop {
        let report = Report::new(before.as_ref().unwrap_or(&now), &now);
        if screen.show(&report.lines(), interval)?.is_break() {
            return Ok(None);
        }
        match Look::at(place) {
            Ok(next) => before = Some(std::mem::replace(&mut now, next)),
            Err(error) => return Ok(Some(error)),
        }
    }
}

fn ended(name: &str, error: &io::Error) -> Failure {
    let failure = Failure::new(format!("The mount of {name} has ended"));
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => failure,
        _ => failure.caused_by(error),
    }
}

fn print(lines: &[report::Line]) {
    let mut out = io::stdout().lock();
    for line in lines {
        // A caller who closed the pipe does not want to know more.
        if writeln!(out, "{}", line.text().trim_end()).is_err() {
            break;
        }
    }
}
