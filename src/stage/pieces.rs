//! How the object of a staged file is put together.

use std::ops::Range;

/// A run of bytes of the object to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// It is uploaded.
    Upload(Range<u64>),
    /// It is copied from the base, where it is the same.
    Copy(Range<u64>),
}

/// The pieces of an object of `size` bytes that is uploaded in parts of `part` bytes, in order.
/// `has_changed` says whether bytes in a range may be others than those of the base.
pub(super) fn pieces(size: u64, part: u64, has_changed: impl Fn(Range<u64>) -> bool) -> Vec<Piece> {
    let largest_copy = (LARGEST_COPY / part).max(1) * part;
    let mut pieces: Vec<Piece> = Vec::new();
    let mut start = 0;
    while start < size {
        let end = start.saturating_add(part).min(size);
        let is_changed = has_changed(start..end);
        match pieces.last_mut() {
            Some(Piece::Upload(last)) if is_changed => last.end = end,
            Some(Piece::Copy(last)) if !is_changed && last.end - last.start < largest_copy => {
                last.end = end;
            }
            _ if is_changed => pieces.push(Piece::Upload(start..end)),
            _ => pieces.push(Piece::Copy(start..end)),
        }
        start = end;
    }
    pieces
}

/// Bytes that are copied by one request: small enough for several to run at the same time.
const LARGEST_COPY: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pieces_are_whole_parts() {
        let changed = |range: Range<u64>| range.start <= 25 && 25 < range.end;
        assert_eq!(
            pieces(45, 10, changed),
            [
                Piece::Copy(0..20),
                Piece::Upload(20..30),
                Piece::Copy(30..45)
            ]
        );
        assert_eq!(pieces(0, 10, changed), []);
    }

    #[test]
    fn pieces_that_are_copied_are_not_too_large() {
        let part = 100 << 20;
        let all = pieces(5 * part, part, |_range| false);
        assert_eq!(
            all,
            [
                Piece::Copy(0..2 * part),
                Piece::Copy(2 * part..4 * part),
                Piece::Copy(4 * part..5 * part)
            ]
        );
    }

    proptest! {
        #[test]
        fn prop_pieces_cover_the_file_once_and_copy_nothing_that_changed(
            size in 0u64..500,
            part in 1u64..50,
            changed in prop::collection::btree_set(0u64..500, 0..20),
        ) {
            let has_changed = |range: Range<u64>| changed.range(range).next().is_some();
            let mut next = 0;
            for piece in pieces(size, part, has_changed) {
                let (Piece::Upload(range) | Piece::Copy(range)) = &piece;
                prop_assert_eq!(range.start, next);
                prop_assert!(range.end > range.start);
                prop_assert!(range.end == size || range.end.is_multiple_of(part));
                if matches!(piece, Piece::Copy(_)) {
                    prop_assert!(!has_changed(range.clone()));
                }
                next = range.end;
            }
            prop_assert_eq!(next, size);
        }
    }
}
