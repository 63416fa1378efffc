//! Where the files are, and whom they may belong to.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{ECRYPTFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, statfs};
use nix::unistd::geteuid;

use rustix::fs::{XattrFlags, getxattr, setxattr};

use super::name::Name;
use super::notes::ATTRIBUTE_NAME;
use super::place::{Layout, Place};
use super::{BLOCK, OpenError};

/// The directory of a cache, which is this user's alone.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    /// Whether its file system takes attributes.
    has_attributes: bool,
}

/// Who else there may be where a cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surroundings {
    /// Other users, who must not be able to replace a directory that leads to the cache.
    Machine,
    /// Only what belongs together, as in a Kubernetes pod: volumes there are made to be written by every
    /// user (an `emptyDir` has mode 0777) and seen by no other pod.
    Pod,
}

/// Why a directory is not used: others could put bytes into the cache, or read those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is a symbolic link, which may lead elsewhere tomorrow.
    #[error("is a symbolic link: name the directory itself")]
    Link,
    /// It is no directory.
    #[error("is not a directory")]
    NoDirectory,
    /// It is somebody else's.
    #[error("belongs to another user: choose a directory of your own")]
    Owner,
    /// Others may use it.
    #[error("can be used by others: chmod 700")]
    Mode,
    /// Others may put another directory in its place, or in that of one below it.
    #[error(
        "belongs to another user, or can be written by others, who could replace the cache: chmod \
         o-w,g-w if it is yours, or choose another"
    )]
    Parent,
}

impl Directory {
    /// Opens the directory of a cache in `parent`, or makes it.
    pub(super) fn open(parent: &Path, surroundings: Surroundings) -> Result<Self, OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        let refused = |path: &Path| {
            let path = path.to_owned();
            move |refused| OpenError::Refused { path, refused }
        };
        // Not by way of links, which others may be able to change.
        let parent = fs::canonicalize(parent).map_err(failed(parent))?;
        for above in parent.ancestors() {
            let found = fs::metadata(above).map_err(failed(above))?;
            match (check_parent(&found), surroundings) {
                (Err(Refused::Parent), Surroundings::Pod) => {}
                (checked, _) => checked.map_err(refused(above))?,
            }
        }
        let root = parent.join(NAME);
        make(&root).map_err(failed(&root))?;
        let found = fs::symlink_metadata(&root).map_err(failed(&root))?;
        check_own(&found).map_err(refused(&root))?;
        let root = root.join(FORMAT);
        make(&root).map_err(failed(&root))?;
        let has_attributes = has_attributes(&root);
        Ok(Self {
            root,
            has_attributes,
        })
    }

    /// Opens the directory of a cache in `parent`, if there is one.
    pub(super) fn find(parent: &Path, surroundings: Surroundings) -> Result<Self, OpenError> {
        let place = parent.join(NAME);
        match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && parent.is_dir() => {
                let path = parent.to_owned();
                Err(OpenError::Absent { path })
            }
            _ => Self::open(parent, surroundings),
        }
    }

    /// Where the files of `name`, of an object of `size` bytes, are.
    pub(super) fn place(&self, name: &Name, size: u64) -> Place {
        let stem = name.stem();
        let layout = if self.has_attributes && (1..=BLOCK).contains(&size) {
            Layout::Attribute
        } else {
            Layout::Map
        };
        Place::new(&self.root.join(&stem[..2]), &stem, layout)
    }

    /// Makes the directory that `place` is in, and those above it, if they are gone.
    pub(super) fn make_place(&self, place: &Place) -> io::Result<()> {
        self.make_root()?;
        make(place.directory())
    }

    fn make_root(&self) -> io::Result<()> {
        if let Some(above) = self.root.parent() {
            make(above)?;
        }
        make(&self.root)
    }

    /// The directory of what is known of names, which may not be there.
    pub(super) fn names(&self) -> PathBuf {
        self.root.join(NAMES)
    }

    /// Makes it, and those above it, if they are gone.
    pub(super) fn make_names(&self) -> io::Result<()> {
        self.make_root()?;
        make(&self.names())
    }

    /// The directories that files are in, in the order of their names.
    pub(super) fn places(&self) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.root)?;
        let paths = entries.map(|entry| Ok(entry?.path()));
        let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
        paths.sort_unstable();
        Ok(paths)
    }

    /// Whether its file system lies on others.
    ///
    /// # Errors
    /// The system does not say.
    pub(super) fn is_stacked(&self) -> io::Result<bool> {
        let kind = statfs(&self.root)?.filesystem_type();
        Ok([OVERLAYFS_SUPER_MAGIC, ECRYPTFS_SUPER_MAGIC].contains(&kind))
    }

    /// The directory whose file system has the files.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

/// Makes a directory for this user alone, if there is none.
fn make(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Whether files below `root` can have attributes, as it can.
fn has_attributes(root: &Path) -> bool {
    let mut format = [0; FORMAT.len()];
    let set = || setxattr(root, ATTRIBUTE_NAME, FORMAT.as_bytes(), XattrFlags::empty());
    let has = getxattr(root, ATTRIBUTE_NAME, &mut format).is_ok();
    has || set()
        .inspect_err(|error| log::debug!("{}: no attributes: {error}", root.display()))
        .is_ok()
}

fn check_parent(found: &Metadata) -> Result<(), Refused> {
    if !found.is_dir() {
        return Err(Refused::NoDirectory);
    }
    let is_sticky = found.mode() & 0o1000 != 0;
    let is_shared = found.mode() & 0o022 != 0 && !is_sticky;
    let is_foreign = found.uid() != geteuid().as_raw() && found.uid() != 0;
    if is_shared || is_foreign {
        return Err(Refused::Parent);
    }
    Ok(())
}

fn check_own(found: &Metadata) -> Result<(), Refused> {
    if found.is_symlink() {
        Err(Refused::Link)
    } else if !found.is_dir() {
        Err(Refused::NoDirectory)
    } else if found.uid() != geteuid().as_raw() {
        Err(Refused::Owner)
    } else if found.mode() & 0o077 != 0 {
        Err(Refused::Mode)
    } else {
        Ok(())
    }
}

/// The directory in the one that was named: that may be one with other contents.
const NAME: &str = "mount-s3-cache";

/// The directory in it of what is known of names.
const NAMES: &str = "names";

/// Changes with the format of the files.
const FORMAT: &str = "v1";

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const MACHINE: Surroundings = Surroundings::Machine;

    fn refusal(parent: &Path) -> Option<Refused> {
        match Directory::open(parent, MACHINE) {
            Ok(_) => None,
            Err(OpenError::Refused { refused, .. }) => Some(refused),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn one_block_has_one_file_where_there_are_attributes() {
        let parent = tempfile::tempdir().expect("a directory");
        let mut directory = Directory::open(parent.path(), MACHINE).expect("opened");
        let name = Name::new("s", "b", "k", "e", 1);
        let layout = |directory: &Directory, size| directory.place(&name, size).layout();
        for (has_attributes, size, expected) in [
            (true, 0, Layout::Map),
            (true, 1, Layout::Attribute),
            (true, BLOCK, Layout::Attribute),
            (true, BLOCK + 1, Layout::Map),
            (false, 1, Layout::Map),
        ] {
            directory.has_attributes = has_attributes;
            assert_eq!(
                layout(&directory, size),
                expected,
                "{has_attributes} {size}"
            );
        }
        assert!(!has_attributes(Path::new("/proc")));
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
    }

    #[test]
    fn open_makes_a_directory_for_this_user_alone_and_takes_it_again() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(parent.path(), MACHINE).expect("opened");
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!(mode(&parent.path().join(NAME)), 0o700);
        assert_eq!(mode(directory.root()), 0o700);
        assert_eq!(refusal(parent.path()), None);
    }

    #[test]
    fn open_refuses_what_others_could_replace_further_up() {
        let outermost = tempfile::tempdir().expect("a directory");
        let outer = outermost.path().join("outer");
        let parent = outer.join("inner/parent");
        fs::create_dir_all(&parent).expect("made");
        let link = outermost.path().join("link");
        symlink(&parent, &link).expect("linked");
        for mode in [0o777, 0o775, 0o757] {
            chmod(&outer, mode);
            for named in [&parent, &link] {
                match Directory::open(named, MACHINE) {
                    Err(OpenError::Refused { path, refused }) => {
                        assert_eq!((path, refused), (outer.clone(), Refused::Parent));
                    }
                    other => panic!("{mode:o} {named:?}: {other:?}"),
                }
            }
            assert!(!parent.join(NAME).exists());
        }
        for mode in [0o755, 0o1777] {
            chmod(&outer, mode);
            assert_eq!(refusal(&parent), None, "{mode:o}");
        }
        let opened = Directory::open(&link, MACHINE).expect("opened");
        assert!(
            opened
                .root()
                .starts_with(fs::canonicalize(&parent).expect("there"))
        );
    }

    #[test]
    fn open_takes_what_all_in_a_pod_can_write_and_nobody_elses_cache() {
        let volume = tempfile::tempdir().expect("a directory");
        let open = || Directory::open(volume.path(), Surroundings::Pod);
        for mode in [0o777, 0o2775] {
            chmod(volume.path(), mode);
            assert_eq!(refusal(volume.path()), Some(Refused::Parent), "{mode:o}");
            let opened = open().expect("opened");
            let found = fs::metadata(opened.root()).expect("there");
            assert_eq!(found.mode() & 0o777, 0o700, "{mode:o}");
        }
        chmod(&volume.path().join(NAME), 0o750);
        let refused = open().expect_err("others can use it");
        assert!(matches!(
            refused,
            OpenError::Refused {
                refused: Refused::Mode,
                ..
            }
        ));
    }

    #[test]
    fn find_makes_nothing() {
        let parent = tempfile::tempdir().expect("a directory");
        let missing = Directory::find(parent.path(), MACHINE);
        assert!(matches!(missing, Err(OpenError::Absent { path }) if path == parent.path()));
        assert!(!parent.path().join(NAME).exists());
        let missing = Directory::find(&parent.path().join("none"), MACHINE);
        assert!(matches!(missing, Err(OpenError::Io { .. })));
        Directory::open(parent.path(), MACHINE).expect("made");
        Directory::find(parent.path(), MACHINE).expect("found");
        chmod(&parent.path().join(NAME), 0o750);
        let refused = Directory::find(parent.path(), MACHINE);
        assert!(matches!(refused, Err(OpenError::Refused { .. })));
    }

    #[test]
    fn open_refuses_what_others_could_use() {
        let parent = tempfile::tempdir().expect("a directory");
        let own = parent.path().join(NAME);
        chmod(parent.path(), 0o777);
        assert_eq!(refusal(parent.path()), Some(Refused::Parent));
        chmod(parent.path(), 0o1777);
        assert_eq!(refusal(parent.path()), None);
        chmod(&own, 0o750);
        assert_eq!(refusal(parent.path()), Some(Refused::Mode));
        fs::remove_dir_all(&own).expect("removed");
        symlink("/tmp", &own).expect("linked");
        assert_eq!(refusal(parent.path()), Some(Refused::Link));
        fs::remove_file(&own).expect("removed");
        fs::write(&own, "").expect("written");
        assert_eq!(refusal(parent.path()), Some(Refused::NoDirectory));
        assert!(matches!(
            Directory::open(&parent.path().join("none"), MACHINE),
            Err(OpenError::Io { .. })
        ));
    }
}
