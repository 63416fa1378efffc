//! What is logged, changed while the mount is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use env_filter::Filter;
use log::{LevelFilter, Metadata, Record};

/// What is logged: as configured at first, and then more from one step to the next, as Mountpoint for
/// Amazon S3 does at SIGUSR2. Cheap to clone; clones change together.
#[derive(Debug, Clone)]
pub(super) struct LogLevel(Arc<Steps>);

#[derive(Debug)]
struct Steps {
    /// What each step logs, and its name.
    steps: Vec<(String, Filter)>,
    now: AtomicUsize,
}

impl LogLevel {
    /// Begins with what `configured` says, in the syntax of `env_logger`.
    pub(super) fn new(configured: &str) -> Self {
        let named = |name: &str, directives: &str| {
            let filter = env_filter::Builder::new().parse(directives).build();
            (name.to_owned(), filter)
        };
        let mut steps = vec![named("as configured", configured)];
        steps.extend(MORE.map(|directives| named(directives, directives)));
        Self(Arc::new(Steps {
            steps,
            now: AtomicUsize::new(0),
        }))
    }

    /// Goes to the next step, or from the last one to the first, and logs which one it is.
    pub(super) fn advance(&self) {
        let steps = &self.0;
        let next = (steps.now.load(Ordering::Relaxed) + 1) % steps.steps.len();
        steps.now.store(next, Ordering::Relaxed);
        log::set_max_level(self.most());
        if let Some((name, _)) = steps.steps.get(next) {
            log::warn!("SIGUSR2: logging {name}");
        }
    }

    /// The most detailed level that is logged of anything now.
    pub(super) fn most(&self) -> LevelFilter {
        self.filter().map_or(LevelFilter::Off, Filter::filter)
    }

    /// Whether records of this kind are logged now.
    pub(super) fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter().is_some_and(|filter| filter.enabled(metadata))
    }

    /// Whether this record is logged now.
    pub(super) fn matches(&self, record: &Record<'_>) -> bool {
        self.filter().is_some_and(|filter| filter.matches(record))
    }

    fn filter(&self) -> Option<&Filter> {
        let now = self.0.now.load(Ordering::Relaxed);
        self.0.steps.get(now).map(|(_name, filter)| filter)
    }
}

/// The steps after what is configured.
const MORE: [&str; 4] = ["debug,crt=off", "debug", "trace,crt=off", "trace"];

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;

    #[test]
    fn advance_goes_through_the_steps_and_begins_again() {
        let level = LogLevel::new("warn,crt=error");
        let logs = |target: &str, at: Level| {
            level.enabled(&Metadata::builder().target(target).level(at).build())
        };
        let seen = |level: Level| (logs("mount_s3::fs", level), logs("crt::s3", level));
        let expected = [
            (LevelFilter::Warn, (false, false), (false, false)),
            (LevelFilter::Debug, (true, false), (false, false)),
            (LevelFilter::Debug, (true, true), (false, false)),
            (LevelFilter::Trace, (true, false), (true, false)),
            (LevelFilter::Trace, (true, true), (true, true)),
            (LevelFilter::Warn, (false, false), (false, false)),
        ];
        for (number, expected) in expected.into_iter().enumerate() {
            let found = (level.most(), seen(Level::Debug), seen(Level::Trace));
            assert_eq!(found, expected, "step {number}");
            assert!(logs("mount_s3::fs", Level::Warn));
            level.advance();
        }
    }
}
