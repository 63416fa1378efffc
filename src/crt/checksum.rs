//! Checksums that S3 knows, by the fastest instructions that the processor has.
//!
//! They need no [`Runtime`](super::Runtime).

use crt_sys as sys;

/// The CRC-32C of bytes of which those before `bytes` have the checksum `previous`; 0 for none.
/// Wraps `aws_checksums_crc32c_ex`.
pub fn crc32c(previous: u32, bytes: &[u8]) -> u32 {
    // SAFETY: reads `bytes` only, for any length (aws/checksums/crc.h).
    unsafe { sys::aws_checksums_crc32c_ex(bytes.as_ptr(), bytes.len(), previous) }
}

/// The CRC-64/NVME of bytes of which those before `bytes` have the checksum `previous`; 0 for none.
/// Wraps `aws_checksums_crc64nvme_ex`.
pub fn crc64nvme(previous: u64, bytes: &[u8]) -> u64 {
    // SAFETY: reads `bytes` only, for any length (aws/checksums/crc.h).
    unsafe { sys::aws_checksums_crc64nvme_ex(bytes.as_ptr(), bytes.len(), previous) }
}

/// The CRC-64/NVME of two runs of bytes, from that of each and the length of the second in bytes.
/// Wraps `aws_checksums_crc64nvme_combine`.
pub fn crc64nvme_combine(first: u64, second: u64, second_bytes: u64) -> u64 {
    // SAFETY: takes numbers only, any of them (aws/checksums/crc.h).
    unsafe { sys::aws_checksums_crc64nvme_combine(first, second, second_bytes) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn crc32c_has_the_values_of_rfc_3720() {
        assert_eq!(crc32c(0, b""), 0);
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(0, &[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn crc64nvme_has_the_values_of_the_nvme_specification() {
        assert_eq!(crc64nvme(0, b""), 0);
        assert_eq!(crc64nvme(0, b"123456789"), 0xae8b_1486_0a79_9888);
        assert_eq!(crc64nvme(0, &[0; 4096]), 0x6482_d367_eb22_b64e);
        assert_eq!(crc64nvme(0, &[0xff; 4096]), 0xc0dd_ba73_02ec_a3ac);
    }

    proptest! {
        #[test]
        fn prop_bytes_may_come_in_pieces(bytes: Vec<u8>, at: prop::sample::Index) {
            let (head, tail) = bytes.split_at(at.index(bytes.len() + 1));
            prop_assert_eq!(crc32c(crc32c(0, head), tail), crc32c(0, &bytes));
            prop_assert_eq!(crc64nvme(crc64nvme(0, head), tail), crc64nvme(0, &bytes));
        }

        #[test]
        fn prop_combined_is_the_checksum_of_both(head: Vec<u8>, tail: Vec<u8>) {
            let both = [&head[..], &tail].concat();
            let length = tail.len() as u64;
            let combined = crc64nvme_combine(crc64nvme(0, &head), crc64nvme(0, &tail), length);
            prop_assert_eq!(combined, crc64nvme(0, &both));
        }
    }
}
