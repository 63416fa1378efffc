//! What is logged, and where.

use std::path::PathBuf;

use super::environment::{Environment, parsed};
use super::{Role, log_filter};
use crate::cli::args_logging::LogArgs;
use crate::cli::exit::Failure;
use crate::telemetry::MetricsLog;

/// What is logged, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct LogOptions {
    pub(in crate::cli) target: LogTarget,
    /// Directives in the syntax of `env_logger`: `warn,crt=debug`.
    pub(in crate::cli) filter: String,
    /// Whether figures are logged, too.
    pub(in crate::cli) metrics: bool,
}

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum LogTarget {
    Nowhere,
    StandardError,
    Syslog,
    Directory(PathBuf),
}

impl LogOptions {
    /// What a command logs that does its work and ends: failures and, if they are asked for,
    /// details, on standard error.
    ///
    /// # Errors
    /// An environment variable holds what cannot be used.
    pub(in crate::cli) fn of_command(
        debug: bool,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        Ok(Self {
            target: LogTarget::StandardError,
            filter: log_filter(debug, false, false, environment)?,
            metrics: false,
        })
    }
}

pub(super) fn log_options(
    args: &LogArgs,
    environment: &Environment,
    role: Role,
) -> Result<LogOptions, Failure> {
    let target = match (&args.log_directory, role) {
        _ if args.no_log => LogTarget::Nowhere,
        (Some(directory), _) => LogTarget::Directory(directory.clone()),
        (None, Role::Foreground) => LogTarget::StandardError,
        (None, Role::Launcher | Role::Background) => LogTarget::Syslog,
    };
    let metrics = args.log_metrics;
    let filter = log_filter(args.debug, args.debug_crt, metrics, environment)?;
    Ok(LogOptions {
        target,
        filter,
        metrics,
    })
}

fn log_filter(
    debug: bool,
    debug_crt: bool,
    metrics: bool,
    environment: &Environment,
) -> Result<String, Failure> {
    let directives = environment.log_filter.clone();
    if let Some(directives) = parsed("MOUNTPOINT_LOG", directives, log_filter::translate)? {
        return Ok(directives);
    }
    let own = if debug { ",mount_s3=debug" } else { "" };
    let crt = if debug_crt { "debug" } else { "error" };
    let metrics = if metrics {
        format!(",{}=info", MetricsLog::TARGET)
    } else {
        String::new()
    };
    Ok(format!("warn{own},crt={crt}{metrics}"))
}
