//! DeleteObject and DeleteObjects.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::Service;
use crate::store::WriteCondition;

pub(super) async fn delete_object(
    service: &Service,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = request.input;
    let condition = WriteCondition {
        if_match: input.if_match,
        if_none_match: None,
    };
    service
        .store
        .delete(&input.bucket, &input.key, &condition)?;
    Ok(S3Response::with_status(
        DeleteObjectOutput::default(),
        http::StatusCode::NO_CONTENT,
    ))
}

pub(super) async fn delete_objects(
    service: &Service,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let input = request.input;
    service.store.with_bucket(&input.bucket, |_| ())?;
    if input.delete.objects.len() > 1000 {
        return Err(s3_error!(MalformedXML));
    }
    let mut deleted = Vec::new();
    let mut errors = Vec::new();
    for ObjectIdentifier { key, e_tag, .. } in input.delete.objects {
        let condition = WriteCondition {
            if_match: e_tag.map(ETagCondition::ETag),
            if_none_match: None,
        };
        match service.store.delete(&input.bucket, &key, &condition) {
            Ok(()) => deleted.push(DeletedObject {
                key: Some(key),
                ..Default::default()
            }),
            Err(error) => errors.push(Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(key),
                message: error.message().map(str::to_owned),
                version_id: None,
            }),
        }
    }
    let quiet = input.delete.quiet == Some(true);
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: (!quiet).then_some(deleted),
        errors: Some(errors),
        ..Default::default()
    }))
}
