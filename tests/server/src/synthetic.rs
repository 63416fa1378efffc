//! Synthetic content: any number of bytes as a pure function of a seed and an offset.
//!
//! Byte `o` of the content of seed `s` is `TABLE[(rotation(s) + o) % PERIOD]`. The period is a prime
//! above 16 MiB, so no two blocks at different multiples of any practical part size are equal: a
//! swapped, shifted or repeated part shows. The table is shared by all objects, so serving content
//! costs neither generating nor copying it.

use std::sync::OnceLock;

use bytes::Bytes;

/// Number of bytes after which the content of one seed repeats: a prime just above 16 MiB.
pub const PERIOD: u64 = 16_777_259;

/// Longest slice of content that [`chunk`] returns.
pub const MAX_CHUNK: usize = 1 << 20;

/// Writes the content of `seed` from byte `offset` on into `buf`.
pub fn fill(seed: u64, offset: u64, buf: &mut [u8]) {
    let mut at = offset;
    for piece in buf.chunks_mut(MAX_CHUNK) {
        piece.copy_from_slice(&chunk(seed, at, piece.len()));
        at += piece.len() as u64;
    }
}

/// Where `data`, read from byte `offset` of the content of `seed`, first differs from it:
/// the position in the object, or `None` when every byte is right.
#[must_use]
pub fn first_difference(seed: u64, offset: u64, data: &[u8]) -> Option<u64> {
    let mut at = offset;
    for piece in data.chunks(MAX_CHUNK) {
        let expected = chunk(seed, at, piece.len());
        if expected != piece {
            let same = expected
                .iter()
                .zip(piece)
                .take_while(|(a, b)| a == b)
                .count();
            return Some(at + same as u64);
        }
        at += piece.len() as u64;
    }
    None
}

/// Content of `seed` from byte `offset` on, without a copy: `len` bytes, or [`MAX_CHUNK`] if that is less.
#[must_use]
pub fn chunk(seed: u64, offset: u64, len: usize) -> Bytes {
    let start = (rotation(seed) + offset % PERIOD) % PERIOD;
    let start = usize::try_from(start).expect("the period fits usize");
    table().slice(start..start + len.min(MAX_CHUNK))
}

/// The ETag (without quotes) of the whole content: it differs when seed or size differ.
#[must_use]
pub fn etag(seed: u64, size: u64) -> String {
    let high = mix(seed ^ mix(size));
    let low = mix(high ^ size);
    format!("{high:016x}{low:016x}")
}

/// SplitMix64's output function: the only source of randomness of this crate.
#[must_use]
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One period and the first [`MAX_CHUNK`] bytes again, so that every chunk is contiguous.
fn table() -> &'static Bytes {
    static TABLE: OnceLock<Bytes> = OnceLock::new();
    TABLE.get_or_init(|| {
        let period = usize::try_from(PERIOD).expect("the period fits usize");
        let mut bytes = Vec::with_capacity(period + MAX_CHUNK + 8);
        let mut counter = 0;
        while bytes.len() < period {
            bytes.extend_from_slice(&mix(counter).to_le_bytes());
            counter += 1;
        }
        bytes.truncate(period);
        bytes.extend_from_within(..MAX_CHUNK);
        bytes.into()
    })
}

fn rotation(seed: u64) -> u64 {
    mix(seed ^ 0x5eed) % PERIOD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn period_is_a_prime() {
        assert!((2..=4096).all(|divisor| !PERIOD.is_multiple_of(divisor)));
        const { assert!(4097 * 4097 > PERIOD) };
    }

    #[test]
    fn fill_is_the_same_whatever_the_blocks() {
        let mut whole = vec![0; 5_000_000];
        fill(7, PERIOD - 2_000_000, &mut whole);
        let mut pieces = Vec::new();
        while pieces.len() < whole.len() {
            let len = 333_333.min(whole.len() - pieces.len());
            let at = PERIOD - 2_000_000 + pieces.len() as u64;
            pieces.extend_from_slice(&chunk(7, at, len));
        }
        assert!(whole == pieces);
        assert_eq!(first_difference(7, PERIOD - 2_000_000, &whole), None);
        whole[4_000_000] ^= 1;
        assert_eq!(
            first_difference(7, PERIOD - 2_000_000, &whole),
            Some(PERIOD + 2_000_000)
        );
    }

    #[test]
    fn blocks_at_different_offsets_differ() {
        let blocks: std::collections::HashSet<Bytes> = (0..20_000)
            .map(|i| chunk(3, i * 8 * 1024 * 1024, 16))
            .collect();
        assert_eq!(blocks.len(), 20_000);
        assert_ne!(chunk(1, 0, 64), chunk(2, 0, 64));
        assert_ne!(etag(1, 10), etag(1, 11));
        assert_ne!(etag(1, 10), etag(2, 10));
    }
}
