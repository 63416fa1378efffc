//! Puts a reply together from slices of received parts.

use bytes::{Bytes, BytesMut};

/// The bytes of one reply, in order.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    copied: BytesMut,
    /// What follows, in the buffers of the store.
    slices: Vec<Bytes>,
}

impl Pieces {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.slices.push(piece);
    }

    pub(super) fn len(&self) -> usize {
        self.copied.len() + self.slices.iter().map(Bytes::len).sum::<usize>()
    }

    /// Copies what is there and lets go of the store's buffers. Whoever waits for more must do so
    /// first: the buffers that it keeps could be those that it waits for.
    pub(super) fn detach(&mut self, expected: usize) {
        self.copied
            .reserve(expected.saturating_sub(self.copied.len()));
        for piece in self.slices.drain(..) {
            self.copied.extend_from_slice(&piece);
        }
    }

    /// The bytes in one buffer: without a copy when they lie in one part.
    pub(super) fn join(mut self) -> Bytes {
        if self.copied.is_empty() && self.slices.len() == 1 {
            return self.slices.swap_remove(0);
        }
        self.detach(self.len());
        self.copied.freeze()
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

    #[test]
    fn keeps_no_buffer_when_detached() {
        let part = Bytes::from(vec![7; 100]);
        let mut pieces = Pieces::default();
        pieces.push(part.slice(10..20));
        pieces.detach(15);
        assert!(part.is_unique());
        pieces.push(Bytes::from_static(&[8; 5]));
        assert_eq!(pieces.join(), [&[7; 10][..], &[8; 5]].concat());
    }
}
