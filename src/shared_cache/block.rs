//! The blocks that objects are kept in: their names, and what is noted with them.

use std::fmt::Write;
use std::ops::Range;

use crate::cache::{Name, hex};
use crate::crt::crc32c;
use crate::s3::{Fetched, Key, PutRequest};

/// A block of a version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Block {
    name: Name,
    number: u64,
    /// Bytes of the object.
    size: u64,
}

impl Block {
    /// The block that holds the byte at `offset` of the version `name` of `size` bytes.
    pub(super) fn holding(name: Name, size: u64, offset: u64) -> Self {
        Self {
            name,
            number: offset / BLOCK,
            size,
        }
    }

    /// Its bytes, from the start of the object.
    pub(super) fn range(&self) -> Range<u64> {
        let start = self.number * BLOCK;
        start..start.saturating_add(BLOCK).min(self.size)
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> u64 {
        let range = self.range();
        range.end - range.start
    }

    /// The key that it has in the bucket of the cache. There always is one: it is short.
    pub(super) fn key(&self) -> Option<Key> {
        let key = format!("{PREFIX}v1/{}-{}", self.name.stem(), self.number);
        Key::new(key).ok()
    }

    /// Asks for `bytes` to be stored as this block.
    pub(super) fn put(&self, bytes: &[u8]) -> Option<PutRequest> {
        let mut notes = self.head();
        for piece in bytes.chunks(PIECE_LEN) {
            // Writing to a String cannot fail.
            let _written = write!(notes, "{:08x}", crc32c(0, piece));
        }
        let mut request = PutRequest::new(self.key()?);
        request.metadata.insert(NOTES.to_owned(), notes);
        Some(request)
    }

    /// The whole pieces that hold the bytes `wanted` of the object, which lie in this block: from
    /// the start of the block.
    pub(super) fn pieces(&self, wanted: &Range<u64>) -> Range<u64> {
        let start = self.range().start;
        let end = (wanted.end - start).next_multiple_of(PIECE).min(self.len());
        (wanted.start - start) / PIECE * PIECE..end
    }

    /// Whether `fetched` is what was stored as the [pieces](Self::pieces) `pieces` of this block.
    pub(super) fn is_of(&self, pieces: &Range<u64>, fetched: &Fetched) -> bool {
        let notes = fetched.metadata.get(NOTES).map(String::as_str);
        let Some(sums) = notes.and_then(|notes| notes.strip_prefix(&self.head())) else {
            return false;
        };
        if sums.len() as u64 != self.len().div_ceil(PIECE) * SUM
            || fetched.bytes.len() as u64 != pieces.end - pieces.start
        {
            return false;
        }
        let first = pieces.start / PIECE;
        (first..)
            .zip(fetched.bytes.chunks(PIECE_LEN))
            .all(|(number, piece)| {
                let place = usize::try_from(number * SUM).unwrap_or(usize::MAX);
                let sum = sums.get(place..place.saturating_add(SUM_LEN));
                sum.and_then(|sum| u32::from_str_radix(sum, 16).ok()) == Some(crc32c(0, piece))
            })
    }

    /// What the notes begin with: whose they are, all of it.
    fn head(&self) -> String {
        format!("1 {} {} ", hex(&self.name.whole()), self.number)
    }
}

/// What all keys of the cache begin with.
pub(super) const PREFIX: &str = "mount-s3-cache/";

/// The user metadata that has the notes.
pub(super) const NOTES: &str = "mount-s3-block";

/// Bytes of a block: few enough for the last one to cost little, and enough for the time of a
/// request to be spent on its bytes.
pub(super) const BLOCK: u64 = 1 << 20;

/// Bytes that have a checksum of their own, so that they can be fetched alone.
const PIECE: u64 = 128 << 10;
const PIECE_LEN: usize = 128 << 10;

/// Characters of a checksum.
const SUM: u64 = 8;
const SUM_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::s3::fake::synthetic;

    fn block(etag: &str, offset: u64) -> Block {
        let size = 2 * BLOCK + 5;
        Block::holding(Name::new("s", "b", "k", etag, size), size, offset)
    }

    fn stored(block: &Block, bytes: &[u8]) -> Fetched {
        Fetched {
            bytes: Bytes::copy_from_slice(bytes),
            metadata: block.put(bytes).expect("short").metadata,
        }
    }

    #[test]
    fn ranges_are_those_of_the_object() {
        let (first, last) = (block("e", 0), block("e", 2 * BLOCK + 4));
        assert_eq!(first.range(), 0..BLOCK);
        assert_eq!(last.range(), 2 * BLOCK..2 * BLOCK + 5);
        assert_eq!(first.pieces(&(5..6)), 0..PIECE);
        assert_eq!(first.pieces(&(PIECE - 1..PIECE + 1)), 0..2 * PIECE);
        assert_eq!(last.pieces(&(2 * BLOCK + 1..2 * BLOCK + 2)), 0..5);
    }

    #[test]
    fn what_was_stored_is_believed_whole_and_in_pieces() {
        let block = block("e", 0);
        let bytes = synthetic(1, 0..BLOCK);
        let whole = stored(&block, &bytes);
        assert!(block.is_of(&(0..BLOCK), &whole));
        let piece = Fetched {
            bytes: whole.bytes.slice(3 * PIECE_LEN..5 * PIECE_LEN),
            ..whole.clone()
        };
        assert!(block.is_of(&(3 * PIECE..5 * PIECE), &piece));
        assert!(!block.is_of(&(2 * PIECE..4 * PIECE), &piece));
        assert!(!block.is_of(&(0..BLOCK), &piece));
    }

    #[test]
    fn anything_else_is_not_believed() {
        let own = block("e", 0);
        let bytes = vec![7; PIECE_LEN * 8];
        let good = stored(&own, &bytes);
        for other in [block("f", 0), block("e", BLOCK)] {
            assert!(!own.is_of(&(0..BLOCK), &stored(&other, &bytes)));
            assert_ne!(own.key(), other.key());
        }
        let mut flipped = bytes.clone();
        flipped[PIECE_LEN * 5 + 9] ^= 4;
        let notes = good.metadata[NOTES].clone();
        let with = |notes: String| Fetched {
            metadata: [(NOTES.to_owned(), notes)].into(),
            ..good.clone()
        };
        for bad in [
            Fetched {
                bytes: flipped.into(),
                ..good.clone()
            },
            Fetched {
                metadata: Default::default(),
                ..good.clone()
            },
            with(notes[..notes.len() - 1].to_owned()),
            with(format!("{notes}0")),
            with(format!("{}+0000000", &notes[..notes.len() - 8])),
            with(format!("{}äääg", &notes[..notes.len() - 7])),
        ] {
            assert!(!own.is_of(&(0..BLOCK), &bad), "{:?}", bad.metadata);
        }
        assert!(own.is_of(&(0..BLOCK), &good));
    }
}
