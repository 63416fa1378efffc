//! The order in which files will be read.

use std::io::{BufRead, Write};
use std::sync::Weak;

use futures::executor::block_on;

use crate::prefetch::Prefetcher;
use crate::s3::{Key, Prefix};

/// Paths in one order: each takes about 200 bytes of memory.
pub(in crate::cli) const MOST_PATHS: usize = 500_000;

/// Follows the order of the paths that `client` sends, of files whose keys start with `prefix`, and
/// tells `reply` which of them were found.
///
/// # Errors
/// What is told to the client instead of an answer, or kept it from hearing one.
pub(super) fn follow(
    client: impl BufRead,
    reply: &mut impl Write,
    prefix: &Prefix,
    prefetcher: Option<&Weak<Prefetcher>>,
) -> Result<(), String> {
    let prefetcher = prefetcher.ok_or("the mount needs a --metadata-ttl of at least 1 second")?;
    let found = read_and_follow(client, prefix, prefetcher)?;
    let missing = found.iter().enumerate().filter(|(_, is_found)| !**is_found);
    for (number, _) in missing {
        writeln!(reply, "missing {number}").map_err(|error| error.to_string())?;
    }
    let count = found.iter().filter(|is_found| **is_found).count();
    log::debug!("{count} of {} files are fetched as told", found.len());
    writeln!(reply, "found {count}").map_err(|error| error.to_string())
}

/// Which of the files whose paths the client sends were found. They are followed.
fn read_and_follow(
    client: impl BufRead,
    prefix: &Prefix,
    prefetcher: &Weak<Prefetcher>,
) -> Result<Vec<bool>, String> {
    let mut keys = Vec::new();
    for line in client.lines() {
        let line = line.map_err(|error| error.to_string())?;
        if keys.len() == MOST_PATHS {
            return Err(format!("more than {MOST_PATHS} paths: tell them in parts"));
        }
        let key = Key::new(format!("{}{line}", prefix.as_str()));
        keys.push(key.map_err(|error| format!("{line:?}: {error}"))?);
    }
    let prefetcher = prefetcher.upgrade().ok_or("the mount ends")?;
    block_on(prefetcher.follow(keys)).map_err(|error| error.to_string())
}
