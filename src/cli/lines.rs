//! Lists: a file with one thing in each line, and complaints of some of them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use super::exit::Failure;

/// What `parse` makes of the lines of `list`, with their numbers from 1; '-' is the standard input.
/// Empty lines are nothing.
///
/// # Errors
/// It cannot be read, has more than `most` lines, or one that `parse` refuses: its number is told.
pub(super) fn read_lines<T>(
    list: &Path,
    most: usize,
    mut parse: impl FnMut(&str) -> Result<T, String>,
) -> Result<Vec<(usize, T)>, Failure> {
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
        if lines.len() == most {
            let text = format!("more than {most} paths");
            return Err(wrong(text).with_remedy("tell them in parts, as they are needed"));
        }
        lines.push((number, parse(text).map_err(wrong)?));
    }
    Ok(lines)
}

/// Tells of what is wrong, on standard error: of the first ones by themselves, of the others how many
/// they are, when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    count: usize,
}

impl Complaints {
    /// Complains.
    pub(super) fn add(&mut self, line: &str) {
        self.count += 1;
        if self.count <= MOST_COMPLAINTS {
            // Who has closed it does not want to know.
            _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// How often that was.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

impl Drop for Complaints {
    fn drop(&mut self) {
        let more = self.count.saturating_sub(MOST_COMPLAINTS);
        if more > 0 {
            _ = writeln!(io::stderr(), "and {more} more");
        }
    }
}

/// Lines that are complained of one by one.
const MOST_COMPLAINTS: usize = 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn errors_name_the_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let list = directory.path().join("list");
        let parse = |line: &str| match line {
            "bad" => Err("is bad".to_owned()),
            line => Ok(line.to_owned()),
        };
        let failure = || {
            read_lines(&list, 2, parse)
                .expect_err("a wrong line")
                .to_string()
        };
        assert!(failure().contains("Failed to read"), "{}", failure());
        fs::write(&list, "a\n\nb\nbad\n").expect("written");
        assert!(
            failure().contains("list:4: more than 2 paths"),
            "{}",
            failure()
        );
        fs::write(&list, "a\n\nbad\n").expect("written");
        assert!(failure().contains("list:3: is bad"), "{}", failure());
        fs::write(&list, b"a\n\xff\n").expect("written");
        assert!(failure().contains("list:2: not UTF-8"), "{}", failure());
        fs::write(&list, "a\n\nb").expect("written");
        let lines = read_lines(&list, 2, parse).expect("lines");
        assert_eq!(lines, [(1, "a".to_owned()), (3, "b".to_owned())]);
    }
}
