//! What a test needs of a store, whichever store it is.

use std::sync::atomic::{AtomicU32, Ordering};

use super::mount::Mounting;

/// A store that tests plant objects in.
pub(crate) trait TestStore: Sync {
    /// The endpoint URL.
    fn endpoint(&self) -> String;
    /// Access key and secret that it accepts.
    fn credentials(&self) -> (&str, &str);
    /// Makes a bucket.
    fn create_bucket(&self, bucket: &str);
    /// Puts an object.
    fn put(&self, bucket: &str, key: &str, body: &[u8]);
    /// Deletes an object.
    fn delete(&self, bucket: &str, key: &str);

    /// Makes a bucket of a name of its own, so that tests of one process do not meet.
    fn fresh_bucket(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let bucket = format!("bucket-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.create_bucket(&bucket);
        bucket
    }

    /// A fresh bucket that holds `objects`.
    fn bucket_with(&self, objects: &[(&str, &[u8])]) -> String {
        let bucket = self.fresh_bucket();
        for (key, body) in objects {
            self.put(&bucket, key, body);
        }
        bucket
    }

    /// How to mount `bucket` of this store.
    fn mounting(&self, bucket: &str) -> Mounting {
        let (access_key, secret_key) = self.credentials();
        Mounting::new(bucket, &self.endpoint(), access_key, secret_key)
    }
}
