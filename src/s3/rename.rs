//! RenameObject.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::classify::{HEAD, RENAME};
use super::client::Shared;
use super::{Error, ErrorKind, RenameRequest};
use super::{call, proof};

/// Renames an object.
///
/// # Cancel safety
/// Dropping the future cancels what is under way.
pub(super) async fn rename(shared: &Shared, request: RenameRequest) -> Result<(), Error> {
    proof::of_renaming(shared, &request).await?;
    let subject = shared.subject(RENAME, request.from.as_str());
    let draft = shared.common.rename(&request, token());
    call::send(shared, &subject, &draft).await?;
    if request.from == request.to {
        return Ok(());
    }
    let asked = shared.subject(HEAD, request.from.as_str());
    match call::send(shared, &asked, &shared.common.head(&request.from)).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            let text = "the store says that it has renamed an object that still has its old name";
            Err(subject.error(ErrorKind::Integrity, text))
        }
    }
}

/// A text that no other rename has: S3 does what has one token once, however often it is tried, so
/// that a try after an answer that was lost does not miss the source.
pub(super) fn token() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}-{:x}-{number:x}", now.as_nanos(), process::id())
}

#[cfg(test)]
mod tests {
    use super::token;

    #[test]
    fn tokens_differ_and_are_short() {
        let (first, second) = (token(), token());
        assert_ne!(first, second);
        assert!(first.len() <= 64 && first.is_ascii());
    }
}
