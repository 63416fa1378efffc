//! PutObject.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::Service;
use super::upload::{Announced, hex};
use crate::object::{self, Blob, Content, Meta, Object, Stored};
use crate::store::WriteCondition;

pub(super) async fn put_object(
    service: &Service,
    mut request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let body = request.input.body.take();
    let input = &request.input;
    if input.write_offset_bytes.is_some() {
        return Err(s3_error!(NotImplemented));
    }
    service.store.with_bucket(&input.bucket, |_| ())?;
    let announced = Announced {
        length: input.content_length,
        md5: input.content_md5.as_deref(),
        algorithm: input.checksum_algorithm.as_ref(),
        also: None,
    };
    let upload = service.receive(&request, body, announced).await?;
    let etag = hex(&upload.digest);
    let meta = meta_of!(&request.input);
    let stored = Stored {
        blob: Blob::from(upload.bytes),
        etag: etag.clone(),
        checksum: upload.checksum.clone(),
        parts: Vec::new(),
    };
    let object = Object {
        content: Content::Stored(Arc::new(stored)),
        modified: object::now(),
        meta: Some(Arc::new(meta)),
    };
    let input = request.input;
    let condition = WriteCondition {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
    };
    service
        .store
        .put(&input.bucket, &input.key, object, &condition)?;
    let checksum = upload.checksum;
    Ok(S3Response::new(PutObjectOutput {
        e_tag: Some(ETag::Strong(etag)),
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        checksum_type: checksum.checksum_type,
        ..Default::default()
    }))
}
