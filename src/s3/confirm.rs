//! Whether a key holds what was uploaded to it, where the store's last word on the upload does not
//! say: the answer was lost, and there is no such upload when it is completed again; or the answer
//! names no version, as Ceph RGW's.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use md5::{Digest, Md5};

use super::call::{self, Reply};
use super::checksum::{Checksum, UploadChecksums};
use super::classify::HEAD;
use super::client::Shared;
use super::multipart::Part;
use super::xml::etag;
use super::{ETag, ErrorKind, Key};

/// What an upload makes of a key.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    /// In order.
    pub(super) parts: &'a [Part],
    /// Bytes of all parts.
    pub(super) size: u64,
    /// The checksum of the object, if it has one.
    pub(super) whole: Option<&'a Checksum>,
}

/// The version that `key` holds if it is proven to be what was uploaded. `None` when it is not, or
/// when nobody can tell.
///
/// # Cancel safety
/// Dropping the future cancels the request.
pub(super) async fn stored(shared: &Shared, key: &Key, expected: &Expected<'_>) -> Option<ETag> {
    let subject = shared.subject(HEAD, key.as_str());
    let mut draft = shared.common.head(key);
    draft.header("x-amz-checksum-mode", "ENABLED");
    match call::send(shared, &subject, &draft).await {
        Ok(reply) => expected.found_in(&reply),
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                log::warn!("it is not known whether an upload was completed: {error}");
            }
            None
        }
    }
}

impl Expected<'_> {
    /// The version that the answer tells of, if it is the expected one: by its ETag, which is made
    /// of those of the parts unless keys of KMS encrypt it, or by its checksum and its size.
    fn found_in(&self, reply: &Reply) -> Option<ETag> {
        let found = reply.headers.get("ETag").map(etag)?;
        let is_expected = self.etag().is_some_and(|expected| expected == found)
            || self.has_size(reply) && self.has_checksum(reply);
        is_expected.then_some(found)
    }

    fn has_size(&self, reply: &Reply) -> bool {
        let size = reply.headers.get("Content-Length");
        size.and_then(|size| size.parse().ok()) == Some(self.size)
    }

    fn has_checksum(&self, reply: &Reply) -> bool {
        let composite = self.composite();
        let checksum = self.whole.or(composite.as_ref());
        checksum.is_some_and(|expected| {
            reply.headers.get(expected.header) == Some(expected.value.as_str())
        })
    }

    /// S3's ETag of an object in parts: the MD5 of the parts' MD5s, and their number.
    fn etag(&self) -> Option<ETag> {
        let mut digests = Md5::new();
        for part in self.parts {
            let digest = part.etag.trim_matches('"');
            let is_whole = digest.len() == 32;
            let digest = u128::from_str_radix(digest, 16).ok();
            digests.update(digest.filter(|_| is_whole)?.to_be_bytes());
        }
        let digest = u128::from_be_bytes(digests.finalize().into());
        Some(etag(&format!("{digest:032x}-{}", self.parts.len())))
    }

    /// S3's checksum of an object whose parts have CRC-32C each: that of the parts' checksums, and
    /// their number.
    fn composite(&self) -> Option<Checksum> {
        let mut sum = UploadChecksums::Crc32c.sum();
        for part in self.parts {
            let part = part.checksum.as_ref()?;
            sum.update(&BASE64_STANDARD.decode(&part.value).ok()?);
        }
        let mut checksum = sum.checksum()?;
        checksum.value = format!("{}-{}", checksum.value, self.parts.len());
        Some(checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts of `a` and of `b`.
    fn parts() -> [Part; 2] {
        let etags = [
            "\"0cc175b9c0f1b6a831c399e269772661\"",
            "\"92eb5ffee6ae2fec3ad71c777531578f\"",
        ];
        [b"a", b"b"].map(|body| {
            let mut sum = UploadChecksums::Crc32c.sum();
            sum.update(body);
            let number = u16::from(body[0] - b'a') + 1;
            Part {
                number,
                etag: etags[usize::from(number) - 1].to_owned(),
                checksum: sum.checksum(),
            }
        })
    }

    fn found(parts: &[Part], whole: Option<&Checksum>, headers: &[(&str, &str)]) -> bool {
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let reply = Reply {
            headers: headers.collect(),
            body: Vec::new(),
        };
        let size = 2;
        let expected = Expected { parts, size, whole };
        expected.found_in(&reply).is_some()
    }

    #[test]
    fn found_in_knows_the_etag_of_parts() {
        // MD5 of the 32 bytes of both digests.
        let right = "\"96e024ba2074fe77e8e965ba43a704be-2\"";
        let expected = Expected {
            parts: &parts(),
            size: 2,
            whole: None,
        };
        let etag = expected.etag().expect("they are MD5s");
        assert_eq!(etag.text(), right);
        assert!(found(&parts(), None, &[("ETag", right)]));
        assert!(found(&parts(), None, &[("ETag", right.trim_matches('"'))]));
        assert!(!found(&parts()[..1], None, &[("ETag", right)]));
        assert!(!found(&parts(), None, &[("ETag", "\"other-2\"")]));
        assert!(!found(&parts(), None, &[]));
    }

    #[test]
    fn found_in_knows_checksum_and_size_where_etags_say_nothing() {
        let mut parts = parts();
        parts[0].etag = "\"of a key of KMS\"".to_owned();
        let expected = Expected {
            parts: &parts,
            size: 2,
            whole: None,
        };
        let sum = expected.composite().expect("they have checksums").value;
        let (etag, name) = (("ETag", "\"e\""), "x-amz-checksum-crc32c");
        let size = ("Content-Length", "2");
        assert!(found(&parts, None, &[etag, size, (name, &sum)]));
        let other = ("Content-Length", "3");
        assert!(!found(&parts, None, &[etag, other, (name, &sum)]));
        assert!(!found(&parts, None, &[etag, (name, &sum)]));
        assert!(!found(&parts, None, &[etag, size, (name, "AAAAAA==-2")]));
        assert!(!found(&parts, None, &[etag, size]));
        let mut sum = UploadChecksums::Crc64Nvme.sum();
        sum.update(b"ab");
        let whole = sum.checksum().expect("it is one");
        let right = ("x-amz-checksum-crc64nvme", whole.value.as_str());
        assert!(found(&parts, Some(&whole), &[etag, size, right]));
        assert!(!found(&parts, Some(&whole), &[etag, size]));
    }
}
