//! From errors to errno: the only place that chooses one, and how loudly it is logged.

use std::fmt;
use std::io;

use log::Level;

use super::handles::HandleKind;
use crate::{s3, stage, tree, write};

/// A failed file system operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace could not answer.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// The bytes of an open file could not be read.
    #[error(transparent)]
    Read(s3::Error),
    /// Bytes could not be written.
    #[error(transparent)]
    Write(write::Error),
    /// What was written could not be stored.
    #[error(transparent)]
    Complete(write::Error),
    /// Bytes of a staged file could not be read or written.
    #[error(transparent)]
    Staged(#[from] stage::Error),
    /// A staged file could not be stored. It stays staged.
    #[error("{0}; nothing is lost, and it is tried again: see `mount-s3 staged list`")]
    Unstored(stage::Error),
    /// Nothing open has this handle.
    #[error("no open {0} has this handle")]
    UnknownHandle(HandleKind),
    /// A write to a handle that was opened for reading.
    #[error("the file is open for reading only")]
    NotOpenForWriting,
    /// A read from a handle that was opened for writing.
    #[error("the file is open for writing only")]
    NotOpenForReading,
    /// The file was closed, and opened again by somebody else.
    #[error("the handle is invalid: the file was closed, and opened anew")]
    Replaced,
    /// No memory for one more file that is written.
    #[error("too many files are open for writing: a larger --memory-target allows for more")]
    TooManyWriters,
    /// A kind of file that S3 cannot have, or a kind of renaming.
    #[error("{0} is not possible here")]
    Impossible(&'static str),
    /// `O_SYNC` or `O_DSYNC`.
    #[error("O_SYNC and O_DSYNC are not supported")]
    SynchronousOpen,
    /// The object must be restored before it can be read.
    #[error("{0} is archived: restore it before reading it")]
    Archived(s3::Key),
    /// The file system does not allow this; the text says why.
    #[error("{0}")]
    NotPermitted(&'static str),
    /// The file system cannot be changed.
    #[error("the file system is read-only")]
    ReadOnly,
    /// The file system does not have this operation.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The file has no extended attribute of this name.
    #[error("no such extended attribute")]
    NoAttribute,
    /// The file system has no extended attributes of this kind.
    #[error("no extended attributes of this kind")]
    NoNamespace,
    /// The caller has less room than the answer needs.
    #[error("the answer is longer than the caller's buffer")]
    NoRoom,
    /// The mount has ended, and this caller still has a file of it open.
    #[error("the file system is unmounted")]
    Unmounted,
}

impl Error {
    /// What the caller of the system call gets.
    pub fn errno(&self) -> Errno {
        self.verdict().0
    }

    /// How loudly the failure is logged: `warn` for what an operator should know of, `debug` for
    /// what programs do all day.
    pub fn level(&self) -> Level {
        self.verdict().1
    }

    fn verdict(&self) -> (Errno, Level) {
        match self {
            Self::Tree(error) => of_tree(error),
            // The version that the handle is pinned to is gone, and will not come back.
            Self::Read(error) if error.kind() == s3::ErrorKind::NotFound => {
                (Errno::ESTALE, Level::Warn)
            }
            Self::Read(error) => of_s3(error),
            Self::Write(error) => of_write(error, Errno::EFBIG),
            Self::Complete(error) => of_write(error, Errno::ENOSPC),
            Self::Staged(error) => of_stage(error, Errno::EFBIG),
            Self::Unstored(error) => of_stage(error, Errno::ENOSPC),
            Self::UnknownHandle(HandleKind::File) => (Errno::EBADF, Level::Warn),
            Self::UnknownHandle(HandleKind::Directory) => (Errno::EINVAL, Level::Warn),
            Self::NotOpenForWriting => (Errno::EBADF, Level::Debug),
            Self::NotOpenForReading => (Errno::EBADF, Level::Debug),
            Self::Replaced => (Errno::EBADF, Level::Debug),
            Self::TooManyWriters => (Errno::ENOMEM, Level::Warn),
            Self::Impossible(_) => (Errno::EINVAL, Level::Debug),
            Self::SynchronousOpen => (Errno::EINVAL, Level::Debug),
            Self::Archived(_) => (Errno::EACCES, Level::Warn),
            Self::NotPermitted(_) => (Errno::EPERM, Level::Warn),
            Self::ReadOnly => (Errno::EROFS, Level::Debug),
            Self::Unsupported(_) => (Errno::ENOSYS, Level::Debug),
            Self::NoAttribute => (Errno::ENODATA, Level::Debug),
            Self::NoNamespace => (Errno::EOPNOTSUPP, Level::Debug),
            Self::NoRoom => (Errno::ERANGE, Level::Debug),
            // What the kernel says of a mount that nobody serves.
            Self::Unmounted => (Errno::ENOTCONN, Level::Debug),
        }
    }
}

/// An error number of the operating system.
/// POSIX: [`<errno.h>`](https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/errno.h.html).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// The number, as the operating system counts it.
    pub fn code(self) -> i32 {
        self.0
    }
}

/// Defines the constants and their names together, so that none can go without the other.
macro_rules! errnos {
    ($($name:ident)*) => {
        #[expect(missing_docs, reason = "their names are those of POSIX")]
        impl Errno {
            $(pub const $name: Self = Self(libc::$name);)*
        }

        impl fmt::Display for Errno {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $(libc::$name => f.write_str(stringify!($name)),)*
                    code => write!(f, "errno {code}"),
                }
            }
        }
    };
}

errnos! {
    EACCES EBADF EBUSY EEXIST EFBIG EINVAL EIO EISDIR ENAMETOOLONG ENODATA ENOENT ENOMEM ENOSPC
    ENOSYS ENOTCONN ENOTDIR ENOTEMPTY EOPNOTSUPP EPERM ERANGE EROFS ESTALE
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn of_tree(error: &tree::Error) -> (Errno, Level) {
    match error {
        tree::Error::NotFound => (Errno::ENOENT, Level::Debug),
        tree::Error::NotDirectory => (Errno::ENOTDIR, Level::Debug),
        tree::Error::IsDirectory => (Errno::EISDIR, Level::Debug),
        tree::Error::NameTooLong => (Errno::ENAMETOOLONG, Level::Debug),
        tree::Error::InvalidName => (Errno::EINVAL, Level::Debug),
        // The kernel looks the name up again and retries, so nobody sees this one.
        tree::Error::Stale => (Errno::ESTALE, Level::Debug),
        tree::Error::BadOffset => (Errno::EBADF, Level::Debug),
        tree::Error::Exists => (Errno::EEXIST, Level::Debug),
        tree::Error::NotEmpty => (Errno::ENOTEMPTY, Level::Debug),
        tree::Error::InS3 => (Errno::EPERM, Level::Debug),
        tree::Error::Unfinished { error, .. } => match error.kind() {
            // Not `ESTALE`, on which the kernel tries again by itself.
            s3::ErrorKind::NotFound | s3::ErrorKind::Precondition => (Errno::EBUSY, Level::Warn),
            _ => (of_s3(error).0, Level::Warn),
        },
        tree::Error::ReadOnly => (Errno::EROFS, Level::Debug),
        tree::Error::Index(_) => (Errno::EIO, Level::Error),
        tree::Error::S3(error) => of_s3(error),
    }
}

fn of_write(error: &write::Error, too_large: Errno) -> (Errno, Level) {
    match error {
        write::Error::NotAtEnd { .. } | write::Error::TooShort { .. } => {
            (Errno::EINVAL, Level::Warn)
        }
        write::Error::TooLarge { .. } => (too_large, Level::Warn),
        write::Error::Stored => (Errno::EIO, Level::Debug),
        write::Error::GivenUp => (Errno::EIO, Level::Warn),
        // Not the file is missing, but what S3 keeps of its upload.
        write::Error::S3(error) if error.kind() == s3::ErrorKind::NotFound => {
            (Errno::EIO, Level::Warn)
        }
        write::Error::S3(error) if error.kind() == s3::ErrorKind::TooLarge => {
            (too_large, Level::Warn)
        }
        write::Error::S3(error) => of_s3(error),
    }
}

fn of_stage(error: &stage::Error, too_large: Errno) -> (Errno, Level) {
    match error {
        stage::Error::Disk { error, .. } => match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (Errno::ENOSPC, Level::Warn)
            }
            _ => (Errno::EIO, Level::Warn),
        },
        stage::Error::Unusable { .. } => (Errno::EIO, Level::Warn),
        stage::Error::TooLarge { .. } => (too_large, Level::Warn),
        // The kernel looks the name up again, which leads to what is stored.
        stage::Error::LetGo => (Errno::ESTALE, Level::Debug),
        // The version that the staged copy is of is gone.
        stage::Error::S3(error) if error.kind() == s3::ErrorKind::NotFound => {
            (Errno::ESTALE, Level::Warn)
        }
        stage::Error::S3(error) if error.kind() == s3::ErrorKind::TooLarge => {
            (too_large, Level::Warn)
        }
        stage::Error::S3(error) => of_s3(error),
    }
}

fn of_s3(error: &s3::Error) -> (Errno, Level) {
    use s3::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => (Errno::ENOENT, Level::Debug),
        ErrorKind::Precondition => (Errno::ESTALE, Level::Warn),
        ErrorKind::Denied | ErrorKind::Archived => (Errno::EACCES, Level::Warn),
        ErrorKind::BadCredentials if error.context().status == Some(FORBIDDEN) => {
            (Errno::EACCES, Level::Warn)
        }
        ErrorKind::BadCredentials
        | ErrorKind::NoCredentials
        | ErrorKind::NoSuchBucket
        | ErrorKind::WrongRegion
        | ErrorKind::InvalidRange
        | ErrorKind::Throttled
        | ErrorKind::Dns
        | ErrorKind::Connection
        | ErrorKind::Tls
        | ErrorKind::Timeout
        | ErrorKind::Integrity
        | ErrorKind::Protocol
        | ErrorKind::Invalid
        | ErrorKind::Settings
        | ErrorKind::TooLarge
        | ErrorKind::Canceled
        | ErrorKind::Other => (Errno::EIO, Level::Warn),
    }
}

/// HTTP status 403.
const FORBIDDEN: u16 = 403;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{Context, ErrorKind};

    fn s3(kind: ErrorKind, status: Option<u16>) -> s3::Error {
        let context = Context {
            operation: "HeadObject",
            bucket: "b".into(),
            key: "k".into(),
            status,
            ..Context::default()
        };
        s3::Error::new(kind, context)
    }

    #[test]
    fn s35_tree_errors_map_to_their_errno() {
        use tree::Error as Tree;
        let table = [
            (Tree::NotFound, "ENOENT", Level::Debug),
            (Tree::NotDirectory, "ENOTDIR", Level::Debug),
            (Tree::IsDirectory, "EISDIR", Level::Debug),
            (Tree::NameTooLong, "ENAMETOOLONG", Level::Debug),
            (Tree::InvalidName, "EINVAL", Level::Debug),
            (Tree::Stale, "ESTALE", Level::Debug),
            (Tree::BadOffset, "EBADF", Level::Debug),
            (Tree::Exists, "EEXIST", Level::Debug),
            (Tree::NotEmpty, "ENOTEMPTY", Level::Debug),
            (Tree::InS3, "EPERM", Level::Debug),
            (Tree::ReadOnly, "EROFS", Level::Debug),
        ];
        for (error, errno, level) in table {
            let error = Error::from(error);
            assert_eq!(error.errno().to_string(), errno, "{error}");
            assert_eq!(error.level(), level, "{error}");
        }
    }

    #[test]
    fn s35_s3_errors_map_to_their_errno() {
        let table = [
            (ErrorKind::NotFound, None, "ENOENT", Level::Debug),
            (ErrorKind::NoSuchBucket, Some(404), "EIO", Level::Warn),
            (ErrorKind::Denied, Some(403), "EACCES", Level::Warn),
            (ErrorKind::NoCredentials, None, "EIO", Level::Warn),
            (ErrorKind::BadCredentials, Some(403), "EACCES", Level::Warn),
            (ErrorKind::BadCredentials, Some(400), "EIO", Level::Warn),
            (ErrorKind::WrongRegion, Some(301), "EIO", Level::Warn),
            (ErrorKind::Precondition, Some(412), "ESTALE", Level::Warn),
            (ErrorKind::Archived, Some(403), "EACCES", Level::Warn),
            (ErrorKind::InvalidRange, Some(416), "EIO", Level::Warn),
            (ErrorKind::Throttled, Some(503), "EIO", Level::Warn),
            (ErrorKind::Dns, None, "EIO", Level::Warn),
            (ErrorKind::Connection, None, "EIO", Level::Warn),
            (ErrorKind::Tls, None, "EIO", Level::Warn),
            (ErrorKind::Timeout, None, "EIO", Level::Warn),
            (ErrorKind::Integrity, None, "EIO", Level::Warn),
            (ErrorKind::Protocol, None, "EIO", Level::Warn),
            (ErrorKind::Canceled, None, "EIO", Level::Warn),
            (ErrorKind::Other, Some(500), "EIO", Level::Warn),
        ];
        for (kind, status, errno, level) in table {
            let error = Error::from(tree::Error::S3(s3(kind, status)));
            assert_eq!(error.errno().to_string(), errno, "{kind:?}");
            assert_eq!(error.level(), level, "{kind:?}");
        }
    }

    #[test]
    fn s35_own_errors_map_to_their_errno() {
        let key = s3::Key::new("k").expect("a valid key");
        let table = [
            (Error::UnknownHandle(HandleKind::File), "EBADF"),
            (Error::UnknownHandle(HandleKind::Directory), "EINVAL"),
            (Error::NotOpenForWriting, "EBADF"),
            (Error::NotOpenForReading, "EBADF"),
            (Error::Replaced, "EBADF"),
            (Error::TooManyWriters, "ENOMEM"),
            (Error::Impossible("it"), "EINVAL"),
            (Error::SynchronousOpen, "EINVAL"),
            (Error::Archived(key), "EACCES"),
            (Error::NotPermitted("no"), "EPERM"),
            (Error::ReadOnly, "EROFS"),
            (Error::Unsupported("ioctl"), "ENOSYS"),
            (Error::NoAttribute, "ENODATA"),
            (Error::NoNamespace, "EOPNOTSUPP"),
            (Error::NoRoom, "ERANGE"),
        ];
        for (error, errno) in table {
            assert_eq!(error.errno().to_string(), errno, "{error}");
        }
    }

    #[test]
    fn s22_s23_s24_errors_of_writing_map_to_their_errno() {
        let s3 = |kind| write::Error::S3(s3(kind, None));
        let table = [
            (
                write::Error::NotAtEnd { offset: 1, end: 0 },
                "EINVAL",
                "EINVAL",
            ),
            (
                write::Error::TooShort { length: 1, end: 0 },
                "EINVAL",
                "EINVAL",
            ),
            (write::Error::TooLarge { largest: 1 }, "EFBIG", "ENOSPC"),
            (write::Error::Stored, "EIO", "EIO"),
            (write::Error::GivenUp, "EIO", "EIO"),
            (s3(ErrorKind::TooLarge), "EFBIG", "ENOSPC"),
            (s3(ErrorKind::NotFound), "EIO", "EIO"),
            (s3(ErrorKind::Denied), "EACCES", "EACCES"),
            (s3(ErrorKind::Precondition), "ESTALE", "ESTALE"),
            (s3(ErrorKind::Timeout), "EIO", "EIO"),
        ];
        for (error, write, complete) in table {
            let text = error.to_string();
            assert_eq!(
                Error::Write(error.clone()).errno().to_string(),
                write,
                "{text}"
            );
            assert_eq!(
                Error::Complete(error).errno().to_string(),
                complete,
                "{text}"
            );
        }
    }

    #[test]
    fn unfinished_renaming_is_told_as_such_and_never_tried_again_by_the_kernel() {
        let table = [
            (ErrorKind::Precondition, "EBUSY"),
            (ErrorKind::NotFound, "EBUSY"),
            (ErrorKind::Denied, "EACCES"),
            (ErrorKind::Timeout, "EIO"),
        ];
        for (kind, errno) in table {
            let error = Error::from(tree::Error::Unfinished {
                from: "old".to_owned(),
                to: "new".to_owned(),
                error: s3(kind, None),
            });
            assert_eq!(error.errno().to_string(), errno, "{error}");
            assert_eq!(error.level(), Level::Warn, "{error}");
            assert!(error.to_string().contains("old to new"), "{error}");
        }
    }

    #[test]
    fn s13_reading_an_object_that_is_gone_is_stale() {
        let error = Error::Read(s3(ErrorKind::NotFound, Some(404)));
        assert_eq!(error.errno(), Errno::ESTALE);
        let error = Error::Read(s3(ErrorKind::Precondition, Some(412)));
        assert_eq!(error.errno(), Errno::ESTALE);
    }

    #[test]
    fn denied_message_names_action_key_and_status() {
        let error = Error::from(tree::Error::S3(s3(ErrorKind::Denied, Some(403))));
        let text = error.to_string();
        assert!(text.contains("HeadObject s3://b/k"), "{text}");
        assert!(text.contains("HTTP 403"), "{text}");
    }
}
