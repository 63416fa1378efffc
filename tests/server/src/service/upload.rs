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

/// A body received and verified.
pub(super) struct Upload {
    pub(super) bytes: Bytes,
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
        let capacity = usize::try_from(length).unwrap_or(0);
        let mut bytes = Vec::with_capacity(capacity);
        let mut algorithms = stated.algorithms();
        algorithms.extend(announced.also);
        let mut sums = hasher(&algorithms);
        let mut md5 = (announced.md5.is_some() || !self.fast_etag).then(Md5::new);
        // Without a signature the service leaves the transfer encoding of the body to us.
        let encoded = request.trailing_headers.is_none() && chunked::is_chunked(&request.headers);
        if let Some(body) = body {
            let mut body = Body::from(body);
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| body_error(&*error))?;
                let Some(data) = frame.data_ref() else {
                    continue;
                };
                if !encoded {
                    sums.update(data);
                    if let Some(md5) = &mut md5 {
                        md5.update(data);
                    }
                }
                bytes.extend_from_slice(data);
            }
        }
        if encoded {
            let decoded = chunked::decode(&bytes)?;
            stated.add_trailers(&decoded.trailers);
            bytes = decoded.data;
            sums.update(&bytes);
            if let Some(md5) = &mut md5 {
                md5.update(&bytes);
            }
        } else if announced.length.is_some() && bytes.len() as u64 != length {
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
        let md5 = md5.map(Md5::finalize);
        verify_md5(announced.md5, md5.as_ref())?;
        let bytes = Bytes::from(bytes);
        let digest = match md5 {
            Some(md5) => md5,
            None => self.digest_of(std::slice::from_ref(&bytes)),
        };
        Ok(Upload {
            bytes,
            digest,
            checksum,
        })
    }

    /// What the ETag of these bytes is made of.
    pub(super) fn digest_of(&self, pieces: &[Bytes]) -> [u8; 16] {
        if !self.fast_etag {
            let mut md5 = Md5::new();
            pieces.iter().for_each(|piece| md5.update(piece));
            return md5.finalize();
        }
        let mut crc = Crc64Nvme::new();
        pieces.iter().for_each(|piece| crc.update(piece));
        let size = pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&crc.finalize());
        digest[8..].copy_from_slice(&size.to_be_bytes());
        digest
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

fn verify_md5(stated: Option<&str>, computed: Option<&[u8; 16]>) -> S3Result<()> {
    let (Some(stated), Some(computed)) = (stated, computed) else {
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
