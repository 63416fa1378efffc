//! Environment variables of Mountpoint for Amazon S3 that it calls unstable: those that can mean the
//! same here count, the others are told of.

use std::ffi::OsString;
use std::num::{NonZeroU16, NonZeroU64};
use std::path::PathBuf;
use std::str::FromStr;

use super::environment::parsed;
use crate::cli::exit::Failure;
use crate::fuse::Background;

/// What these variables say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::cli) struct Tuning {
    /// Gets the number of the process that serves the mount, when the mount answers.
    pub(in crate::cli) pid_file: Option<PathBuf>,
    /// Requests that the kernel may have under way.
    pub(in crate::cli) background: Background,
    /// The most bytes by which an open file is fetched ahead.
    pub(in crate::cli) max_window: Option<NonZeroU64>,
    /// Threads of the AWS Common Runtime.
    pub(in crate::cli) event_loops: Option<NonZeroU16>,
    /// Variables that are set, and have no effect.
    pub(in crate::cli) ignored: Vec<&'static str>,
}

impl Tuning {
    /// Reads the variables by `value`.
    ///
    /// # Errors
    /// One of those that count is no number.
    pub(super) fn read(value: impl Fn(&'static str) -> Option<OsString>) -> Result<Self, Failure> {
        let max = number::<NonZeroU16>(MAX_BACKGROUND, &value)?;
        let congestion = number::<NonZeroU16>(CONGESTION_THRESHOLD, &value)?;
        let default = Background::default();
        Ok(Self {
            pid_file: value(PID_FILE).map(PathBuf::from),
            background: Background {
                max: max.map_or(default.max, NonZeroU16::get),
                congestion: congestion.map(NonZeroU16::get),
            },
            max_window: number(MAX_WINDOW, &value)?,
            event_loops: number(EVENT_LOOPS, &value)?,
            ignored: IGNORED
                .into_iter()
                .filter(|name| value(name).is_some())
                .collect(),
        })
    }
}

fn number<T: FromStr>(
    name: &'static str,
    value: impl Fn(&'static str) -> Option<OsString>,
) -> Result<Option<T>, Failure> {
    parsed(name, value(name), |text| {
        text.parse()
            .map_err(|_no_number| "must be a number of at least 1 that is not too large".to_owned())
    })
}

/// The names of these variables.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    [
        PID_FILE,
        MAX_BACKGROUND,
        CONGESTION_THRESHOLD,
        MAX_WINDOW,
        EVENT_LOOPS,
    ]
    .into_iter()
    .chain(IGNORED)
}

const PID_FILE: &str = "UNSTABLE_MOUNTPOINT_PID_FILE";
const MAX_BACKGROUND: &str = "UNSTABLE_MOUNTPOINT_MAX_BACKGROUND";
const CONGESTION_THRESHOLD: &str = "UNSTABLE_MOUNTPOINT_CONGESTION_THRESHOLD";
const MAX_WINDOW: &str = "UNSTABLE_MOUNTPOINT_MAX_PREFETCH_WINDOW_SIZE";
const EVENT_LOOPS: &str = "UNSTABLE_CRT_EVENTLOOP_THREADS";

/// What has no counterpart here: each thread has a queue of its own in the kernel, downloads are
/// always checked, and memory is allocated by the system.
const IGNORED: [&str; 5] = [
    "UNSTABLE_MOUNTPOINT_CLONE_FUSE_FD",
    "UNSTABLE_MOUNTPOINT_DISABLE_CACHE_CLEANUP",
    "UNSTABLE_MOUNTPOINT_CACHE_KEY",
    "EXPERIMENTAL_MOUNTPOINT_NO_DOWNLOAD_INTEGRITY_VALIDATION",
    "_RJEM_MALLOC_CONF",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Tuning, Failure> {
        Tuning::read(|name| {
            let found = variables.iter().find(|(set, _)| *set == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn variables_that_count_are_read() {
        assert_eq!(read(&[]).expect("none"), Tuning::default());
        let tuning = read(&[
            (PID_FILE, "/run/m.pid"),
            (MAX_BACKGROUND, "128"),
            (CONGESTION_THRESHOLD, "100"),
            (MAX_WINDOW, "67108864"),
            (EVENT_LOOPS, "3"),
        ]);
        let expected = Tuning {
            pid_file: Some(PathBuf::from("/run/m.pid")),
            background: Background {
                max: 128,
                congestion: Some(100),
            },
            max_window: NonZeroU64::new(64 << 20),
            event_loops: NonZeroU16::new(3),
            ignored: Vec::new(),
        };
        assert_eq!(tuning.expect("valid"), expected);
    }

    #[test]
    fn variables_without_effect_are_named() {
        let tuning = read(&[(IGNORED[1], "1"), (IGNORED[4], "narenas:1")]).expect("valid");
        assert_eq!(tuning.ignored, [IGNORED[1], IGNORED[4]]);
    }

    #[test]
    fn variables_that_are_no_numbers_are_refused_by_name() {
        for name in [
            MAX_BACKGROUND,
            CONGESTION_THRESHOLD,
            MAX_WINDOW,
            EVENT_LOOPS,
        ] {
            for value in ["0", "-1", "many", "99999999999999999999"] {
                let failure = read(&[(name, value)]).expect_err("refused").to_string();
                assert!(failure.contains(name), "{failure}");
            }
        }
    }
}
