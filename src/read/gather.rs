//! Puts a reply together from slices of received parts.

use bytes::{Bytes, BytesMut};

/// The slices that make up one reply, in order.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<Bytes>);

impl Pieces {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.0.push(piece);
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// The bytes in one buffer: without a copy when they lie in one part.
    pub(super) fn join(mut self) -> Bytes {
        if self.0.len() == 1 {
            return self.0.swap_remove(0);
        }
        let mut joined = BytesMut::with_capacity(self.len());
        for piece in &self.0 {
            joined.extend_from_slice(piece);
        }
        joined.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_one_piece_without_a_copy() {
        let part = Bytes::from(vec![7; 100]);
        let mut pieces = Pieces::default();
        pieces.push(part.slice(10..20));
        assert_eq!(pieces.join().as_ptr(), part[10..].as_ptr());
    }

    #[test]
    fn joins_several_pieces_in_order() {
        let mut pieces = Pieces::default();
        pieces.push(Bytes::from_static(b"ab"));
        pieces.push(Bytes::from_static(b"c"));
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces.join(), "abc");
    }
}
