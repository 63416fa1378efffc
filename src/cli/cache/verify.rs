//! `mount-s3 cache verify`: everything that the cache has, read and checked.

use std::process::ExitCode;

use serde::Serialize;

use super::stat::in_units;
use super::stop::{Followed, Stop};
use super::{holdings, say, say_json, unreadable};
use crate::cache::Verified;
use crate::cli::args_cache::VerifyArgs;
use crate::cli::config::{Environment, LogOptions};
use crate::cli::exit::Failure;
use crate::cli::logging;
use crate::cli::progress::Bytes;

pub(super) fn run(args: &VerifyArgs, environment: &Environment) -> Result<ExitCode, Failure> {
    logging::start(&LogOptions::of_command(false, environment)?)?;
    let holdings = holdings(&args.place.directory, environment)?;
    let stop = Stop::listen()?;
    let begin = |bytes| Followed::new(Bytes::new(bytes, args.progress), &stop);
    let verified = holdings.verify(begin).map_err(|error| unreadable(&error))?;
    if args.json {
        say_json(&Document::new(&verified));
    } else {
        show(&verified);
    }
    if stop.is_asked() {
        return Err(Failure::new("interrupted: the rest was not checked"));
    }
    Ok(if verified.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(SOMETHING_BAD)
    })
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Document {
    ok: bool,
    entries: u64,
    good_blocks: u64,
    good_bytes: u64,
    bad_blocks: u64,
    unusable: u64,
    stuck: u64,
}

impl Document {
    fn new(verified: &Verified) -> Self {
        Self {
            ok: verified.is_good(),
            entries: verified.entries,
            good_blocks: verified.good_blocks,
            good_bytes: verified.good_bytes,
            bad_blocks: verified.bad_blocks,
            unusable: verified.unusable,
            stuck: verified.stuck,
        }
    }
}

fn show(verified: &Verified) {
    let Verified {
        entries,
        good_blocks,
        good_bytes,
        bad_blocks,
        unusable,
        stuck,
    } = verified;
    let good = in_units(*good_bytes);
    say(&format!(
        "{entries} versions of objects: {good_blocks} good blocks ({good})"
    ));
    if verified.is_good() {
        return say("everything is what was written");
    }
    say(&format!(
        "{bad_blocks} bad blocks were forgotten, {unusable} unusable versions removed"
    ));
    if *stuck > 0 {
        say(&format!(
            "{stuck} could not be read or changed: see the log above"
        ));
    }
}

/// The exit status when something was not what was written.
const SOMETHING_BAD: u8 = 3;
