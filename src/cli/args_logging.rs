//! The flags that say what is logged, and where.

use std::path::PathBuf;

use clap::Args;

use super::args::LOGGING;

/// What is logged, and where.
#[derive(Debug, Clone, Args)]
pub(super) struct LogArgs {
    /// Write log files to this directory [default: syslog; standard error in the foreground]
    #[arg(short, long, help_heading = LOGGING, value_name = "DIRECTORY")]
    pub(super) log_directory: Option<PathBuf>,

    /// Log in detail what mount-s3 does
    #[arg(short, long, help_heading = LOGGING)]
    pub(super) debug: bool,

    /// Log in detail what the AWS Common Runtime does
    #[arg(long, help_heading = LOGGING)]
    pub(super) debug_crt: bool,

    /// Log metrics each 5 seconds
    #[arg(long, help_heading = LOGGING)]
    pub(super) log_metrics: bool,

    /// Do not log
    #[arg(long, help_heading = LOGGING)]
    #[arg(conflicts_with_all = ["log_directory", "debug", "debug_crt", "log_metrics"])]
    pub(super) no_log: bool,
}
