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

    /// Whether it is opened for writing, or truncated.
    pub(super) fn asks_for_change(self) -> bool {
        self.mode() != libc::O_RDONLY || self.truncates()
    }

    /// Whether nothing is kept of what is there.
    pub(super) fn truncates(self) -> bool {
        self.contains(libc::O_TRUNC)
    }

    /// Whether it can do nothing but read, by way of the page cache.
    pub(super) fn only_reads(self) -> bool {
        !self.asks_for_change() && !self.contains(libc::O_DIRECT)
    }

    /// Whether it can do nothing but write, by way of the page cache.
    pub(super) fn only_writes(self) -> bool {
        self.mode() == libc::O_WRONLY && !self.contains(libc::O_DIRECT)
    }

    fn mode(self) -> i32 {
        self.0 & libc::O_ACCMODE
    }

    /// Whether only a new file will do.
    pub(super) fn is_exclusive(self) -> bool {
        self.contains(libc::O_EXCL)
    }
}

/// What an open of an existing object is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// To read it, in a version this fresh.
    Read(Freshness),
    /// To write another one in its place.
    Replace,
    /// To write at its end.
    Append,
}

/// Decides about any open, before anybody is asked for the file.
pub(super) fn check_flags(flags: OpenFlags, config: &FsConfig) -> Result<(), Error> {
    // O_SYNC includes the bit of O_DSYNC.
    if flags.contains(libc::O_DSYNC) {
        return Err(Error::SynchronousOpen);
    }
    if flags.asks_for_change() && config.read_only {
        return Err(Error::ReadOnly);
    }
    Ok(())
}

/// Decides about an open of a file that is new, and that nobody has opened yet: a handle reads or
/// writes, never both, and there is nothing to read.
pub(super) fn check_new(flags: OpenFlags) -> Result<(), Error> {
    if flags.mode() == libc::O_RDONLY {
        return Err(Error::NotPermitted("the file is new, and not written yet"));
    }
    Ok(())
}

/// Decides about an open of an object that exists. A handle reads or writes, never both: `O_RDWR`
/// reads unless the other flags can only be meant for a writer that is allowed.
pub(super) fn intent(flags: OpenFlags, config: &FsConfig) -> Result<Intent, Error> {
    let is_for_writing = flags.mode() != libc::O_RDONLY;
    if flags.truncates() {
        if is_for_writing && config.allow_overwrite {
            return Ok(Intent::Replace);
        }
        return Err(Error::NotPermitted(
            "an existing object is replaced only with --allow-overwrite, by an open for writing",
        ));
    }
    if flags.mode() == libc::O_WRONLY {
        if config.incremental_upload {
            return Ok(Intent::Append);
        }
        return Err(Error::NotPermitted(
            "an existing object is written only with --allow-overwrite and O_TRUNC, or with \
             --incremental-upload",
        ));
    }
    if is_for_writing && flags.contains(libc::O_APPEND) && config.incremental_upload {
        return Ok(Intent::Append);
    }
    Ok(Intent::Read(if flags.contains(libc::O_DIRECT) {
        Freshness::Newest
    } else {
        Freshness::Cached
    }))
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

    fn check(flags: i32, config: FsConfig) -> Result<Intent, Errno> {
        let flags = OpenFlags(flags);
        check_flags(flags, &config)
            .and_then(|()| intent(flags, &config))
            .map_err(|error| error.errno())
    }

    fn plain() -> FsConfig {
        FsConfig::new(1, 1)
    }

    const READ: Result<Intent, Errno> = Ok(Intent::Read(Freshness::Cached));

    #[test]
    fn s15_synchronous_open_is_invalid() {
        for mode in [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR] {
            assert_eq!(check(mode | libc::O_SYNC, plain()), Err(Errno::EINVAL));
            assert_eq!(check(mode | libc::O_DSYNC, plain()), Err(Errno::EINVAL));
        }
    }

    #[test]
    fn s15_read_write_open_of_an_existing_file_reads() {
        assert_eq!(check(libc::O_RDONLY, plain()), READ);
        assert_eq!(check(libc::O_RDWR, plain()), READ);
        assert_eq!(check(libc::O_RDWR | libc::O_APPEND, plain()), READ);
    }

    #[test]
    fn s15_read_write_open_writes_where_only_that_makes_sense() {
        let overwrite = FsConfig {
            allow_overwrite: true,
            ..plain()
        };
        let append = FsConfig {
            incremental_upload: true,
            ..plain()
        };
        let (rdwr, wronly) = (libc::O_RDWR, libc::O_WRONLY);
        let (truncate, at_end) = (libc::O_TRUNC, libc::O_APPEND);
        for (flags, with_overwrite, with_append) in [
            (libc::O_RDONLY, READ, READ),
            (rdwr, READ, READ),
            (rdwr | at_end, READ, Ok(Intent::Append)),
            (rdwr | truncate, Ok(Intent::Replace), Err(Errno::EPERM)),
            (wronly, Err(Errno::EPERM), Ok(Intent::Append)),
            (wronly | at_end, Err(Errno::EPERM), Ok(Intent::Append)),
            (wronly | truncate, Ok(Intent::Replace), Err(Errno::EPERM)),
            (truncate, Err(Errno::EPERM), Err(Errno::EPERM)),
        ] {
            assert_eq!(check(flags, overwrite), with_overwrite, "{flags:#o}");
            assert_eq!(check(flags, append), with_append, "{flags:#o}");
        }
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
            assert_eq!(check(flags, plain()), Err(Errno::EPERM), "{flags:#o}");
        }
    }

    #[test]
    fn s16_refusal_names_the_flag_that_allows_it() {
        for (flags, name) in [
            (libc::O_WRONLY | libc::O_TRUNC, "--allow-overwrite"),
            (libc::O_WRONLY, "--incremental-upload"),
        ] {
            let error = intent(OpenFlags(flags), &plain()).expect_err("refused");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn s17_new_file_cannot_be_read() {
        let check = |flags| check_new(OpenFlags(flags)).map_err(|error| error.errno());
        assert_eq!(check(libc::O_RDONLY), Err(Errno::EPERM));
        assert_eq!(check(libc::O_WRONLY), Ok(()));
        assert_eq!(check(libc::O_RDWR), Ok(()));
    }

    #[test]
    fn write_open_on_a_read_only_mount_is_refused_as_such() {
        let config = FsConfig {
            read_only: true,
            ..plain()
        };
        assert_eq!(check(libc::O_WRONLY, config), Err(Errno::EROFS));
        assert_eq!(check(libc::O_RDWR, config), Err(Errno::EROFS));
        assert_eq!(
            check(libc::O_RDONLY | libc::O_TRUNC, config),
            Err(Errno::EROFS)
        );
        assert_eq!(check(libc::O_RDONLY, config), READ);
    }

    #[test]
    fn s11_direct_open_asks_for_the_newest_version() {
        let fresh = check(libc::O_RDONLY | libc::O_DIRECT, plain());
        assert_eq!(fresh, Ok(Intent::Read(Freshness::Newest)));
        assert_eq!(check(libc::O_RDONLY, plain()), READ);
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
                details: None,
            };
            check_version(&key, &info).map_err(|error| error.errno())
        };
        assert_eq!(open(Restore::None), Err(Errno::EACCES));
        assert_eq!(open(Restore::InProgress), Err(Errno::EACCES));
        assert_eq!(open(Restore::Done), Ok(()));
    }
}
