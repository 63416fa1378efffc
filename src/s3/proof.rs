//! Proof that a store knows appending and RenameObject.
//!
//! Stores that do not know them take either for a PutObject, as Ceph RGW does: they answer 200, and
//! have replaced an object by what was to be put at its end, or by nothing. So before the first of
//! each kind the store is asked for one that has to fail: of an object that is not there. A store
//! that says it has done it makes no more than an object of a name that nobody else has.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::call::{self, Reply};
use super::classify::{PUT, RENAME, Subject};
use super::client::Shared;
use super::delete::delete;
use super::rename::token;
use super::{Error, ErrorKind, Key, RenameRequest};

/// What a store has proven.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    appends: AtomicBool,
    renames: AtomicBool,
}

/// Makes sure that the store knows appending, before something is put at the end of `key`.
///
/// # Errors
/// [`ErrorKind::Integrity`] if it does not; what the store refuses the trial with otherwise.
///
/// # Cancel safety
/// Dropping the future cancels the request.
pub(super) async fn of_appending(shared: &Shared, key: &Key) -> Result<(), Error> {
    let proven = &shared.proofs.appends;
    if proven.load(Ordering::Acquire) {
        return Ok(());
    }
    let subject = shared.subject(PUT, key.as_str());
    let trial = beside(key);
    let mut draft = shared.common.put(&trial, Bytes::from_static(b"-"));
    draft.headers.extend(shared.common.stored_as());
    draft.header("x-amz-write-offset-bytes", "1");
    let answer = call::send(shared, &subject, &draft).await;
    let refusals = [ErrorKind::Precondition, ErrorKind::NotFound];
    let text = "the store takes what is to be put at the end of an object for a whole object";
    judge(shared, &subject, &trial, answer, &refusals, text).await?;
    proven.store(true, Ordering::Release);
    Ok(())
}

/// Makes sure that the store knows RenameObject, before it is asked for `request`.
///
/// # Errors
/// Those of [`of_appending`].
///
/// # Cancel safety
/// Dropping the future cancels the request.
pub(super) async fn of_renaming(shared: &Shared, request: &RenameRequest) -> Result<(), Error> {
    let proven = &shared.proofs.renames;
    if proven.load(Ordering::Acquire) {
        return Ok(());
    }
    let subject = shared.subject(RENAME, request.from.as_str());
    let trial = RenameRequest {
        from: beside(&request.from),
        version: None,
        to: beside(&request.to),
        replace: false,
    };
    let draft = shared.common.rename(&trial, token());
    let answer = call::send(shared, &subject, &draft).await;
    let text = "the store says that it has renamed an object that is not there";
    let refusals = [ErrorKind::NotFound];
    judge(shared, &subject, &trial.to, answer, &refusals, text).await?;
    proven.store(true, Ordering::Release);
    Ok(())
}

/// Says what the `answer` to a trial proves. Whoever does not refuse it may have made the object
/// `made`.
async fn judge(
    shared: &Shared,
    subject: &Subject,
    made: &Key,
    answer: Result<Reply, Error>,
    refusals: &[ErrorKind],
    text: &str,
) -> Result<(), Error> {
    match answer {
        Err(error) if refusals.contains(&error.kind()) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            if let Err(error) = delete(shared, made).await {
                log::warn!("the object {made} of a trial may stay behind: {error}");
            }
            Err(subject.error(ErrorKind::Integrity, text))
        }
    }
}

/// A key that nobody has, in the directory of `key` or, if it would be too long there, above.
fn beside(key: &Key) -> Key {
    let name = format!(".mount-s3-trial-{}", token());
    let mut directory = key.as_str();
    while let Some((above, _name)) = directory.rsplit_once('/') {
        if let Ok(key) = Key::new(format!("{above}/{name}")) {
            return key;
        }
        directory = above;
    }
    Key::new(name).expect("it is short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_stays_in_the_directory_as_long_as_there_is_room() {
        let below = |key: &str| {
            let trial = beside(&Key::new(key).expect("a key")).to_string();
            let (directory, _name) = trial.split_once(".mount-s3-trial-").expect("a trial");
            directory.to_owned()
        };
        assert_eq!(below("k"), "");
        assert_eq!(below("a/b/k"), "a/b/");
        assert_eq!(below("a/b/"), "a/b/");
        assert_eq!(below(&format!("a/{}/k", "b".repeat(1010))), "a/");
        assert_eq!(below(&format!("{}/k", "b".repeat(1010))), "");
        let key = Key::new("k").expect("a key");
        assert_ne!(beside(&key), beside(&key));
    }
}
