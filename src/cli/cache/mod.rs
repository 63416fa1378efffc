//! `mount-s3 cache`: the cache of mounts, filled, counted, checked and removed.

mod evict;
mod selection;
mod stat;
mod stop;
mod verify;
mod warm;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::args_cache::{CacheAction, CacheArgs};
use super::config::Environment;
use super::exit::Failure;
use super::fail;
use crate::cache::{Holdings, OpenError};
use crate::crt::Runtime;

/// Does what was asked for, and gives the exit status.
pub(super) fn main(args: CacheArgs) -> ExitCode {
    let done = match args.action {
        CacheAction::Warm(args) => warm::run(*args, Environment::read()),
        CacheAction::Stat(args) => stat::run(&args, &Environment::read()),
        CacheAction::Verify(args) => verify::run(&args, &Environment::read()),
        CacheAction::Evict(args) => evict::run(*args, Environment::read()),
    };
    done.unwrap_or_else(|failure| fail(&failure))
}

/// Opens a cache that is there.
fn holdings(directory: &Path, environment: &Environment) -> Result<Holdings, Failure> {
    Holdings::open(directory, environment.surroundings()).map_err(|error| {
        let failure = Failure::new("Failed to open the cache").caused_by(&error);
        match error {
            OpenError::Absent { .. } | OpenError::Io { .. } => {
                failure.with_remedy("name the directory that mounts are given with --cache")
            }
            _ => failure,
        }
    })
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new("Failed to read the cache").caused_by(error)
}

/// Ends what reaches S3. What does not end in time ends with the process.
fn shut_down(runtime: Runtime) {
    if let Err(error) = runtime.shutdown(SHUTDOWN_DEADLINE) {
        log::debug!("{error}");
    }
}

fn say(line: &str) {
    // A caller who closed the pipe does not want to know.
    _ = writeln!(io::stdout(), "{line}");
}

fn say_json(document: &impl Serialize) {
    match serde_json::to_string_pretty(document) {
        Ok(text) => say(&text),
        Err(error) => log::error!("the document: {error}"),
    }
}

const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
