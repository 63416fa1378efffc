//! Which files belong to a version of an object.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::s3::{ETag, Key};

/// A bucket of which a cache has objects.
#[derive(Debug, Clone)]
pub struct Source {
    store: String,
    bucket: String,
}

impl Source {
    /// `bucket`, where `store` tells stores apart that have buckets of the same name.
    pub fn new(store: String, bucket: String) -> Self {
        Self { store, bucket }
    }

    /// What it is told from other buckets by, as a part of a hash.
    pub(super) fn short(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = hash(&[self.store.as_bytes(), self.bucket.as_bytes()]);
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// The name of the version `etag` of `size` bytes of `key`.
    pub(crate) fn name(&self, key: &Key, etag: &ETag, size: u64) -> Name {
        Name::new(&self.store, &self.bucket, key.as_str(), &etag.text(), size)
    }
}

/// A version of an object, as hashes: no two versions have the same, and none can be read off it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Name {
    /// Of the store, the bucket and the key.
    object: [u8; 32],
    /// Of the ETag and the length.
    version: [u8; 32],
}

/// As much of a [`Name`] as the names of its files have.
pub(super) type Short = [u8; 2 * HALF];

/// The rest of a [`Name`].
pub(super) type Rest = [u8; 2 * HALF];

impl Name {
    /// The name of the version `etag` of `size` bytes of the object `key` in `bucket`, where `store`
    /// tells stores with buckets of the same name apart.
    pub(crate) fn new(store: &str, bucket: &str, key: &str, etag: &str, size: u64) -> Self {
        Self {
            object: hash(&[store.as_bytes(), bucket.as_bytes(), key.as_bytes()]),
            version: hash(&[etag.as_bytes(), &size.to_le_bytes()]),
        }
    }

    /// The names of its files, without what tells them apart: first half of the object's hash, then
    /// of the version's, in hexadecimal digits, and a dash between them.
    pub(crate) fn stem(&self) -> String {
        stem_of(&self.whole())
    }

    /// What [`Self::stem`] writes.
    pub(super) fn short(&self) -> Short {
        let mut short = [0; 2 * HALF];
        short[..HALF].copy_from_slice(&self.object[..HALF]);
        short[HALF..].copy_from_slice(&self.version[..HALF]);
        short
    }

    /// Which of the directories of files its files are in.
    pub(super) fn shard(&self) -> u8 {
        self.object[0]
    }

    /// What [`Self::stem`] does not write.
    pub(super) fn rest(&self) -> Rest {
        let mut rest = [0; 2 * HALF];
        rest[..HALF].copy_from_slice(&self.object[HALF..]);
        rest[HALF..].copy_from_slice(&self.version[HALF..]);
        rest
    }

    /// All of it, as its file of notes has it: two versions whose files had the same name would be
    /// told apart by this.
    pub(crate) fn whole(&self) -> [u8; 64] {
        let mut whole = [0; 64];
        whole[..32].copy_from_slice(&self.object);
        whole[32..].copy_from_slice(&self.version);
        whole
    }
}

/// The names of the files of the version that is [`whole`](Name::whole) this.
pub(super) fn stem_of(whole: &[u8; 64]) -> String {
    let mut stem = hex(&whole[..HALF]);
    stem.push('-');
    stem.push_str(&hex(&whole[32..32 + HALF]));
    stem
}

/// What the names of the files of all versions of this object begin with.
pub(super) fn object_stem(store: &str, bucket: &str, key: &str) -> String {
    hex(&Name::new(store, bucket, key, "", 0).object[..HALF])
}

/// What all versions of an object have in common, in the name of a file.
pub(super) fn object_of(stem: &str) -> &str {
    stem.split_once('-').map_or(stem, |(object, _)| object)
}

/// The hash of texts, and of where each of them ends.
pub(super) fn hash(texts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _written = write!(text, "{byte:02x}");
    }
    text
}

const HALF: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_tells_everything_apart_and_nothing_of_the_key() {
        let names = [
            Name::new("s", "b", "key", "e", 1),
            Name::new("t", "b", "key", "e", 1),
            Name::new("s", "c", "key", "e", 1),
            Name::new("s", "bk", "ey", "e", 1),
            Name::new("s", "b", "kez", "e", 1),
            Name::new("s", "b", "key", "f", 1),
            Name::new("s", "b", "key", "e", 2),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(!name.stem().contains("key"));
            assert_eq!(name.stem().len(), 65);
            for other in &names[..index] {
                assert_ne!(name.stem(), other.stem());
                assert_ne!(name.whole(), other.whole());
            }
        }
        let (short, rest, whole) = (names[0].short(), names[0].rest(), names[0].whole());
        assert_eq!((&short[..HALF], &rest[..HALF]), whole[..32].split_at(HALF));
        assert_eq!((&short[HALF..], &rest[HALF..]), whole[32..].split_at(HALF));
        assert_eq!(object_of(&names[0].stem()), object_of(&names[5].stem()));
        assert_eq!(object_of(&names[0].stem()), object_stem("s", "b", "key"));
        assert_ne!(object_of(&names[0].stem()), object_of(&names[4].stem()));
    }
}
