//! `mount-s3 prefetch`: tells a mount what will be read.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use super::args_prefetch::PrefetchArgs;
use super::channel::{self, MOST_PATHS, PREFETCH};
use super::exit::Failure;
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
    let lines = read_list(&args.list, &place)?;
    let waiting = Waiting::new(format!("looking up {} files", lines.len()));
    let missing = tell(&place, &lines);
    drop(waiting);
    let missing = missing?;
    for (number, path) in missing.iter().take(MOST_COMPLAINTS) {
        complain(
            &args.list,
            *number,
            &format!("no file that can be read: {path}"),
        );
    }
    if let Some(more) = missing
        .len()
        .checked_sub(MOST_COMPLAINTS)
        .filter(|n| *n > 0)
    {
        _ = writeln!(io::stderr(), "and {more} more");
    }
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

fn read_list(list: &Path, place: &Place) -> Result<Vec<Line>, Failure> {
    let unreadable = |error: io::Error| {
        Failure::new(format!("Failed to read {}", list.display())).caused_by(&error)
    };
    let input: Box<dyn BufRead> = if list == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(list).map_err(unreadable)?))
    };
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(input.split(b'\n')) {
        let line = line.map_err(unreadable)?;
        if line.is_empty() {
            continue;
        }
        let wrong = |text: String| Failure::new(format!("{}:{number}: {text}", list.display()));
        let text = str::from_utf8(&line).map_err(|_| wrong("not UTF-8".to_owned()))?;
        if lines.len() == MOST_PATHS {
            let text = format!("more than {MOST_PATHS} paths");
            return Err(wrong(text).with_remedy("tell them in parts, as they are needed"));
        }
        lines.push((number, place.path(text).map_err(wrong)?));
    }
    Ok(lines)
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

fn complain(list: &Path, number: usize, text: &str) {
    _ = writeln!(io::stderr(), "{}:{number}: {text}", list.display());
}

/// Lines that are complained of one by one.
const MOST_COMPLAINTS: usize = 20;

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

    #[test]
    fn errors_name_the_line() {
        let place = place();
        let directory = tempfile::tempdir().expect("a directory");
        let list = directory.path().join("list");
        fs::write(&list, "a\n\nb\n/elsewhere\n").expect("written");
        let failure = read_list(&list, &place).expect_err("a wrong line");
        let text = failure.to_string();
        assert!(text.contains("list:4: /elsewhere is not in /mnt"), "{text}");
        fs::write(&list, b"a\n\xff\n").expect("written");
        let failure = read_list(&list, &place).expect_err("a wrong line");
        assert!(failure.to_string().contains("list:2: not UTF-8"));
        fs::write(&list, "a\n\nb").expect("written");
        let lines = read_list(&list, &place).expect("lines");
        assert_eq!(lines, [(1, "set/a".to_owned()), (3, "set/b".to_owned())]);
    }
}
