//! Tells the command its version: the package's, and the revision it was built from.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let version = env!("CARGO_PKG_VERSION");
    let version = match revision() {
        Some(revision) => format!("{version}+{revision}"),
        None => version.to_owned(),
    };
    println!("cargo::rustc-env=MOUNT_S3_VERSION={version}");
}

/// The short revision of the checkout that holds this package, if there is one.
fn revision() -> Option<String> {
    // A package unpacked inside somebody else's repository has no revision of its own.
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    // `HEAD` changes with a checkout, its log also with a commit. Cargo runs this script at every
    // build if a path named here does not exist.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=9", "HEAD"]).filter(|revision| !revision.is_empty())
}

/// What `git` answers, or nothing if it is not there or refuses.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
