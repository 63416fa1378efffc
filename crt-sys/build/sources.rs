//! Finds the C sources: the pinned ones, fetched by cargo, or a folder given by the environment.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

use crate::Result;
use crate::libraries::LIBRARIES;
use crate::patches::Patches;
use crate::tools::path_from_cargo;

/// A source tree.
#[derive(Debug)]
pub struct Sources {
    /// Holds one folder for each library.
    pub dir: PathBuf,
    /// Changes whenever the tree does.
    pub id: String,
}

/// The tree that `AWS_CRT_SOURCE_DIR` names, else the one that `vendor/` pins.
pub fn locate() -> Result<Sources> {
    println!("cargo:rerun-if-env-changed={OVERRIDE}");
    match env::var_os(OVERRIDE) {
        Some(dir) => given(PathBuf::from(dir)),
        None => pinned(),
    }
}

fn given(dir: PathBuf) -> Result<Sources> {
    println!("cargo:rerun-if-changed={}", dir.display());
    let mut hasher = DefaultHasher::new();
    for library in LIBRARIES {
        let tree = dir.join(library.dir);
        hash_tree(&tree, &mut hasher)
            .map_err(|e| format!("{OVERRIDE}: {}: {e}", tree.display()))?;
    }
    let id = format!("{} {:016x}", dir.display(), hasher.finish());
    Ok(Sources { dir, id })
}

/// The unpacked and patched copy in `vendor/crt`, made first if it is missing, of another pin or
/// with other patches.
fn pinned() -> Result<Sources> {
    let vendor = path_from_cargo("CARGO_MANIFEST_DIR")?.join("../vendor");
    let vendor = vendor
        .canonicalize()
        .map_err(|e| format!("{}: {e}", vendor.display()))?;
    for file in ["Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", vendor.join(file).display());
    }
    let pin = Pin::read(&vendor.join("Cargo.lock"))?;
    let patches = Patches::read(&vendor.join("patches"))?;
    let id = format!("{} {:016x}", pin.checksum, patches.hash());
    let dir = vendor.join("crt");
    // Builds into two target folders may run at the same time.
    let _lock = lock(&vendor.join("target"))?;
    if fs::read_to_string(dir.join(STAMP)).ok().as_ref() != Some(&id) {
        unpack(&pin.fetch(&vendor)?.join("crt"), &dir, &patches, &id)
            .map_err(|e| format!("unpacking {}: {e}", dir.display()))?;
    }
    Ok(Sources { dir, id })
}

/// The package that `vendor/Cargo.lock` pins.
#[derive(Debug)]
struct Pin {
    version: String,
    checksum: String,
}

impl Pin {
    fn read(lock_file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(lock_file).map_err(|e| format!("{}: {e}", lock_file.display()))?;
        let entry = text
            .split("[[package]]")
            .find(|entry| field(entry, "name").as_deref() == Some(PACKAGE))
            .ok_or_else(|| format!("{}: no package {PACKAGE}", lock_file.display()))?;
        match (field(entry, "version"), field(entry, "checksum")) {
            (Some(version), Some(checksum)) => Ok(Self { version, checksum }),
            _ => Err(format!(
                "{}: {PACKAGE} has no version or no checksum",
                lock_file.display()
            )),
        }
    }

    /// Where cargo keeps the package, fetched first if it isn't there. Cargo checks the checksum
    /// when it unpacks, and `--locked` that lock file and manifest agree.
    fn fetch(&self, vendor: &Path) -> Result<PathBuf> {
        // What is already there needs no network, whether or not cargo is told to be offline.
        if let Ok(dir) = self.find(vendor) {
            return Ok(dir);
        }
        cargo(vendor, &["fetch", "--locked"])?;
        self.find(vendor)
    }

    fn find(&self, vendor: &Path) -> Result<PathBuf> {
        let arguments = ["metadata", "--format-version=1", "--locked", "--offline"];
        let json: serde_json::Value = serde_json::from_slice(&cargo(vendor, &arguments)?)
            .map_err(|e| format!("cargo metadata: {e}"))?;
        let packages = json["packages"].as_array();
        packages
            .into_iter()
            .flatten()
            .find(|package| package["name"] == PACKAGE && package["version"] == *self.version)
            .and_then(|package| Path::new(package["manifest_path"].as_str()?).parent())
            .map(Path::to_owned)
            .ok_or_else(|| format!("cargo metadata: no {PACKAGE} {}", self.version))
    }
}

/// The value of `name = "value"` in a lock file's entry.
fn field(entry: &str, name: &str) -> Option<String> {
    entry.lines().find_map(|line| {
        let (key, value) = line.split_once(" = ")?;
        (key == name).then(|| value.trim_matches('"').to_owned())
    })
}

/// Runs the cargo that runs us, for the manifest in `vendor`; returns its standard output.
fn cargo(vendor: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(path_from_cargo("CARGO")?)
        .args(arguments)
        .current_dir(vendor)
        .output()
        .map_err(|e| format!("cargo {}: {e}", arguments[0]))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!(
        "cargo {} in {} failed: {}",
        arguments.join(" "),
        vendor.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

/// Copies `from` to `to` and patches it, so that an interrupted copy is never taken for a whole one.
fn unpack(from: &Path, to: &Path, patches: &Patches, id: &str) -> io::Result<()> {
    let partial = to.with_extension("partial");
    remove(&partial)?;
    copy_tree(from, &partial)?;
    patches.apply(&partial)?;
    fs::write(partial.join(STAMP), id)?;
    remove(to)?;
    fs::rename(&partial, to)
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Hashes name, size and modification time of every file below `dir`, in the order of names.
fn hash_tree(dir: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            hash_tree(&entry.path(), hasher)?;
        } else {
            let metadata = entry.metadata()?;
            (entry.path(), metadata.len(), metadata.modified()?).hash(hasher);
        }
    }
    Ok(())
}

/// Removes a file, or a folder with all that is in it, if it exists.
pub fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Waits until no other build holds the lock of `dir`, which is created if need be. The lock lasts
/// as long as the file returned.
pub fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("crt.lock");
    fs::create_dir_all(dir)
        .and_then(|()| File::create(&path))
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|e| format!("locking {}: {e}", path.display()))
}

/// Names a source folder to build instead of the pinned one.
const OVERRIDE: &str = "AWS_CRT_SOURCE_DIR";
/// The package that carries the C sources. Nothing else in it is used.
const PACKAGE: &str = "mountpoint-s3-crt-sys";
/// Written last into the unpacked tree: what it was made from.
const STAMP: &str = ".checksum";
