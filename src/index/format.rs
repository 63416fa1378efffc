//! The file of an index, byte by byte. All numbers are little-endian; no I/O here.
//!
//! ```text
//! header   64 bytes: magic, version, CRC, count of objects, their bytes, place of the table
//! block    records of about 32 KiB, in byte order of their keys
//! block    ...
//! table    bucket, prefix, and of each block: place, length, CRC, number of records, first key
//! ```
//!
//! The table is small enough to be held in memory (about 70 bytes for 500 objects); it has the
//! CRC-32C of every block, and the header has that of the table and of itself. So a block is
//! checked when it is read, not when the file is opened, and no byte is believed unchecked. A key
//! is stored as what differs from the key before it in its block.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::crt::crc32c;
use crate::s3::{ETag, ListedObject, ObjectInfo, Restore, StorageClass};

/// The format that is written and read here.
pub(super) const VERSION: u32 = 1;

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 64;

/// A block ends with the record that makes it this long.
pub(super) const BLOCK_BYTES: usize = 32 << 10;

/// Bytes that are not what they should be; the text says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// What is at the beginning of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Objects in the index.
    pub(super) objects: u64,
    /// The sum of their sizes.
    pub(super) bytes: u64,
    /// Where the table is. It ends with the file.
    pub(super) table_offset: u64,
    pub(super) table_bytes: u64,
    pub(super) table_crc: u32,
}

/// Why a header cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// It is that of another kind of file.
    Foreign,
    /// It is that of another format.
    Version(u32),
    /// Its CRC is wrong.
    Damaged,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        for number in [
            self.objects,
            self.bytes,
            self.table_offset,
            self.table_bytes,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.table_crc.to_le_bytes());
        let mut header = [0; HEADER_BYTES];
        header[..bytes.len()].copy_from_slice(&bytes);
        let crc = crc32c(0, &header);
        header[CRC_PLACE].copy_from_slice(&crc.to_le_bytes());
        header
    }

    pub(super) fn decode(header: &[u8; HEADER_BYTES]) -> Result<Self, BadHeader> {
        let mut fields = Fields(header);
        let short = |_: Malformed| BadHeader::Damaged;
        if fields.bytes(MAGIC.len()).map_err(short)? != MAGIC {
            return Err(BadHeader::Foreign);
        }
        let version = fields.u32().map_err(short)?;
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        let crc = fields.u32().map_err(short)?;
        let mut blank = *header;
        blank[CRC_PLACE].fill(0);
        if crc32c(0, &blank) != crc {
            return Err(BadHeader::Damaged);
        }
        Ok(Self {
            objects: fields.u64().map_err(short)?,
            bytes: fields.u64().map_err(short)?,
            table_offset: fields.u64().map_err(short)?,
            table_bytes: fields.u64().map_err(short)?,
            table_crc: fields.u32().map_err(short)?,
        })
    }
}

/// What the table says of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockEntry<'a> {
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) crc: u32,
    pub(super) records: u32,
    pub(super) first_key: &'a [u8],
}

impl<'a> BlockEntry<'a> {
    pub(super) fn decode(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            offset: fields.u64()?,
            bytes: fields.u32()?,
            crc: fields.u32()?,
            records: fields.u32()?,
            first_key: fields.text()?,
        })
    }

    pub(super) fn encode(&self, table: &mut Vec<u8>) -> Option<()> {
        table.extend(self.offset.to_le_bytes());
        for number in [self.bytes, self.crc, self.records] {
            table.extend(number.to_le_bytes());
        }
        put_text(table, self.first_key)
    }
}

/// Appends a text and its length, which must fit into 16 bits.
pub(super) fn put_text(to: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    to.extend(u16::try_from(text.len()).ok()?.to_le_bytes());
    to.extend(text);
    Some(())
}

/// Appends the record of an object whose key begins with the first `shared` bytes of the key
/// before it. `None` if its key or its ETag is too long.
pub(super) fn put_record(to: &mut Vec<u8>, object: &ListedObject, shared: usize) -> Option<()> {
    let info = &object.info;
    let suffix = object.key.as_bytes().get(shared..)?;
    let length = |bytes: usize| u16::try_from(bytes).ok().map(u16::to_le_bytes);
    // The sum has to fit, too, or the next key could share more bytes than can be said.
    length(object.key.len())?;
    let etag = info.etag.text();
    let etag = etag.as_bytes();
    let archived = match info.storage_class {
        StorageClass::Readable => 0,
        StorageClass::Archived => ARCHIVED,
    };
    let restore = match info.restore {
        Restore::None => 0,
        Restore::InProgress => RESTORING,
        Restore::Done => RESTORED,
    };
    let (seconds, nanoseconds) = split_time(info.last_modified)?;
    to.extend(length(shared)?);
    to.extend(length(suffix.len())?);
    to.extend(length(etag.len())?);
    to.push(archived | restore);
    to.extend(info.size.to_le_bytes());
    to.extend(seconds.to_le_bytes());
    to.extend(nanoseconds.to_le_bytes());
    to.extend(suffix);
    to.extend(etag);
    Some(())
}

/// What is stored of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// Bytes that its key shares with the one before it.
    shared: u16,
    /// The rest of its key.
    suffix: &'a [u8],
    etag: &'a [u8],
    flags: u8,
    size: u64,
    seconds: i64,
    nanoseconds: u32,
}

impl<'a> Record<'a> {
    /// Takes the next record off `fields`.
    pub(super) fn decode(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let shared = fields.u16()?;
        let suffix = usize::from(fields.u16()?);
        let etag = usize::from(fields.u16()?);
        Ok(Self {
            shared,
            flags: fields.u8()?,
            size: fields.u64()?,
            seconds: fields.i64()?,
            nanoseconds: fields.u32()?,
            suffix: fields.bytes(suffix)?,
            etag: fields.bytes(etag)?,
        })
    }

    /// Makes `key`, which is that of the record before, the key of this one.
    pub(super) fn follow(&self, key: &mut Vec<u8>) -> Result<(), Malformed> {
        let shared = usize::from(self.shared);
        if shared > key.len() {
            return Err(Malformed("a key shares more than there is"));
        }
        key.truncate(shared);
        key.extend(self.suffix);
        Ok(())
    }

    pub(super) fn info(&self) -> Result<ObjectInfo, Malformed> {
        let etag = std::str::from_utf8(self.etag).map_err(|_| Malformed("an ETag is no text"))?;
        Ok(ObjectInfo {
            etag: ETag::new(etag),
            size: self.size,
            last_modified: join_time(self.seconds, self.nanoseconds)
                .ok_or(Malformed("a time is out of range"))?,
            storage_class: match self.flags & ARCHIVED {
                0 => StorageClass::Readable,
                _ => StorageClass::Archived,
            },
            restore: match self.flags & !ARCHIVED {
                0 => Restore::None,
                RESTORING => Restore::InProgress,
                RESTORED => Restore::Done,
                _ => return Err(Malformed("an unknown flag")),
            },
            details: None,
        })
    }

    /// The object, with its key.
    pub(super) fn listed(&self, key: &[u8]) -> Result<ListedObject, Malformed> {
        let key = std::str::from_utf8(key).map_err(|_| Malformed("a key is no text"))?;
        Ok(ListedObject {
            key: key.to_owned(),
            info: self.info()?,
        })
    }
}

/// Bytes from which fields are taken one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_le_bytes)
    }

    /// A text as [`put_text`] has written it.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::from(self.u16()?);
        self.bytes(length)
    }
}

/// Whole seconds since 1970, rounded down, and nanoseconds on top.
fn split_time(time: SystemTime) -> Option<(i64, u32)> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Some((i64::try_from(after.as_secs()).ok()?, after.subsec_nanos())),
        Err(error) => {
            let before = error.duration();
            let seconds = i64::try_from(before.as_secs()).ok()?;
            match before.subsec_nanos() {
                0 => Some((-seconds, 0)),
                nanoseconds => Some((-seconds - 1, SECOND - nanoseconds)),
            }
        }
    }
}

fn join_time(seconds: i64, nanoseconds: u32) -> Option<SystemTime> {
    if nanoseconds >= SECOND {
        return None;
    }
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = if seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)?
    } else {
        UNIX_EPOCH.checked_add(whole)?
    };
    base.checked_add(Duration::from_nanos(u64::from(nanoseconds)))
}

const MAGIC: &[u8] = b"mnts3idx";

/// Where the CRC is in the header. It is computed as if it were zero.
const CRC_PLACE: Range<usize> = 12..16;

const SHORT: Malformed = Malformed("it ends too early");

const ARCHIVED: u8 = 1;
const RESTORING: u8 = 1 << 1;
const RESTORED: u8 = 1 << 2;

/// Nanoseconds of a second.
const SECOND: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prop_times_survive(seconds in -10_000_000_000_i64..300_000_000_000, nanoseconds in 0..SECOND) {
            let time = join_time(seconds, nanoseconds).expect("in range");
            prop_assert_eq!(split_time(time), Some((seconds, nanoseconds)));
        }

        #[test]
        fn prop_any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut fields = Fields(&bytes);
            let mut key = Vec::new();
            while let Ok(record) = Record::decode(&mut fields) {
                if record.follow(&mut key).is_ok() {
                    _ = record.listed(&key);
                }
            }
        }

        #[test]
        fn prop_header_survives_and_a_changed_bit_is_found(
            numbers: [u64; 4], table_crc: u32, bit in 0..HEADER_BYTES * 8,
        ) {
            let [objects, bytes, table_offset, table_bytes] = numbers;
            let header = Header { objects, bytes, table_offset, table_bytes, table_crc };
            let mut encoded = header.encode();
            prop_assert_eq!(Header::decode(&encoded), Ok(header));
            encoded[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Header::decode(&encoded).is_err());
        }
    }

    #[test]
    fn header_of_another_file_or_version_is_told_apart() {
        assert_eq!(Header::decode(&[0; HEADER_BYTES]), Err(BadHeader::Foreign));
        let header = Header {
            objects: 1,
            bytes: 1,
            table_offset: 1,
            table_bytes: 1,
            table_crc: 1,
        };
        let mut other = header.encode();
        other[MAGIC.len()] = 7;
        assert_eq!(Header::decode(&other), Err(BadHeader::Version(7)));
    }
}
