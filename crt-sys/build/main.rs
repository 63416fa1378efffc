//! Compiles the AWS Common Runtime, binds it and says how to link it.
//!
//! Environment:
//! - `AWS_CRT_SOURCE_DIR`: build these sources (a folder holding `aws-c-common/`, `aws-c-s3/`, ...),
//!   as they are, instead of the pinned and patched ones; any change below it rebuilds the C
//!   libraries.
//! - `AWS_CRT_PROFILE`: how the C code is compiled, whatever cargo's profile: `release` (default),
//!   `debug` or `asan`.
//! - `CC`, `CFLAGS`, `CMAKE_C_COMPILER_LAUNCHER` (such as `ccache`): as cc and cmake know them.
//!
//! The libraries are kept in `<target dir>/crt/<profile>`, so cargo's dev and release profiles share
//! them, and are built again only when the sources, the table, the profile or the compiler change.

mod bindings;
mod cmake;
mod libraries;
mod link;
mod patches;
mod sources;
mod tools;

use std::process::ExitCode;

/// An error as the one line that the user is to read.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=shim");
    let tools = tools::find()?;
    let sources = sources::locate()?;
    let profile = cmake::Profile::from_env()?;
    let prefix = cmake::install(&tools, &sources, profile)?;
    let out_dir = tools::path_from_cargo("OUT_DIR")?;
    bindings::generate(&prefix, &out_dir)?;
    link::compile_shim(&prefix, profile)?;
    link::emit(&prefix);
    Ok(())
}
