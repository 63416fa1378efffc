//! The `mount-s3` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    mount_s3::cli::main()
}
