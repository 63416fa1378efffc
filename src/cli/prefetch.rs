//! `mount-s3 prefetch`: tells a mount what will be read.

use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use super::args_prefetch::PrefetchArgs;
use super::channel::{self, MOST_PATHS, PREFETCH};
use super::exit::Failure;
use super::lines::{Complaints, read_lines};
use super::progress::Waiting;
use crate::s3::Key;

/// Does what was asked for; the exit status is 1 if it was not possible for every file.
pub(super) fn main(args: &PrefetchArgs) -> ExitCode {
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            _ = writeln!(io::stderr(), "Error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &PrefetchArgs) -> Result<bool, Failure> {
    let place = Place::find(&args.directory)?;
    let lines = read_lines(&args.list, MOST_PATHS, |line| place.path(line))?;
    let waiting = Waiting::new(format!("looking up {} files", lines.len()));
    let missing = tell(&place, &lines);
    drop(waiting);
    let missing = missing?;
    let mut complaints = Complaints::default();
    for (number, path) in &missing {
        let list = args.list.display();
        complaints.add(&format!(
            "{list}:{number}: no file that can be read: {path}"
        ));
    }
    drop(complaints);
    let found = lines.len() - missing.len();
    // A caller who closed the pipe does not want to know.
    _ = writeln!(
        io::stdout(),
        "{found} files are fetched ahead in this order"
    );
    Ok(missing.is_empty())
}

/// A directory in a mount.
struct Place {
    /// As it was typed.
    typed: PathBuf,
    /// The mount point.
    mount_point: PathBuf,
    /// The directory below it.
    below: PathBuf,
    device: u64,
}

/// The number of a line, from 1, and the path below the mount point that it has.
type Line = (usize, String);

impl Place {
    fn find(directory: &Path) -> Result<Self, Failure> {
        let failure = |error: io::Error| {
            Failure::new(format!(
                "Failed to find the mount of {}",
                directory.display()
            ))
            .caused_by(&error)
        };
        let path = fs::canonicalize(directory).map_err(failure)?;
        let device = fs::metadata(&path).map_err(failure)?.dev();
        let is_inside = |path: &&Path| fs::metadata(path).is_ok_and(|found| found.dev() == device);
        let mount_point = path.ancestors().take_while(is_inside).last();
        let mount_point = mount_point.unwrap_or(&path).to_owned();
        let below = path
            .strip_prefix(&mount_point)
            .unwrap_or_else(|_| Path::new(""));
        Ok(Self {
            typed: directory.to_owned(),
            below: below.to_owned(),
            mount_point,
            device,
        })
    }

    /// The path below the mount point of a line of the list.
    fn path(&self, line: &str) -> Result<String, String> {
        let path = Path::new(line);
        let path = if path.is_relative() {
            self.below.join(path)
        } else if let Ok(rest) = path.strip_prefix(&self.typed) {
            self.below.join(rest)
        } else if let Ok(rest) = path.strip_prefix(&self.mount_point) {
            rest.to_owned()
        } else {
            return Err(format!("{line} is not in {}", self.mount_point.display()));
        };
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => {
                    names.push(name.to_str().ok_or_else(|| format!("not UTF-8: {line}"))?);
                }
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(format!("'..' in {line}"));
                }
            }
        }
        let path = names.join("/");
        Key::new(&*path).map_err(|error| format!("{line}: {error}"))?;
        Ok(path)
    }
}

/// Tells the mount, and returns the lines of files that it did not find.
fn tell<'a>(place: &Place, lines: &'a [Line]) -> Result<Vec<&'a Line>, Failure> {
    let mount_point = place.mount_point.display();
    let stream = channel::connect(channel::Place::Device(place.device)).map_err(|error| {
        Failure::new(format!("No mount listens at {mount_point}"))
            .caused_by(&error)
            .with_remedy("name a directory that this user has mounted")
    })?;
    let failed = |error: io::Error| {
        Failure::new(format!("Failed to tell the mount at {mount_point}")).caused_by(&error)
    };
    let mut out = BufWriter::new(&stream);
    out.write_all(PREFETCH.as_bytes()).map_err(failed)?;
    for (_, path) in lines {
        writeln!(out, "{path}").map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    stream.shutdown(Shutdown::Write).map_err(failed)?;
    let mut missing = Vec::new();
    for line in BufReader::new(&stream).lines() {
        let line = line.map_err(failed)?;
        match line.split_once(' ') {
            Some(("missing", number)) => {
                let number = number.parse::<usize>().ok();
                missing.extend(number.and_then(|number| lines.get(number)));
            }
            Some(("error", text)) => {
                return Err(failed(io::Error::other(text.to_owned())));
            }
            _ => return Ok(missing),
        }
    }
    Err(failed(io::ErrorKind::UnexpectedEof.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            typed: "/link/set".into(),
            mount_point: "/mnt".into(),
            below: "set".into(),
            device: 0,
        }
    }

    #[test]
    fn paths_are_relative_to_the_directory_or_absolute() {
        let path = |line: &str| place().path(line);
        assert_eq!(path("a/b").as_deref(), Ok("set/a/b"));
        assert_eq!(path("./a//b").as_deref(), Ok("set/a/b"));
        assert_eq!(path("/mnt/other/a").as_deref(), Ok("other/a"));
        assert_eq!(path("/link/set/a").as_deref(), Ok("set/a"));
        for wrong in ["/elsewhere/a", "../a", "/mnt", &"x".repeat(1100)] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }
}
