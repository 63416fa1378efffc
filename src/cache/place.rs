//! Where the files of an entry are, and how they come and go.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where the files of one version of one object are, whether they exist or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Without what tells the files apart.
    stem: PathBuf,
    layout: Layout,
}

/// Where the notes of an entry stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In a file beside the one of the bytes.
    Map,
    /// In an attribute of the file of the bytes, which are one block: a file less to make, to look up and
    /// to read.
    Attribute,
}

impl Place {
    /// The place `stem` in `directory`.
    pub(super) fn new(directory: &Path, stem: &str, layout: Layout) -> Self {
        let stem = directory.join(stem);
        Self { stem, layout }
    }

    /// The place of the entry that the file at `path` stands for: one with notes. `None` for other files.
    pub(super) fn of_file(path: &Path) -> Option<Self> {
        if is_new(path) {
            return None;
        }
        let ending = path.extension()?;
        let layout = [Layout::Map, Layout::Attribute]
            .into_iter()
            .find(|layout| ending == layout.ending())?;
        let stem = path.with_extension("");
        Some(Self { stem, layout })
    }

    /// The place of the entry that the file at `path` has the bytes of, if its notes are in a file beside it.
    pub(super) fn of_data(path: &Path) -> Option<Self> {
        path.extension().filter(|ending| *ending == DATA)?;
        let (stem, layout) = (path.with_extension(""), Layout::Map);
        Some(Self { stem, layout })
    }

    /// Where the notes stand.
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// The file of the object's bytes.
    pub(super) fn data(&self) -> PathBuf {
        self.stem.with_extension(match self.layout {
            Layout::Map => DATA,
            Layout::Attribute => self.layout.ending(),
        })
    }

    /// The file that has the notes, and whose times tell of the last use.
    pub(super) fn notes(&self) -> PathBuf {
        self.stem.with_extension(self.layout.ending())
    }

    /// What the names of the files begin with.
    pub(super) fn stem(&self) -> &str {
        let name = self.stem.file_name();
        name.and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Which of the directories of files they are in.
    pub(super) fn shard(&self) -> u8 {
        shard_of(self.directory()).unwrap_or_default()
    }

    /// The directory that the files are in.
    pub(super) fn directory(&self) -> &Path {
        self.stem.parent().unwrap_or(&self.stem)
    }

    /// Removes the files, the notes first.
    ///
    /// # Errors
    /// They are still there.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove_file(&self.notes())?;
        match self.layout {
            Layout::Map => remove_file(&self.data()),
            Layout::Attribute => Ok(()),
        }
    }

    /// As [`Self::remove`], unless the kernel reads the file by itself for somebody, so that removing it
    /// would make no room. Returns whether it was removed.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub(super) fn remove_unused(&self) -> io::Result<bool> {
        // Nobody begins to use it while this is locked.
        let locked = open_to_read(&self.data()).map(|data| data.try_lock().map(|()| data));
        if let Ok(Err(TryLockError::WouldBlock)) = locked {
            return Ok(false);
        }
        self.remove()?;
        Ok(true)
    }
}

/// The path, without what tells the files apart.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stem.display().fmt(f)
    }
}

impl Layout {
    /// How many files an entry has.
    pub(super) fn files(self) -> u64 {
        match self {
            Self::Map => 2,
            Self::Attribute => 1,
        }
    }

    /// What the name of the file ends in that has the notes.
    fn ending(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Attribute => "block",
        }
    }
}

/// Which of the directories of files this is, in the order of their names; `None` if it is something else.
pub(super) fn shard_of(directory: &Path) -> Option<u8> {
    let name = directory.file_name()?.to_str()?;
    u8::from_str_radix(name, 16).ok()
}

/// Opens a file of an entry.
///
/// # Errors
/// There is none, or it is a symbolic link.
pub(super) fn open(path: &Path) -> io::Result<File> {
    options().write(true).open(path)
}

/// Opens a file of an entry, or makes an empty one.
///
/// # Errors
/// It can be neither opened nor made.
pub(super) fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = options();
    options.write(true).create(true).truncate(false).mode(MODE);
    options.open(path)
}

/// Opens a file of an entry for reading only.
///
/// # Errors
/// There is none, or it is a symbolic link.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    options().open(path)
}

/// Opens a file that is read, and only ever written at its end.
///
/// # Errors
/// There is none, or it is a symbolic link.
pub(super) fn open_to_append(path: &Path) -> io::Result<File> {
    options().append(true).open(path)
}

/// As [`open_to_append`], or makes an empty one.
///
/// # Errors
/// It can be neither opened nor made.
pub(super) fn append_or_create(path: &Path) -> io::Result<File> {
    let mut options = options();
    options.append(true).create(true).mode(MODE).open(path)
}

/// What is read is no use by itself: see [`super::uses`].
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NOATIME);
    options
}

/// Whether nobody uses the file at `path` yet.
pub(super) fn is_new(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(NEW.as_bytes())
}

/// Removes a file, if it is there.
///
/// # Errors
/// It is still there.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// How the names of files begin that nobody uses yet.
pub(super) const NEW: &str = "new-";

/// What the name of the file ends in that has the bytes, if the notes are elsewhere.
const DATA: &str = "data";

/// For this user alone.
const MODE: u32 = 0o600;
