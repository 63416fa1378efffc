//! Multipart uploads.

use std::collections::BTreeMap;
use std::sync::Arc;

use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::checksum::{Algorithm, Stated, full_object, hasher};
use super::list::{is_url, url_encode};
use super::upload::{Announced, hex};
use super::{Service, bucket::owner, is_unaware, length, timestamp};
use crate::object::{self, Blob, Content, Encryption, Meta, Object, PartInfo, Stored};
use crate::store::WriteCondition;
use crate::uploads;

pub(super) async fn create_multipart_upload(
    service: &Service,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let unaware = is_unaware(&request);
    let input = request.input;
    service.store.with_bucket(&input.bucket, |_| ())?;
    let algorithm = input
        .checksum_algorithm
        .as_ref()
        .map(|name| Algorithm::parse(name.as_str()))
        .transpose()?;
    let algorithm = algorithm.unwrap_or(Algorithm::Crc64Nvme);
    let asked = input.checksum_type.as_ref().map(ChecksumType::as_str);
    let full_object = match (asked, algorithm) {
        (Some(ChecksumType::FULL_OBJECT), Algorithm::Sha1 | Algorithm::Sha256)
        | (Some(ChecksumType::COMPOSITE), Algorithm::Crc64Nvme) => {
            return Err(s3_error!(
                InvalidRequest,
                "The checksum type cannot be used with the specified checksum algorithm."
            ));
        }
        (Some(asked), _) => asked == ChecksumType::FULL_OBJECT,
        (None, algorithm) => algorithm == Algorithm::Crc64Nvme,
    };
    let mut meta = meta_of!(&input);
    if unaware {
        meta.encryption = None;
    }
    let (server_side_encryption, ssekms_key_id) = meta.encryption();
    let id = service.uploads.begin(uploads::Upload {
        meta: Arc::new(meta),
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        algorithm: algorithm.name().to_owned(),
        full_object,
        started: object::now(),
        parts: BTreeMap::new(),
    });
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        server_side_encryption,
        ssekms_key_id,
        checksum_type: input
            .checksum_algorithm
            .as_ref()
            .map(|_| checksum_type(full_object)),
        checksum_algorithm: input.checksum_algorithm,
        ..Default::default()
    }))
}

pub(super) async fn upload_part(
    service: &Service,
    mut request: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let body = request.input.body.take();
    let input = &request.input;
    let algorithm = algorithm(service, &input.upload_id, &input.bucket, &input.key)?;
    let announced = Announced {
        length: input.content_length,
        md5: input.content_md5.as_deref(),
        algorithm: input.checksum_algorithm.as_ref(),
        also: Some(algorithm),
    };
    let upload = service.receive(&request, body, announced).await?;
    let input = request.input;
    let target = Target {
        upload_id: &input.upload_id,
        bucket: &input.bucket,
        key: &input.key,
        number: input.part_number,
    };
    let checksum = upload.checksum;
    let etag = add_part(
        service,
        &target,
        upload.blob,
        upload.digest,
        checksum.clone(),
    )?;
    Ok(S3Response::new(UploadPartOutput {
        e_tag: Some(etag),
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
        ..Default::default()
    }))
}

pub(super) async fn complete_multipart_upload(
    service: &Service,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let stated = Stated::in_headers(&request.headers, None)?;
    let input = request.input;
    let (id, bucket, key) = (&input.upload_id, &input.bucket, &input.key);
    let upload = service
        .uploads
        .with(id, bucket, key, |upload| upload.clone())?;
    let named = input
        .multipart_upload
        .and_then(|upload| upload.parts)
        .unwrap_or_default();
    let parts = select_parts(&upload, &named, service.min_part_size)?;
    let algorithm = Algorithm::parse(&upload.algorithm)?;
    let checksum = checksum_of(&parts, algorithm, upload.full_object)?;
    verify(&stated, &checksum)?;
    let size = parts.iter().map(|part| part.blob.size()).sum::<u64>();
    if input
        .mpu_object_size
        .is_some_and(|stated| stated != length(size))
    {
        return Err(s3_error!(
            InvalidRequest,
            "The provided 'x-amz-mp-object-size' header does not match what was computed."
        ));
    }
    let mut digests = Md5::new();
    parts.iter().for_each(|part| digests.update(&part.digest));
    let etag = format!("{}-{}", hex(&digests.finalize()), parts.len());
    let infos = parts.iter().map(|part| PartInfo {
        size: part.blob.size(),
        checksum: part.checksum.clone(),
    });
    let stored = Stored {
        blob: Blob::join(parts.iter().map(|part| &part.blob)),
        etag: etag.clone(),
        checksum: checksum.clone(),
        parts: infos.collect(),
    };
    let object = Object {
        content: Content::Stored(Arc::new(stored)),
        modified: object::now(),
        meta: Some(Arc::clone(&upload.meta)),
    };
    let condition = WriteCondition {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
    };
    service.store.put(bucket, key, object, &condition)?;
    service.uploads.end(id, bucket, key)?;
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        location: Some(format!(
            "http://s3.amazonaws.com/{bucket}/{}",
            url_encode(key)
        )),
        bucket: Some(input.bucket),
        key: Some(input.key),
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

pub(super) async fn abort_multipart_upload(
    service: &Service,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = request.input;
    service
        .uploads
        .end(&input.upload_id, &input.bucket, &input.key)?;
    Ok(S3Response::with_status(
        AbortMultipartUploadOutput::default(),
        http::StatusCode::NO_CONTENT,
    ))
}

pub(super) async fn list_parts(
    service: &Service,
    request: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let input = request.input;
    let upload = service
        .uploads
        .with(&input.upload_id, &input.bucket, &input.key, |upload| {
            upload.clone()
        })?;
    let max = usize::try_from(input.max_parts.unwrap_or(1000).clamp(0, 1000)).unwrap_or(0);
    let marker = input.part_number_marker.unwrap_or(0);
    let mut following = upload.parts.range(marker.saturating_add(1)..);
    let parts: Vec<Part> = following
        .by_ref()
        .take(max)
        .map(|(number, part)| describe(*number, part))
        .collect();
    let last = parts.last().and_then(|part| part.part_number);
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        part_number_marker: Some(marker),
        next_part_number_marker: Some(last.unwrap_or(0)),
        max_parts: i32::try_from(max).ok(),
        is_truncated: Some(max > 0 && following.next().is_some()),
        parts: Some(parts),
        owner: Some(owner()),
        storage_class: Some(
            upload
                .meta
                .storage_class
                .clone()
                .unwrap_or_else(|| "STANDARD".to_owned())
                .into(),
        ),
        checksum_algorithm: Some(upload.algorithm.to_uppercase().into()),
        checksum_type: Some(checksum_type(upload.full_object)),
        ..Default::default()
    }))
}

pub(super) async fn list_multipart_uploads(
    service: &Service,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = request.input;
    service.store.with_bucket(&input.bucket, |_| ())?;
    let url = is_url(input.encoding_type.as_ref())?;
    let encode = |text: &str| {
        if url {
            url_encode(text)
        } else {
            text.to_owned()
        }
    };
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
    let key_marker = input.key_marker.unwrap_or_default();
    let id_marker = input.upload_id_marker.filter(|_| !key_marker.is_empty());
    let max = usize::try_from(input.max_uploads.unwrap_or(1000).clamp(0, 1000)).unwrap_or(0);
    let follows = |id: &str, key: &str| match &id_marker {
        Some(marker) => (key, id) > (key_marker.as_str(), marker.as_str()),
        None => key > key_marker.as_str(),
    };
    let mut uploads = Vec::new();
    let mut prefixes: Vec<String> = Vec::new();
    let mut last = (String::new(), String::new());
    let mut truncated = false;
    for (id, upload) in service.uploads.of_bucket(&input.bucket) {
        let Some(rest) = upload.key.strip_prefix(prefix.as_str()) else {
            continue;
        };
        let common = delimiter.as_deref().and_then(|delimiter| {
            rest.split_once(delimiter)
                .map(|(head, _)| format!("{prefix}{head}{delimiter}"))
        });
        let known = common
            .as_ref()
            .is_some_and(|common| prefixes.last() == Some(common));
        let name = common.as_deref().unwrap_or(&upload.key);
        if known || !follows(&id, name) {
            continue;
        }
        if uploads.len() + prefixes.len() == max {
            truncated = max > 0;
            break;
        }
        last = (name.to_owned(), id.clone());
        match common {
            Some(common) => prefixes.push(common),
            None => uploads.push(MultipartUpload {
                key: Some(encode(&upload.key)),
                upload_id: Some(id),
                initiated: Some(timestamp(upload.started)),
                owner: Some(owner()),
                storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                checksum_algorithm: Some(upload.algorithm.to_uppercase().into()),
                checksum_type: Some(checksum_type(upload.full_object)),
                ..Default::default()
            }),
        }
    }
    let prefixes = prefixes.iter().map(|prefix| CommonPrefix {
        prefix: Some(encode(prefix)),
    });
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        uploads: Some(uploads),
        common_prefixes: Some(prefixes.collect()),
        is_truncated: Some(truncated),
        next_key_marker: truncated.then(|| encode(&last.0)),
        next_upload_id_marker: truncated.then_some(last.1),
        key_marker: Some(encode(&key_marker)),
        upload_id_marker: id_marker,
        prefix: Some(encode(&prefix)),
        delimiter: delimiter.as_deref().map(encode),
        max_uploads: i32::try_from(max).ok(),
        encoding_type: input.encoding_type,
        ..Default::default()
    }))
}

/// Where a part goes.
pub(super) struct Target<'a> {
    pub(super) upload_id: &'a str,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) number: i32,
}

/// The checksum algorithm of an upload.
pub(super) fn algorithm(
    service: &Service,
    id: &str,
    bucket: &str,
    key: &str,
) -> S3Result<Algorithm> {
    Algorithm::parse(
        &service
            .uploads
            .with(id, bucket, key, |upload| upload.algorithm.clone())?,
    )
}

/// Keeps a part in place of an earlier one of its number; returns its ETag.
pub(super) fn add_part(
    service: &Service,
    target: &Target<'_>,
    blob: Blob,
    digest: [u8; 16],
    checksum: Checksum,
) -> S3Result<ETag> {
    if !(1..=MAX_PARTS).contains(&target.number) {
        return Err(s3_error!(
            InvalidArgument,
            "Part number must be an integer between 1 and 10000, inclusive"
        ));
    }
    let part = uploads::Part {
        blob,
        digest,
        checksum,
        modified: object::now(),
    };
    service
        .uploads
        .with(target.upload_id, target.bucket, target.key, |upload| {
            upload.parts.insert(target.number, part);
        })?;
    Ok(ETag::Strong(hex(&digest)))
}

fn select_parts<'u>(
    upload: &'u uploads::Upload,
    named: &[CompletedPart],
    min_size: u64,
) -> S3Result<Vec<&'u uploads::Part>> {
    if named.is_empty() {
        return Err(s3_error!(MalformedXML));
    }
    let mut before = 0;
    let mut parts = Vec::with_capacity(named.len());
    for named in named {
        let number = named.part_number.ok_or_else(|| s3_error!(MalformedXML))?;
        let part = upload
            .parts
            .get(&number)
            .ok_or_else(|| s3_error!(InvalidPart))?;
        if named
            .e_tag
            .as_ref()
            .is_none_or(|etag| etag.value() != hex(&part.digest))
            || !agrees(named, part)
        {
            return Err(s3_error!(InvalidPart));
        }
        if number <= before {
            return Err(s3_error!(InvalidPartOrder));
        }
        before = number;
        parts.push(part);
    }
    let but_last = &parts[..parts.len() - 1];
    if but_last.iter().any(|part| part.blob.size() < min_size) {
        return Err(s3_error!(EntityTooSmall));
    }
    Ok(parts)
}

fn agrees(named: &CompletedPart, part: &uploads::Part) -> bool {
    let stated = Checksum {
        checksum_crc32: named.checksum_crc32.clone(),
        checksum_crc32c: named.checksum_crc32c.clone(),
        checksum_crc64nvme: named.checksum_crc64nvme.clone(),
        checksum_sha1: named.checksum_sha1.clone(),
        checksum_sha256: named.checksum_sha256.clone(),
        checksum_type: None,
    };
    Algorithm::ALL
        .into_iter()
        .all(|algorithm| match algorithm.of(&stated) {
            Some(value) => algorithm.of(&part.checksum) == Some(value),
            None => true,
        })
}

fn checksum_of(parts: &[&uploads::Part], algorithm: Algorithm, whole: bool) -> S3Result<Checksum> {
    let mut sums: ChecksumHasher = hasher(&[algorithm]);
    if whole {
        for part in parts {
            part.blob
                .pieces_of(0..part.blob.size())
                .for_each(|piece| sums.update(&piece));
        }
        return Ok(full_object(sums));
    }
    for part in parts {
        let value = algorithm
            .of(&part.checksum)
            .ok_or_else(|| s3_error!(InvalidPart))?;
        let raw = base64_simd::STANDARD
            .decode_to_vec(value)
            .map_err(|_| s3_error!(InternalError))?;
        sums.update(&raw);
    }
    let mut checksum = sums.finalize();
    if let Some(value) = algorithm.of(&checksum) {
        let value = format!("{value}-{}", parts.len());
        algorithm.set(&mut checksum, value);
    }
    checksum.checksum_type = Some(checksum_type(false));
    Ok(checksum)
}

/// As for a whole body; a composite checksum may be stated without its number of parts.
fn verify(stated: &Stated, computed: &Checksum) -> S3Result<()> {
    let mut plain = computed.clone();
    for algorithm in Algorithm::ALL {
        let value = algorithm
            .of(computed)
            .and_then(|value| value.split_once('-'));
        if let Some((value, _)) = value {
            algorithm.set(&mut plain, value.to_owned());
        }
    }
    stated.verify(computed).or_else(|_| stated.verify(&plain))
}

fn describe(number: i32, part: &uploads::Part) -> Part {
    let checksum = part.checksum.clone();
    Part {
        part_number: Some(number),
        size: Some(length(part.blob.size())),
        e_tag: Some(ETag::Strong(hex(&part.digest))),
        last_modified: Some(timestamp(part.modified)),
        checksum_crc32: checksum.checksum_crc32,
        checksum_crc32c: checksum.checksum_crc32c,
        checksum_crc64nvme: checksum.checksum_crc64nvme,
        checksum_sha1: checksum.checksum_sha1,
        checksum_sha256: checksum.checksum_sha256,
    }
}

fn checksum_type(full_object: bool) -> ChecksumType {
    ChecksumType::from_static(if full_object {
        ChecksumType::FULL_OBJECT
    } else {
        ChecksumType::COMPOSITE
    })
}

const MAX_PARTS: i32 = 10_000;
