//! Receiving a body: its bytes, its ETag and its checksums.

use std::error::Error;

use bytes::Bytes;
use http_body_util::BodyExt;
use s3s::crypto::{Checksum as _, Crc64Nvme, Md5};
use s3s::dto::{Checksum, ChecksumAlgorithm, StreamingBlob};
use s3s::{Body, S3Error, S3Request, S3Result, s3_error};

use super::Service;
use super::checksum::{Algorithm, Stated, full_object, hasher};
use crate::chunked;
use crate::errors::other_error;
use crate::object::Blob;

/// A body received and verified.
pub(super) struct Upload {
    pub(super) blob: Blob,
    /// What the ETag is made of: the MD5, or as many bytes of a faster hash.
    pub(super) digest: [u8; 16],
    pub(super) checksum: Checksum,
}

/// What a request says of its body.
pub(super) struct Announced<'a> {
    pub(super) length: Option<i64>,
    pub(super) md5: Option<&'a str>,
    pub(super) algorithm: Option<&'a ChecksumAlgorithm>,
    /// An algorithm to compute besides.
    pub(super) also: Option<Algorithm>,
}

impl Service {
    /// Receives the body of `request`, taken from its input.
    pub(super) async fn receive<T>(
        &self,
        request: &S3Request<T>,
        body: Option<StreamingBlob>,
        announced: Announced<'_>,
    ) -> S3Result<Upload> {
        let mut stated = Stated::in_headers(&request.headers, announced.algorithm)?;
        let length = u64::try_from(announced.length.unwrap_or(0)).unwrap_or(0);
        if length > MAX_SIZE {
            return Err(s3_error!(EntityTooLarge));
        }
        let mut algorithms = stated.algorithms();
        algorithms.extend(announced.also);
        let mut sums = hasher(&algorithms);
        let mut digest = match announced.md5 {
            Some(_) => Digest::Md5(Md5::new()),
            None => self.digest(),
        };
        // Without a signature the service leaves the transfer encoding of the body to us.
        let encoded = request.trailing_headers.is_none() && chunked::is_chunked(&request.headers);
        let keeps = encoded || !self.discard_uploads;
        let capacity = usize::try_from(length).ok().filter(|_| keeps);
        let mut bytes = Vec::with_capacity(capacity.unwrap_or(0));
        let mut received = 0;
        if let Some(body) = body {
            let mut body = Body::from(body);
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| body_error(&*error))?;
                let Some(data) = frame.data_ref() else {
                    continue;
                };
                received += data.len() as u64;
                if !encoded {
                    sums.update(data);
                    digest.update(data);
                }
                if keeps {
                    bytes.extend_from_slice(data);
                }
            }
        }
        if encoded {
            let decoded = chunked::decode(&bytes)?;
            stated.add_trailers(&decoded.trailers);
            bytes = decoded.data;
            received = bytes.len() as u64;
            sums.update(&bytes);
            digest.update(&bytes);
        } else if announced.length.is_some() && received != length {
            return Err(s3_error!(IncompleteBody));
        }
        if let Some(trailers) = request
            .trailing_headers
            .as_ref()
            .and_then(s3s::TrailingHeaders::take)
        {
            stated.add_trailers(&trailers);
        }
        let checksum = full_object(sums);
        stated.verify(&checksum)?;
        let digest = digest.finalize();
        verify_md5(announced.md5, &digest)?;
        let blob = if self.discard_uploads {
            Blob::Discarded { size: received }
        } else {
            Blob::from(Bytes::from(bytes))
        };
        Ok(Upload {
            blob,
            digest,
            checksum,
        })
    }

    /// What the ETag of these bytes is made of.
    pub(super) fn digest_of(&self, blob: &Blob) -> [u8; 16] {
        let mut digest = self.digest();
        blob.pieces_of(0..blob.size())
            .for_each(|piece| digest.update(&piece));
        digest.finalize()
    }

    fn digest(&self) -> Digest {
        if self.fast_etag {
            Digest::Fast {
                crc: Box::new(Crc64Nvme::new()),
                size: 0,
            }
        } else {
            Digest::Md5(Md5::new())
        }
    }
}

/// What an ETag is made of, so far.
enum Digest {
    Md5(Md5),
    Fast { crc: Box<Crc64Nvme>, size: u64 },
}

impl Digest {
    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Md5(md5) => md5.update(data),
            Self::Fast { crc, size } => {
                crc.update(data);
                *size += data.len() as u64;
            }
        }
    }

    fn finalize(self) -> [u8; 16] {
        match self {
            Self::Md5(md5) => md5.finalize(),
            Self::Fast { crc, size } => {
                let mut digest = [0; 16];
                digest[..8].copy_from_slice(&crc.finalize());
                digest[8..].copy_from_slice(&size.to_be_bytes());
                digest
            }
        }
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn verify_md5(stated: Option<&str>, computed: &[u8; 16]) -> S3Result<()> {
    let Some(stated) = stated else {
        return Ok(());
    };
    let stated = base64_simd::STANDARD
        .decode_to_vec(stated)
        .map_err(|_| s3_error!(InvalidDigest))?;
    if stated.len() != computed.len() {
        return Err(s3_error!(InvalidDigest));
    }
    if stated != computed {
        return Err(s3_error!(BadDigest));
    }
    Ok(())
}

/// What S3 answers when a body breaks off or does not bear out its signature.
fn body_error(error: &(dyn Error + 'static)) -> S3Error {
    // The service's own error types are private: their texts are all there is to tell them by.
    let text = error.to_string();
    if text.ends_with("Sha256Mismatch") {
        other_error("XAmzContentSHA256Mismatch", http::StatusCode::BAD_REQUEST)
    } else if text.ends_with("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch)
    } else {
        s3_error!(IncompleteBody)
    }
}

/// Largest body of one request: 5 GiB.
const MAX_SIZE: u64 = 5 << 30;
