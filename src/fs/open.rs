//! Who may open a file, and how.

use super::config::FsConfig;
use super::errno::Error;
use crate::read::ReadHandle;
use crate::s3::{ErrorKind, Key, ObjectInfo};
use crate::tree::{self, Doubt, Freshness, Tree};

/// The flags of `open`.
/// POSIX: [`open`](https://pubs.opengroup.org/onlinepubs/9799919799/functions/open.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFlags(pub i32);

impl OpenFlags {
    fn contains(self, flags: i32) -> bool {
        self.0 & flags == flags
    }

    fn asks_for_change(self) -> bool {
        self.0 & libc::O_ACCMODE != libc::O_RDONLY || self.contains(libc::O_TRUNC)
    }
}

/// Decides about an open of an existing file before anybody is asked for it, and says how fresh
/// its version must be.
///
/// A handle reads or writes, never both, and writing is not possible: `O_WRONLY` and any request
/// to truncate are refused, and `O_RDWR` gives a handle that reads.
pub(super) fn check_flags(flags: OpenFlags, config: &FsConfig) -> Result<Freshness, Error> {
    // O_SYNC includes the bit of O_DSYNC.
    if flags.contains(libc::O_DSYNC) {
        return Err(Error::SynchronousOpen);
    }
    if flags.asks_for_change() && config.read_only {
        return Err(Error::ReadOnly);
    }
    if flags.contains(libc::O_TRUNC) {
        return Err(Error::NotPermitted(
            "an existing object cannot be truncated: overwriting is not allowed on this mount",
        ));
    }
    if flags.0 & libc::O_ACCMODE == libc::O_WRONLY {
        return Err(Error::NotPermitted(
            "an existing object cannot be opened for writing: overwriting is not allowed on this mount",
        ));
    }
    Ok(if flags.contains(libc::O_DIRECT) {
        Freshness::Newest
    } else {
        Freshness::Cached
    })
}

/// Decides about an open once the version is known.
pub(super) fn check_version(key: &Key, info: &ObjectInfo) -> Result<(), Error> {
    if info.is_readable() {
        Ok(())
    } else {
        Err(Error::Archived(key.clone()))
    }
}

/// Makes sure that the version `info` is still the object's, and says what is known of it now.
///
/// A small file that was not opened before is most likely read next, and a GET of that version
/// proves as much as a HEAD: so its first bytes are fetched right away, which saves the HEAD.
pub(super) async fn confirm(
    tree: &Tree,
    reader: &ReadHandle,
    key: &Key,
    info: ObjectInfo,
    doubt: Doubt,
) -> Result<ObjectInfo, tree::Error> {
    // An object that was archived may be restored by now, which only a HEAD can say.
    if doubt.is_cold && info.is_readable() {
        match reader.fetch_head().await {
            Ok(false) => {}
            // Some stores look at the range first: of another version it may not exist.
            Err(error) if error.kind() == ErrorKind::InvalidRange => {}
            outcome => {
                tree.settle(&info, doubt, outcome.map(drop))?;
                return Ok(info);
            }
        }
    }
    tree.ask(key, doubt).await
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::errno::Errno;
    use super::*;
    use crate::s3::{ETag, Restore, StorageClass};

    fn check(flags: i32, read_only: bool) -> Result<Freshness, Errno> {
        let config = FsConfig {
            uid: 1,
            gid: 1,
            file_mode: 0o644,
            dir_mode: 0o755,
            read_only,
        };
        check_flags(OpenFlags(flags), &config).map_err(|error| error.errno())
    }

    #[test]
    fn s15_synchronous_open_is_invalid() {
        for mode in [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR] {
            assert_eq!(check(mode | libc::O_SYNC, false), Err(Errno::EINVAL));
            assert_eq!(check(mode | libc::O_DSYNC, false), Err(Errno::EINVAL));
        }
    }

    #[test]
    fn s15_read_write_open_of_an_existing_file_reads() {
        assert!(check(libc::O_RDONLY, false).is_ok());
        assert!(check(libc::O_RDWR, false).is_ok());
        assert!(check(libc::O_RDWR | libc::O_APPEND, false).is_ok());
    }

    #[test]
    fn s16_write_open_of_an_existing_file_is_not_permitted() {
        for flags in [
            libc::O_WRONLY,
            libc::O_WRONLY | libc::O_APPEND,
            libc::O_WRONLY | libc::O_TRUNC,
            libc::O_RDWR | libc::O_TRUNC,
            libc::O_RDONLY | libc::O_TRUNC,
        ] {
            assert_eq!(check(flags, false), Err(Errno::EPERM), "{flags:#o}");
        }
    }

    #[test]
    fn write_open_on_a_read_only_mount_is_refused_as_such() {
        assert_eq!(check(libc::O_WRONLY, true), Err(Errno::EROFS));
        assert_eq!(check(libc::O_RDWR, true), Err(Errno::EROFS));
        assert_eq!(
            check(libc::O_RDONLY | libc::O_TRUNC, true),
            Err(Errno::EROFS)
        );
        assert!(check(libc::O_RDONLY, true).is_ok());
    }

    #[test]
    fn s11_direct_open_asks_for_the_newest_version() {
        let fresh = check(libc::O_RDONLY | libc::O_DIRECT, false);
        assert!(matches!(fresh, Ok(Freshness::Newest)));
        assert!(matches!(
            check(libc::O_RDONLY, false),
            Ok(Freshness::Cached)
        ));
    }

    #[test]
    fn s34_archived_object_is_refused_until_restored() {
        let key = Key::new("old").expect("a valid key");
        let open = |restore| {
            let info = ObjectInfo {
                etag: ETag::new("\"e\""),
                size: 1,
                last_modified: UNIX_EPOCH,
                storage_class: StorageClass::Archived,
                restore,
            };
            check_version(&key, &info).map_err(|error| error.errno())
        };
        assert_eq!(open(Restore::None), Err(Errno::EACCES));
        assert_eq!(open(Restore::InProgress), Err(Errno::EACCES));
        assert_eq!(open(Restore::Done), Ok(()));
    }
}
