//! Compiles the shim and says what to link.

use std::path::Path;

use crate::Result;
use crate::cmake::Profile;
use crate::libraries::LIBRARIES;

/// Compiles `shim/` with the flags of the libraries.
pub fn compile_shim(prefix: &Path, profile: Profile) -> Result<()> {
    let mut build = cc::Build::new();
    // Its own flags, not those of cargo's profile.
    build.no_default_flags(true).flag("-fPIC");
    for flag in profile.flags() {
        build.flag(flag);
    }
    build
        .flag("-Wall")
        .flag("-Wextra")
        .std("c11")
        .include(prefix.join("include"))
        .file("shim/log.c")
        .try_compile("crt_shim")
        .map_err(|e| format!("compiling shim/log.c: {e}"))
}

/// Names the archives and the system libraries, users before what they use.
pub fn emit(prefix: &Path) {
    println!(
        "cargo:rustc-link-search=native={}",
        prefix.join("lib").display()
    );
    for library in LIBRARIES.iter().rev() {
        println!("cargo:rustc-link-lib=static={}", library.archive);
    }
    for system in SYSTEM_LIBRARIES {
        println!("cargo:rustc-link-lib={system}");
    }
}

/// glibc 2.34 and later has them all in libc, but older ones do not.
const SYSTEM_LIBRARIES: &[&str] = &["pthread", "dl", "m", "rt"];
