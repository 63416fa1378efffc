//! Operations on buckets.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::{Service, timestamp};

pub(super) async fn create_bucket(
    service: &Service,
    request: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let name = request.input.bucket;
    if !service.store.create_bucket(&name) {
        return Err(s3_error!(BucketAlreadyOwnedByYou));
    }
    Ok(S3Response::new(CreateBucketOutput {
        location: Some(format!("/{name}")),
    }))
}

pub(super) async fn delete_bucket(
    service: &Service,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    service.store.delete_bucket(&request.input.bucket)?;
    Ok(S3Response::with_status(
        DeleteBucketOutput::default(),
        http::StatusCode::NO_CONTENT,
    ))
}

pub(super) async fn head_bucket(
    service: &Service,
    request: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    service.store.with_bucket(&request.input.bucket, |_| ())?;
    Ok(S3Response::new(HeadBucketOutput::default()))
}

pub(super) async fn list_buckets(
    service: &Service,
    _request: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let buckets = service
        .store
        .buckets()
        .into_iter()
        .map(|(name, created)| Bucket {
            name: Some(name),
            creation_date: Some(timestamp(created)),
            ..Default::default()
        });
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(buckets.collect()),
        owner: Some(owner()),
        ..Default::default()
    }))
}

pub(super) async fn get_bucket_location(
    service: &Service,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    service.store.with_bucket(&request.input.bucket, |_| ())?;
    // The constraint of the first region is empty.
    let constraint = (&*service.region != "us-east-1").then(|| service.region.to_string());
    Ok(S3Response::new(GetBucketLocationOutput {
        location_constraint: constraint.map(BucketLocationConstraint::from),
    }))
}

/// The owner of every bucket and object.
pub(super) fn owner() -> Owner {
    Owner {
        display_name: Some("owner".to_owned()),
        id: Some("75aa57f09aa0c8caeab4f8c24e99d10f".repeat(2)),
    }
}
