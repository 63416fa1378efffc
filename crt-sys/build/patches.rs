//! The patches of `vendor/patches/`.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use diffy::Patch;

use crate::Result;

/// Unified diffs, each of one file, with the reason for it above.
#[derive(Debug)]
pub struct Patches(Vec<(PathBuf, String)>);

impl Patches {
    /// Reads every `.patch` file of `dir`, in the order of their names.
    pub fn read(dir: &Path) -> Result<Self> {
        println!("cargo:rerun-if-changed={}", dir.display());
        let read = || {
            let mut paths = fs::read_dir(dir)?
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<Vec<_>>>()?;
            paths.retain(|path| path.extension().is_some_and(|end| end == "patch"));
            paths.sort();
            paths
                .into_iter()
                .map(|path| fs::read_to_string(&path).map(|text| (path, text)))
                .collect::<io::Result<Vec<_>>>()
        };
        read()
            .map(Self)
            .map_err(|e| format!("{}: {e}", dir.display()))
    }

    /// Changes whenever a patch does.
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (_, text) in &self.0 {
            text.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Patches the tree `dir`. A patch that does not fit exactly is an error.
    pub fn apply(&self, dir: &Path) -> io::Result<()> {
        for (path, text) in &self.0 {
            apply(text, dir).map_err(|e| io::Error::other(format!("{}: {e}", path.display())))?;
        }
        Ok(())
    }
}

fn apply(text: &str, dir: &Path) -> io::Result<()> {
    let patch = Patch::from_str(text).map_err(io::Error::other)?;
    let name = patch
        .modified()
        .and_then(|name| name.strip_prefix("b/"))
        .ok_or_else(|| io::Error::other("names no file as `+++ b/FILE`"))?;
    let file = dir.join(name);
    let patched = diffy::apply(&fs::read_to_string(&file)?, &patch).map_err(io::Error::other)?;
    fs::write(file, patched)
}
