//! The bucket of a shared cache.

use std::error::Error as _;

use futures::executor::block_on;

use super::report::Step;
use crate::cli::config::ClientOptions;
use crate::cli::diagnosis::connect_failure;
use crate::cli::shared_cache::failure;
use crate::crt::Runtime;
use crate::s3::{BucketName, S3Config, S3Store};
use crate::shared_cache;

/// Reaches the bucket that `config` names, stores the object in it that every mount stores, and fetches
/// it. `region` is that of the bucket whose bytes it is to keep.
pub(super) fn examine(
    runtime: &Runtime,
    client: &ClientOptions,
    config: S3Config,
    region: &str,
) -> Step {
    let bucket = config.bucket.clone();
    let store = match block_on(S3Store::connect(runtime, config)) {
        Ok(store) => store,
        Err(error) => {
            let failure = connect_failure(&bucket, client, &error);
            return Step::fail(NAME, error.to_string()).advised_by(&failure);
        }
    };
    if let Err(error) = block_on(shared_cache::probe(&store)) {
        let reason = error.source().unwrap_or(&error).to_string();
        return Step::fail(NAME, reason).advised_by(&failure(&bucket, &error));
    }
    usable(&bucket, store.region(), region)
}

/// Objects can be stored in the bucket and fetched; it is in one region, and the bucket whose bytes it is
/// to keep in another one or the same.
fn usable(bucket: &BucketName, its_region: &str, region: &str) -> Step {
    let text = format!("{bucket} stores objects and gives them back");
    if its_region == region {
        return Step::ok(NAME, format!("{text}; it is in {region}, too"));
    }
    let text = format!("{text}, but is in {its_region} and not in {region}");
    Step::warn(NAME, text).remedy(
        "use a bucket in the same region, best a directory bucket in this zone: from another one \
         everything comes slower than without a cache, and its transfer is charged",
    )
}

const NAME: &str = "cache-xz";

#[cfg(test)]
mod tests {
    use super::super::report::Status;
    use super::*;

    #[test]
    fn bucket_in_another_region_is_warned_of() {
        let bucket = BucketName::new("kept").expect("a name");
        let step = usable(&bucket, "eu-west-1", "eu-west-1");
        assert_eq!(step.status, Status::Ok);
        assert!(step.text.contains("is in eu-west-1, too"), "{step}");
        let step = usable(&bucket, "eu-west-1", "us-east-1");
        assert_eq!(step.status, Status::Warn);
        assert!(
            step.text.contains("in eu-west-1 and not in us-east-1"),
            "{step}"
        );
        assert!(
            step.remedy
                .is_some_and(|remedy| remedy.contains("same region"))
        );
    }
}
