//! PutObject.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::upload::{Announced, Upload, hex};
use super::{Service, is_unaware, length};
use crate::errors::other_error;
use crate::object::{self, Blob, Content, Encryption, Meta, Object, Stored};
use crate::store::WriteCondition;

pub(super) async fn put_object(
    service: &Service,
    mut request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let body = request.input.body.take();
    let input = &request.input;
    let offset = input.write_offset_bytes.filter(|_| !is_unaware(&request));
    if offset.is_some() && !service.directory {
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
    if let Some(offset) = offset {
        return append(service, &request.input, upload, offset);
    }
    let etag = hex(&upload.digest);
    let mut meta = meta_of!(&request.input);
    if is_unaware(&request) {
        meta.encryption = None;
    }
    let (server_side_encryption, ssekms_key_id) = meta.encryption();
    let stored = Stored {
        blob: upload.blob,
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
        server_side_encryption,
        ssekms_key_id,
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        checksum_type: checksum.checksum_type,
        ..Default::default()
    }))
}

/// Adds what was received at the end of the object, which has to be at `offset`.
fn append(
    service: &Service,
    input: &PutObjectInput,
    upload: Upload,
    offset: i64,
) -> S3Result<S3Response<PutObjectOutput>> {
    let condition = WriteCondition {
        if_match: input.if_match.clone(),
        if_none_match: input.if_none_match.clone(),
    };
    let present = match service.store.get(&input.bucket, &input.key) {
        Ok(object) => Some(object),
        Err(_) if offset == 0 => None,
        Err(error) => return Err(error),
    };
    let blob = present.as_ref().map_or_else(Blob::empty, Object::blob);
    if offset != length(blob.size()) {
        return Err(other_error(
            "InvalidWriteOffset",
            http::StatusCode::BAD_REQUEST,
        ));
    }
    let blob = Blob::join([&blob, &upload.blob]);
    let etag = hex(&service.digest_of(&blob));
    let stored = Stored {
        blob,
        etag: etag.clone(),
        checksum: Checksum::default(),
        parts: Vec::new(),
    };
    let size = length(stored.blob.size());
    let object = Object {
        content: Content::Stored(Arc::new(stored)),
        modified: object::now(),
        meta: present.and_then(|object| object.meta),
    };
    service
        .store
        .put(&input.bucket, &input.key, object, &condition)?;
    Ok(S3Response::new(PutObjectOutput {
        e_tag: Some(ETag::Strong(etag)),
        size: Some(size),
        checksum_crc32c: upload.checksum.checksum_crc32c,
        checksum_crc64nvme: upload.checksum.checksum_crc64nvme,
        ..Default::default()
    }))
}
