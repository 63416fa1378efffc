//! CopyObject and UploadPartCopy.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::checksum::{full_object, hasher};
use super::get::Conditions;
use super::{Service, is_unaware, multipart, timestamp};
use crate::object::{self, Blob, Encryption, Meta, Object};
use crate::store::WriteCondition;

pub(super) async fn copy_object(
    service: &Service,
    request: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let condition = WriteCondition::in_headers(&request.headers)?;
    let unaware = is_unaware(&request);
    let input = request.input;
    let (from_bucket, from_key) = source_of(&input.copy_source)?;
    let conditions = Conditions {
        if_match: input.copy_source_if_match.as_ref(),
        if_none_match: input.copy_source_if_none_match.as_ref(),
        if_modified_since: input.copy_source_if_modified_since.clone(),
        if_unmodified_since: input.copy_source_if_unmodified_since.clone(),
    };
    let source = copyable(service, from_bucket, from_key, conditions)?;
    let replace = input
        .metadata_directive
        .as_ref()
        .is_some_and(|directive| directive.as_str() == "REPLACE");
    let same = from_bucket == input.bucket && from_key == input.key;
    if same && !replace && input.storage_class.is_none() {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes."
        ));
    }
    let mut meta = if replace {
        meta_of!(&input)
    } else {
        source.meta.as_deref().cloned().unwrap_or_default()
    };
    let encryption = input.server_side_encryption.filter(|_| !unaware);
    meta.encryption = encryption.map(|algorithm| Encryption {
        algorithm: algorithm.as_str().to_owned(),
        key: input.ssekms_key_id,
    });
    let (server_side_encryption, ssekms_key_id) = meta.encryption();
    meta.checksum = source.checksum().cloned();
    meta.storage_class = input.storage_class.map(|class| class.as_str().to_owned());
    meta.restore = object::Restore::None;
    let copy = Object {
        modified: object::now(),
        meta: Some(Arc::new(meta)),
        ..source
    };
    let checksum = copy.checksum().cloned().unwrap_or_default();
    let result = CopyObjectResult {
        e_tag: Some(ETag::Strong(copy.etag())),
        last_modified: Some(timestamp(copy.modified)),
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        checksum_type: checksum.checksum_type,
    };
    service
        .store
        .put(&input.bucket, &input.key, copy, &condition)?;
    Ok(S3Response::new(CopyObjectOutput {
        server_side_encryption,
        ssekms_key_id,
        copy_object_result: Some(result),
        ..Default::default()
    }))
}

pub(super) async fn upload_part_copy(
    service: &Service,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let unaware = is_unaware(&request);
    let input = request.input;
    let (from_bucket, from_key) = source_of(&input.copy_source)?;
    let conditions = Conditions {
        if_match: input.copy_source_if_match.as_ref().filter(|_| !unaware),
        if_none_match: input.copy_source_if_none_match.as_ref(),
        if_modified_since: input.copy_source_if_modified_since,
        if_unmodified_since: input.copy_source_if_unmodified_since,
    };
    let source = copyable(service, from_bucket, from_key, conditions)?;
    let size = source.size();
    let range = match input.copy_source_range.as_deref().map(Range::parse) {
        None => 0..size,
        Some(Ok(Range::Int {
            first,
            last: Some(last),
        })) if last < size => first..last + 1,
        Some(_) => {
            return Err(s3_error!(
                InvalidArgument,
                "The x-amz-copy-source-range value is not valid."
            ));
        }
    };
    let algorithm = multipart::algorithm(service, &input.upload_id, &input.bucket, &input.key)?;
    let blob = Blob::from_pieces(source.blob().pieces_of(range));
    let mut sums = hasher(&[algorithm]);
    blob.pieces_of(0..blob.size())
        .for_each(|piece| sums.update(&piece));
    let checksum = full_object(sums);
    let digest = service.digest_of(&blob);
    let target = multipart::Target {
        upload_id: &input.upload_id,
        bucket: &input.bucket,
        key: &input.key,
        number: input.part_number,
    };
    let etag = multipart::add_part(service, &target, blob, digest, checksum.clone())?;
    let result = CopyPartResult {
        e_tag: Some(etag),
        last_modified: Some(timestamp(object::now())),
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
    };
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        ..Default::default()
    }))
}

/// The object to copy, if `conditions` hold of it and it can be read.
fn copyable(
    service: &Service,
    bucket: &str,
    key: &str,
    conditions: Conditions<'_>,
) -> S3Result<Object> {
    let source = service.store.get(bucket, key)?;
    conditions.check_source(&source)?;
    if source.is_archived() {
        return Err(s3_error!(InvalidObjectState));
    }
    Ok(source)
}

fn source_of(source: &CopySource) -> S3Result<(&str, &str)> {
    match source {
        CopySource::Bucket { bucket, key, .. } => Ok((bucket, key)),
        _ => Err(s3_error!(NotImplemented)),
    }
}
