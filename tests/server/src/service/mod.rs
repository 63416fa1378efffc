//! The S3 operations, over the store.

/// The metadata that an input of an upload or a copy carries.
macro_rules! meta_of {
    ($input:expr) => {{
        let input = $input;
        Meta {
            storage_class: input
                .storage_class
                .as_ref()
                .map(|class| class.as_str().to_owned()),
            content_type: input.content_type.clone(),
            cache_control: input.cache_control.clone(),
            content_disposition: input.content_disposition.clone(),
            content_encoding: $crate::service::stored_encoding(input.content_encoding.as_deref()),
            content_language: input.content_language.clone(),
            user: input.metadata.clone().unwrap_or_default(),
            encryption: input
                .server_side_encryption
                .as_ref()
                .map(|algorithm| Encryption {
                    algorithm: algorithm.as_str().to_owned(),
                    key: input.ssekms_key_id.clone(),
                }),
            ..Meta::default()
        }
    }};
}

mod bucket;
mod checksum;
mod copy;
mod delete;
mod get;
mod list;
mod multipart;
mod put;
mod rename;
mod upload;

pub(crate) use rename::RenameRoute;

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use crate::context::RequestContext;
use crate::store::Store;
use crate::uploads::Uploads;

/// The S3 service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) store: Arc<Store>,
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) region: Arc<str>,
    /// ETags of uploads by a fast hash instead of MD5.
    pub(crate) fast_etag: bool,
    /// Nothing is kept of uploaded bytes but their number.
    pub(crate) discard_uploads: bool,
    /// Least size of every part but the last, in bytes.
    pub(crate) min_part_size: u64,
    /// Whether objects can be appended to and renamed.
    pub(crate) directory: bool,
}

/// Implements `S3` by one function of the module named for each operation.
macro_rules! operations {
    ($($module:ident::$name:ident($input:ident) -> $output:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Service {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                $module::$name(self, request).await
            })*
        }
    };
}

operations! {
    bucket::create_bucket(CreateBucketInput) -> CreateBucketOutput;
    bucket::delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
    bucket::head_bucket(HeadBucketInput) -> HeadBucketOutput;
    bucket::list_buckets(ListBucketsInput) -> ListBucketsOutput;
    bucket::get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
    get::get_object(GetObjectInput) -> GetObjectOutput;
    get::head_object(HeadObjectInput) -> HeadObjectOutput;
    list::list_objects(ListObjectsInput) -> ListObjectsOutput;
    list::list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
    put::put_object(PutObjectInput) -> PutObjectOutput;
    copy::copy_object(CopyObjectInput) -> CopyObjectOutput;
    copy::upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
    delete::delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    delete::delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    multipart::create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    multipart::upload_part(UploadPartInput) -> UploadPartOutput;
    multipart::complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
    multipart::abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    multipart::list_parts(ListPartsInput) -> ListPartsOutput;
    multipart::list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput;
}

/// Whether the store is to know nothing of what not every store has.
fn is_unaware<T>(request: &S3Request<T>) -> bool {
    let context = request.extensions.get::<RequestContext>();
    context.is_some_and(|context| context.decision().is_some_and(|decision| decision.unaware))
}

/// A time in seconds since 1970 as S3 writes it.
fn timestamp(seconds: u32) -> Timestamp {
    (std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.into())).into()
}

/// A count of bytes as the S3 types hold it.
fn length(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A content encoding without that of the transfer.
fn stored_encoding(sent: Option<&str>) -> Option<String> {
    let kept: Vec<_> = sent?
        .split(',')
        .map(str::trim)
        .filter(|name| *name != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}
