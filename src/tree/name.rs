//! Which names are file names: the one rule for lookups and listings.

use std::ffi::OsStr;

use super::error::Error;

/// Checks a name that the kernel asks for.
///
/// # Errors
/// [`Error::NameTooLong`] or [`Error::InvalidName`]; neither needs a request to be known.
pub(super) fn parse(name: &OsStr) -> Result<&str, Error> {
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::NameTooLong);
    }
    let name = name.to_str().ok_or(Error::InvalidName)?;
    if is_reserved(name) || name.contains('/') {
        return Err(Error::InvalidName);
    }
    Ok(name)
}

/// Whether a component of a key can be shown as a name, and if not, why.
pub(super) fn classify(component: &str) -> Visibility {
    if is_reserved(component) {
        Visibility::Hidden
    } else if component.len() > MAX_NAME_BYTES {
        Visibility::TooLong
    } else {
        Visibility::Shown
    }
}

/// What becomes of a component of a key in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visibility {
    /// It is a name.
    Shown,
    /// No path can hold it: empty, `.`, `..`, or with a NUL.
    Hidden,
    /// Linux has no names of this length.
    TooLong,
}

fn is_reserved(name: &str) -> bool {
    matches!(name, "" | "." | "..") || name.contains('\0')
}

/// Linux's `NAME_MAX`.
const MAX_NAME_BYTES: usize = 255;
