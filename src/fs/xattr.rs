//! Extended attributes: what S3 says of an object, to be read.
//!
//! | name | value |
//! |---|---|
//! | `user.s3.etag` | the ETag, without its quotes |
//! | `user.s3.content-type` | `Content-Type` |
//! | `user.s3.storage-class` | the storage class |
//! | `user.s3.version-id` | the version, in a bucket with versions |
//! | `user.s3.meta.NAME` | user metadata, decoded, in UTF-8 |
//!
//! Programs look at extended attributes by the way: `ls -l` and `cp -a` list those of every file.
//! So a list costs no request, and has only what is known without one: the ETag, and the rest if
//! S3 has been asked for the object a moment ago, as it is for every file that is looked up by its
//! name. An attribute that is asked for by its name is found out, by one HEAD for all of a file.

use std::borrow::Cow;
use std::ffi::OsStr;

use super::Fs;
use super::errno::Error;
use crate::s3::{ObjectDetails, ObjectInfo};
use crate::tree::{Freshness, InodeNo};

/// An answer about extended attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Xattr {
    /// How many bytes there are, which is what was asked for.
    Size(u32),
    /// The bytes.
    Bytes(Vec<u8>),
}

impl Fs {
    /// The value of the extended attribute `name` for a caller that has room for `size` bytes, or
    /// its length for one that asks with 0.
    /// Linux: [`getxattr`](https://man7.org/linux/man-pages/man2/getxattr.2.html).
    ///
    /// # Errors
    /// [`Error::Unsupported`] unless the mount has them; [`Error::NoAttribute`] when there is
    /// none; [`Error::NoNamespace`] for names of `system.`; [`Error::NoRoom`]; any failure of the
    /// namespace.
    ///
    /// # Cancel safety
    /// Safe: a dropped call has changed nothing.
    pub async fn getxattr(&self, ino: InodeNo, name: &OsStr, size: u32) -> Result<Xattr, Error> {
        if !self.config.xattrs {
            return Err(Error::Unsupported("getxattr"));
        }
        let name = name.as_encoded_bytes();
        if name.starts_with(b"system.") {
            // What the kernel asks to know whether there are access control lists.
            return Err(Error::NoNamespace);
        }
        let name = name.strip_prefix(PREFIX.as_bytes());
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        let name = name.filter(|name| NAMES.contains(name) || name.starts_with(META));
        let name = name.ok_or(Error::NoAttribute)?;
        let info = if name == ETAG {
            self.tree.known(ino)?
        } else {
            self.tree.describe(ino, Freshness::Cached).await?
        };
        let info = info.ok_or(Error::NoAttribute)?;
        let value = value(&info, name).ok_or(Error::NoAttribute)?;
        answer(value.into_owned().into_bytes(), size)
    }

    /// The names of the extended attributes that are known, each with a NUL at its end, for a
    /// caller that has room for `size` bytes, or their length for one that asks with 0. Makes no
    /// request.
    /// Linux: [`listxattr`](https://man7.org/linux/man-pages/man2/listxattr.2.html).
    ///
    /// # Errors
    /// [`Error::Unsupported`] unless the mount has them; [`Error::NoRoom`]; any failure of the
    /// namespace.
    pub fn listxattr(&self, ino: InodeNo, size: u32) -> Result<Xattr, Error> {
        if !self.config.xattrs {
            return Err(Error::Unsupported("listxattr"));
        }
        let mut list = Vec::new();
        if let Some(info) = self.tree.known(ino)? {
            let details = info.details.as_deref();
            let metadata = details.into_iter().flat_map(|known| known.metadata.keys());
            let metadata = metadata.map(|name| Cow::Owned(format!("{META}{name}")));
            for name in NAMES.map(Cow::Borrowed).into_iter().chain(metadata) {
                if PREFIX.len() + name.len() <= MAX_NAME_BYTES && value(&info, &name).is_some() {
                    list.extend([PREFIX, &name, "\0"].concat().into_bytes());
                }
            }
        }
        answer(list, size)
    }
}

/// The value of an attribute, if it is known and there is one.
fn value<'a>(info: &'a ObjectInfo, name: &str) -> Option<Cow<'a, str>> {
    if name == ETAG {
        return Some(info.etag.text().trim_matches('"').to_owned().into());
    }
    let ObjectDetails {
        content_type,
        storage_class,
        version_id,
        metadata,
    } = info.details.as_deref()?;
    match name {
        CONTENT_TYPE => content_type.as_deref().map(Cow::from),
        STORAGE_CLASS => Some(storage_class.as_deref().unwrap_or(DEFAULT_CLASS).into()),
        VERSION_ID => version_id.as_deref().map(Cow::from),
        _ => metadata.get(name.strip_prefix(META)?).map(Cow::from),
    }
}

fn answer(bytes: Vec<u8>, size: u32) -> Result<Xattr, Error> {
    // HTTP headers are far from this long.
    let length = u32::try_from(bytes.len()).map_err(|_| Error::NoRoom)?;
    match size {
        0 => Ok(Xattr::Size(length)),
        _ if length > size => Err(Error::NoRoom),
        _ => Ok(Xattr::Bytes(bytes)),
    }
}

const PREFIX: &str = "user.s3.";
const NAMES: [&str; 4] = [CONTENT_TYPE, ETAG, STORAGE_CLASS, VERSION_ID];
const CONTENT_TYPE: &str = "content-type";
const ETAG: &str = "etag";
const STORAGE_CLASS: &str = "storage-class";
const VERSION_ID: &str = "version-id";
const META: &str = "meta.";

/// The class that S3 does not name.
const DEFAULT_CLASS: &str = "STANDARD";

/// Linux's `XATTR_NAME_MAX`.
const MAX_NAME_BYTES: usize = 255;
