//! What is noted of an entry. A file of notes holds a head, and a record of 8 bytes for each block; an
//! attribute holds both in short, of an object of one block.

use super::BLOCK;
use super::name::{Name, Rest};
use crate::crt::crc32c;

/// Bytes of the head.
pub(super) const HEAD: usize = 96;

/// Bytes of a record.
pub(super) const RECORD: usize = 8;

/// The head of the notes of `name`, whose object has `size` bytes: what it is the notes of, and a
/// checksum.
pub(super) fn head(name: &Name, size: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    head[12..20].copy_from_slice(&BLOCK.to_le_bytes());
    head[20..28].copy_from_slice(&size.to_le_bytes());
    head[28..92].copy_from_slice(&name.whole());
    let sum = crc32c(0, &head[..92]);
    head[92..].copy_from_slice(&sum.to_le_bytes());
    head
}

/// What a head says: the length of the object in bytes, and the [name in whole](Name::whole). `None` when
/// it is none, or of another format, or damaged.
pub(super) fn read_head(head: &[u8; HEAD]) -> Option<(u64, [u8; 64])> {
    let (said, sum) = head.split_last_chunk::<4>()?;
    let mut expected = [0; 20];
    expected[..8].copy_from_slice(MAGIC);
    expected[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    expected[12..].copy_from_slice(&BLOCK.to_le_bytes());
    let is_head = said.starts_with(&expected) && u32::from_le_bytes(*sum) == crc32c(0, said);
    let (size, name) = said.get(20..)?.split_first_chunk::<8>()?;
    let name = name.try_into().ok()?;
    is_head.then(|| (u64::from_le_bytes(*size), name))
}

/// What the records of the version with this [name in whole](Name::whole) are told from others by.
pub(super) fn seed(whole: &[u8; 64]) -> u32 {
    crc32c(0, whole)
}

/// The record of block `number`, whose bytes have the checksum `sum`, of the version of `seed`. Zeros,
/// as a hole has them, are the record of no block.
pub(super) fn record(seed: u32, number: u64, sum: u32) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..4].copy_from_slice(&sum.to_le_bytes());
    record[4..].copy_from_slice(&mark(seed, number, sum).to_le_bytes());
    record
}

/// The checksum that the record of block `number` notes, if the block of the version of `seed` is there.
pub(super) fn sum(seed: u32, number: u64, record: [u8; RECORD]) -> Option<u32> {
    let [a, b, c, d, rest @ ..] = record;
    let sum = u32::from_le_bytes([a, b, c, d]);
    (u32::from_le_bytes(rest) == mark(seed, number, sum)).then_some(sum)
}

/// What stands in the attribute of a file of bytes: what the name of the file, without its ending, does not
/// say of the version, and the record of its only block.
pub(super) fn attribute(stem: &str, rest: &Rest, sum: u32) -> [u8; ATTRIBUTE] {
    let mut attribute = [0; ATTRIBUTE];
    attribute[..4].copy_from_slice(&ATTRIBUTE_FORMAT.to_le_bytes());
    attribute[4..36].copy_from_slice(rest);
    attribute[36..].copy_from_slice(&record(attribute_seed(stem, rest), 0, sum));
    attribute
}

/// What an attribute of the file `stem` says: of which version the bytes are, as far as the name does not, and
/// their checksum. `None` when it is none, or of another format or file, or damaged.
pub(super) fn read_attribute(stem: &str, attribute: &[u8]) -> Option<(Rest, u32)> {
    let (format, said) = attribute.split_first_chunk::<4>()?;
    let (rest, record) = said.split_first_chunk::<32>()?;
    let checksum = sum(attribute_seed(stem, rest), 0, record.try_into().ok()?)?;
    (u32::from_le_bytes(*format) == ATTRIBUTE_FORMAT).then_some((*rest, checksum))
}

fn attribute_seed(stem: &str, rest: &Rest) -> u32 {
    crc32c(crc32c(0, stem.as_bytes()), rest)
}

/// Bytes of an attribute: as many as file systems keep beside the times of a file, so that they read them at
/// once with these.
pub(super) const ATTRIBUTE: usize = 44;

const ATTRIBUTE_FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"MS3CACHE";

const FORMAT: u32 = 2;

/// Shows that a record was written as one, and for this block of this version.
fn mark(seed: u32, number: u64, sum: u32) -> u32 {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..].copy_from_slice(&sum.to_le_bytes());
    // Not 0 for any checksum, so that a hole is no record.
    crc32c(seed, &bytes) | 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prop_record_is_believed_for_its_block_only(
            seed: u32, number: u64, other: u64, checksum: u32, byte in 0usize..8, bit in 0u8..8,
        ) {
            let mut bytes = record(seed, number, checksum);
            prop_assert_eq!(sum(seed, number, bytes), Some(checksum));
            if other != number {
                // Half of the bits of the mark, at least, differ by chance only.
                prop_assert!(sum(seed, other, bytes).is_none() || mark(seed, other, checksum) == mark(seed, number, checksum));
            }
            prop_assert_eq!(sum(seed, number, [0; 8]), None);
            prop_assert_eq!(sum(seed ^ 2, number, bytes), None, "of another version");
            bytes[byte] ^= 1 << bit;
            prop_assert_ne!(sum(seed, number, bytes), Some(checksum));
        }
    }

    #[test]
    fn head_names_the_version_and_its_length() {
        let name = |etag| Name::new("s", "b", "k", etag, 5);
        let mut written = head(&name("a"), 5);
        assert_eq!(read_head(&written), Some((5, name("a").whole())));
        for byte in 0..HEAD {
            written[byte] ^= 1;
            assert_eq!(read_head(&written), None, "byte {byte}");
            written[byte] ^= 1;
        }
        assert_ne!(head(&name("a"), 5), head(&name("b"), 5));
        assert_ne!(head(&name("a"), 5), head(&name("a"), 6));
    }

    #[test]
    fn attribute_is_believed_of_its_file_and_version_only() {
        let (rest, other) = (Name::new("s", "b", "k", "e", 5).rest(), [7; 32]);
        let mut written = attribute("stem", &rest, 99);
        assert_eq!(read_attribute("stem", &written), Some((rest, 99)));
        assert_eq!(read_attribute("stem2", &written), None);
        assert_eq!(read_attribute("stem", &written[..ATTRIBUTE - 1]), None);
        assert_eq!(read_attribute("stem", &[]), None);
        assert_ne!(attribute("stem", &other, 99), written);
        for byte in 0..ATTRIBUTE {
            written[byte] ^= 0x10;
            assert_eq!(read_attribute("stem", &written), None, "byte {byte}");
            written[byte] ^= 0x10;
        }
    }
}
