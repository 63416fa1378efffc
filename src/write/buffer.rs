//! Bytes in one piece, in memory that grows with them.

use bytes::Bytes;

/// A buffer that is as large as its bytes need, and grows by doubling.
#[derive(Default)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The memory that the buffer has once it has taken `more` bytes, of which it is known that
    /// they do not make it larger than `most`.
    pub(super) fn room_for(&self, more: usize, most: usize) -> usize {
        let (needed, now) = (self.0.len() + more, self.0.capacity());
        if needed <= now {
            return now;
        }
        let doubled = now.max(SMALLEST / 2).saturating_mul(2);
        doubled.min(most).max(needed)
    }

    /// Takes `data`, with the memory that [`Self::room_for`] says.
    pub(super) fn extend(&mut self, data: &[u8], most: usize) {
        let room = self.room_for(data.len(), most);
        self.0.reserve_exact(room - self.0.len());
        self.0.extend_from_slice(data);
    }

    /// Takes everything out, without a copy.
    pub(super) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.0).into()
    }
}

/// Memory for the first bytes.
const SMALLEST: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buffer_of_few_bytes_is_small_and_grows_to_the_most() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.room_for(1, 8 << 20), SMALLEST);
        buffer.extend(&[7; 5000], 8 << 20);
        assert_eq!(buffer.room_for(0, 8 << 20), 5000);
        assert_eq!(buffer.room_for(1, 8 << 20), 10_000);
        assert_eq!(buffer.room_for(1, 6000), 6000);
    }

    proptest! {
        #[test]
        fn prop_bytes_come_out_as_they_went_in(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9000), 0..9),
        ) {
            let whole = pieces.concat();
            let mut buffer = Buffer::default();
            for piece in &pieces {
                let room = buffer.room_for(piece.len(), whole.len());
                buffer.extend(piece, whole.len());
                prop_assert_eq!(buffer.0.capacity(), room);
                prop_assert!(room <= whole.len().max(SMALLEST));
            }
            prop_assert_eq!(&buffer.take()[..], &whole[..]);
            prop_assert_eq!(buffer.len(), 0);
        }
    }
}
