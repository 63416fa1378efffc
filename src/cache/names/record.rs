//! What is noted of names, as bytes: rows, in batches. Each batch says what all of its rows have in
//! common.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Known;
use super::clocks::{Boot, Now};
use crate::cache::name::hash;
use crate::crt::crc32c;
use crate::s3::{ETag, ObjectInfo, Restore, StorageClass};

/// A key, or the path of a directory without a `/` at its end, as a hash: it cannot be read off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id(pub(super) [u8; ID]);

impl Id {
    pub(super) fn of(path: &str) -> Self {
        let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = hash(&[path.as_bytes()]);
        Self(id)
    }

    /// The first half, in the order of the whole.
    pub(super) fn short(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

/// The log of changes that rows refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogId(pub(super) [u8; 16]);

/// What S3 has said of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: Id,
    /// The directory that the name is in: the [short](Id::short) one.
    pub(super) above: u64,
    /// When S3 was asked, in microseconds of a clock that only goes forward.
    pub(super) asked: u64,
    /// Entries that the log of changes had by then, at least.
    pub(super) since: u32,
    /// `None` when what the name led to before does not count any more.
    pub(super) known: Option<Known>,
}

/// What the rows of a batch have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The log that they refer to.
    pub(super) log: LogId,
    /// Entries that it had when they were written.
    pub(super) entries: u32,
    /// The bucket.
    pub(super) bucket: u64,
    /// When they were written; they were asked for by the clock that says how long the machine runs.
    pub(super) written: Now,
}

impl Row {
    /// Appends it to `bytes`. Nothing is appended of what cannot be written: an ETag of more than 255
    /// bytes, a time that is out of the ordinary.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let file = match &self.known {
            Some(Known::Object(info)) => {
                let etag = info.etag.text();
                let (Ok(len), Some(modified)) =
                    (u8::try_from(etag.len()), nanoseconds(info.last_modified))
                else {
                    return;
                };
                Some((info, etag, len, modified))
            }
            Some(Known::Directory) | None => None,
        };
        bytes.extend(self.id.0);
        bytes.extend(self.above.to_le_bytes());
        bytes.extend(self.asked.to_le_bytes());
        bytes.extend(self.since.to_le_bytes());
        let Some((info, etag, len, modified)) = file else {
            bytes.push(if self.known.is_some() {
                DIRECTORY
            } else {
                VOID
            });
            return;
        };
        bytes.push(OBJECT | class(info));
        bytes.extend(info.size.to_le_bytes());
        bytes.extend(modified.to_le_bytes());
        bytes.push(len);
        bytes.extend(etag.as_bytes());
    }

    /// Takes one from the beginning of `bytes`.
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let id = Id(take(bytes)?);
        let above = u64::from_le_bytes(take(bytes)?);
        let asked = u64::from_le_bytes(take(bytes)?);
        let since = u32::from_le_bytes(take(bytes)?);
        let [kind] = take(bytes)?;
        let known = match kind {
            VOID => None,
            DIRECTORY => Some(Known::Directory),
            _ if kind & OBJECT != 0 => Some(Known::Object(read_object(kind & !OBJECT, bytes)?)),
            _ => return None,
        };
        Some(Self {
            id,
            above,
            asked,
            since,
            known,
        })
    }
}

/// A batch of `rows`, as [`Row::write`] has written them.
pub(super) fn batch(head: &Head, rows: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + rows.len());
    bytes.extend(MAGIC);
    // No batch is anywhere near so large.
    bytes.extend(u32::try_from(rows.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(crc32c(0, rows).to_le_bytes());
    bytes.extend(head.log.0);
    bytes.extend(head.entries.to_le_bytes());
    bytes.extend(head.bucket.to_le_bytes());
    bytes.extend(head.written.boot.0);
    bytes.extend(head.written.wall.to_le_bytes());
    bytes.extend(head.written.running.to_le_bytes());
    bytes.extend(crc32c(0, &bytes).to_le_bytes());
    bytes.extend(rows);
    bytes
}

/// In what condition batches are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Good,
    /// The last one is not complete: somebody writes it, or nobody ever will.
    Torn,
    Damaged,
}

/// Shows `take` all rows in the batches that `bytes` consist of, and what they have in common, but
/// none when any batch is damaged.
pub(super) fn read_batches(bytes: &[u8], mut take: impl FnMut(&Head, Row)) -> Condition {
    let mut batches = Vec::new();
    let mut rest = bytes;
    while let Some((head, more)) = rest.split_first_chunk() {
        let Some((head, len, sum)) = read_head(head) else {
            return Condition::Damaged;
        };
        let Some((rows, more)) = more.split_at_checked(len) else {
            break;
        };
        if crc32c(0, rows) != sum {
            return Condition::Damaged;
        }
        batches.push((head, rows));
        rest = more;
    }
    for (head, mut rows) in batches {
        while let Some(row) = Row::read(&mut rows) {
            take(&head, row);
        }
    }
    if rest.is_empty() {
        Condition::Good
    } else {
        Condition::Torn
    }
}

/// What the head of a batch says: the head, the length of the rows in bytes, and their checksum.
fn read_head(bytes: &[u8; HEAD]) -> Option<(Head, usize, u32)> {
    let (said, sum) = bytes.split_last_chunk()?;
    if u32::from_le_bytes(*sum) != crc32c(0, said) {
        return None;
    }
    let mut said = said.strip_prefix(MAGIC)?;
    let len = usize::try_from(u32::from_le_bytes(take(&mut said)?)).ok()?;
    let sum = u32::from_le_bytes(take(&mut said)?);
    let head = Head {
        log: LogId(take(&mut said)?),
        entries: u32::from_le_bytes(take(&mut said)?),
        bucket: u64::from_le_bytes(take(&mut said)?),
        written: Now {
            boot: Boot(take(&mut said)?),
            wall: u64::from_le_bytes(take(&mut said)?),
            running: u64::from_le_bytes(take(&mut said)?),
        },
    };
    Some((head, len, sum))
}

fn read_object(class: u8, bytes: &mut &[u8]) -> Option<ObjectInfo> {
    let (storage_class, restore) = match class {
        0 => (StorageClass::Readable, Restore::None),
        1 => (StorageClass::Archived, Restore::None),
        2 => (StorageClass::Archived, Restore::InProgress),
        3 => (StorageClass::Archived, Restore::Done),
        _ => return None,
    };
    let size = u64::from_le_bytes(take(bytes)?);
    let modified = i64::from_le_bytes(take(bytes)?);
    let [len] = take(bytes)?;
    let (etag, rest) = bytes.split_at_checked(usize::from(len))?;
    *bytes = rest;
    let since = Duration::from_nanos(modified.unsigned_abs());
    Some(ObjectInfo {
        etag: ETag::new(str::from_utf8(etag).ok()?),
        size,
        last_modified: if modified < 0 {
            UNIX_EPOCH.checked_sub(since)?
        } else {
            UNIX_EPOCH.checked_add(since)?
        },
        storage_class,
        restore,
        details: None,
    })
}

fn class(info: &ObjectInfo) -> u8 {
    match (info.storage_class, info.restore) {
        (StorageClass::Readable, _) => 0,
        (StorageClass::Archived, Restore::None) => 1,
        (StorageClass::Archived, Restore::InProgress) => 2,
        (StorageClass::Archived, Restore::Done) => 3,
    }
}

/// Since 1970.
fn nanoseconds(time: SystemTime) -> Option<i64> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).ok(),
        Err(before) => Some(-i64::try_from(before.duration().as_nanos()).ok()?),
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// Bytes of an [`Id`].
pub(super) const ID: usize = 16;

/// Bytes of the head of a batch.
const HEAD: usize = 8 + 4 + 4 + 16 + 4 + 8 + 16 + 8 + 8 + 4;

/// Changes with the format.
const MAGIC: &[u8; 8] = b"MS3NAME1";

const VOID: u8 = 0;
const DIRECTORY: u8 = 1;
/// Beside how the object is stored.
const OBJECT: u8 = 0x80;
