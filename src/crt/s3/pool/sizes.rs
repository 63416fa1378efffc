//! How large the buffers are.

/// Bytes that the buffers of a GET of `length` bytes take which is split into parts of
/// `part_bytes` bytes. Parts take what they are; what is left of the last one is rounded up, by
/// less than a quarter or a page, but to no more than a part.
pub fn memory_for_get(length: u64, part_bytes: u64) -> u64 {
    let part_bytes = part_bytes.max(1);
    let rest = length % part_bytes;
    (length - rest).saturating_add(buffer_bytes(rest, part_bytes))
}

/// Bytes that a buffer of `size` bytes takes from a pool for parts of `part_bytes` bytes. Parts
/// take what they are; other sizes are rounded up, by less than a quarter or a page, so that
/// buffers of about one size can take each other's place.
pub(super) fn buffer_bytes(size: u64, part_bytes: u64) -> u64 {
    let step = (size.min(LARGE).next_power_of_two() / 8).clamp(PAGE, LARGE / 8);
    let rounded = size.checked_next_multiple_of(step).unwrap_or(size);
    if size <= part_bytes {
        rounded.min(part_bytes)
    } else {
        rounded
    }
}

/// From here on steps are those of huge pages.
const LARGE: u64 = 16 << 20;

const PAGE: u64 = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    #[test]
    fn buffers_are_about_as_large_as_what_they_hold() {
        let size = |bytes| buffer_bytes(bytes, 8 * MIB);
        assert_eq!(size(0), 0);
        assert_eq!(size(1), 4 * KIB);
        assert_eq!(size(128 * KIB), 128 * KIB);
        assert_eq!(size(128 * KIB + 1), 160 * KIB);
        assert_eq!(size(MIB), MIB);
        assert_eq!(size(MIB + 1), MIB + 256 * KIB);
        assert_eq!(size(8 * MIB - 1), 8 * MIB);
        assert_eq!(size(21 * MIB), 22 * MIB);
        assert_eq!(size(u64::MAX), u64::MAX);
    }

    #[test]
    fn parts_are_never_rounded() {
        assert_eq!(buffer_bytes(5_000_000, 5_000_000), 5_000_000);
        assert_eq!(buffer_bytes(4_999_999, 5_000_000), 5_000_000);
        assert_eq!(memory_for_get(15_000_000, 5_000_000), 15_000_000);
        assert_eq!(memory_for_get(5_000_001, 5_000_000), 5_004_096);
        assert_eq!(memory_for_get(7, 0), 7);
    }

    proptest! {
        #[test]
        fn waste_is_bounded(size in 1u64..1 << 40, part in 1u64..1 << 30) {
            let bytes = buffer_bytes(size, part);
            prop_assert!(bytes >= size);
            prop_assert!(bytes - size < PAGE.max(size / 4).min(LARGE / 8));
            prop_assert_eq!(buffer_bytes(bytes, part), bytes, "a size of its own");
        }

        #[test]
        fn a_get_takes_what_its_parts_take(length in 0u64..1 << 32, part in MIB..1 << 28) {
            let parts = (0..length.div_ceil(part)).map(|index| part.min(length - index * part));
            let sum: u64 = parts.map(|size| buffer_bytes(size, part)).sum();
            prop_assert_eq!(memory_for_get(length, part), sum);
        }
    }
}
