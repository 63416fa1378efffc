//! Compiles the libraries and installs them into one prefix.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::libraries::{COMMON_DEFINES, LIBRARIES, Library};
use crate::sources::{self, Sources};
use crate::tools::{Tools, path_from_cargo};

/// How the C code is compiled. Independent of cargo's profile: unoptimised C would make every
/// development build of the file system several times slower, and nobody debugs it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Optimised, with line numbers for profiles and backtraces.
    Release,
    /// Not optimised, with the libraries' own assertions.
    Debug,
    /// As debug, lightly optimised, with AddressSanitizer.
    Asan,
}

impl Profile {
    /// Reads `AWS_CRT_PROFILE`.
    pub fn from_env() -> Result<Self> {
        println!("cargo:rerun-if-env-changed={PROFILE}");
        match env::var(PROFILE).as_deref() {
            Err(_) | Ok("" | "release") => Ok(Self::Release),
            Ok("debug") => Ok(Self::Debug),
            Ok("asan") => Ok(Self::Asan),
            Ok(other) => Err(format!("{PROFILE}={other}: must be release, debug or asan")),
        }
    }

    /// The compiler's flags for this profile.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Release => &["-O2", "-g1", "-DNDEBUG"],
            Self::Debug => &["-O0", "-g"],
            Self::Asan => &["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Debug => "debug",
            Self::Asan => "asan",
        }
    }

    fn cmake_build_type(self) -> &'static str {
        match self {
            Self::Release => "RelWithDebInfo",
            Self::Debug | Self::Asan => "Debug",
        }
    }
}

/// Compiles and installs every library, unless that has been done with the same inputs, and
/// returns the prefix: `include/` and `lib/`.
pub fn install(tools: &Tools, sources: &Sources, profile: Profile) -> Result<PathBuf> {
    let home = home()?;
    let _lock = sources::lock(&home)?;
    let home = home.join(profile.name());
    let prefix = home.join("prefix");
    let stamp_file = home.join("stamp");
    let stamp = stamp(tools, sources, profile);
    if fs::read_to_string(&stamp_file).ok().as_ref() == Some(&stamp) {
        return Ok(prefix);
    }
    let build = home.join("build");
    // The stamp first: an interruption must not leave it to vouch for what is gone.
    for old in [&stamp_file, &prefix, &build] {
        sources::remove(old).map_err(|e| format!("{}: {e}", old.display()))?;
    }
    for library in LIBRARIES {
        Build {
            library,
            source: sources.dir.join(library.dir),
            dir: build.join(library.dir),
            prefix: &prefix,
        }
        .run(tools, profile)?;
    }
    // Objects are of no use once installed.
    sources::remove(&build).map_err(|e| format!("{}: {e}", build.display()))?;
    // Last, so that an interrupted build is never taken for a whole one.
    fs::write(&stamp_file, stamp).map_err(|e| format!("{}: {e}", stamp_file.display()))?;
    Ok(prefix)
}

/// One library being built.
struct Build<'a> {
    library: &'a Library,
    source: PathBuf,
    dir: PathBuf,
    prefix: &'a Path,
}

impl Build<'_> {
    fn run(&self, tools: &Tools, profile: Profile) -> Result<()> {
        let build_type = profile.cmake_build_type();
        let mut configure = Command::new("cmake");
        configure
            .args(["-G", "Unix Makefiles", "-S"])
            .arg(&self.source)
            .arg("-B")
            .arg(&self.dir)
            .arg(define("CMAKE_INSTALL_PREFIX", self.prefix))
            .arg(define("CMAKE_PREFIX_PATH", self.prefix))
            .arg(define("CMAKE_C_COMPILER", &tools.compiler))
            .arg(format!("-DCMAKE_BUILD_TYPE={build_type}"));
        // These come last on the compiler's command line. A warning of a compiler newer than the
        // sources is no reason to fail.
        let flags = format!("{} -Wno-error", profile.flags().join(" "));
        for language in ["C", "ASM"] {
            let variable = format!("CMAKE_{language}_FLAGS_{}", build_type.to_uppercase());
            configure.arg(format!("-D{variable}={flags}"));
        }
        for value in COMMON_DEFINES.iter().chain(self.library.defines) {
            configure.arg(format!("-D{value}"));
        }
        self.step("configuring", &mut configure)?;

        let jobs = env::var("NUM_JOBS").unwrap_or_else(|_| "1".to_owned());
        let mut compile = Command::new("cmake");
        compile.arg("--build").arg(&self.dir);
        compile.args(["--target", "install", "--parallel", &jobs]);
        // The flags of a make around us are not for this make.
        compile.env_remove("MAKEFLAGS").env_remove("MFLAGS");
        self.step("compiling", &mut compile)
    }

    /// Runs one command; if it fails, the error ends with the last lines that it wrote.
    fn step(&self, what: &str, command: &mut Command) -> Result<()> {
        let output = command.output().map_err(|e| format!("cmake: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LINES_OF_ERROR)..].join("\n");
        Err(format!("{what} {} failed:\n{tail}", self.library.dir))
    }
}

/// Everything that decides what the libraries are, as text.
fn stamp(tools: &Tools, sources: &Sources, profile: Profile) -> String {
    let mut table = DefaultHasher::new();
    format!("{LIBRARIES:?} {COMMON_DEFINES:?}").hash(&mut table);
    format!(
        "sources {}\ntable {:016x}\nflags {:?} {}\ncompiler {} {}\n",
        sources.id,
        table.finish(),
        profile.flags(),
        env::var("CFLAGS").unwrap_or_default(),
        tools.compiler.display(),
        tools.compiler_version,
    )
}

/// `crt/` in the target folder: above `<profile>/build/<package>/out`.
fn home() -> Result<PathBuf> {
    let out_dir = path_from_cargo("OUT_DIR")?;
    let target = out_dir.ancestors().nth(4);
    let target = target.ok_or_else(|| format!("OUT_DIR={}: too short", out_dir.display()))?;
    Ok(target.join("crt"))
}

fn define(name: &str, path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from(format!("-D{name}="));
    argument.push(path);
    argument
}

const PROFILE: &str = "AWS_CRT_PROFILE";
/// Enough to hold a compiler's error, or the end of cmake's.
const LINES_OF_ERROR: usize = 40;
