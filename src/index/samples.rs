//! Some objects of an index, to try whether objects can be read.

use super::order::after_all;
use super::{Error, Index};
use crate::s3::{ListedObject, Prefix};

impl Index {
    /// Up to three objects below `prefix` that can be read and are not empty, far from each other.
    /// Looks at some thousand only.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Damaged`].
    pub fn samples(&self, prefix: &Prefix) -> Result<Vec<ListedObject>, Error> {
        let prefix = prefix.as_str().as_bytes();
        let start = self.seek(prefix)?.position();
        let end = match after_all(prefix) {
            Some(after) => self.seek(&after)?.position(),
            None => self.summary().objects,
        };
        let third = end.saturating_sub(start) / 3;
        let mut samples = Vec::<ListedObject>::new();
        for from in [start, start + third, start + 2 * third] {
            let mut cursor = self.at(from)?;
            for _ in from..end.min(from + MOST_LOOKED_AT) {
                let object = cursor.object()?;
                if object.info.size > 0 && object.info.is_readable() {
                    samples.push(object);
                    break;
                }
                cursor.advance()?;
            }
        }
        samples.dedup_by(|next, last| next.key == last.key);
        Ok(samples)
    }
}

/// Objects that are looked at for one that can be read.
const MOST_LOOKED_AT: u64 = 10_000;
