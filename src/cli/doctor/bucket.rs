//! What the bucket allows.

use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::executor::block_on;

use super::report::{Report, Step};
use crate::s3::{Error, ErrorKind, Key, ListRequest, Prefix, PutRequest, S3Store, Store};

/// Lists, and reads the first object that is found; with `write` also stores an object and deletes
/// it.
pub(super) fn examine(report: &mut Report, store: &S3Store, prefix: &Prefix, write: bool) {
    let request = ListRequest {
        prefix: prefix.as_str().to_owned(),
        max_keys: Some(PAGE),
        ..ListRequest::default()
    };
    let found = match block_on(store.list(&request)) {
        Ok(page) => {
            let count = page.objects.len();
            report.add(Step::ok(
                "list",
                format!("s3:ListBucket is allowed; {count} objects seen"),
            ));
            let readable = |size: u64, key: &str| size > 0 && !key.ends_with('/');
            let object = page
                .objects
                .into_iter()
                .find(|object| readable(object.info.size, &object.key));
            object.and_then(|object| Key::new(object.key).ok())
        }
        Err(error) => {
            report.add(refused("list", "s3:ListBucket", &error));
            None
        }
    };
    match found {
        Some(key) => report.add(match block_on(read_a_byte(store, &key)) {
            Ok(()) => Step::ok("get", format!("s3:GetObject is allowed: {key}")),
            Err(error) => refused("get", "s3:GetObject", &error),
        }),
        None => report.add(Step::info("get", "there is no object to read")),
    }
    if write {
        write_and_delete(report, store, prefix);
    } else {
        report.add(Step::info(
            "put, delete",
            "not tried; --write stores an object and deletes it",
        ));
    }
}

fn write_and_delete(report: &mut Report, store: &S3Store, prefix: &Prefix) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let name = format!(
        "{}mount-s3-doctor-{}-{}",
        prefix.as_str(),
        process::id(),
        now.as_millis()
    );
    let key = match Key::new(name) {
        Ok(key) => key,
        Err(error) => {
            report.add(Step::fail("put", error.to_string()));
            return;
        }
    };
    let body = Bytes::from_static(b"mount-s3 doctor\n");
    match block_on(store.put(PutRequest::new(key.clone()), body)) {
        Ok(_) => report.add(Step::ok("put", format!("s3:PutObject is allowed: {key}"))),
        Err(error) => {
            report.add(refused("put", "s3:PutObject", &error));
            return;
        }
    }
    match block_on(store.delete(&key)) {
        Ok(()) => report.add(Step::ok("delete", "s3:DeleteObject is allowed")),
        Err(error) => {
            let step = refused("delete", "s3:DeleteObject", &error);
            report.add(Step {
                text: format!("{}; the object {key} stays", step.text),
                ..step
            });
        }
    }
}

fn refused(name: &'static str, action: &str, error: &Error) -> Step {
    let step = Step::fail(name, error.to_string());
    match error.kind() {
        ErrorKind::Denied => step.remedy(format!(
            "allow {action} to this identity, in its policies and in the bucket's; and the key, \
             if objects are encrypted by KMS"
        )),
        ErrorKind::Archived => step.remedy("restore the object, or look at another prefix"),
        _ => step,
    }
}

/// Reads the first byte of an object that has any.
async fn read_a_byte(store: &S3Store, key: &Key) -> Result<(), Error> {
    let info = store.head(key).await?;
    if info.size == 0 {
        return Ok(());
    }
    store.read_a_byte(key, info.etag, info.size).await
}

/// Enough for an object among markers of directories.
const PAGE: u16 = 20;
