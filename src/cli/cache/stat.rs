//! `mount-s3 cache stat`: how much the cache has.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{holdings, say, say_json, unreadable};
use crate::cache::{Disk, Survey};
use crate::cli::args_cache::StatArgs;
use crate::cli::config::Environment;
use crate::cli::disk_cache::FREE_PERCENT;
use crate::cli::exit::Failure;
use crate::cli::text::{duration, size};

pub(super) fn run(args: &StatArgs, environment: &Environment) -> Result<ExitCode, Failure> {
    let holdings = holdings(&args.place.directory, environment)?;
    let survey = holdings.survey().map_err(|error| unreadable(&error))?;
    let disk = holdings.disk().map_err(|error| unreadable(&error))?;
    let document = Document::new(&survey, disk);
    if args.json {
        say_json(&document);
    } else {
        document.show(&survey);
    }
    Ok(ExitCode::SUCCESS)
}

/// What is printed with `--json`. Bytes, numbers, and seconds since 1970.
#[derive(Debug, Serialize)]
struct Document {
    bytes: u64,
    objects: u64,
    complete: u64,
    partial: u64,
    replaced: u64,
    unusable: u64,
    object_bytes: u64,
    present_bytes: u64,
    oldest_use: Option<u64>,
    newest_use: Option<u64>,
    disk_free_bytes: u64,
    disk_total_bytes: u64,
    /// What it may take without `--max-cache-size`.
    default_limit_bytes: u64,
}

impl Document {
    fn new(survey: &Survey, disk: Disk) -> Self {
        let seconds = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH)
                .map_or(0, |age| age.as_secs())
        };
        let kept_free = disk.total / 100 * u64::from(FREE_PERCENT);
        Self {
            bytes: survey.bytes,
            objects: survey.objects,
            complete: survey.complete,
            partial: survey.partial,
            replaced: survey.replaced,
            unusable: survey.unusable,
            object_bytes: survey.object_bytes,
            present_bytes: survey.present_bytes,
            oldest_use: survey.oldest_use.map(seconds),
            newest_use: survey.newest_use.map(seconds),
            disk_free_bytes: disk.free,
            disk_total_bytes: disk.total,
            default_limit_bytes: (survey.bytes + disk.free).saturating_sub(kept_free),
        }
    }

    fn show(&self, survey: &Survey) {
        let line = |name: &str, text: String| say(&format!("{name:<14} {text}"));
        let Self {
            objects,
            complete,
            partial,
            replaced,
            unusable,
            ..
        } = self;
        line("on the disk", in_units(self.bytes));
        line(
            "objects",
            format!(
                "{objects}; versions: {complete} complete, {partial} in part, {replaced} replaced"
            ),
        );
        let (present, all) = (in_units(self.present_bytes), in_units(self.object_bytes));
        line("bytes of these", format!("{present} of {all}"));
        if self.unusable > 0 {
            line("unusable", format!("{unusable}: see mount-s3 cache verify"));
        }
        let ago = |time: SystemTime| {
            let age = SystemTime::now().duration_since(time).unwrap_or_default();
            format!("{} ago", duration(age))
        };
        if let (Some(oldest), Some(newest)) = (survey.oldest_use, survey.newest_use) {
            line("last used", format!("{} to {}", ago(oldest), ago(newest)));
        }
        let (free, total) = (
            in_units(self.disk_free_bytes),
            in_units(self.disk_total_bytes),
        );
        line("disk", format!("{free} of {total} free"));
        let limit = in_units(self.default_limit_bytes);
        line("limit", format!("{limit}, unless --max-cache-size is less"));
    }
}

/// Bytes for a reader.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn in_units(bytes: u64) -> String {
    size(bytes as f64)
}
