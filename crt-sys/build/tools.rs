//! Finds the tools that the build needs, before anything is built.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use crate::Result;

/// The tools, found.
#[derive(Debug)]
pub struct Tools {
    /// The C compiler, for cmake and for the shim.
    pub compiler: PathBuf,
    /// What the compiler says of itself: another compiler or version is another build.
    pub compiler_version: String,
}

/// Looks for every tool; the error names the package that has the first one missing.
pub fn find() -> Result<Tools> {
    for variable in ["CC", "CFLAGS", "LIBCLANG_PATH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return Err("crt-sys builds for Linux only".to_owned());
    }
    if env::var("HOST") != env::var("TARGET") {
        return Err(
            "crt-sys does not cross-compile: build on the target's architecture".to_owned(),
        );
    }
    output("cmake", "--version").ok_or_else(|| missing("cmake", "cmake", "cmake"))?;
    output("make", "--version").ok_or_else(|| missing("make", "make", "make"))?;
    let compiler = cc::Build::new()
        .try_get_compiler()
        .map_err(|_| missing("C compiler", "gcc", "gcc"))?
        .path()
        .to_owned();
    let compiler_version = compiler
        .to_str()
        .and_then(|path| output(path, "--version"))
        .ok_or_else(|| {
            let tool = format!("C compiler ({})", compiler.display());
            missing(&tool, "gcc", "gcc")
        })?;
    clang_sys::load().map_err(|_| missing("libclang", "libclang-dev", "clang-devel"))?;
    Ok(Tools {
        compiler,
        compiler_version,
    })
}

/// A folder that cargo names in the environment of every build script.
pub fn path_from_cargo(variable: &str) -> Result<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{variable} is not set: run this build script by cargo"))
}

/// Standard output of `program argument`, or `None` if it can't be run or fails.
fn output(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn missing(tool: &str, apt: &str, dnf: &str) -> String {
    format!("{tool} not found: apt-get install {apt}, or dnf install {dnf}")
}
