//! The objects of all buckets, in memory.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use http::HeaderMap;
use s3s::dto::ETagCondition;
use s3s::{S3Result, s3_error};

use crate::object::{self, Object};

/// All buckets.
#[derive(Debug, Default)]
pub(crate) struct Store {
    buckets: RwLock<BTreeMap<String, Bucket>>,
}

/// One bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Seconds since 1970.
    pub(crate) created: u32,
    /// Keys are UTF-8.
    pub(crate) objects: BTreeMap<Box<[u8]>, Object>,
}

/// What must hold of the present object for a write to replace it.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteCondition {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
}

impl Store {
    /// Makes a bucket; false if it was there.
    pub(crate) fn create_bucket(&self, name: &str) -> bool {
        let mut buckets = self.write();
        let before = buckets.len();
        buckets.entry(name.to_owned()).or_insert_with(|| Bucket {
            created: object::now(),
            objects: BTreeMap::new(),
        });
        buckets.len() > before
    }

    pub(crate) fn delete_bucket(&self, name: &str) -> S3Result<()> {
        let mut buckets = self.write();
        let bucket = buckets.get(name).ok_or_else(|| s3_error!(NoSuchBucket))?;
        if !bucket.objects.is_empty() {
            return Err(s3_error!(BucketNotEmpty));
        }
        buckets.remove(name);
        Ok(())
    }

    /// Names of the buckets with their times of creation.
    pub(crate) fn buckets(&self) -> Vec<(String, u32)> {
        self.read()
            .iter()
            .map(|(name, bucket)| (name.clone(), bucket.created))
            .collect()
    }

    /// Calls `reader` on a bucket.
    pub(crate) fn with_bucket<T>(
        &self,
        name: &str,
        reader: impl FnOnce(&Bucket) -> T,
    ) -> S3Result<T> {
        let buckets = self.read();
        buckets
            .get(name)
            .map(reader)
            .ok_or_else(|| s3_error!(NoSuchBucket))
    }

    pub(crate) fn get(&self, bucket: &str, key: &str) -> S3Result<Object> {
        self.with_bucket(bucket, |bucket| bucket.objects.get(key.as_bytes()).cloned())?
            .ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// Writes an object if `condition` holds.
    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        object: Object,
        condition: &WriteCondition,
    ) -> S3Result<()> {
        let mut buckets = self.write();
        let bucket = buckets
            .get_mut(bucket)
            .ok_or_else(|| s3_error!(NoSuchBucket))?;
        condition.check(bucket.objects.get(key.as_bytes()))?;
        bucket.objects.insert(key.as_bytes().into(), object);
        Ok(())
    }

    /// Writes many objects; makes the bucket if it is not there.
    pub(crate) fn put_all(
        &self,
        bucket: &str,
        objects: impl IntoIterator<Item = (String, Object)>,
    ) {
        self.create_bucket(bucket);
        if let Some(bucket) = self.write().get_mut(bucket) {
            bucket.objects.extend(
                objects
                    .into_iter()
                    .map(|(key, object)| (key.into_bytes().into(), object)),
            );
        }
    }

    /// Deletes an object if `condition` holds; one that is not there is no error, as in S3.
    pub(crate) fn delete(
        &self,
        bucket: &str,
        key: &str,
        condition: &WriteCondition,
    ) -> S3Result<()> {
        let mut buckets = self.write();
        let bucket = buckets
            .get_mut(bucket)
            .ok_or_else(|| s3_error!(NoSuchBucket))?;
        if condition.if_match.is_some() {
            condition.check(bucket.objects.get(key.as_bytes()))?;
        }
        bucket.objects.remove(key.as_bytes());
        Ok(())
    }

    /// Gives an object another key, if `source` holds of it and `target` of what it replaces.
    pub(crate) fn rename(
        &self,
        bucket: &str,
        (from, source): (&str, &WriteCondition),
        (to, target): (&str, &WriteCondition),
    ) -> S3Result<()> {
        let mut buckets = self.write();
        let bucket = buckets
            .get_mut(bucket)
            .ok_or_else(|| s3_error!(NoSuchBucket))?;
        let object = bucket.objects.get(from.as_bytes());
        let object = object.cloned().ok_or_else(|| s3_error!(NoSuchKey))?;
        source.check(Some(&object))?;
        target.check(bucket.objects.get(to.as_bytes()))?;
        bucket.objects.remove(from.as_bytes());
        bucket.objects.insert(to.as_bytes().into(), object);
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteCondition {
    /// The conditions in a request's headers, for operations whose input has none.
    pub(crate) fn in_headers(headers: &HeaderMap) -> S3Result<Self> {
        Ok(Self {
            if_match: Self::header(headers, "if-match")?,
            if_none_match: Self::header(headers, "if-none-match")?,
        })
    }

    /// One condition of a request's headers.
    pub(crate) fn header(headers: &HeaderMap, name: &str) -> S3Result<Option<ETagCondition>> {
        let condition = headers.get(name).map(|value| {
            let bytes = value.as_bytes();
            ETagCondition::parse_http_header(bytes).map_err(|_| s3_error!(InvalidRequest))
        });
        condition.transpose()
    }

    fn check(&self, present: Option<&Object>) -> S3Result<()> {
        if let Some(condition) = &self.if_match {
            let present = present.ok_or_else(|| s3_error!(NoSuchKey))?;
            if !matches(condition, &present.etag()) {
                return Err(s3_error!(PreconditionFailed));
            }
        }
        match (&self.if_none_match, present) {
            (Some(ETagCondition::Any), Some(_)) => Err(s3_error!(PreconditionFailed)),
            (Some(ETagCondition::ETag(_)), _) => Err(s3_error!(NotImplemented)),
            _ => Ok(()),
        }
    }
}

/// Whether an ETag (without quotes) is one that `condition` names.
pub(crate) fn matches(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(named) => named.value() == etag,
    }
}
