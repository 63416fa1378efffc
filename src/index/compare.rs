//! What became of a bucket since its index was made.

use std::cmp::Ordering;

use super::Error;
use crate::s3::ListedObject;

/// A difference between an index and a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The bucket has an object that the index does not have.
    Added,
    /// The index has an object that the bucket does not have.
    Removed,
    /// The bucket has another version of it.
    Changed,
}

/// Tells `report` of every difference, in byte order of the keys, and gives their number. Both
/// `known` and `found` are in byte order.
///
/// # Errors
/// The first one of `known` or `found`.
pub fn compare(
    known: impl Iterator<Item = Result<ListedObject, Error>>,
    found: impl Iterator<Item = Result<ListedObject, Error>>,
    report: &mut dyn FnMut(Change, &str),
) -> Result<u64, Error> {
    let (mut known, mut found) = (known.fuse(), found.fuse());
    let (mut old, mut new) = (known.next().transpose()?, found.next().transpose()?);
    let mut changes = 0;
    loop {
        let order = match (&old, &new) {
            (None, None) => return Ok(changes),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.key.cmp(&new.key),
        };
        let change = match (order, &old, &new) {
            (Ordering::Less, Some(old), _) => Some((Change::Removed, &old.key)),
            (Ordering::Greater, _, Some(new)) => Some((Change::Added, &new.key)),
            (_, Some(old), Some(new)) if old.info.etag != new.info.etag => {
                Some((Change::Changed, &new.key))
            }
            _ => None,
        };
        if let Some((change, key)) = change {
            changes += 1;
            report(change, key);
        }
        if order.is_le() {
            old = known.next().transpose()?;
        }
        if order.is_ge() {
            new = found.next().transpose()?;
        }
    }
}
