//! What a mount left in its stage: found, stored and thrown away by a later process.

use std::fmt;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Error;
use super::blocks::{Block, covering};
use super::disk::{Disk, Paths, RECORD_ENDING};
use super::file::{Remote, StagedFile};
use super::record::{Origin, Record, load};
use super::session::{ORIGIN, boot, lock, remove_if_empty};

/// The stage of a mount. One that is not [in use](Self::is_in_use) is locked until this is dropped,
/// and removed then if nothing is left in it.
#[derive(Debug)]
pub struct LeftoverSession {
    directory: PathBuf,
    /// The mount.
    pub origin: Origin,
    /// Its files, in the order in which they were begun.
    pub files: Vec<Leftover>,
    lock: Option<File>,
}

/// A staged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its name among all.
    pub id: FileId,
    /// The key that it is to be stored under.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// How many bytes of it may be others than those in S3.
    pub changed: u64,
    /// Whether the system has crashed or been restarted since: the last bytes that were written
    /// may be missing.
    pub is_in_doubt: bool,
    paths: Paths,
}

/// The name of a staged file: that of its mount's stage, and a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileId {
    session: String,
    number: u64,
}

/// The stages in `parent`, the oldest first.
///
/// # Errors
/// [`Error::Disk`]. A stage or a file in it that cannot be read is logged and left out.
pub fn leftovers(parent: &Path) -> Result<Vec<LeftoverSession>, Error> {
    let entries = fs::read_dir(parent).map_err(|error| Error::disk(parent, error))?;
    let mut directories: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.join(ORIGIN).is_file())
        .collect();
    directories.sort();
    let sessions = directories.into_iter().map(|directory| {
        let session = LeftoverSession::read(&directory);
        session.map_err(|error| log::warn!("a stage cannot be read: {error}"))
    });
    Ok(sessions.filter_map(Result::ok).collect())
}

impl LeftoverSession {
    fn read(directory: &Path) -> Result<Self, Error> {
        let lock = lock(directory)?;
        let origin: Origin = load(&directory.join(ORIGIN))?;
        let is_in_doubt = origin.boot != boot();
        let session = directory.file_name().unwrap_or_default();
        let session = session.to_string_lossy().into_owned();
        let entries = fs::read_dir(directory).map_err(|error| Error::disk(directory, error))?;
        let mut numbers: Vec<u64> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|ending| ending == RECORD_ENDING)
            })
            .filter_map(|path| path.file_stem()?.to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        let files = numbers.into_iter().map(|number| {
            let id = FileId {
                session: session.clone(),
                number,
            };
            Leftover::read(directory, id, is_in_doubt)
        });
        let files = files.filter_map(|file| match file {
            Ok(file) => file,
            Err(error) => {
                log::warn!("a staged file cannot be read: {error}");
                None
            }
        });
        Ok(Self {
            files: files.collect(),
            directory: directory.to_owned(),
            origin,
            lock,
        })
    }

    /// Whether its mount, or somebody who cares for what it left, is there.
    pub fn is_in_use(&self) -> bool {
        self.lock.is_none()
    }
}

impl Drop for LeftoverSession {
    fn drop(&mut self) {
        if self.lock.is_some() {
            remove_if_empty(&self.directory);
        }
    }
}

impl Leftover {
    /// `None` for a file that is gone by now.
    fn read(directory: &Path, id: FileId, is_in_doubt: bool) -> Result<Option<Self>, Error> {
        let paths = Paths::new(directory, &id.number.to_string());
        let (disk, blocks, record) = match Disk::open(paths.clone()) {
            Err(Error::Disk { error, .. }) if error.kind() == ErrorKind::NotFound => {
                return Ok(None);
            }
            opened => opened?,
        };
        let size = disk.len()?;
        let dirty = covering(&(0..size)).filter(|block| blocks.get(*block) == Block::Dirty);
        let changed = match record.base {
            None => size,
            Some(_) => (dirty.count() as u64 * super::blocks::BLOCK).min(size),
        };
        let Record { key, .. } = record;
        Ok(Some(Self {
            id,
            key,
            size,
            changed,
            is_in_doubt,
            paths,
        }))
    }

    /// Stores it, and removes it from the disk. With `replace`, whatever is there by now is
    /// replaced, if the whole file is on the disk.
    ///
    /// # Errors
    /// Those of [`StagedFile::store`]; the file stays.
    ///
    /// # Cancel safety
    /// A dropped call may have stored the object; the file stays.
    pub async fn recover(&self, remote: Remote, replace: bool) -> Result<(), Error> {
        let file = StagedFile::reopen(self.paths.clone(), remote)?;
        if replace {
            file.forget_base()?;
        }
        file.store().await?;
        file.discard();
        Ok(())
    }

    /// Throws it away.
    pub fn discard(&self) {
        self.paths.remove();
    }
}

impl StagedFile {
    /// Lets the file replace whatever is there, instead of the version that it was made from.
    ///
    /// # Errors
    /// [`Error::Unusable`] when bytes of that version are missing on the disk.
    fn forget_base(&self) -> Result<(), Error> {
        let mut state = self.lock();
        let whole = 0..state.size;
        let is_absent = |block| state.blocks.get(block) == Block::Absent;
        if state.record.base.is_some() && covering(&whole).any(is_absent) {
            return Err(Error::Unusable {
                path: self.disk.record_path().to_owned(),
                reason: "only changes were staged, of a version of the object that is gone: \
                         its other bytes are not here"
                    .to_owned(),
            });
        }
        state.record.base = None;
        state.base = None;
        Ok(())
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.session, self.number)
    }
}

impl FromStr for FileId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(session, number)| {
            Some(Self {
                session: session.to_owned(),
                number: number.parse().ok()?,
            })
        });
        parsed.ok_or("not the name of a staged file, as `mount-s3 staged list` shows them")
    }
}
