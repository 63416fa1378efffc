//! Checksums of uploads: S3 compares what it received with them.

use std::mem;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::call::Reply;
use super::classify::Subject;
use super::{Error, ErrorKind};
use crate::crt::{crc32c, crc64nvme, crc64nvme_combine};

/// The checksums that uploads have.
/// S3: [checking object integrity](https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UploadChecksums {
    /// CRC-32C, of each part of a multipart upload.
    #[default]
    Crc32c,
    /// CRC-64/NVME, of the object.
    Crc64Nvme,
    /// None, for stores that refuse checksums.
    Off,
}

/// The checksum of bytes that come one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sum {
    Crc32c(u32),
    Crc64Nvme(u64),
    Off,
}

/// A checksum as requests and answers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checksum {
    /// The name of its header.
    pub(super) header: &'static str,
    /// The name of its element in the list of an upload's parts.
    pub(super) element: &'static str,
    /// Base64.
    pub(super) value: String,
}

impl UploadChecksums {
    /// What CreateMultipartUpload says of it: S3's names of the algorithm and of the type.
    pub(super) fn names(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Crc32c => Some(("CRC32C", "COMPOSITE")),
            Self::Crc64Nvme => Some(("CRC64NVME", "FULL_OBJECT")),
            Self::Off => None,
        }
    }

    /// The checksum of no bytes.
    pub(super) fn sum(self) -> Sum {
        match self {
            Self::Crc32c => Sum::Crc32c(0),
            Self::Crc64Nvme => Sum::Crc64Nvme(0),
            Self::Off => Sum::Off,
        }
    }
}

impl Sum {
    /// Goes on with `bytes`.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32c(sum) => *sum = crc32c(*sum, bytes),
            Self::Crc64Nvme(sum) => *sum = crc64nvme(*sum, bytes),
            Self::Off => {}
        }
    }

    /// The sum so far; it begins again.
    pub(super) fn take(&mut self) -> Self {
        let fresh = match self {
            Self::Crc32c(_) => Self::Crc32c(0),
            Self::Crc64Nvme(_) => Self::Crc64Nvme(0),
            Self::Off => Self::Off,
        };
        mem::replace(self, fresh)
    }

    /// As requests have it.
    pub(super) fn checksum(self) -> Option<Checksum> {
        match self {
            Self::Crc32c(sum) => Some(Checksum::crc32c(BASE64_STANDARD.encode(sum.to_be_bytes()))),
            Self::Crc64Nvme(sum) => {
                let value = BASE64_STANDARD.encode(sum.to_be_bytes());
                Some(Checksum::crc64nvme(value))
            }
            Self::Off => None,
        }
    }
}

/// The checksum of a whole object from those of its parts, if S3 wants it.
#[derive(Debug, Default)]
pub(super) struct Whole {
    sum: Option<u64>,
    /// Whether there is a part of which it is not known here.
    is_unknown: bool,
}

impl Whole {
    /// Adds the next part.
    pub(super) fn append(&mut self, part: Sum, bytes: u64) {
        if let Sum::Crc64Nvme(sum) = part {
            self.sum = Some(match self.sum {
                Some(before) => crc64nvme_combine(before, sum, bytes),
                None => sum,
            });
        }
    }

    /// Adds a part whose bytes are not known here.
    pub(super) fn append_unknown(&mut self) {
        self.is_unknown = true;
    }

    /// As requests have it.
    pub(super) fn checksum(&self) -> Option<Checksum> {
        let sum = self.sum.filter(|_| !self.is_unknown)?;
        Sum::Crc64Nvme(sum).checksum()
    }
}

impl Checksum {
    /// A CRC-32C, in Base64.
    pub(super) fn crc32c(value: String) -> Self {
        Self {
            header: "x-amz-checksum-crc32c",
            element: "ChecksumCRC32C",
            value,
        }
    }

    /// A CRC-64/NVME, in Base64.
    pub(super) fn crc64nvme(value: String) -> Self {
        Self {
            header: "x-amz-checksum-crc64nvme",
            element: "ChecksumCRC64NVME",
            value,
        }
    }

    /// Checks that the answer does not tell of other bytes. A store may say nothing.
    pub(super) fn check(&self, reply: &Reply, subject: &Subject) -> Result<(), Error> {
        match reply.headers.get(self.header) {
            Some(theirs) if theirs != self.value => {
                let text = format!(
                    "the store has bytes of the checksum {theirs}, not {}",
                    self.value
                );
                Err(subject.error(ErrorKind::Integrity, text))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(kind: UploadChecksums, bytes: &[u8]) -> Option<String> {
        let mut sum = kind.sum();
        sum.update(bytes);
        sum.checksum().map(|checksum| checksum.value)
    }

    #[test]
    fn values_are_base64_of_big_endian() {
        let bytes = b"123456789";
        let crc32c = value(UploadChecksums::Crc32c, bytes);
        assert_eq!(crc32c.as_deref(), Some("4waSgw=="));
        let crc64nvme = value(UploadChecksums::Crc64Nvme, bytes);
        assert_eq!(crc64nvme.as_deref(), Some("rosUhgp5mIg="));
        assert_eq!(value(UploadChecksums::Off, bytes), None);
    }

    #[test]
    fn take_begins_again() {
        let mut sum = UploadChecksums::Crc32c.sum();
        sum.update(b"abc");
        let before = sum;
        assert_eq!(sum.take(), before);
        assert_eq!(sum, UploadChecksums::Crc32c.sum());
    }

    proptest! {
        #[test]
        fn prop_whole_is_the_checksum_of_all_parts(parts: Vec<Vec<u8>>) {
            let mut whole = Whole::default();
            let mut all = UploadChecksums::Crc64Nvme.sum();
            for part in &parts {
                let mut sum = UploadChecksums::Crc64Nvme.sum();
                sum.update(part);
                all.update(part);
                whole.append(sum, part.len() as u64);
            }
            let expected = (!parts.is_empty()).then(|| all.checksum()).flatten();
            prop_assert_eq!(whole.checksum(), expected);
        }
    }
}
