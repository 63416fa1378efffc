//! `mount-s3 generate`: manual pages and completions, written into a directory.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::args_generate::{GenerateArgs, Generated, What, completions, manual};
use super::exit::Failure;

/// Writes what was asked for; files of the same names are replaced.
pub(super) fn main(args: &GenerateArgs) -> ExitCode {
    let (place, files) = match &args.what {
        What::Man(place) => (place, manual()),
        What::Completions(place) => (place, Ok(completions())),
    };
    let directory = &place.directory;
    let written = files.and_then(|files| write(directory, &files));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let failure = Failure::new(format!("Failed to write to {}", directory.display()))
                .caused_by(&error);
            _ = writeln!(io::stderr(), "Error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path, files: &[Generated]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for file in files {
        fs::write(directory.join(&file.name), &file.content)?;
    }
    Ok(())
}
