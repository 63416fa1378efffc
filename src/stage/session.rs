//! The directory of one mount's staged files.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Error;
use super::disk::Paths;
use super::file::{Remote, StagedFile};
use super::record::{Base, Origin, Record, Version, save};
use crate::s3::Key;

/// Where a mount stages its files: a directory of its own, locked for as long as this lives.
/// Dropping it removes the directory if nothing was left in it.
#[derive(Debug)]
pub struct Stage {
    directory: PathBuf,
    remote: Remote,
    next: AtomicU64,
    /// Locked.
    _lock: File,
}

impl Stage {
    /// Makes a stage in `parent`, a directory that is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Disk`]; [`Error::Unusable`] when `parent` is no directory, or somebody else could
    /// change what is in it.
    pub fn create(parent: &Path, origin: &Origin, remote: Remote) -> Result<Self, Error> {
        make_private(parent)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.map_or(0, |since| since.as_millis());
        let directory = parent.join(format!("{millis}-{}", process::id()));
        make_private(&directory)?;
        let lock = lock(&directory)?.ok_or_else(|| Error::Unusable {
            path: directory.clone(),
            reason: "another process uses it".to_owned(),
        })?;
        save(&directory.join(ORIGIN), origin)?;
        Ok(Self {
            directory,
            remote,
            next: AtomicU64::new(1),
            _lock: lock,
        })
    }

    /// Begins a file that is to be stored as `key`: of `base`, an object that is there, or an empty
    /// one. `has_object` says whether an object is there in that case, which it replaces.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn begin(
        &self,
        key: &Key,
        base: Option<&Version>,
        has_object: bool,
        content_type: Option<String>,
        metadata: BTreeMap<String, String>,
    ) -> Result<StagedFile, Error> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let record = Record {
            key: key.as_str().to_owned(),
            base: base.map(Base::new),
            has_object,
            content_type,
            metadata,
        };
        let paths = Paths::new(&self.directory, &number.to_string());
        StagedFile::create(paths, record, self.remote.clone())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        remove_if_empty(&self.directory);
    }
}

/// Removes a stage in which no staged file is. Called by the one who has the lock.
pub(super) fn remove_if_empty(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let ours = [ORIGIN, LOCK].map(|name| directory.join(name));
    let is_empty = entries
        .filter_map(Result::ok)
        .all(|entry| ours.contains(&entry.path()));
    if is_empty {
        // The lock last, so that nobody takes what is half gone for a stage.
        let [origin, lock] = ours;
        let removed = fs::remove_file(origin)
            .and_then(|()| fs::remove_file(lock))
            .and_then(|()| fs::remove_dir(directory));
        if let Err(error) = removed {
            log::warn!("{} stays behind: {error}", directory.display());
        }
    }
}

/// Locks a stage, unless another process has.
pub(super) fn lock(directory: &Path) -> Result<Option<File>, Error> {
    let path = directory.join(LOCK);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let file = file.map_err(|error| Error::disk(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::disk(path, error)),
    }
}

/// Makes a directory that is for this user alone, or makes sure that what is there is.
fn make_private(directory: &Path) -> Result<(), Error> {
    let made = DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(directory);
    made.map_err(|error| Error::disk(directory, error))?;
    let metadata =
        fs::symlink_metadata(directory).map_err(|error| Error::disk(directory, error))?;
    let refuse = |reason: &str| {
        Err(Error::Unusable {
            path: directory.to_owned(),
            reason: reason.to_owned(),
        })
    };
    if !metadata.is_dir() {
        return refuse("it is a symbolic link: name the directory it leads to");
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return refuse("it belongs to another user: choose a directory of your own");
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse("others may change what is in it: run chmod go-w on it");
    }
    Ok(())
}

/// The identity of the running system since its start.
pub(super) fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

impl Origin {
    /// Of a mount of this process.
    pub fn new(
        bucket: String,
        arguments: Vec<String>,
        environment: BTreeMap<String, String>,
    ) -> Self {
        Self {
            bucket,
            arguments,
            environment,
            boot: boot(),
        }
    }
}

/// The files of a stage itself.
pub(super) const ORIGIN: &str = "origin";
const LOCK: &str = "lock";
